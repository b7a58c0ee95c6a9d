
/*
 * The PREREAD phase: CONNECT is read, the device is looked up, and who is not
 * let in is told why.  The broker is connected to behind it, so that it sees
 * nobody whom Redis does not know.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_login.h"
#include "ngx_stream_tb_mqtt_rewrite.h"
#include "ngx_stream_tb_mqtt_session.h"
#include "ngx_stream_tb_mqtt_wait.h"


static ngx_stream_tb_mqtt_ctx_t *ngx_stream_tb_mqtt_ctx(
    ngx_stream_session_t *s);
static ngx_uint_t ngx_stream_tb_mqtt_filtered(ngx_stream_session_t *s);
static void ngx_stream_tb_mqtt_cleanup(void *data);
static void ngx_stream_tb_mqtt_end(ngx_stream_tb_mqtt_ctx_t *ctx);
static ngx_int_t ngx_stream_tb_mqtt_connect(ngx_stream_tb_mqtt_ctx_t *ctx);
static ngx_int_t ngx_stream_tb_mqtt_size(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_buf_t *b, ngx_stream_tb_mqtt_srv_conf_t *conf);
static ngx_int_t ngx_stream_tb_mqtt_malformed(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t reason, const char *error);
static ngx_int_t ngx_stream_tb_mqtt_copy(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_str_t *client_id);
static void ngx_stream_tb_mqtt_logged_in(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_int_t rc);
static ngx_int_t ngx_stream_tb_mqtt_result(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_int_t rc);
static ngx_int_t ngx_stream_tb_mqtt_accept(ngx_stream_tb_mqtt_ctx_t *ctx);
static ngx_int_t ngx_stream_tb_mqtt_accept_username(
    ngx_stream_tb_mqtt_ctx_t *ctx, ngx_stream_tb_mqtt_srv_conf_t *conf);


ngx_int_t
ngx_stream_tb_mqtt_preread_handler(ngx_stream_session_t *s)
{
    ngx_int_t                       rc;
    ngx_connection_t               *c;
    ngx_stream_tb_mqtt_ctx_t       *ctx;
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    conf = ngx_stream_get_module_srv_conf(s, ngx_stream_tb_mqtt_module);

    if (conf->bridge.len == 0) {
        return NGX_DECLINED;
    }

    c = s->connection;

    ctx = ngx_stream_tb_mqtt_ctx(s);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (!ngx_stream_tb_mqtt_filtered(s)) {
        return NGX_ERROR;
    }

    if (ctx->accepted) {
        return NGX_DECLINED;
    }

    if (ctx->login || ctx->refused) {

        /* an event of the TLS handshake that came late */

        return NGX_DONE;
    }

    if (c->buffer == NULL) {
        return NGX_AGAIN;
    }

    rc = ngx_stream_tb_mqtt_connect(ctx);

    if (rc != NGX_AGAIN || ctx->login == NULL) {
        return rc;
    }

    /* not NGX_AGAIN, with which the core reads on until its buffer is full */

    ngx_stream_tb_mqtt_wait(ctx);

    return NGX_DONE;
}


