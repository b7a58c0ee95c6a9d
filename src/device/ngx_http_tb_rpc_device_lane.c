
/*
 * Lanes: one for each node of Redis that something waits for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_device_polls.h"


static ngx_uint_t ngx_http_tb_rpc_lane_is_free(ngx_http_tb_rpc_lane_t *lane);
static void ngx_http_tb_rpc_lane_init(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane);


void
ngx_http_tb_rpc_lanes_init(ngx_http_tb_rpc_polls_t *polls)
{
    ngx_queue_init(&polls->lanes);

    ngx_http_tb_rpc_lane_init(polls, &polls->nobody);
}


/*
 * Nodes come and go, so what is free is used again.  There are as many lanes
 * as nodes that something has waited for at once.
 */

ngx_http_tb_rpc_lane_t *
ngx_http_tb_rpc_lane(ngx_http_tb_rpc_polls_t *polls, ngx_tb_redis_node_t *node)
{
    ngx_http_tb_rpc_lane_t  *lane, *found;

    found = NULL;

    for (lane = ngx_http_tb_rpc_lane_next(polls, NULL);
         lane;
         lane = ngx_http_tb_rpc_lane_next(polls, lane))
    {
        if (lane->node == node) {
            return lane;
        }

        if (found == NULL
            && lane != &polls->nobody
            && ngx_http_tb_rpc_lane_is_free(lane))
        {
            found = lane;
        }
    }

    if (found == NULL) {
        found = ngx_pcalloc(polls->worker->pool,
                            sizeof(ngx_http_tb_rpc_lane_t));
        if (found == NULL) {
            return &polls->nobody;
        }

        ngx_http_tb_rpc_lane_init(polls, found);
    }

    found->node = node;

    return found;
}


static ngx_uint_t
ngx_http_tb_rpc_lane_is_free(ngx_http_tb_rpc_lane_t *lane)
{
    return ngx_queue_empty(&lane->polls)
           && ngx_queue_empty(&lane->lookups)
           && lane->asked == 0
           && lane->looking == 0;
}


/* the rest of it is zero */

static void
ngx_http_tb_rpc_lane_init(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane)
{
    ngx_queue_init(&lane->polls);
    ngx_queue_init(&lane->lookups);

    ngx_queue_insert_tail(&polls->lanes, &lane->queue);
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
    ngx_queue_t  *q;

    q = lane ? ngx_queue_next(&lane->queue) : ngx_queue_head(&polls->lanes);

    if (q == ngx_queue_sentinel(&polls->lanes)) {
        return NULL;
    }

    return ngx_queue_data(q, ngx_http_tb_rpc_lane_t, queue);
}
