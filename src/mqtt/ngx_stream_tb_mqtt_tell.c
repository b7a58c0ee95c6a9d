
/*
 * What Redis is told of sessions: attaches and detaches, in the lanes of
 * lane.c.  Each node has a window of its own.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_beat.h"


/* attaches and detaches on their way to a node at a time */

#define NGX_STREAM_TB_MQTT_TELLING  256


static void ngx_stream_tb_mqtt_tell_later(
    ngx_stream_tb_mqtt_session_t *session);
static ngx_tb_redis_node_t *ngx_stream_tb_mqtt_tell_node(
    ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_told(ngx_stream_tb_mqtt_session_t *session);
static ngx_int_t ngx_stream_tb_mqtt_attach(
    ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_attached(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_not_attached(
    ngx_stream_tb_mqtt_session_t *session, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_detached(void *data, ngx_uint_t status,
    redisReply *reply);


void
ngx_stream_tb_mqtt_tell(ngx_stream_tb_mqtt_session_t *session)
{
    ngx_stream_tb_mqtt_lane_t  *lane;

    lane = ngx_stream_tb_mqtt_lane(session->worker,
                                   ngx_stream_tb_mqtt_tell_node(session));
    session->lane = lane;

    ngx_queue_insert_tail((session->state == NGX_STREAM_TB_MQTT_JOINING)
                              ? &lane->joining : &lane->leaving,
                          &session->queue);

    ngx_stream_tb_mqtt_pump(session->worker);
}


void
ngx_stream_tb_mqtt_tell_pump(ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_lane_t *lane)
{
    ngx_int_t                      rc;
    ngx_queue_t                   *q, *queue;
    ngx_tb_redis_node_t           *node;
    ngx_stream_tb_mqtt_session_t  *session;

    while (!w->resting && lane->telling < NGX_STREAM_TB_MQTT_TELLING) {

        queue = !ngx_queue_empty(&lane->joining) ? &lane->joining
                                                 : &lane->leaving;
        if (ngx_queue_empty(queue)) {
            return;
        }

        q = ngx_queue_head(queue);
        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

        node = ngx_stream_tb_mqtt_tell_node(session);

        /* without memory for a lane of its own it is still here */

        if (node != lane->lane.node
            && ngx_stream_tb_mqtt_lane(w, node) != lane) {
            ngx_queue_remove(q);
            ngx_stream_tb_mqtt_tell(session);
            continue;
        }

        if (node == NULL || !ngx_tb_redis_node_is_ready(node, 0)) {
            ngx_queue_remove(q);
            ngx_stream_tb_mqtt_tell_later(session);
            continue;
        }

        rc = (queue == &lane->joining)
             ? ngx_stream_tb_mqtt_attach(session)
             : ngx_stream_tb_mqtt_detach(session, 0);

        if (rc != NGX_OK) {
            w->resting = 1;
            ngx_stream_tb_mqtt_again(w);
            return;
        }

        ngx_queue_remove(q);
        lane->telling++;

        if (queue == &lane->joining) {
            session->state = NGX_STREAM_TB_MQTT_ATTACHING;
            ngx_queue_insert_tail(&w->attaching, q);

        } else {
            session->state = NGX_STREAM_TB_MQTT_DETACHING;
        }
    }
}


/* its Redis is away or hangs: what it was not told for so long has lapsed */

static void
ngx_stream_tb_mqtt_tell_later(ngx_stream_tb_mqtt_session_t *session)
{
    if (session->ctx || ngx_current_msec - session->left
                        < session->worker->conf->session_ttl)
    {
        ngx_stream_tb_mqtt_later(session);

    } else {
        ngx_stream_tb_mqtt_session_free(session);
    }
}


static ngx_tb_redis_node_t *
ngx_stream_tb_mqtt_tell_node(ngx_stream_tb_mqtt_session_t *session)
{
    u_char                        buf[NGX_TB_RPC_KEY_LEN];
    ngx_str_t                     key;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    ngx_tb_rpc_key(&key, buf, &w->conf->block.prefix, session->shard, "due",
                   NULL);

    return ngx_tb_redis_key_node(&w->redis, &key);
}


/* its reply has come, or never will: the next one's turn */

static void
ngx_stream_tb_mqtt_told(ngx_stream_tb_mqtt_session_t *session)
{
    session->lane->telling--;

    ngx_stream_tb_mqtt_pump(session->worker);
}


static ngx_int_t
ngx_stream_tb_mqtt_attach(ngx_stream_tb_mqtt_session_t *session)
{
    u_char                        ttl[NGX_INT_T_LEN];
    ngx_str_t                     argv[7];
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    argv[4] = *session->bridge;
    argv[5] = session->name;
    argv[6].data = ttl;
    argv[6].len = ngx_sprintf(ttl, "%M", w->conf->session_ttl) - ttl;

    return ngx_stream_tb_mqtt_fcall_device(w, session->id, "tb_rpc_attach",
                                           argv, 3,
                                           NGX_TB_REDIS_REPEAT
                                           |NGX_TB_REDIS_BACKGROUND
                                           |NGX_TB_REDIS_UNBOUNDED,
                                           ngx_stream_tb_mqtt_attached,
                                           session)
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_stream_tb_mqtt_attached(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_stream_tb_mqtt_session_t *session = data;

    int64_t                       released;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    ngx_stream_tb_mqtt_told(session);
    ngx_queue_remove(&session->queue);

    if (status != NGX_TB_REDIS_REPLY
        || ngx_tb_redis_reply_int(reply, &released) != NGX_OK)
    {
        ngx_stream_tb_mqtt_not_attached(session, status, reply);

    } else if (released < 0) {

        /* a newer login of the same device was attached meanwhile */

        ngx_stream_tb_mqtt_end_session(session, "another login of it");

    } else if (session->ctx == NULL) {
        ngx_stream_tb_mqtt_tell_end(session);

    } else {
        session->unsure = 0;
        ngx_stream_tb_mqtt_count(w, attached);
        session->state = NGX_STREAM_TB_MQTT_ATTACHED;
        ngx_stream_tb_mqtt_beat(session);

        ngx_log_debug3(NGX_LOG_DEBUG_STREAM, w->log, 0,
                       "tb_mqtt: session \"%V\" attached to \"%V\", %L calls",
                       &session->name, session->bridge, released);
    }
}


static void
ngx_stream_tb_mqtt_not_attached(ngx_stream_tb_mqtt_session_t *session,
    ngx_uint_t status, redisReply *reply)
{
    u_char                        text[NGX_TB_REDIS_TEXT];
    ngx_str_t                     error;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    if (status == NGX_TB_REDIS_LOST) {

        /* it may be attached */

        session->unsure = 1;
    }

    if (session->ctx == NULL) {

        if (session->unsure) {
            ngx_stream_tb_mqtt_tell_end(session);

        } else {
            ngx_stream_tb_mqtt_session_free(session);
        }

        return;
    }

    if (status == NGX_TB_REDIS_REPLY
        && ngx_tb_redis_reply_is_error(reply, "ERR tb_rpc: device"))
    {
        ngx_stream_tb_mqtt_end_session(session, "it was deleted");
        return;
    }

    ngx_stream_tb_mqtt_count(w, retried);

    if (ngx_stream_tb_mqtt_say(&w->said_session)) {

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_tb_redis_reply_text(reply, text, &error);

        } else {
            ngx_str_set(&error, "no reply in time");
        }

        ngx_log_error(NGX_LOG_ERR, w->log, 0,
                      "tb_mqtt: devices that are connected can't be attached: "
                      "\"%V\"; it is tried again, and they get no calls until "
                      "then", &error);
    }

    session->state = NGX_STREAM_TB_MQTT_JOINING;

    ngx_stream_tb_mqtt_later(session);
}


ngx_int_t
ngx_stream_tb_mqtt_detach(ngx_stream_tb_mqtt_session_t *session,
    ngx_uint_t last)
{
    ngx_str_t   argv[5];
    ngx_uint_t  flags;

    argv[4] = session->name;

    /* its timer keeps a worker that is exiting, for a moment */

    flags = NGX_TB_REDIS_REPEAT|NGX_TB_REDIS_UNBOUNDED;

    return ngx_stream_tb_mqtt_fcall_device(session->worker, session->id,
                                           "tb_rpc_detach", argv, 1, flags,
                                           last ? NULL
                                                : ngx_stream_tb_mqtt_detached,
                                           session)
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_stream_tb_mqtt_detached(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_stream_tb_mqtt_session_t *session = data;

    ngx_stream_tb_mqtt_told(session);

    if (status != NGX_TB_REDIS_REPLY) {
        session->state = NGX_STREAM_TB_MQTT_LEAVING;
        ngx_stream_tb_mqtt_tell_later(session);
        return;
    }

    ngx_stream_tb_mqtt_session_free(session);
}
