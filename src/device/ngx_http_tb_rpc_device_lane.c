
/*
 * Lanes of nodes of Redis: polls and lookups.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_device_polls.h"


static void ngx_http_tb_rpc_lane_init(ngx_tb_rpc_lane_t *l);
static ngx_uint_t ngx_http_tb_rpc_lane_is_free(ngx_tb_rpc_lane_t *l);


void
ngx_http_tb_rpc_lanes_init(ngx_http_tb_rpc_polls_t *polls)
{
    ngx_tb_rpc_lanes_t  *lanes;

    lanes = &polls->lanes;

    lanes->nobody = &polls->nobody.lane;
    lanes->pool = polls->worker->pool;
    lanes->size = sizeof(ngx_http_tb_rpc_lane_t);
    lanes->init = ngx_http_tb_rpc_lane_init;
    lanes->is_free = ngx_http_tb_rpc_lane_is_free;

    ngx_tb_rpc_lanes_init(lanes);
}


static void
ngx_http_tb_rpc_lane_init(ngx_tb_rpc_lane_t *l)
{
    ngx_http_tb_rpc_lane_t  *lane = (ngx_http_tb_rpc_lane_t *) l;

    ngx_queue_init(&lane->polls);
    ngx_queue_init(&lane->lookups);
}


static ngx_uint_t
ngx_http_tb_rpc_lane_is_free(ngx_tb_rpc_lane_t *l)
{
    ngx_http_tb_rpc_lane_t  *lane = (ngx_http_tb_rpc_lane_t *) l;

    return ngx_queue_empty(&lane->polls)
           && ngx_queue_empty(&lane->lookups)
           && lane->asked == 0
           && lane->looking == 0;
}


ngx_http_tb_rpc_lane_t *
ngx_http_tb_rpc_lane(ngx_http_tb_rpc_polls_t *polls, ngx_tb_redis_node_t *node)
{
    return (ngx_http_tb_rpc_lane_t *) ngx_tb_rpc_lane(&polls->lanes, node);
}


ngx_int_t
ngx_http_tb_rpc_lane_left(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane, ngx_http_tb_rpc_lane_t *other, ngx_uint_t *n)
{
    if (other == lane) {

        /* no memory for another one */

        return NGX_OK;
    }

    if ((*n)++ == 0) {
        ngx_http_tb_rpc_polls_soon(polls);
    }

    return (*n == NGX_HTTP_TB_RPC_POLL_BATCH) ? NGX_OK : NGX_AGAIN;
}


ngx_http_tb_rpc_lane_t *
ngx_http_tb_rpc_lane_next(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane)
{
    return (ngx_http_tb_rpc_lane_t *)
               ngx_tb_rpc_lane_next(&polls->lanes, (ngx_tb_rpc_lane_t *) lane);
}
