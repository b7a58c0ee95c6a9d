
/*
 * Who is calling: selection of the credential, the ACCESS phase handler.
 */


#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_api_key.h"
#include "ngx_http_tb_rpc_auth.h"
#include "ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_jwt_cache.h"


static ngx_int_t ngx_http_tb_rpc_auth_create(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_access_done(ngx_http_request_t *r, ngx_int_t rc);
static ngx_int_t ngx_http_tb_rpc_access_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc);
static void ngx_http_tb_rpc_auth_count(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
static ngx_int_t ngx_http_tb_rpc_check_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t preview);
static ngx_int_t ngx_http_tb_rpc_set_challenge(ngx_http_request_t *r);


ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_auth_part = {
    ngx_string(""),
    ngx_http_tb_rpc_auth_create,
    NULL,
    NULL,
    NULL
};


static ngx_int_t
ngx_http_tb_rpc_auth_create(ngx_http_tb_rpc_worker_t *w)
{
    w->jwts = ngx_http_tb_rpc_jwt_cache_create(w->pool);
    w->api_keys = ngx_http_tb_rpc_api_keys_create(w->pool);

    return (w->jwts && w->api_keys) ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_tb_rpc_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_ctx_t       *ctx;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api == 0) {
        return NGX_DECLINED;
    }

    if (r->method == NGX_HTTP_OPTIONS) {

        /* a preflight has no credentials and gets nothing but "Allow" */

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!lcf->auth.on && clcf->satisfy == NGX_HTTP_SATISFY_ANY) {

        /*
         * tb_rpc_identity says who somebody is, not that he may come in;
         * the content handler looks at it
         */

        return NGX_DECLINED;
    }

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ctx->auth_rc;

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    /* a result that was waited for is used once */

    ctx->auth_rc = NGX_OK;

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_authenticate(r, ctx,
                                          ngx_http_tb_rpc_access_done);
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc access: %i", rc);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    if (rc == NGX_AGAIN) {
        ctx->auth_rc = NGX_AGAIN;
        return NGX_AGAIN;
    }

    return ngx_http_tb_rpc_access_refuse(r, ctx, rc);
}


static void
ngx_http_tb_rpc_access_done(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ctx->auth_rc = rc;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


static ngx_int_t
ngx_http_tb_rpc_access_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (rc == NGX_HTTP_UNAUTHORIZED
        && clcf->satisfy == NGX_HTTP_SATISFY_ANY)
    {
        /* the core decides, with what others said */

        ngx_http_tb_rpc_auth_count(r, ctx);

        if (ngx_http_tb_rpc_set_challenge(r) != NGX_OK) {
            return NGX_ERROR;
        }

        return rc;
    }

    rc = ngx_http_tb_rpc_auth_refuse(r, ctx, rc);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {

        /* tb_rpc_intercept_errors: error_page, and auth_delay before it */

        return rc;
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


ngx_int_t
ngx_http_tb_rpc_auth_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc)
{
    if (rc == NGX_HTTP_UNAUTHORIZED) {
        ngx_http_tb_rpc_auth_count(r, ctx);

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: unauthorized: %s", ctx->auth_error);

        if (ngx_http_tb_rpc_set_challenge(r) != NGX_OK) {
            return NGX_ERROR;
        }

        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_UNAUTHORIZED,
                                          ctx->auth_code, "%s",
                                          ctx->auth_error);
    }

    if (rc == NGX_HTTP_SERVICE_UNAVAILABLE) {
        return ngx_http_tb_rpc_send_result(r, ctx,
                                          NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                          NULL);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                      NGX_HTTP_TB_RPC_GENERAL,
                                      "Internal server error");
}


static void
ngx_http_tb_rpc_auth_count(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    if (mcf->worker) {
        ngx_http_tb_rpc_count(mcf->worker, refused[ctx->auth_cause]);
    }
}


ngx_int_t
ngx_http_tb_rpc_auth_error(ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t code,
    ngx_uint_t cause, const char *message)
{
    ctx->auth_code = code;
    ctx->auth_cause = cause;
    ctx->auth_error = message;

    return NGX_HTTP_UNAUTHORIZED;
}


