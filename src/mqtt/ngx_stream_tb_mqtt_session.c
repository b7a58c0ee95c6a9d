
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
#include "ngx_stream_tb_mqtt_beat.h"
#include "ngx_stream_tb_mqtt_session.h"


static ngx_stream_tb_mqtt_session_t *ngx_stream_tb_mqtt_session_create(
    ngx_stream_tb_mqtt_ctx_t *ctx, ngx_stream_tb_mqtt_worker_t *w);
static void ngx_stream_tb_mqtt_join(ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_detach_all(ngx_queue_t *queue);
static void ngx_stream_tb_mqtt_forget(ngx_queue_t *queue);


ngx_int_t
ngx_stream_tb_mqtt_sessions_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_queue_init(&w->attaching);

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

    ngx_stream_tb_mqtt_count_login(ctx, NULL);

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
    w->nsessions++;
    w->process->devices++;

    return session;
}


/* it is in no queue */

static void
ngx_stream_tb_mqtt_join(ngx_stream_tb_mqtt_session_t *session)
{
    session->state = NGX_STREAM_TB_MQTT_JOINING;

    ngx_stream_tb_mqtt_tell(session);
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
    ngx_stream_tb_mqtt_session_t  *session;

    session = ctx->presence;

    if (session == NULL) {
        return;
    }

    ctx->presence = NULL;

    session->ctx = NULL;
    session->left = ngx_current_msec;

    session->worker->process->devices--;

    if (session->state == NGX_STREAM_TB_MQTT_ATTACHING) {

        /* a reply is due */

        return;
    }

    ngx_queue_remove(&session->queue);

    if (session->state == NGX_STREAM_TB_MQTT_ATTACHED || session->unsure) {
        ngx_stream_tb_mqtt_tell_end(session);

    } else {
        ngx_stream_tb_mqtt_session_free(session);
    }
}


/* it is in no queue, and its connection has ended */

void
ngx_stream_tb_mqtt_tell_end(ngx_stream_tb_mqtt_session_t *session)
{
    session->state = NGX_STREAM_TB_MQTT_LEAVING;

    ngx_stream_tb_mqtt_tell(session);
}


void
ngx_stream_tb_mqtt_session_free(ngx_stream_tb_mqtt_session_t *session)
{
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;
    w->nsessions--;

    if (session->ctx) {
        session->ctx->presence = NULL;
        w->process->devices--;
    }

    ngx_free(session);
}


void
ngx_stream_tb_mqtt_sessions_exit(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_uint_t                  i;
    ngx_stream_tb_mqtt_lane_t  *lane;

    for (i = 0; i < w->conf->block.shards; i++) {
        ngx_stream_tb_mqtt_detach_all(&w->shards[i].sessions);
    }

    ngx_stream_tb_mqtt_detach_all(&w->attaching);
    ngx_stream_tb_mqtt_detach_all(&w->failed);

    for (lane = ngx_stream_tb_mqtt_lane_next(w, NULL);
         lane;
         lane = ngx_stream_tb_mqtt_lane_next(w, lane))
    {
        ngx_stream_tb_mqtt_detach_all(&lane->leaving);
        ngx_stream_tb_mqtt_detach_all(&lane->joining);
    }
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
    ngx_uint_t                  i;
    ngx_stream_tb_mqtt_lane_t  *lane;

    if (w->again.timer_set) {
        ngx_del_timer(&w->again);
    }

    ngx_stream_tb_mqtt_beats_close(w);

    ngx_stream_tb_mqtt_forget(&w->quiet);
    ngx_stream_tb_mqtt_forget(&w->attaching);
    ngx_stream_tb_mqtt_forget(&w->failed);

    for (lane = ngx_stream_tb_mqtt_lane_next(w, NULL);
         lane;
         lane = ngx_stream_tb_mqtt_lane_next(w, lane))
    {
        ngx_stream_tb_mqtt_forget(&lane->joining);
        ngx_stream_tb_mqtt_forget(&lane->leaving);
    }

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
