
/*
 * A connection that waits.  Its handlers are ours meanwhile; bytes of the
 * client stay where they are, its leaving is noticed.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_conf.h"
#include "ngx_stream_tb_mqtt_rewrite.h"
#include "ngx_stream_tb_mqtt_wait.h"


/* bytes that are read of who is refused, so that its answer gets there */

#define NGX_STREAM_TB_MQTT_DRAIN  65536


static void ngx_stream_tb_mqtt_wait_handler(ngx_event_t *rev);
static void ngx_stream_tb_mqtt_wait_empty(ngx_event_t *wev);
static ngx_uint_t ngx_stream_tb_mqtt_has_left(ngx_stream_tb_mqtt_ctx_t *ctx);
static void ngx_stream_tb_mqtt_refuse_handler(ngx_event_t *ev);
static ngx_int_t ngx_stream_tb_mqtt_refuse_status(ngx_uint_t reason);
static void ngx_stream_tb_mqtt_drain(ngx_connection_t *c);


void
ngx_stream_tb_mqtt_wait(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = ctx->session->connection;

    c->log->action = "looking up the device";

    c->read->handler = ngx_stream_tb_mqtt_wait_handler;
    c->write->handler = ngx_stream_tb_mqtt_wait_empty;

    /* where that fails, whoever is waited for ends the session */

    (void) ngx_handle_read_event(c->read, 0);
}


static void
ngx_stream_tb_mqtt_wait_handler(ngx_event_t *rev)
{
    ngx_connection_t          *c;
    ngx_stream_session_t      *s;
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    c = rev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (c->close) {

        /* worker_shutdown_timeout */

        ngx_stream_finalize_session(s, NGX_STREAM_OK);
        return;
    }

    if (ngx_stream_tb_mqtt_has_left(ctx)) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0,
                      "tb_mqtt: client closed connection");
        ngx_stream_finalize_session(s, NGX_STREAM_OK);
    }
}


static void
ngx_stream_tb_mqtt_wait_empty(ngx_event_t *wev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, wev->log, 0,
                   "tb_mqtt wait empty handler");
}


/*
 * Who sends CONNECT, PUBLISH and closes is within his rights: there must be
 * nothing behind the CONNECT.  It is still in the socket where nginx peeks.
 */

static ngx_uint_t
ngx_stream_tb_mqtt_has_left(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    int                n;
    char               buf[1];
    size_t             here;
    ngx_err_t          err;
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = ctx->session->connection;
    rev = c->read;

    n = recv(c->fd, buf, 1, MSG_PEEK);
    err = ngx_socket_errno;

    if (n == -1) {

        if (err != NGX_EAGAIN) {
            return 1;
        }

        rev->ready = 0;

        return ngx_handle_read_event(rev, 0) != NGX_OK;
    }

    here = c->buffer ? c->buffer->last - c->buffer->pos : 0;

    if (n == 0) {
        return here <= ctx->connect;
    }

    if (ngx_event_flags & NGX_USE_LEVEL_EVENT) {

        /* it would be told of again and again */

        return rev->active
               && ngx_del_event(rev, NGX_READ_EVENT, 0) != NGX_OK;
    }

    /* there are bytes: an end behind them is seen where epoll tells it */

    return rev->pending_eof
           && ngx_socket_nread(c->fd, &n) == 0
           && here + (size_t) n <= ctx->connect;
}


ngx_int_t
ngx_stream_tb_mqtt_refuse(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t reason,
    const char *why)
{
    ngx_connection_t               *c;
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    conf = ngx_stream_get_module_srv_conf(ctx->session,
                                          ngx_stream_tb_mqtt_module);

    c = ctx->session->connection;

    ctx->refused = why;
    ctx->reason = reason;

    if (conf->delay == 0 || (reason != 0x86 && reason != 0x87)) {
        ngx_stream_tb_mqtt_send_refusal(ctx, reason);

        return ngx_stream_tb_mqtt_refuse_status(reason);
    }

    ngx_stream_tb_mqtt_wait(ctx);

    c->log->action = "refusing the device";

    /* the core takes a timer of c->read for its own */

    ctx->delay.data = c;
    ctx->delay.log = c->log;
    ctx->delay.handler = ngx_stream_tb_mqtt_refuse_handler;

    ngx_add_timer(&ctx->delay, conf->delay);

    return NGX_DONE;
}


static void
ngx_stream_tb_mqtt_refuse_handler(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_stream_session_t      *s;
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    ngx_stream_tb_mqtt_send_refusal(ctx, ctx->reason);

    ngx_stream_finalize_session(s,
                              ngx_stream_tb_mqtt_refuse_status(ctx->reason));
}


static ngx_int_t
ngx_stream_tb_mqtt_refuse_status(ngx_uint_t reason)
{
    switch (reason) {

    case 0x86:
    case 0x87:
        return NGX_STREAM_FORBIDDEN;

    case 0x88:
        return NGX_STREAM_SERVICE_UNAVAILABLE;

    default:
        return NGX_STREAM_BAD_REQUEST;
    }
}


void
ngx_stream_tb_mqtt_send_refusal(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t reason)
{
    u_char             buf[NGX_STREAM_TB_MQTT_MAX_ACK];
    size_t             len;
    ngx_uint_t         version;
    ngx_connection_t  *c;

    c = ctx->session->connection;

    version = ctx->version;

    if (version == 0 && reason == 0x84) {

        /* one that we don't know; this code has been there since 3.1 */

        version = NGX_STREAM_TB_MQTT_311;
    }

    /* to who speaks none there is nothing to say */

    if (version == 0 || c->error || c->read->error) {
        return;
    }

    len = ngx_stream_tb_mqtt_connack(buf, version, reason) - buf;

    /* some bytes on a connection that nothing was sent on: they fit */

    if (len == 0 || c->send(c, buf, len) != (ssize_t) len) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, c->log, 0,
                   "tb_mqtt: refused with 0x%02xi", reason);

    /* what is not read when it is closed would be answered with RST */

    ngx_stream_tb_mqtt_drain(c);
}


static void
ngx_stream_tb_mqtt_drain(ngx_connection_t *c)
{
    u_char   buf[1024];
    size_t   drained;
    ssize_t  n;

    for (drained = 0; drained < NGX_STREAM_TB_MQTT_DRAIN; drained += n) {

#if (NGX_SSL)
        if (c->ssl) {
            c->read->ready = 1;
            n = c->recv(c, buf, sizeof(buf));

        } else
#endif
        {
            /* c->recv() would believe what was known of it before */

            n = recv(c->fd, buf, sizeof(buf), 0);
        }

        if (n <= 0) {
            return;
        }
    }
}


void
ngx_stream_tb_mqtt_wait_end(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    if (ctx->delay.timer_set) {
        ngx_del_timer(&ctx->delay);
    }
}
