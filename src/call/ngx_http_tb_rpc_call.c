
/*
 * One-way and two-way calls: a validated call becomes one tb_rpc_create.
 *
 * A persistent call is answered by the reply.  A lightweight one is held in
 * the worker's table, where it was put before the command was sent, so that
 * an answer can't come too early.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_unknown.h"
#include "ngx_http_tb_rpc_call.h"
#include "ngx_http_tb_rpc_held.h"


static void ngx_http_tb_rpc_create_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_create_lost(ngx_http_tb_rpc_held_t *held,
    ngx_uint_t status);
static ngx_int_t ngx_http_tb_rpc_create_error(ngx_http_tb_rpc_held_t *held,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_create_reply(ngx_http_tb_rpc_held_t *held,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_create_refused(ngx_http_tb_rpc_held_t *held,
    redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_persistent_reply(
    ngx_http_tb_rpc_held_t *held, ngx_str_t *word, ngx_str_t *id);


ngx_int_t
ngx_http_tb_rpc_call(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_http_tb_rpc_held_t       *held;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    w = ngx_http_tb_rpc_worker(mcf);
    if (w == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!ctx->call->persistent && w->nheld >= mcf->max_held) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "tb_rpc: %ui calls are held already, see "
                      "\"tb_rpc_max_held\"", w->nheld);

        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_TOO_MANY_HELD,
                                           NULL);
    }

    held = ngx_http_tb_rpc_hold(r, ctx, w);
    if (held == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_tb_rpc_create(held, ngx_http_tb_rpc_create_done) != NGX_OK) {
        ngx_http_tb_rpc_release(held);

        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    return NGX_DONE;
}


static void
ngx_http_tb_rpc_create_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_held_t *held = data;

    ngx_int_t               rc;
    ngx_http_tb_rpc_ctx_t  *ctx;

    held->command = NULL;

    ctx = held->ctx;
    ctx->redis_time = ngx_current_msec - ctx->redis_start;

    ngx_http_set_log_request(held->request->connection->log, held->request);

    if (status != NGX_TB_REDIS_REPLY) {
        rc = ngx_http_tb_rpc_create_lost(held, status);

    } else if (reply->type == REDIS_REPLY_ERROR) {
        rc = ngx_http_tb_rpc_create_error(held, reply);

    } else {
        rc = ngx_http_tb_rpc_create_reply(held, reply);
    }

    if (rc != NGX_AGAIN) {
        ngx_http_tb_rpc_finish(held, rc);
    }
}


static ngx_int_t
ngx_http_tb_rpc_create_lost(ngx_http_tb_rpc_held_t *held, ngx_uint_t status)
{
    if (status == NGX_TB_REDIS_UNSENT) {
        return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    /*
     * a persistent call was written twice by now; a lightweight one is
     * withdrawn, and the reply to that may still bring the device's answer
     */

    if (!held->ctx->call->persistent) {
        return ngx_http_tb_rpc_withdraw(held);
    }

    return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                       NGX_HTTP_TB_RPC_RESULT_UNKNOWN, NULL);
}


/* an error of a command that has not run is as if there were no Redis */