ngx_int_t
ngx_http_tb_rpc_authenticate(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, void (*done)(ngx_http_request_t *r,
    ngx_int_t rc))
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_identity_t  *id;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (ctx->lookup) {
        return NGX_AGAIN;
    }

    ctx->lookup_done = done;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (ctx->identity) {

        if (ctx->identity_conf == lcf) {
            return NGX_OK;
        }

        /* an internal redirect: other keys may be in force here */

        ctx->identity = NULL;
    }

    id = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_identity_t));
    if (id == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = lcf->auth.on ? ngx_http_tb_rpc_check_credential(r, ctx, id, 0)
                      : ngx_http_tb_rpc_identity_values(r, ctx, id);

    if (rc == NGX_OK) {
        ctx->identity = id;
        ctx->identity_conf = lcf;
    }

    return rc;
}


/*
 * Whoever asks before the ACCESS phase asks before auth_request has set its
 * variables: what is seen here must decide nothing.
 */

ngx_int_t
ngx_http_tb_rpc_preview(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_http_tb_rpc_identity_t **preview)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_ctx_t        scratch;
    ngx_http_tb_rpc_identity_t  *id;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    *preview = NULL;

    if (ctx->previewing) {

        /* tb_rpc_identity refers to one of our variables */

        return NGX_OK;
    }

    if (lcf->auth.on && ctx->preview_conf == lcf) {

        /* a token is not verified for each of the variables */

        *preview = ctx->preview;
        return NGX_OK;
    }

    id = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_identity_t));
    if (id == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&scratch, sizeof(ngx_http_tb_rpc_ctx_t));
    scratch.request = r;

    ctx->previewing = 1;

    rc = lcf->auth.on ? ngx_http_tb_rpc_check_credential(r, &scratch, id, 1)
                      : ngx_http_tb_rpc_identity_preview(r, &scratch, id);

    ctx->previewing = 0;

    if (rc == NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        *preview = id;
    }

    ctx->preview = *preview;
    ctx->preview_conf = lcf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_check_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t preview)
{
    ngx_int_t                      rc;
    ngx_http_tb_rpc_loc_conf_t    *lcf;
    ngx_http_tb_rpc_credential_t   credential;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    rc = ngx_http_tb_rpc_get_credential(r, &credential);

    if (rc == NGX_ABORT) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_CAUSE_DUPLICATE,
                                          "Duplicate authorization header");
    }

    if (rc == NGX_OK
        && credential.scheme == NGX_HTTP_TB_RPC_BEARER
        && lcf->auth.jwt_keys)
    {
        return ngx_http_tb_rpc_jwt_verify(r, ctx, id, &credential.text);
    }

    if (rc == NGX_OK
        && credential.scheme == NGX_HTTP_TB_RPC_API_KEY
        && lcf->auth.api_keys)
    {
        return preview ? NGX_DECLINED
                       : ngx_http_tb_rpc_api_key_verify(r, ctx, id,
                                                        &credential.text);
    }

    if (rc == NGX_OK
        && credential.scheme == NGX_HTTP_TB_RPC_API_KEY
        && !preview)
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: API key refused, \"tb_rpc_api_keys\" is off "
                      "here");
    }

    return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                      NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL,
                                      NGX_HTTP_TB_RPC_AUTH_FAILED);
}


/* beside a challenge of another module, which stays the first */

static ngx_int_t
ngx_http_tb_rpc_set_challenge(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h, **ph;

    static ngx_str_t  bearer = ngx_string("Bearer");

    ph = &r->headers_out.www_authenticate;

    while (*ph) {

        if ((*ph)->hash
            && (*ph)->value.len == bearer.len
            && ngx_strncmp((*ph)->value.data, bearer.data, bearer.len) == 0)
        {
            /* left by the location that redirected here */

            return NGX_OK;
        }

#if (nginx_version >= 1023000)
        ph = &(*ph)->next;
#else
        break;
#endif
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "WWW-Authenticate");
    h->value = bearer;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    if (*ph == NULL) {
        *ph = h;
    }

    return NGX_OK;
}
