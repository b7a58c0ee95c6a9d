
/*
 * The LOG phase: what a request has come to is counted.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../call/ngx_http_tb_rpc_call.h"
#include "../device/ngx_http_tb_rpc_device_request.h"
#include "../login/ngx_http_tb_rpc_login.h"
#include "ngx_http_tb_rpc_front.h"


static ngx_http_tb_rpc_ctx_t *ngx_http_tb_rpc_log_ctx(ngx_http_request_t *r);
static ngx_http_tb_rpc_operation_e ngx_http_tb_rpc_log_operation(
    ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t *result);


ngx_int_t
ngx_http_tb_rpc_log_handler(ngx_http_request_t *r)
{
    ngx_time_t                   *tp;
    ngx_uint_t                    result, status;
    ngx_msec_int_t                ms;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_main_conf_t  *mcf;
    ngx_http_tb_rpc_operation_e   op;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    if (mcf->worker == NULL || mcf->worker->counts == NULL) {
        return NGX_OK;
    }

    ctx = ngx_http_tb_rpc_log_ctx(r);

    if (ctx == NULL) {
        return NGX_OK;
    }

    result = ctx->result;
    op = ngx_http_tb_rpc_log_operation(r, ctx, &result);

    /* as $status */

    status = r->err_status ? r->err_status : r->headers_out.status;

    if (result == NGX_HTTP_TB_RPC_NO_RESULT) {
        result = ngx_http_tb_rpc_count_status(op, status);

    } else if (status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {
        result = NGX_HTTP_TB_RPC_ENDED_CLOSED;
    }

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + (tp->msec - r->start_msec));

    ngx_http_tb_rpc_count_request(mcf->worker->counts, op, result,
                                  (ngx_msec_t) ngx_max(ms, 0), ctx);

    return NGX_OK;
}


/* NULL: the request was never one of ours */

static ngx_http_tb_rpc_ctx_t *
ngx_http_tb_rpc_log_ctx(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    /* who was not let in may have none yet */

    if (lcf->api || lcf->device_api || lcf->logins) {
        return ngx_http_tb_rpc_get_ctx(r);
    }

    return ngx_http_tb_rpc_find_ctx(r);
}


static ngx_http_tb_rpc_operation_e
ngx_http_tb_rpc_log_operation(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t *result)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    /* a browser's question before it calls or logs in, whoever answers it */

    if (r->method == NGX_HTTP_OPTIONS) {
        return NGX_HTTP_TB_RPC_COUNT_OTHER;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (ctx->login || lcf->logins) {
        return ngx_http_tb_rpc_login_counted(r, ctx->login, result);
    }

    if (ctx->device_req) {

        switch (ctx->device_req->op) {

        case NGX_HTTP_TB_RPC_DO_POLL:
            return NGX_HTTP_TB_RPC_COUNT_POLL;

        case NGX_HTTP_TB_RPC_DO_ANSWER:
            return NGX_HTTP_TB_RPC_COUNT_ANSWER;
        }

        return NGX_HTTP_TB_RPC_COUNT_OTHER;
    }

    if (ctx->call && ctx->call->persistent) {
        return NGX_HTTP_TB_RPC_COUNT_PERSISTENT;
    }

    if (ctx->op == NGX_HTTP_TB_RPC_OP_UNKNOWN && lcf->api) {
        (void) ngx_http_tb_rpc_parse_uri(r, ctx);
    }

    switch (ctx->op) {

    case NGX_HTTP_TB_RPC_OP_ONEWAY:
        return NGX_HTTP_TB_RPC_COUNT_ONEWAY;

    case NGX_HTTP_TB_RPC_OP_TWOWAY:
        return NGX_HTTP_TB_RPC_COUNT_TWOWAY;

    case NGX_HTTP_TB_RPC_OP_RECORD:
        return (r->method == NGX_HTTP_DELETE) ? NGX_HTTP_TB_RPC_COUNT_DELETE
                                              : NGX_HTTP_TB_RPC_COUNT_GET;

    case NGX_HTTP_TB_RPC_OP_LIST:
        return NGX_HTTP_TB_RPC_COUNT_LIST;

    default:
        return NGX_HTTP_TB_RPC_COUNT_OTHER;
    }
}
