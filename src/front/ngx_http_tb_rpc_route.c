
/*
 * Method and URI -> operation.  Operations are recognised by the tail of the
 * URI, so that any prefix will do.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_front.h"


typedef struct {
    ngx_str_t              tail;        /* what stands before the id */
    ngx_http_tb_rpc_op_e   op;
    ngx_uint_t             methods;
    ngx_str_t              allow;
} ngx_http_tb_rpc_operation_t;


static ngx_http_tb_rpc_operation_t *ngx_http_tb_rpc_operation(
    ngx_http_request_t *r, ngx_str_t *id);


static ngx_http_tb_rpc_operation_t  ngx_http_tb_rpc_operations[] = {

    { ngx_string("/rpc/oneway/"), NGX_HTTP_TB_RPC_OP_ONEWAY,
      NGX_HTTP_POST, ngx_string("POST, OPTIONS") },

    { ngx_string("/rpc/twoway/"), NGX_HTTP_TB_RPC_OP_TWOWAY,
      NGX_HTTP_POST, ngx_string("POST, OPTIONS") },

    { ngx_string("/persistent/device/"), NGX_HTTP_TB_RPC_OP_LIST,
      NGX_HTTP_GET|NGX_HTTP_HEAD, ngx_string("GET, HEAD, OPTIONS") },

    { ngx_string("/persistent/"), NGX_HTTP_TB_RPC_OP_RECORD,
      NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_DELETE,
      ngx_string("GET, HEAD, DELETE, OPTIONS") },

    { ngx_null_string, NGX_HTTP_TB_RPC_OP_UNKNOWN, 0, ngx_null_string }
};


ngx_int_t
ngx_http_tb_rpc_route(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t                     rc;
    ngx_str_t                     id;
    ngx_http_tb_rpc_operation_t  *op;

    op = ngx_http_tb_rpc_operation(r, &id);

    if (op == NULL) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                          NGX_HTTP_TB_RPC_NOT_FOUND,
                                          "There is no such resource");
    }

    if (r->method == NGX_HTTP_OPTIONS || !(r->method & op->methods)) {
        return ngx_http_tb_rpc_refuse_method(r, &op->allow);
    }

    rc = ngx_http_tb_rpc_parse_uri(r, ctx);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Invalid UUID string: %*s",
                                          ngx_min(id.len, 64), id.data);
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_parse_uri(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    u_char                       *p;
    ngx_str_t                     id;
    ngx_http_tb_rpc_operation_t  *op;

    ctx->op = NGX_HTTP_TB_RPC_OP_UNKNOWN;

    op = ngx_http_tb_rpc_operation(r, &id);

    if (op == NULL) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_TB_RPC_UUID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_tb_rpc_parse_uuid(p, &id) != NGX_OK) {
        return NGX_DECLINED;
    }

    ctx->op = op->op;

    if (op->op == NGX_HTTP_TB_RPC_OP_RECORD) {
        ctx->rpc_id.data = p;
        ctx->rpc_id.len = NGX_HTTP_TB_RPC_UUID_LEN;

    } else {
        ctx->device_id.data = p;
        ctx->device_id.len = NGX_HTTP_TB_RPC_UUID_LEN;
    }

    return NGX_OK;
}


static ngx_http_tb_rpc_operation_t *
ngx_http_tb_rpc_operation(ngx_http_request_t *r, ngx_str_t *id)
{
    size_t                        len;
    ngx_http_tb_rpc_operation_t  *op;

    for (len = r->uri.len; len; len--) {
        if (r->uri.data[len - 1] == '/') {
            break;
        }
    }

    id->data = r->uri.data + len;
    id->len = r->uri.len - len;

    if (id->len == 0) {
        return NULL;
    }

    for (op = ngx_http_tb_rpc_operations; op->tail.len; op++) {

        if (len >= op->tail.len
            && ngx_memcmp(r->uri.data + len - op->tail.len, op->tail.data,
                          op->tail.len)
               == 0)
        {
            return op;
        }
    }

    return NULL;
}