static ngx_int_t
ngx_http_tb_rpc_create_error(ngx_http_tb_rpc_held_t *held, redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  error;

    ngx_tb_redis_reply_text(reply, text, &error);

    ngx_log_error(NGX_LOG_ERR, held->request->connection->log, 0,
                  "tb_rpc: call %V was refused by Redis: \"%V\"",
                  &held->ctx->rpc_id, &error);

    if (!tb_rpc_redis_has_run(ngx_tb_redis_reply_error(reply))) {
        return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    return ngx_http_tb_rpc_send_error(held->request,
                                      NGX_HTTP_INTERNAL_SERVER_ERROR,
                                      NGX_HTTP_TB_RPC_GENERAL,
                                      "Internal error, the call %V was not "
                                      "created", &held->ctx->rpc_id);
}


static ngx_int_t
ngx_http_tb_rpc_create_reply(ngx_http_tb_rpc_held_t *held, redisReply *reply)
{
    int64_t    value;
    ngx_str_t  word, id;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
        != NGX_OK)
    {
        goto invalid;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, held->request->connection->log, 0,
                   "tb_rpc call %V: Redis says \"%V\"", &held->ctx->rpc_id,
                   &word);

    if (reply->elements < 4) {
        return ngx_http_tb_rpc_create_refused(held, reply, &word);
    }

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 1), &id)
        != NGX_OK
        || id.len != NGX_HTTP_TB_RPC_UUID_LEN)
    {
        goto invalid;
    }

    if (held->ctx->call->persistent) {
        return ngx_http_tb_rpc_persistent_reply(held, &word, &id);
    }

    if (ngx_http_tb_rpc_word(&word, "expired")) {
        return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                           NGX_HTTP_TB_RPC_EXPIRED, NULL);
    }

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 2), &value)
        != NGX_OK)
    {
        goto invalid;
    }

    held->request_id = value;

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 3), &value)
        != NGX_OK
        || value < 0)
    {
        goto invalid;
    }

    ngx_http_tb_rpc_wait(held, value);

    return NGX_AGAIN;

invalid:

    ngx_log_error(NGX_LOG_ERR, held->request->connection->log, 0,
                  "tb_rpc: invalid reply to tb_rpc_create of call %V",
                  &held->ctx->rpc_id);

    return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                       NGX_HTTP_TB_RPC_RESULT_UNKNOWN, NULL);
}


static ngx_int_t
ngx_http_tb_rpc_create_refused(ngx_http_tb_rpc_held_t *held,
    redisReply *reply, ngx_str_t *word)
{
    ngx_str_t               text;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    r = held->request;
    ctx = held->ctx;

    if (ngx_http_tb_rpc_word(word, "unknown")
        || ngx_http_tb_rpc_word(word, "customer"))
    {
        return ngx_http_tb_rpc_send_unknown_device(r, ctx, reply);
    }

    if (ngx_http_tb_rpc_word(word, "rejected")) {
        return ngx_http_tb_rpc_send_result(r, ctx,
                                         NGX_HTTP_TB_RPC_NO_ACTIVE_CONNECTION,
                                           NULL);
    }

    if (ngx_http_tb_rpc_word(word, "records")) {
        ngx_str_set(&text, "of its records too many are kept");
        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_TOO_MANY_PENDING,
                                           &text);
    }

    if (ngx_http_tb_rpc_word(word, "pending")) {
        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_TOO_MANY_PENDING,
                                           NULL);
    }

    if (ngx_http_tb_rpc_word(word, "conflict")) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_CONFLICT,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "requestUUID %V was used for "
                                          "another call",
                                          &ctx->call->request_uuid);
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "tb_rpc: invalid reply to tb_rpc_create of call %V",
                  &ctx->rpc_id);

    return ngx_http_tb_rpc_send_result(r, ctx, NGX_HTTP_TB_RPC_RESULT_UNKNOWN,
                                       NULL);
}


static ngx_int_t
ngx_http_tb_rpc_persistent_reply(ngx_http_tb_rpc_held_t *held,
    ngx_str_t *word, ngx_str_t *id)
{
    u_char                      *p;
    ngx_str_t                    body;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = held->request;

    /* a repeated requestUUID answers with the first call's id */

    if (ngx_http_tb_rpc_parse_uuid(held->ctx->rpc_id.data, id) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD
        && ngx_http_tb_rpc_word(word, "expired"))
    {
        return ngx_http_tb_rpc_send_result(r, held->ctx,
                                           NGX_HTTP_TB_RPC_EXPIRED, NULL);
    }

    body.len = sizeof("{\"rpcId\":\"\"}") - 1 + NGX_HTTP_TB_RPC_UUID_LEN;

    body.data = ngx_pnalloc(r->pool, body.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(body.data, "{\"rpcId\":\"", sizeof("{\"rpcId\":\"") - 1);
    p = ngx_cpymem(p, held->ctx->rpc_id.data, NGX_HTTP_TB_RPC_UUID_LEN);
    ngx_memcpy(p, "\"}", 2);

    return ngx_http_tb_rpc_send_json(r, &body);
}