static ngx_stream_tb_mqtt_ctx_t *
ngx_stream_tb_mqtt_ctx(ngx_stream_session_t *s)
{
    ngx_pool_cleanup_t        *cln;
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);
    if (ctx) {
        return ctx;
    }

    ctx = ngx_pcalloc(s->connection->pool, sizeof(ngx_stream_tb_mqtt_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(s->connection->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_stream_tb_mqtt_cleanup;
    cln->data = ctx;

    ctx->session = s;

    ngx_stream_set_ctx(s, ctx, ngx_stream_tb_mqtt_module);

    return ctx;
}


/*
 * Without a master process a configuration that fails leaves its filters in
 * the very process that goes on: nobody is let in without ours.
 */

static ngx_uint_t
ngx_stream_tb_mqtt_filtered(ngx_stream_session_t *s)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_get_module_main_conf(s, ngx_stream_tb_mqtt_module);

    if (ngx_stream_top_filter == mcf->top_filter) {
        return 1;
    }

    ngx_log_error(NGX_LOG_ALERT, s->connection->log, 0,
                  "tb_mqtt: the filters are not those of this configuration, "
                  "no device is let in; restart nginx");

    return 0;
}


/* LOG is before it, unless the session ends without one */

static void
ngx_stream_tb_mqtt_cleanup(void *data)
{
    ngx_stream_tb_mqtt_ctx_t *ctx = data;

    ngx_stream_tb_mqtt_end(ctx);
}


static void
ngx_stream_tb_mqtt_end(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_stream_tb_mqtt_wait_end(ctx);
    ngx_stream_tb_mqtt_login_stop(ctx);
    ngx_stream_tb_mqtt_leave(ctx);
}


/* as the handler, but NGX_AGAIN with ctx->login: it is being looked up */

static ngx_int_t
ngx_stream_tb_mqtt_connect(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    u_char                         *p;
    ngx_buf_t                      *b;
    ngx_int_t                       rc;
    ngx_uint_t                      reason;
    const char                     *error;
    ngx_connection_t               *c;
    ngx_stream_tb_mqtt_packet_t     packet;
    ngx_stream_tb_mqtt_parser_t     parser;
    ngx_stream_tb_mqtt_connect_t    connect;
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    c = ctx->session->connection;
    b = c->buffer;

    conf = ngx_stream_get_module_srv_conf(ctx->session,
                                          ngx_stream_tb_mqtt_module);

    rc = ngx_stream_tb_mqtt_size(ctx, b, conf);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&parser, sizeof(ngx_stream_tb_mqtt_parser_t));

    parser.head_size = conf->head_size;
    parser.max_packet = conf->max_packet;
    parser.log = c->log;

    p = b->pos;

    rc = ngx_stream_tb_mqtt_parse(&parser, &packet, &p, b->last);

    /* it is whole, so nothing of it is kept in the parser */

    ngx_stream_tb_mqtt_parser_free(&parser);

    if (rc != NGX_OK) {
        return ngx_stream_tb_mqtt_malformed(ctx, parser.reason,
                                            rc == NGX_ERROR ? parser.error
                                                            : "malformed");
    }

    ngx_memzero(&connect, sizeof(ngx_stream_tb_mqtt_connect_t));

    error = ngx_stream_tb_mqtt_parse_connect(&packet, &connect, &reason);

    /* for the refusal, too */

    ctx->version = connect.level;

    if (error) {
        return ngx_stream_tb_mqtt_malformed(ctx, reason, error);
    }

    if (ngx_stream_tb_mqtt_copy(ctx, &connect.client_id) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->nameless = (connect.username.len == 0);

    rc = ngx_stream_tb_mqtt_login(ctx, &connect,
                                  ngx_stream_tb_mqtt_logged_in);

    return rc == NGX_AGAIN ? NGX_AGAIN : ngx_stream_tb_mqtt_result(ctx, rc);
}


/*
 * NGX_OK: the CONNECT is here and whole.  Nothing is parsed before: who sends
 * it byte by byte would have it parsed as often.
 */

static ngx_int_t
ngx_stream_tb_mqtt_size(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_buf_t *b,
    ngx_stream_tb_mqtt_srv_conf_t *conf)
{
    u_char      *p;
    size_t       size, space;
    ngx_uint_t   shift;

    if (b->pos == b->last) {
        return NGX_AGAIN;
    }

    if (*b->pos != (NGX_STREAM_TB_MQTT_CONNECT << 4)) {
        return ngx_stream_tb_mqtt_malformed(ctx, 0x81,
                                            "it does not begin with CONNECT");
    }

    size = 0;
    shift = 0;

    for (p = b->pos + 1; p < b->last; p++) {

        size |= (size_t) (*p & 0x7f) << shift;

        if ((*p & 0x80) == 0) {
            break;
        }

        shift += 7;

        if (shift == 28) {
            return ngx_stream_tb_mqtt_malformed(ctx, 0x81,
                                                "malformed remaining length");
        }
    }

    if (p == b->last) {
        return NGX_AGAIN;
    }

    ctx->connect = p + 1 - b->pos + size;

    space = ngx_min((size_t) (b->end - b->pos), conf->head_size);

    if (ctx->connect > space) {
        ngx_log_error(NGX_LOG_INFO, ctx->session->connection->log, 0,
                      "tb_mqtt: a CONNECT of %uz bytes, more than "
                      "\"preread_buffer_size\" or \"tb_mqtt_head_size\", %uz",
                      ctx->connect, space);

        return ngx_stream_tb_mqtt_malformed(ctx, 0x95,
                                            "CONNECT is too large");
    }

    return (size_t) (b->last - b->pos) < ctx->connect ? NGX_AGAIN : NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_malformed(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t reason,
    const char *error)
{
    if (error == NULL) {
        return NGX_ERROR;
    }

    if (reason == 0x8c) {

        /* nothing is wrong with it, and it is answered */

        ctx->version = NGX_STREAM_TB_MQTT_5;
    }

    ngx_log_error(NGX_LOG_INFO, ctx->session->connection->log, 0,
                  "tb_mqtt: client sent no CONNECT that is taken: %s", error);

    return ngx_stream_tb_mqtt_refuse(ctx, reason, "malformed");
}


/* the bytes of the CONNECT are gone when the session is logged */

static ngx_int_t
ngx_stream_tb_mqtt_copy(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_str_t *client_id)
{
    if (client_id->len == 0) {
        return NGX_OK;
    }

    ctx->client_id.data = ngx_pstrdup(ctx->session->connection->pool,
                                      client_id);
    if (ctx->client_id.data == NULL) {
        return NGX_ERROR;
    }

    ctx->client_id.len = client_id->len;

    return NGX_OK;
}


static void
ngx_stream_tb_mqtt_logged_in(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_int_t rc)
{
    ngx_connection_t      *c;
    ngx_stream_session_t  *s;

    s = ctx->session;
    c = s->connection;

    rc = ngx_stream_tb_mqtt_result(ctx, rc);

    if (rc == NGX_DONE) {
        return;
    }

    if (rc != NGX_DECLINED) {
        ngx_stream_finalize_session(s, rc == NGX_ERROR
                                       ? NGX_STREAM_INTERNAL_SERVER_ERROR
                                       : rc);
        return;
    }

    c->read->handler = ngx_stream_session_handler;

    ngx_stream_core_run_phases(s);
}


/* for the phase: NGX_DECLINED goes on, NGX_DONE is refused */

static ngx_int_t
ngx_stream_tb_mqtt_result(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_int_t rc)
{
    ngx_log_t  *log;

    log = ctx->session->connection->log;

    switch (rc) {

    case NGX_OK:
        return ngx_stream_tb_mqtt_accept(ctx);

    case NGX_ABORT:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "tb_mqtt: client sent no credentials");

        return ngx_stream_tb_mqtt_refuse(ctx, 0x86, "no_credentials");

    case NGX_DECLINED:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "tb_mqtt: client sent credentials of no device");

        return ngx_stream_tb_mqtt_refuse(ctx, ctx->nameless ? 0x86 : 0x87,
                                         "unknown");

    case NGX_BUSY:
        return ngx_stream_tb_mqtt_refuse(ctx, 0x88, "unavailable");

    default:
        return NGX_ERROR;
    }
}


