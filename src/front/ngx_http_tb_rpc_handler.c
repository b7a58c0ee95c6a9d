
/*
 * The content handler: who asks, for what, and who answers that.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../auth/ngx_http_tb_rpc_auth.h"
#include "../call/ngx_http_tb_rpc_call.h"
#include "../record/ngx_http_tb_rpc_record.h"
#include "ngx_http_tb_rpc_front.h"


static ngx_int_t ngx_http_tb_rpc_authenticate_content(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
static void ngx_http_tb_rpc_content_authenticated(ngx_http_request_t *r,
    ngx_int_t rc);
static ngx_int_t ngx_http_tb_rpc_process(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
static ngx_int_t ngx_http_tb_rpc_process_record(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
static ngx_int_t ngx_http_tb_rpc_process_call(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
static void ngx_http_tb_rpc_body_handler(ngx_http_request_t *r);


ngx_int_t
ngx_http_tb_rpc_handler(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc handler: \"%V\" c:%d i:%p",
                   &r->uri, r->main->count, ctx->identity);

    /* browsers send no credentials with OPTIONS */

    if (r->method == NGX_HTTP_OPTIONS) {
        return ngx_http_tb_rpc_route(r, ctx);
    }

    return ngx_http_tb_rpc_authenticate_content(r, ctx);
}


/*
 * Mostly the ACCESS phase has left an identity.  But that is skipped in
 * subrequests, and with "satisfy any" others may have let the request in.
 */

static ngx_int_t
ngx_http_tb_rpc_authenticate_content(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_tb_rpc_authenticate(r, ctx,
                                      ngx_http_tb_rpc_content_authenticated);

    if (rc == NGX_OK) {
        return ngx_http_tb_rpc_process(r, ctx);
    }

    if (rc != NGX_AGAIN) {
        return ngx_http_tb_rpc_auth_refuse(r, ctx, rc);
    }

    /* see if the client leaves while Redis is asked */

    if (ngx_http_tb_rpc_watch_client(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


/* who asked Redis runs posted requests afterwards */

static void
ngx_http_tb_rpc_content_authenticated(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_tb_rpc_get_ctx(r);

    if (ctx == NULL) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else {

        r->read_event_handler = ngx_http_block_reading;

        if (rc == NGX_OK) {
            rc = ngx_http_tb_rpc_process(r, ctx);

        } else {
            rc = ngx_http_tb_rpc_auth_refuse(r, ctx, rc);
        }
    }

    ngx_http_finalize_request(r, rc);
}


static ngx_int_t
ngx_http_tb_rpc_process(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_tb_rpc_route(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->op == NGX_HTTP_TB_RPC_OP_RECORD
        || ctx->op == NGX_HTTP_TB_RPC_OP_LIST)
    {
        return ngx_http_tb_rpc_process_record(r, ctx);
    }

    return ngx_http_tb_rpc_process_call(r, ctx);
}


static ngx_int_t
ngx_http_tb_rpc_process_record(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    switch (ctx->identity->authority) {

    case NGX_HTTP_TB_RPC_TENANT_ADMIN:
        break;

    case NGX_HTTP_TB_RPC_CUSTOMER_USER:
        if (r->method != NGX_HTTP_DELETE) {
            break;
        }

        /* fall through */

    default:
        return ngx_http_tb_rpc_send_forbidden(r, 0);
    }

    return ngx_http_tb_rpc_record(r, ctx);
}


static ngx_int_t
ngx_http_tb_rpc_process_call(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    switch (ctx->identity->authority) {

    case NGX_HTTP_TB_RPC_TENANT_ADMIN:
    case NGX_HTTP_TB_RPC_CUSTOMER_USER:
        break;

    default:
        return ngx_http_tb_rpc_send_forbidden(r, 1);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (r->headers_in.content_length_n > (off_t) lcf->max_payload) {
        return ngx_http_tb_rpc_send_too_large(r);
    }

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_tb_rpc_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* it has the reference that reading the body took */

static void
ngx_http_tb_rpc_body_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = ngx_http_tb_rpc_parse_body(r, ctx);

    if (rc == NGX_OK && ctx->call) {
        rc = ngx_http_tb_rpc_call(r, ctx);

        if (rc == NGX_DONE) {
            return;
        }
    }

    ngx_http_finalize_request(r, rc);
}
