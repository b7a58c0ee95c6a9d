
/*
 * Names and buckets of what is counted, and what a request adds to it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_outcome.h"
#include "ngx_http_tb_rpc_count.h"


ngx_str_t  ngx_http_tb_rpc_operation_names[] = {
    ngx_string("oneway"),
    ngx_string("twoway"),
    ngx_string("persistent"),
    ngx_string("get"),
    ngx_string("delete"),
    ngx_string("list"),
    ngx_string("poll"),
    ngx_string("answer"),
    ngx_string("other"),
    ngx_string("login"),
    ngx_string("public"),
    ngx_string("refresh"),
    ngx_string("logout"),
    ngx_string("user"),
    ngx_string("password")
};


ngx_str_t  ngx_http_tb_rpc_cause_names[] = {
    ngx_string("credential"),
    ngx_string("duplicate"),
    ngx_string("jwt_malformed"),
    ngx_string("jwt_signature"),
    ngx_string("jwt_claims"),
    ngx_string("jwt_expired"),
    ngx_string("api_key_unknown"),
    ngx_string("api_key_disabled"),
    ngx_string("api_key_expired"),
    ngx_string("identity"),
    ngx_string("device_token")
};


ngx_str_t  ngx_http_tb_rpc_cache_names[] = {
    ngx_string("jwt"),
    ngx_string("api_key"),
    ngx_string("token")
};


ngx_msec_t  ngx_http_tb_rpc_bounds[] = {
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 0
};


/* those behind NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER */

static ngx_str_t  ngx_http_tb_rpc_more_results[] = {
    ngx_string("unauthorized"),
    ngx_string("forbidden"),
    ngx_string("not_found"),
    ngx_string("invalid"),
    ngx_string("client_closed"),
    ngx_string("empty"),
    ngx_string("error"),
    ngx_string("wrong"),
    ngx_string("locked"),
    ngx_string("busy"),
    ngx_string("reused")
};


void
ngx_http_tb_rpc_count_request(ngx_http_tb_rpc_counts_t *counts,
    ngx_http_tb_rpc_operation_e op, ngx_uint_t result, ngx_msec_t total,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    (void) ngx_atomic_fetch_add(&counts->requests[op][result], 1);

    ngx_http_tb_rpc_count_time(&counts->total[op], total);

    if (ctx->redis_time != (ngx_msec_t) -1) {
        ngx_http_tb_rpc_count_time(&counts->redis_time, ctx->redis_time);
    }

    if (ctx->device_time != (ngx_msec_t) -1) {
        ngx_http_tb_rpc_count_time(&counts->device_time, ctx->device_time);
    }
}


void
ngx_http_tb_rpc_count_time(ngx_http_tb_rpc_histogram_t *h, ngx_msec_t ms)
{
    ngx_uint_t  i;

    for (i = 0; ngx_http_tb_rpc_bounds[i]; i++) {
        if (ms <= ngx_http_tb_rpc_bounds[i]) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&h->buckets[i], 1);
    (void) ngx_atomic_fetch_add(&h->sum, ms);
}


ngx_uint_t
ngx_http_tb_rpc_count_status(ngx_http_tb_rpc_operation_e op,
    ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
        return NGX_HTTP_TB_RPC_ENDED_UNAUTHORIZED;

    case NGX_HTTP_FORBIDDEN:
        return NGX_HTTP_TB_RPC_ENDED_FORBIDDEN;

    case NGX_HTTP_NOT_FOUND:
        return NGX_HTTP_TB_RPC_ENDED_NOT_FOUND;

    case NGX_HTTP_CLIENT_CLOSED_REQUEST:
        return NGX_HTTP_TB_RPC_ENDED_CLOSED;

    case NGX_HTTP_REQUEST_TIME_OUT:
        if (op == NGX_HTTP_TB_RPC_COUNT_POLL) {
            return NGX_HTTP_TB_RPC_ENDED_EMPTY;
        }
    }

    if (status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return NGX_HTTP_TB_RPC_ENDED_ERROR;
    }

    return (status >= NGX_HTTP_BAD_REQUEST) ? NGX_HTTP_TB_RPC_ENDED_INVALID
                                            : NGX_HTTP_TB_RPC_ENDED_OK;
}


u_char *
ngx_http_tb_rpc_result_name(u_char *dst, u_char *last, ngx_uint_t n)
{
    size_t      len;
    ngx_str_t  *name;

    static ngx_str_t  ok = ngx_string("ok");

    if (n == NGX_HTTP_TB_RPC_ENDED_OK) {
        name = &ok;

    } else if (n > NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER) {
        n -= NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER + 1;
        name = &ngx_http_tb_rpc_more_results[n];

    } else {
        name = &ngx_http_tb_rpc_results[n];
    }

    len = ngx_min(name->len, (size_t) (last - dst));

    ngx_strlow(dst, name->data, len);

    return dst + len;
}
