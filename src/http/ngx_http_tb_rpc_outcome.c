
/*
 * How calls end: the answer for each result by tb_rpc v1|v2 and
 * tb_rpc_profile.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_json.h"
#include "ngx_http_tb_rpc_outcome.h"
#include "ngx_http_tb_rpc_respond.h"


/* as much of a device's or bridge's text is shown */

#define NGX_HTTP_TB_RPC_TEXT_LEN  512


typedef struct {
    ngx_uint_t      v1;
    ngx_uint_t      v2;
    ngx_uint_t      code;
    ngx_uint_t      retry;      /* Retry-After makes sense */
    ngx_uint_t      empty;      /* body in the thingsboard profile */
    const char     *message;
} ngx_http_tb_rpc_outcome_t;


static ngx_uint_t ngx_http_tb_rpc_blank(ngx_str_t *text);


ngx_str_t  ngx_http_tb_rpc_results[] = {
    ngx_null_string,
    ngx_string("TIMEOUT"),
    ngx_string("NO_ACTIVE_CONNECTION"),
    ngx_string("NOT_CLAIMED"),
    ngx_string("FAILED"),
    ngx_string("EXPIRED"),
    ngx_string("INVALID_RESPONSE"),
    ngx_string("RESPONSE_TOO_LARGE"),
    ngx_string("TOO_MANY_PENDING"),
    ngx_string("TOO_MANY_HELD"),
    ngx_string("REDIS_UNAVAILABLE"),
    ngx_string("UNKNOWN"),

    ngx_string("UNKNOWN_TOKEN"),
    ngx_string("UNKNOWN_DEVICE"),
    ngx_string("UNKNOWN_RECORD"),
    ngx_string("FOREIGN_DEVICE"),
    ngx_string("FOREIGN_RECORD"),
    ngx_string("FOREIGN_CUSTOMER")
};


/* in the order of ngx_http_tb_rpc_result_e, up to RESULT_UNKNOWN */

static ngx_http_tb_rpc_outcome_t  ngx_http_tb_rpc_outcomes[] = {

    { 500, 500, NGX_HTTP_TB_RPC_GENERAL, 0, 0,
      "Internal server error" },

    { 408, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The call was sent, but the device did not answer in time" },

    { 409, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The device has no active connection" },

    { 409, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The device is attached, but its bridge did not take the call in time" },

    { 409, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 0,
      "The call failed" },

    { 408, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The call expired before it was sent" },

    { 406, 406, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The answer of the device is not valid JSON" },

    { 406, 406, NGX_HTTP_TB_RPC_GENERAL, 0, 1,
      "The answer of the device is too large" },

    { 429, 429, NGX_HTTP_TB_RPC_TOO_MANY, 1, 0,
      "Too many calls for the device" },

    { 503, 503, NGX_HTTP_TB_RPC_GENERAL, 1, 0,
      "Too many calls are waiting for an answer" },

    { 503, 503, NGX_HTTP_TB_RPC_GENERAL, 1, 0,
      "Redis is not available, nothing was done" },

    { 504, 504, NGX_HTTP_TB_RPC_GENERAL, 0, 0,
      "The connection to Redis was lost, it is not known what became of the "
      "call" }
};


ngx_int_t
ngx_http_tb_rpc_send_result(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_http_tb_rpc_result_e result, ngx_str_t *text)
{
    size_t                       len;
    ngx_str_t                   *id;
    ngx_uint_t                   status;
    ngx_http_tb_rpc_outcome_t   *outcome;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  none = ngx_null_string;
    static ngx_str_t  retry_after = ngx_string("1");

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc result: %V", &ngx_http_tb_rpc_results[result]);

    ctx->result = result;

    outcome = &ngx_http_tb_rpc_outcomes[result];
    status = (lcf->api == NGX_HTTP_TB_RPC_V1) ? outcome->v1 : outcome->v2;

    if (result != NGX_HTTP_TB_RPC_NO_RESULT
        && ngx_http_tb_rpc_add_header(r, "X-RPC-Result",
                                      &ngx_http_tb_rpc_results[result])
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (outcome->retry
        && ngx_http_tb_rpc_add_header(r, "Retry-After", &retry_after)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (outcome->empty
        && lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD)
    {
        return ngx_http_tb_rpc_send_failure(r, status, NULL, NULL);
    }

    /* whoever does not know the outcome needs the id to look for it */

    id = (result == NGX_HTTP_TB_RPC_RESULT_UNKNOWN) ? &ctx->rpc_id : &none;

    if (text == NULL) {
        text = &none;
    }

    len = ngx_min(text->len, NGX_HTTP_TB_RPC_TEXT_LEN);

    return ngx_http_tb_rpc_send_error(r, status, outcome->code,
                                      "%s%s%V%s%*s", outcome->message,
                                      id->len ? ", rpcId " : "", id,
                                      len ? ": " : "", len, text->data);
}


ngx_int_t
ngx_http_tb_rpc_send_answer(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_str_t *answer)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  null = ngx_string("null");

    if (answer->len == 0) {
        return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, NULL, NULL);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD
        && ngx_http_tb_rpc_blank(answer))
    {
        return ngx_http_tb_rpc_send_json(r, &null);
    }

    if (ngx_http_tb_rpc_check_json(answer->data, answer->len,
                                   ngx_http_tb_rpc_lenient(lcf))
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: device %V answered call %V with %uz bytes "
                      "that are not valid JSON",
                      &ctx->device_id, &ctx->rpc_id, answer->len);

        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_INVALID_RESPONSE,
                                           NULL);
    }

    return ngx_http_tb_rpc_send_json(r, answer);
}


/* nothing but what JSON allows between its tokens */

static ngx_uint_t
ngx_http_tb_rpc_blank(ngx_str_t *text)
{
    u_char  *p, *last;

    last = text->data + text->len;

    for (p = text->data; p < last; p++) {
        if (*p != ' ' && *p != '\t' && *p != '\n' && *p != '\r') {
            return 0;
        }
    }

    return 1;
}
