
/*
 * The body of a call: wherever nginx has put it, it becomes a call struct
 * or a 400.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_body.h"


#define NGX_HTTP_TB_RPC_NAME_LEN  64


static ngx_int_t ngx_http_tb_rpc_parse_members(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_finish_call(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_bad_json(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_bad_member(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_bad_call(ngx_http_tb_rpc_body_t *body,
    const char *text);


ngx_int_t
ngx_http_tb_rpc_parse_body(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_str_t                text;
    ngx_http_tb_rpc_body_t   body;

    ngx_memzero(&body, sizeof(ngx_http_tb_rpc_body_t));

    body.request = r;
    body.conf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    rc = ngx_http_tb_rpc_collect_body(r, body.conf->max_payload, &text);

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_send_too_large(r);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (text.len == 0) {
        return ngx_http_tb_rpc_bad_call(&body, "it is missing");
    }

    body.call = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_call_t));
    if (body.call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.call->expiration = -1;
    body.call->retries = -1;
    body.call->oneway = (ctx->op == NGX_HTTP_TB_RPC_OP_ONEWAY);

    body.json.start = text.data;
    body.json.last = text.data + text.len;

    body.json.lenient = ngx_http_tb_rpc_lenient(body.conf);

    rc = ngx_http_tb_rpc_parse_members(&body);

    ngx_http_tb_rpc_json_close(&body.json);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc body: %uz bytes, a call: %d", text.len,
                   body.call != NULL);

    /* an error answer returns NGX_OK too, but leaves no call */

    ctx->call = body.call;

    return rc;
}


static ngx_int_t
ngx_http_tb_rpc_parse_members(ngx_http_tb_rpc_body_t *body)
{
    ngx_int_t  rc;

    rc = ngx_http_tb_rpc_json_open(&body->json);

    while (rc == NGX_OK) {

        rc = ngx_http_tb_rpc_json_next(&body->json);

        if (rc != NGX_OK) {
            break;
        }

        rc = ngx_http_tb_rpc_body_member(body);

        if (rc == NGX_DECLINED) {
            return ngx_http_tb_rpc_bad_member(body);
        }
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_bad_json(body);
    }

    if (rc == NGX_ERROR) {
        body->call = NULL;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_tb_rpc_finish_call(body);
}


/* what does not depend on one member only */

static ngx_int_t
ngx_http_tb_rpc_finish_call(ngx_http_tb_rpc_body_t *body)
{
    int64_t                      now, expiration;
    ngx_time_t                  *tp;
    ngx_http_tb_rpc_call_t      *call;
    ngx_http_tb_rpc_loc_conf_t  *conf;

    call = body->call;
    conf = body->conf;

    if (!body->method) {
        return ngx_http_tb_rpc_bad_call(body, "member \"method\" is missing");
    }

    if (!body->params) {

        if (!body->json.lenient) {
            return ngx_http_tb_rpc_bad_call(body,
                                            "member \"params\" is missing");
        }

        ngx_str_set(&call->params, "null");
    }

    /* bounds and the clock don't make a repeated call another one */

    call->sent_timeout = body->timeout ? call->timeout : INT64_MIN;

    if (!body->timeout) {
        call->timeout = conf->call.default_timeout;
    }

    tp = ngx_timeofday();
    now = (int64_t) tp->sec * 1000 + tp->msec;

    /* the functions add it to the time of their own clock, in doubles */

    call->timeout = ngx_max(call->timeout, (int64_t) conf->call.min_timeout);
    call->timeout = ngx_min(call->timeout, NGX_HTTP_TB_RPC_MAX_INTEGER / 2);

    if (call->expiration >= 0) {
        call->timeout = 0;
        expiration = call->expiration;

    } else {
        expiration = now + call->timeout;
    }

    if (call->persistent
        && conf->call.max_expiration
        && expiration > now + (int64_t) conf->call.max_expiration * 1000)
    {
        return ngx_http_tb_rpc_bad_call(body,
                   call->timeout ? "member \"timeout\" is too far ahead"
                                 : "member \"expirationTime\" is too far "
                                   "ahead");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_bad_json(ngx_http_tb_rpc_body_t *body)
{
    size_t       len;
    const char  *name;

    body->call = NULL;

    ngx_log_error(NGX_LOG_INFO, body->request->connection->log, 0,
                  "tb_rpc: client sent a call that is not valid: %s "
                  "at offset %uz", body->json.error, body->json.offset);

    if (body->json.name == NULL) {
        return ngx_http_tb_rpc_send_error(body->request,
                                          NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Invalid request body: %s at "
                                          "offset %uz", body->json.error,
                                          body->json.offset);
    }

    name = json_string_value(body->json.name);
    len = json_string_length(body->json.name);

    return ngx_http_tb_rpc_send_error(body->request, NGX_HTTP_BAD_REQUEST,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Invalid request body: member \"%*s\": "
                                      "%s at offset %uz",
                                      ngx_min(len, NGX_HTTP_TB_RPC_NAME_LEN),
                                      name, body->json.error,
                                      body->json.offset);
}


static ngx_int_t
ngx_http_tb_rpc_bad_member(ngx_http_tb_rpc_body_t *body)
{
    size_t       offset;
    const char  *name;

    body->call = NULL;

    /* one of ours, hence harmless */

    name = json_string_value(body->json.name);
    offset = body->json.text.data - body->json.start;

    ngx_log_error(NGX_LOG_INFO, body->request->connection->log, 0,
                  "tb_rpc: client sent a call that is not valid: "
                  "\"%s\" must be %s, at offset %uz",
                  name, body->must, offset);

    return ngx_http_tb_rpc_send_error(body->request, NGX_HTTP_BAD_REQUEST,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Invalid request body: member \"%s\" "
                                      "must be %s, at offset %uz",
                                      name, body->must, offset);
}


static ngx_int_t
ngx_http_tb_rpc_bad_call(ngx_http_tb_rpc_body_t *body, const char *text)
{
    body->call = NULL;

    ngx_log_error(NGX_LOG_INFO, body->request->connection->log, 0,
                  "tb_rpc: client sent a call that is not valid: %s", text);

    return ngx_http_tb_rpc_send_error(body->request, NGX_HTTP_BAD_REQUEST,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Invalid request body: %s", text);
}
