
/*
 * The answer of a device to a call: its body goes to Redis as it is.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_request.h"


struct ngx_http_tb_rpc_reported_s {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_tb_redis_command_t       *command;
    ngx_http_cleanup_pt          *cleanup;
    int64_t                       id;
};


static void ngx_http_tb_rpc_reported_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_tb_rpc_reported_check(ngx_http_request_t *r,
    ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_reported_report(
    ngx_http_tb_rpc_reported_t *reported, ngx_str_t *text);
static void ngx_http_tb_rpc_reported_cleanup(void *data);
static void ngx_http_tb_rpc_reported_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_reported_result(
    ngx_http_tb_rpc_reported_t *reported, ngx_uint_t status,
    redisReply *reply);


ngx_int_t
ngx_http_tb_rpc_device_answer(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, int64_t request_id)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_reported_t  *reported;

    reported = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_reported_t));
    if (reported == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    reported->request = r;
    reported->ctx = ctx;
    reported->id = request_id;

    ctx->reported = reported;

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_tb_rpc_reported_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* it has the reference that reading the body took */

static void
ngx_http_tb_rpc_reported_body(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               text;
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_tb_rpc_get_ctx(r);

    if (ctx == NULL || ctx->reported == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = ngx_http_tb_rpc_reported_check(r, &text);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_reported_report(ctx->reported, &text);

        if (rc == NGX_DONE) {
            return;
        }
    }

    ngx_http_finalize_request(r, rc);
}


static ngx_int_t
ngx_http_tb_rpc_reported_check(ngx_http_request_t *r, ngx_str_t *text)
{
    size_t                        max;
    ngx_int_t                     rc;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    max = mcf->settings.max_response;

    rc = ngx_http_tb_rpc_collect_body(r, max, text);

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_device_too_large(r, (off_t) max + 1);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (text->len == 0) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Required request body is missing");
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_device_too_large(ngx_http_request_t *r, off_t len)
{
    size_t                        max;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    max = mcf->settings.max_response;

    if (len <= (off_t) max) {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "tb_rpc: a device's answer is larger than %uz bytes, see "
                  "\"tb_rpc_max_response\"", max);

    return ngx_http_tb_rpc_send_limit(r, max);
}


/* a device that does not wait for our answer has answered all the same */

static ngx_int_t
ngx_http_tb_rpc_reported_report(ngx_http_tb_rpc_reported_t *reported,
    ngx_str_t *text)
{
    u_char                        id[NGX_INT64_LEN];
    ngx_str_t                     argv[NGX_HTTP_TB_RPC_ARGS + 2], *arg;
    ngx_http_cleanup_t           *cln;
    ngx_http_request_t           *r;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    r = reported->request;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    w = ngx_http_tb_rpc_worker(mcf);
    cln = ngx_http_cleanup_add(r, 0);

    if (w == NULL || cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: device %V answers request %L by %uz bytes",
                   &reported->ctx->device_id, reported->id, text->len);

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = id;
    arg[0].len = ngx_sprintf(id, "%L", reported->id) - id;
    arg[1] = *text;

    reported->command = ngx_http_tb_rpc_fcall_device(w,
                                           reported->ctx->device_id.data,
                                           "tb_rpc_respond", argv, 2,
                                           mcf->redis->command_timeout,
                                           NGX_TB_REDIS_REPEAT,
                                           ngx_http_tb_rpc_reported_done,
                                           reported);
    if (reported->command == NULL) {
        return ngx_http_tb_rpc_send_result(r, reported->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    cln->handler = ngx_http_tb_rpc_reported_cleanup;
    cln->data = reported;
    reported->cleanup = &cln->handler;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_DONE;
}


static void
ngx_http_tb_rpc_reported_cleanup(void *data)
{
    ngx_http_tb_rpc_reported_t *reported = data;

    (void) ngx_tb_redis_detach(reported->command);
    reported->command = NULL;
}


static void
ngx_http_tb_rpc_reported_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_reported_t *reported = data;

    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = reported->request;

    ngx_http_set_log_request(r->connection->log, r);

    reported->command = NULL;
    *reported->cleanup = NULL;

    rc = ngx_http_tb_rpc_reported_result(reported, status, reply);

    ngx_http_tb_rpc_finalize(r, rc);
}


static ngx_int_t
ngx_http_tb_rpc_reported_result(ngx_http_tb_rpc_reported_t *reported,
    ngx_uint_t status, redisReply *reply)
{
    u_char               text[NGX_TB_REDIS_TEXT];
    int64_t              accepted;
    ngx_str_t            error;
    ngx_http_request_t  *r;

    r = reported->request;

    if (status != NGX_TB_REDIS_REPLY) {
        return ngx_http_tb_rpc_send_result(r, reported->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    if (ngx_tb_redis_reply_int(reply, &accepted) != NGX_OK) {
        ngx_tb_redis_reply_text(reply, text, &error);

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: the answer of device %V to request %L was "
                      "refused by Redis: \"%V\"",
                      &reported->ctx->device_id, reported->id, &error);

        return ngx_http_tb_rpc_send_result(r, reported->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    if (!accepted) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: device %V answered request %L, which is not "
                      "open: unknown, late or a duplicate",
                      &reported->ctx->device_id, reported->id);
    }

    return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, NULL, NULL);
}
