
/*
 * What the module knows of a request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_ctx.h"


static void ngx_http_tb_rpc_ctx_cleanup(void *data);


/* it only marks the context in the list of cleanups */

static void
ngx_http_tb_rpc_ctx_cleanup(void *data)
{
    return;
}


ngx_http_tb_rpc_ctx_t *
ngx_http_tb_rpc_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t     *cln;
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_tb_rpc_module);

    if (ctx) {
        return ctx;
    }

    /*
     * after an internal redirect too: what another location found out,
     * an identity above all, does not hold here
     */

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_tb_rpc_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_tb_rpc_ctx_cleanup;

    ctx = cln->data;

    ngx_memzero(ctx, sizeof(ngx_http_tb_rpc_ctx_t));

    ctx->request = r;
    ctx->redis_time = (ngx_msec_t) -1;
    ctx->device_time = (ngx_msec_t) -1;

    ngx_http_set_ctx(r, ctx, ngx_http_tb_rpc_module);

    return ctx;
}


ngx_http_tb_rpc_ctx_t *
ngx_http_tb_rpc_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t     *cln;
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_tb_rpc_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    /*
     * module contexts were reset, the newest of ours is first in the list;
     * subrequests share the pool
     */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_http_tb_rpc_ctx_cleanup) {
            continue;
        }

        ctx = cln->data;

        if (ctx->request == r) {
            return ctx;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_tb_rpc_lenient(ngx_http_tb_rpc_loc_conf_t *lcf)
{
    if (lcf->validation == NGX_CONF_UNSET_UINT) {
        return lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD;
    }

    return lcf->validation == NGX_HTTP_TB_RPC_LENIENT;
}