/* what the filter needs, whose variables can be told now */

static ngx_int_t
ngx_stream_tb_mqtt_accept(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_str_t                      *values;
    ngx_uint_t                      i;
    const char                     *error;
    ngx_connection_t               *c;
    ngx_stream_session_t           *s;
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    s = ctx->session;
    c = s->connection;

    conf = ngx_stream_get_module_srv_conf(s, ngx_stream_tb_mqtt_module);

    values = ngx_palloc(c->pool, conf->nprefixes * sizeof(ngx_str_t));
    if (values == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < conf->nprefixes; i++) {
        if (ngx_stream_complex_value(s, &conf->remotes[i], &values[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    error = NULL;

    ctx->map = ngx_stream_tb_mqtt_map_create(c->pool, conf->prefixes, values,
                                             conf->nprefixes, &error);
    if (ctx->map == NULL) {

        if (error == NULL) {
            return NGX_ERROR;
        }

        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "tb_mqtt: \"tb_mqtt_map\" can't be used for device "
                      "\"%V\": %s", &ctx->device_id, error);

        return ngx_stream_tb_mqtt_refuse(ctx, 0x85, "map");
    }

    rc = ngx_stream_tb_mqtt_accept_username(ctx, conf);

    if (rc != NGX_OK) {
        return rc;
    }

    ctx->password = conf->password;
    ctx->max_packet = conf->max_packet;
    ctx->head_size = conf->head_size;
    ctx->accepted = 1;

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, c->log, 0,
                   "tb_mqtt: device \"%V\" of tenant \"%V\"",
                   &ctx->device_id, &ctx->tenant_id);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_stream_tb_mqtt_accept_username(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_srv_conf_t *conf)
{
    ngx_str_t  *username;

    if (conf->username == NULL) {
        return NGX_OK;
    }

    username = &ctx->username;

    if (ngx_stream_complex_value(ctx->session, conf->username, username)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (username->len && username->len <= NGX_STREAM_TB_MQTT_MAX_STRING
        && ngx_stream_tb_mqtt_text_valid(username))
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, ctx->session->connection->log, 0,
                  "tb_mqtt: \"tb_mqtt_username\" can't be used for device "
                  "\"%V\": it is empty, too long or no UTF-8",
                  &ctx->device_id);

    return ngx_stream_tb_mqtt_refuse(ctx, 0x85, "map");
}


/* at once, the pool may live for seconds */

ngx_int_t
ngx_stream_tb_mqtt_log_handler(ngx_stream_session_t *s)
{
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    /* the broker could not be reached, or has left without a word */

    if (ctx->accepted && !ctx->connack && !s->connection->read->eof) {

        if (ctx->refused == NULL) {
            ctx->refused = "broker";
            ctx->reason = 0x88;
        }

        ngx_stream_tb_mqtt_send_refusal(ctx, ctx->reason);
    }

    if (ctx->refused) {
        ngx_stream_tb_mqtt_count_login(ctx, ctx->refused);
    }

    ngx_stream_tb_mqtt_end(ctx);

    return NGX_OK;
}


/* what ends a connection after CONNACK 0 is no result of its login */

void
ngx_stream_tb_mqtt_count_login(ngx_stream_tb_mqtt_ctx_t *ctx,
    const char *refused)
{
    ngx_uint_t                       n;
    ngx_tb_mqtt_counts_t            *counts;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    if (ctx->counted) {
        return;
    }

    ctx->counted = 1;

    mcf = ngx_stream_get_module_main_conf(ctx->session,
                                          ngx_stream_tb_mqtt_module);
    counts = mcf->zone->data;

    n = ngx_tb_mqtt_counts_result(refused);

    if (n < NGX_TB_MQTT_NRESULTS) {
        (void) ngx_atomic_fetch_add(&counts->logins[n], 1);
    }
}
