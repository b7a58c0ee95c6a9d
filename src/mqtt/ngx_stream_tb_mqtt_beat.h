
/*
 * A session, and its heartbeats.
 */


#ifndef _NGX_STREAM_TB_MQTT_BEAT_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_BEAT_H_INCLUDED_


#include "ngx_stream_tb_mqtt_worker.h"


typedef enum {
    NGX_STREAM_TB_MQTT_QUIET_STATE = 0,   /* has not subscribed, w->quiet */
    NGX_STREAM_TB_MQTT_JOINING,           /* its lane, or w->failed */
    NGX_STREAM_TB_MQTT_ATTACHING,         /* w->attaching */
    NGX_STREAM_TB_MQTT_ATTACHED,          /* w->shards[] */
    NGX_STREAM_TB_MQTT_LEAVING,           /* its lane, or w->failed */
    NGX_STREAM_TB_MQTT_DETACHING          /* a reply is due */
} ngx_stream_tb_mqtt_session_state_e;


struct ngx_stream_tb_mqtt_session_s {
    ngx_queue_t                         queue;
    ngx_stream_tb_mqtt_lane_t          *lane;     /* in it, or on its way */
    ngx_stream_tb_mqtt_worker_t        *worker;
    ngx_stream_tb_mqtt_ctx_t           *ctx;      /* NULL: its connection has
                                                     ended */
    ngx_str_t                          *bridge;   /* of the configuration */
    ngx_stream_tb_mqtt_session_state_e  state;
    ngx_uint_t                          shard;
    ngx_msec_t                          since;    /* it waits */
    ngx_msec_t                          left;     /* its connection */
    uint64_t                            number;   /* a newer one is higher */
    ngx_str_t                           name;
    u_char                              id[NGX_STREAM_TB_MQTT_UUID_LEN];
    u_char                              text[40];
    unsigned                            asked:1;  /* it was in a heartbeat */
    unsigned                            unsure:1; /* maybe attached: an answer
                                                     was lost */
};


ngx_int_t ngx_stream_tb_mqtt_beats_init(ngx_stream_tb_mqtt_worker_t *w);
void ngx_stream_tb_mqtt_beats_close(ngx_stream_tb_mqtt_worker_t *w);

/* an attached session, in no queue, is one of its shard from now on */
void ngx_stream_tb_mqtt_beat(ngx_stream_tb_mqtt_session_t *session);


/* ngx_stream_tb_mqtt_session.c: a session that is in no queue */

/* freed, and its connection closed */
void ngx_stream_tb_mqtt_end_session(ngx_stream_tb_mqtt_session_t *session,
    const char *why);

/* its connection has ended, and Redis is to be told */
void ngx_stream_tb_mqtt_tell_end(ngx_stream_tb_mqtt_session_t *session);

/* freed, and that is all */
void ngx_stream_tb_mqtt_session_free(ngx_stream_tb_mqtt_session_t *session);


/* ngx_stream_tb_mqtt_tell.c */

/* one that is in no queue is attached or detached, by its state, in its turn */
void ngx_stream_tb_mqtt_tell(ngx_stream_tb_mqtt_session_t *session);

/* NGX_ERROR: not sent; last: nobody waits for the reply */
ngx_int_t ngx_stream_tb_mqtt_detach(ngx_stream_tb_mqtt_session_t *session,
    ngx_uint_t last);


/* ngx_stream_tb_mqtt_later.c: a session that is in no queue */

void ngx_stream_tb_mqtt_later_init(ngx_stream_tb_mqtt_worker_t *w);

/* to be attached when it has subscribed, or in a second */
void ngx_stream_tb_mqtt_quiet(ngx_stream_tb_mqtt_session_t *session);

/* what it is to be is tried again in a second */
void ngx_stream_tb_mqtt_later(ngx_stream_tb_mqtt_session_t *session);

/* ngx_stream_tb_mqtt_pump() runs in a second */
void ngx_stream_tb_mqtt_again(ngx_stream_tb_mqtt_worker_t *w);


#endif /* _NGX_STREAM_TB_MQTT_BEAT_H_INCLUDED_ */
