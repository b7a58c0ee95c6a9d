
/*
 * Lanes of nodes of Redis, and what makes them go on.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_worker.h"


static void ngx_stream_tb_mqtt_lane_init(ngx_tb_rpc_lane_t *l);
static ngx_uint_t ngx_stream_tb_mqtt_lane_is_free(ngx_tb_rpc_lane_t *l);
static void ngx_stream_tb_mqtt_pump_handler(ngx_event_t *ev);


void
ngx_stream_tb_mqtt_lanes_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_tb_rpc_lanes_t  *lanes;

    lanes = &w->lanes;

    lanes->nobody = &w->nobody.lane;
    lanes->pool = w->pool;
    lanes->size = sizeof(ngx_stream_tb_mqtt_lane_t);
    lanes->init = ngx_stream_tb_mqtt_lane_init;
    lanes->is_free = ngx_stream_tb_mqtt_lane_is_free;

    ngx_tb_rpc_lanes_init(lanes);

    /* who waits is a connection, which keeps a worker that is exiting */

    w->pump.handler = ngx_stream_tb_mqtt_pump_handler;
    w->pump.data = &w->dummy;
    w->pump.log = w->log;
    w->pump.cancelable = 1;
}


void
ngx_stream_tb_mqtt_lanes_close(ngx_stream_tb_mqtt_worker_t *w)
{
    if (w->pump.posted) {
        ngx_delete_posted_event(&w->pump);
    }

    if (w->pump.timer_set) {
        ngx_del_timer(&w->pump);
    }
}


/* the counters are zero, of a new one and of one that is free */

static void
ngx_stream_tb_mqtt_lane_init(ngx_tb_rpc_lane_t *l)
{
    ngx_stream_tb_mqtt_lane_t  *lane = (ngx_stream_tb_mqtt_lane_t *) l;

    ngx_queue_init(&lane->tenants);
    ngx_queue_init(&lane->lookups);
    ngx_queue_init(&lane->joining);
    ngx_queue_init(&lane->leaving);

    lane->failed = 0;
}


static ngx_uint_t
ngx_stream_tb_mqtt_lane_is_free(ngx_tb_rpc_lane_t *l)
{
    ngx_stream_tb_mqtt_lane_t  *lane = (ngx_stream_tb_mqtt_lane_t *) l;

    return lane->looking == 0
           && lane->telling == 0
           && ngx_queue_empty(&lane->tenants)
           && ngx_queue_empty(&lane->lookups)
           && ngx_queue_empty(&lane->joining)
           && ngx_queue_empty(&lane->leaving);
}


ngx_stream_tb_mqtt_lane_t *
ngx_stream_tb_mqtt_lane(ngx_stream_tb_mqtt_worker_t *w,
    ngx_tb_redis_node_t *node)
{
    return (ngx_stream_tb_mqtt_lane_t *) ngx_tb_rpc_lane(&w->lanes, node);
}


ngx_stream_tb_mqtt_lane_t *
ngx_stream_tb_mqtt_lane_next(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane)
{
    return (ngx_stream_tb_mqtt_lane_t *)
               ngx_tb_rpc_lane_next(&w->lanes, (ngx_tb_rpc_lane_t *) lane);
}


void
ngx_stream_tb_mqtt_pump(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_post_event(&w->pump, &ngx_posted_events);
}


static void
ngx_stream_tb_mqtt_pump_handler(ngx_event_t *ev)
{
    ngx_uint_t                    again;
    ngx_connection_t             *c;
    ngx_stream_tb_mqtt_lane_t    *lane;
    ngx_stream_tb_mqtt_worker_t  *w;

    c = ev->data;
    w = c->data;

    again = 0;

    for (lane = ngx_stream_tb_mqtt_lane_next(w, NULL);
         lane;
         lane = ngx_stream_tb_mqtt_lane_next(w, lane))
    {
        if (ngx_stream_tb_mqtt_line_pump(lane) == NGX_AGAIN) {
            again = 1;
        }

        ngx_stream_tb_mqtt_tell_pump(w, lane);
    }

    if (again && !ev->timer_set) {
        ngx_add_timer(ev, 1);
    }
}
