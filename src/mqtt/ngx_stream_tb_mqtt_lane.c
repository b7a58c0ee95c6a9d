
/*
 * Lanes: one for each node of Redis that something is on its way to, or waits
 * for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_worker.h"


static ngx_uint_t ngx_stream_tb_mqtt_lane_is_free(
    ngx_stream_tb_mqtt_lane_t *lane);
static void ngx_stream_tb_mqtt_lane_init(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane);
static void ngx_stream_tb_mqtt_pump_handler(ngx_event_t *ev);


void
ngx_stream_tb_mqtt_lanes_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_queue_init(&w->lanes);

    ngx_stream_tb_mqtt_lane_init(w, &w->nobody);

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


/*
 * Nodes come and go, so what is free is used again.  There are as many lanes
 * as nodes that something has waited for at once.
 */

ngx_stream_tb_mqtt_lane_t *
ngx_stream_tb_mqtt_lane(ngx_stream_tb_mqtt_worker_t *w,
    ngx_tb_redis_node_t *node)
{
    ngx_stream_tb_mqtt_lane_t  *lane, *found;

    found = NULL;

    for (lane = ngx_stream_tb_mqtt_lane_next(w, NULL);
         lane;
         lane = ngx_stream_tb_mqtt_lane_next(w, lane))
    {
        if (lane->node == node) {
            return lane;
        }

        if (found == NULL
            && lane != &w->nobody
            && ngx_stream_tb_mqtt_lane_is_free(lane))
        {
            found = lane;
        }
    }

    if (found == NULL) {
        found = ngx_pcalloc(w->pool, sizeof(ngx_stream_tb_mqtt_lane_t));
        if (found == NULL) {
            return &w->nobody;
        }

        ngx_stream_tb_mqtt_lane_init(w, found);
    }

    found->node = node;
    found->failed = 0;

    return found;
}


static ngx_uint_t
ngx_stream_tb_mqtt_lane_is_free(ngx_stream_tb_mqtt_lane_t *lane)
{
    return lane->looking == 0
           && lane->telling == 0
           && ngx_queue_empty(&lane->tenants)
           && ngx_queue_empty(&lane->lookups)
           && ngx_queue_empty(&lane->joining)
           && ngx_queue_empty(&lane->leaving);
}


/* the rest of it is zero */

static void
ngx_stream_tb_mqtt_lane_init(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane)
{
    ngx_queue_init(&lane->tenants);
    ngx_queue_init(&lane->lookups);
    ngx_queue_init(&lane->joining);
    ngx_queue_init(&lane->leaving);

    ngx_queue_insert_tail(&w->lanes, &lane->queue);
}


ngx_stream_tb_mqtt_lane_t *
ngx_stream_tb_mqtt_lane_next(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane)
{
    ngx_queue_t  *q;

    q = lane ? ngx_queue_next(&lane->queue) : ngx_queue_head(&w->lanes);

    if (q == ngx_queue_sentinel(&w->lanes)) {
        return NULL;
    }

    return ngx_queue_data(q, ngx_stream_tb_mqtt_lane_t, queue);
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
