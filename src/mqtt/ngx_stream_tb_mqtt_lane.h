
/*
 * Lanes: what waits for a node of Redis, or is on its way to it.
 */


#ifndef _NGX_STREAM_TB_MQTT_LANE_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_LANE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_rpc_lane.h"
#include "ngx_stream_tb_mqtt_conf.h"


typedef struct {
    ngx_tb_rpc_lane_t                lane;       /* in w->lanes */

    /* lookups that wait for their turn, those of tenants first */
    ngx_queue_t                      tenants;
    ngx_queue_t                      lookups;
    ngx_uint_t                       looking;    /* on their way */

    /* sessions */
    ngx_queue_t                      joining;    /* to be attached */
    ngx_queue_t                      leaving;    /* to be detached */
    ngx_uint_t                       telling;    /* of either: no reply yet */

    unsigned                         failed:1;   /* a lookup: others are late,
                                                    too */
} ngx_stream_tb_mqtt_lane_t;


void ngx_stream_tb_mqtt_lanes_init(ngx_stream_tb_mqtt_worker_t *w);

/* nothing of them runs any more */
void ngx_stream_tb_mqtt_lanes_close(ngx_stream_tb_mqtt_worker_t *w);

/* the lane of a node, or of nobody (NULL); without memory that one, too */
ngx_stream_tb_mqtt_lane_t *ngx_stream_tb_mqtt_lane(
    ngx_stream_tb_mqtt_worker_t *w, ngx_tb_redis_node_t *node);

/* the next of all lanes, the first one after NULL; NULL: no more */
ngx_stream_tb_mqtt_lane_t *ngx_stream_tb_mqtt_lane_next(
    ngx_stream_tb_mqtt_worker_t *w, ngx_stream_tb_mqtt_lane_t *lane);

/*
 * What waits in lanes goes on as far as it may: within this turn of the event
 * loop, but not within this call, since that may end others.
 */
void ngx_stream_tb_mqtt_pump(ngx_stream_tb_mqtt_worker_t *w);


/* ngx_stream_tb_mqtt_line.c: NGX_AGAIN: the rest of it in the next turn */
ngx_int_t ngx_stream_tb_mqtt_line_pump(ngx_stream_tb_mqtt_lane_t *lane);

/* ngx_stream_tb_mqtt_tell.c */
void ngx_stream_tb_mqtt_tell_pump(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane);


#endif /* _NGX_STREAM_TB_MQTT_LANE_H_INCLUDED_ */
