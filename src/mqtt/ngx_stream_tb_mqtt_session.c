
/*
 * Presence: a device is attached when the broker has taken it and it listens,
 * and detached when its connection ends.
 *
 * Attaching releases calls that wait, and a broker drops what nobody has
 * subscribed to: so it is done at the first SUBACK, or at once if the broker
 * has kept the device's session, or after a second.  A session outlives its
 * connection until Redis knows its end; what Redis is not told in time lapses.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "../../common/tb_rpc_shard.h"
#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_beat.h"
#include "ngx_stream_tb_mqtt_session.h"


/* attaches and detaches on their way at a time */

#define NGX_STREAM_TB_MQTT_TELLING  256


static ngx_stream_tb_mqtt_session_t *ngx_stream_tb_mqtt_session_create(
    ngx_stream_tb_mqtt_ctx_t *ctx, ngx_stream_tb_mqtt_worker_t *w);
static void ngx_stream_tb_mqtt_join(ngx_stream_tb_mqtt_session_t *session);
static ngx_uint_t ngx_stream_tb_mqtt_can_tell(
    ngx_stream_tb_mqtt_session_t *session);
static ngx_int_t ngx_stream_tb_mqtt_attach(
    ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_attached(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_not_attached(
    ngx_stream_tb_mqtt_session_t *session, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_tell_end(ngx_stream_tb_mqtt_session_t *session);
static ngx_int_t ngx_stream_tb_mqtt_detach(
    ngx_stream_tb_mqtt_session_t *session, ngx_uint_t last);
static void ngx_stream_tb_mqtt_detached(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_session_free(
    ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_detach_all(ngx_queue_t *queue);
static void ngx_stream_tb_mqtt_forget(ngx_queue_t *queue);


ngx_int_t
ngx_stream_tb_mqtt_sessions_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_queue_init(&w->joining);
    ngx_queue_init(&w->attaching);
    ngx_queue_init(&w->leaving);

    ngx_stream_tb_mqtt_later_init(w);

    return ngx_stream_tb_mqtt_beats_init(w);
}


/* CONNACK: the broker has it */

void
ngx_stream_tb_mqtt_connected(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t present)
{
    ngx_stream_tb_mqtt_worker_t     *w;
    ngx_stream_tb_mqtt_session_t    *session;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_get_module_main_conf(ctx->session,
                                          ngx_stream_tb_mqtt_module);

    w = ngx_stream_tb_mqtt_worker(mcf);

    if (w == NULL || ctx->presence) {
        return;
    }

    session = ngx_stream_tb_mqtt_session_create(ctx, w);

    if (session == NULL) {

        /* logged by the allocator; it is a device that is offline */

        return;
    }

    if (present) {
        ngx_stream_tb_mqtt_join(session);
        return;
    }

    ngx_stream_tb_mqtt_quiet(session);
}


void
ngx_stream_tb_mqtt_subscribed(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_stream_tb_mqtt_session_t  *session;

    session = ctx->presence;

    if (session && session->state == NGX_STREAM_TB_MQTT_QUIET_STATE) {
        ngx_queue_remove(&session->queue);
        ngx_stream_tb_mqtt_join(session);
    }
}


static ngx_stream_tb_mqtt_session_t *
ngx_stream_tb_mqtt_session_create(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_stream_tb_mqtt_session_t   *session;
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    conf = ngx_stream_get_module_srv_conf(ctx->session,
                                          ngx_stream_tb_mqtt_module);

    session = ngx_calloc(sizeof(ngx_stream_tb_mqtt_session_t), w->log);
    if (session == NULL) {
        return NULL;
    }

    session->worker = w;
    session->ctx = ctx;
    session->bridge = &conf->bridge;

    ngx_memcpy(session->id, ctx->device_id.data, NGX_STREAM_TB_MQTT_UUID_LEN);

    session->shard = tb_rpc_shard(session->id, NGX_STREAM_TB_MQTT_UUID_LEN,
                                  (unsigned) w->conf->block.shards);

    session->number = ++w->sessions;

    session->name.data = session->text;
    session->name.len = ngx_sprintf(session->text, "%*s-%uL",
                                    sizeof(w->name), w->name,
                                    session->number)
                        - session->text;

    ctx->presence = session;
    w->process->devices = ++w->nsessions;

    return session;
}


/* it is in no queue */

static void
ngx_stream_tb_mqtt_join(ngx_stream_tb_mqtt_session_t *session)
{
    session->state = NGX_STREAM_TB_MQTT_JOINING;

    ngx_queue_insert_tail(&session->worker->joining, &session->queue);

    ngx_stream_tb_mqtt_pump(session->worker);
}


void
ngx_stream_tb_mqtt_pump(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_int_t                      rc;
    ngx_queue_t                   *q, *queue;
    ngx_stream_tb_mqtt_session_t  *session;

    while (!w->resting && w->telling < NGX_STREAM_TB_MQTT_TELLING) {

        queue = !ngx_queue_empty(&w->joining) ? &w->joining : &w->leaving;

        if (ngx_queue_empty(queue)) {
            return;
        }

        q = ngx_queue_head(queue);
        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

        if (!ngx_stream_tb_mqtt_can_tell(session)) {
            ngx_queue_remove(q);

            if (session->ctx || ngx_current_msec - session->left
                                < w->conf->session_ttl)
            {
                ngx_stream_tb_mqtt_later(session);

            } else {
                ngx_stream_tb_mqtt_session_free(session);
            }

            continue;
        }

        rc = (queue == &w->joining)
             ? ngx_stream_tb_mqtt_attach(session)
             : ngx_stream_tb_mqtt_detach(session, 0);

        if (rc != NGX_OK) {
            w->resting = 1;
            ngx_stream_tb_mqtt_again(w);
            return;
        }

        ngx_queue_remove(q);
        w->telling++;

        if (queue == &w->joining) {
            session->state = NGX_STREAM_TB_MQTT_ATTACHING;
            ngx_queue_insert_tail(&w->attaching, q);

        } else {
            session->state = NGX_STREAM_TB_MQTT_DETACHING;
        }
    }
}


/* what one Redis takes must not wait for another that is away */

static ngx_uint_t
ngx_stream_tb_mqtt_can_tell(ngx_stream_tb_mqtt_session_t *session)
{
    u_char                        buf[NGX_TB_RPC_KEY_LEN];
    ngx_str_t                     key;
    ngx_tb_redis_node_t          *node;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    ngx_tb_rpc_key(&key, buf, &w->conf->block.prefix, session->shard, "due",
                   NULL);

    node = ngx_tb_redis_key_node(&w->redis, &key);

    return node && ngx_tb_redis_node_is_ready(node, 0);
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

    w->telling--;
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

    ngx_stream_tb_mqtt_pump(w);
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

    if (!w->told_session
        || ngx_current_msec - w->told_session_at >= NGX_STREAM_TB_MQTT_SAY)
    {
        w->told_session = 1;
        w->told_session_at = ngx_current_msec;

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


/* it is in no queue; its connection, if there is one, is closed */

void
ngx_stream_tb_mqtt_end_session(ngx_stream_tb_mqtt_session_t *session,
    const char *why)
{
    ngx_connection_t          *c;
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    ctx = session->ctx;

    if (ctx) {
        ngx_stream_tb_mqtt_count(session->worker, superseded);
    }

    ngx_stream_tb_mqtt_session_free(session);

    if (ctx == NULL) {
        return;
    }

    c = ctx->session->connection;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "tb_mqtt: the connection of device \"%V\" is closed: %s",
                  &ctx->device_id, why);

    /* as at worker_shutdown_timeout: the proxy must end it itself */

    c->close = 1;
    c->read->handler(c->read);
}


void
ngx_stream_tb_mqtt_leave(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_stream_tb_mqtt_worker_t   *w;
    ngx_stream_tb_mqtt_session_t  *session;

    session = ctx->presence;

    if (session == NULL) {
        return;
    }

    ctx->presence = NULL;

    session->ctx = NULL;
    session->left = ngx_current_msec;

    switch (session->state) {

    case NGX_STREAM_TB_MQTT_ATTACHED:
    case NGX_STREAM_TB_MQTT_QUIET_STATE:
    case NGX_STREAM_TB_MQTT_JOINING:
        ngx_queue_remove(&session->queue);

        if (session->state == NGX_STREAM_TB_MQTT_ATTACHED
            || session->unsure)
        {
            w = session->worker;

            ngx_stream_tb_mqtt_tell_end(session);
            ngx_stream_tb_mqtt_pump(w);

        } else {
            ngx_stream_tb_mqtt_session_free(session);
        }

        return;

    default:

        /* a reply is due */

        return;
    }
}


/* it is in no queue, and its connection has ended */

static void
ngx_stream_tb_mqtt_tell_end(ngx_stream_tb_mqtt_session_t *session)
{
    session->state = NGX_STREAM_TB_MQTT_LEAVING;

    ngx_queue_insert_tail(&session->worker->leaving, &session->queue);
}


static ngx_int_t
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

    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    w->telling--;

    /* what Redis has not been told lapses */

    ngx_stream_tb_mqtt_session_free(session);

    ngx_stream_tb_mqtt_pump(w);
}


static void
ngx_stream_tb_mqtt_session_free(ngx_stream_tb_mqtt_session_t *session)
{
    ngx_stream_tb_mqtt_worker_t  *w;

    if (session->ctx) {
        session->ctx->presence = NULL;
    }

    w = session->worker;
    w->process->devices = --w->nsessions;

    ngx_free(session);
}


void
ngx_stream_tb_mqtt_sessions_exit(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_uint_t  i;

    for (i = 0; i < w->conf->block.shards; i++) {
        ngx_stream_tb_mqtt_detach_all(&w->shards[i].sessions);
    }

    ngx_stream_tb_mqtt_detach_all(&w->attaching);
    ngx_stream_tb_mqtt_detach_all(&w->leaving);
    ngx_stream_tb_mqtt_detach_all(&w->failed);
    ngx_stream_tb_mqtt_detach_all(&w->joining);
}


/*
 * Those that are, or may be, attached.  Nobody waits for replies, and what one
 * Redis does not take, others may.
 */

static void
ngx_stream_tb_mqtt_detach_all(ngx_queue_t *queue)
{
    ngx_queue_t                   *q;
    ngx_stream_tb_mqtt_session_t  *session;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

        if (session->state != NGX_STREAM_TB_MQTT_JOINING || session->unsure) {
            (void) ngx_stream_tb_mqtt_detach(session, 1);
        }
    }
}


void
ngx_stream_tb_mqtt_sessions_close(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_uint_t  i;

    if (w->again.timer_set) {
        ngx_del_timer(&w->again);
    }

    ngx_stream_tb_mqtt_beats_close(w);

    ngx_stream_tb_mqtt_forget(&w->quiet);
    ngx_stream_tb_mqtt_forget(&w->joining);
    ngx_stream_tb_mqtt_forget(&w->attaching);
    ngx_stream_tb_mqtt_forget(&w->leaving);
    ngx_stream_tb_mqtt_forget(&w->failed);

    for (i = 0; i < w->conf->block.shards; i++) {
        ngx_stream_tb_mqtt_forget(&w->shards[i].sessions);
    }
}


static void
ngx_stream_tb_mqtt_forget(ngx_queue_t *queue)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(queue)) {
        q = ngx_queue_head(queue);
        ngx_queue_remove(q);

        ngx_stream_tb_mqtt_session_free(
                   ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue));
    }
}
