
/*
 * Who is calling: selection of the credential, the ACCESS phase handler.
 */


#include "ngx_http_tb_rpc.h"


#define NGX_HTTP_TB_RPC_AUTH_FAILED  "Authentication failed"


static void ngx_http_tb_rpc_access_done(ngx_http_request_t *r, ngx_int_t rc);
static ngx_int_t ngx_http_tb_rpc_access_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc);
static ngx_int_t ngx_http_tb_rpc_check(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t now);
static ngx_int_t ngx_http_tb_rpc_check_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id);
static ngx_int_t ngx_http_tb_rpc_check_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t now);
static ngx_http_tb_rpc_authority_e ngx_http_tb_rpc_authority(ngx_str_t *name);
static ngx_int_t ngx_http_tb_rpc_identity_uuid(ngx_http_request_t *r,
    ngx_str_t *dst, ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_set_challenge(ngx_http_request_t *r);


static ngx_str_t  ngx_http_tb_rpc_null_uuid =
    ngx_string("13814000-1dd2-11b2-8080-808080808080");


ngx_int_t
ngx_http_tb_rpc_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_ctx_t       *ctx;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api == 0) {
        return NGX_DECLINED;
    }

    if (r->method == NGX_HTTP_OPTIONS) {

        /* a preflight has no credentials and gets nothing but "Allow" */

        return NGX_OK;
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


ngx_int_t
ngx_http_tb_rpc_auth_error(ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t code,
    const char *message)
{
    ctx->auth_code = code;
    ctx->auth_error = message;

    return NGX_HTTP_UNAUTHORIZED;
}


ngx_int_t
ngx_http_tb_rpc_authenticate(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, void (*done)(ngx_http_request_t *r,
    ngx_int_t rc))
{
    if (ctx->lookup) {
        return NGX_AGAIN;
    }

    ctx->lookup_done = done;

    return ngx_http_tb_rpc_check(r, ctx, 0);
}


ngx_int_t
ngx_http_tb_rpc_authenticate_now(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    /* keys were judged where they are used; a lookup must not be disturbed */

    if (lcf->api == 0 || ctx->lookup) {
        return NGX_DECLINED;
    }

    return ngx_http_tb_rpc_check(r, ctx, 1);
}


static ngx_int_t
ngx_http_tb_rpc_check(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_uint_t now)
{
    ngx_int_t                    rc;
    ngx_http_tb_rpc_identity_t  *id;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

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

    if (lcf->auth) {
        rc = ngx_http_tb_rpc_check_credential(r, ctx, id, now);

    } else {
        rc = ngx_http_tb_rpc_check_values(r, ctx, id);
    }

    if (rc == NGX_OK) {
        ctx->identity = id;
        ctx->identity_conf = lcf;
    }

    return rc;
}


/* tb_rpc_auth off: somebody else has authenticated */

static ngx_int_t
ngx_http_tb_rpc_check_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id)
{
    ngx_int_t                    rc;
    ngx_str_t                    value[4];
    ngx_uint_t                   i;
    ngx_http_complex_value_t    *cv[4];
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    cv[0] = lcf->tenant;
    cv[1] = lcf->customer;
    cv[2] = lcf->user;
    cv[3] = lcf->authority;

    for (i = 0; i < 4; i++) {
        ngx_str_null(&value[i]);

        if (cv[i] && ngx_http_complex_value(r, cv[i], &value[i]) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (value[0].len == 0) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_AUTH_FAILED);
    }

    /* an authority that is configured but comes out empty is refused */

    if (cv[3] == NULL) {
        if (value[1].len == 0
            || (value[1].len == NGX_HTTP_TB_RPC_UUID_LEN
                && ngx_strncasecmp(value[1].data,
                                   ngx_http_tb_rpc_null_uuid.data,
                                   NGX_HTTP_TB_RPC_UUID_LEN)
                   == 0))
        {
            ngx_str_set(&value[3], "TENANT_ADMIN");

        } else {
            ngx_str_set(&value[3], "CUSTOMER_USER");
        }
    }

    rc = ngx_http_tb_rpc_set_identity(r, id, &value[0], &value[1], &value[2],
                                      &value[3]);

    if (rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc_identity is not valid: tenant \"%*s\", "
                      "customer \"%*s\", authority \"%*s\"",
                      ngx_min(value[0].len, 64), value[0].data,
                      ngx_min(value[1].len, 64), value[1].data,
                      ngx_min(value[3].len, 64), value[3].data);

        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_AUTH_FAILED);
    }

    return (rc == NGX_OK) ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_tb_rpc_check_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t now)
{
    ngx_int_t                      rc;
    ngx_http_tb_rpc_loc_conf_t    *lcf;
    ngx_http_tb_rpc_credential_t   credential;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    rc = ngx_http_tb_rpc_get_credential(r, &credential);

    if (rc == NGX_ABORT) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          "Duplicate authorization header");
    }

    if (rc == NGX_OK
        && credential.scheme == NGX_HTTP_TB_RPC_BEARER
        && lcf->jwt_keys)
    {
        return ngx_http_tb_rpc_jwt_verify(r, ctx, id, &credential.text);
    }

    if (rc == NGX_OK
        && credential.scheme == NGX_HTTP_TB_RPC_API_KEY
        && lcf->api_keys)
    {
        return now ? NGX_DECLINED
                   : ngx_http_tb_rpc_api_key_verify(r, ctx, id,
                                                    &credential.text);
    }

    return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                      NGX_HTTP_TB_RPC_AUTH_FAILED);
}


ngx_int_t
ngx_http_tb_rpc_set_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t *id, ngx_str_t *tenant, ngx_str_t *customer,
    ngx_str_t *user, ngx_str_t *authority)
{
    ngx_int_t  rc;

    id->authority = ngx_http_tb_rpc_authority(authority);

    if (id->authority == NGX_HTTP_TB_RPC_NO_AUTHORITY
        || user->len > NGX_HTTP_TB_RPC_MAX_USER)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_tb_rpc_identity_uuid(r, &id->tenant_id, tenant);
    if (rc != NGX_OK) {
        return rc;
    }

    if (id->tenant_id.len == 0
        && id->authority != NGX_HTTP_TB_RPC_SYS_ADMIN)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_tb_rpc_identity_uuid(r, &id->customer_id, customer);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_null(&id->user_id);

    if (user->len) {
        id->user_id.data = ngx_pstrdup(r->pool, user);
        if (id->user_id.data == NULL) {
            return NGX_ERROR;
        }

        id->user_id.len = user->len;
    }

    return NGX_OK;
}


static ngx_http_tb_rpc_authority_e
ngx_http_tb_rpc_authority(ngx_str_t *name)
{
    ngx_uint_t  i;

    static struct {
        ngx_str_t                    name;
        ngx_http_tb_rpc_authority_e  value;
    } authorities[] = {
        { ngx_string("TENANT_ADMIN"), NGX_HTTP_TB_RPC_TENANT_ADMIN },
        { ngx_string("CUSTOMER_USER"), NGX_HTTP_TB_RPC_CUSTOMER_USER },
        { ngx_string("SYS_ADMIN"), NGX_HTTP_TB_RPC_SYS_ADMIN }
    };

    for (i = 0; i < sizeof(authorities) / sizeof(authorities[0]); i++) {
        if (name->len == authorities[i].name.len
            && ngx_strncasecmp(name->data, authorities[i].name.data,
                               name->len)
               == 0)
        {
            return authorities[i].value;
        }
    }

    return NGX_HTTP_TB_RPC_NO_AUTHORITY;
}


static ngx_int_t
ngx_http_tb_rpc_identity_uuid(ngx_http_request_t *r, ngx_str_t *dst,
    ngx_str_t *text)
{
    u_char  uuid[NGX_HTTP_TB_RPC_UUID_LEN];

    ngx_str_null(dst);

    if (text->len == 0) {
        return NGX_OK;
    }

    if (ngx_http_tb_rpc_parse_uuid(uuid, text) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (ngx_memcmp(uuid, ngx_http_tb_rpc_null_uuid.data,
                   NGX_HTTP_TB_RPC_UUID_LEN)
        == 0)
    {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(r->pool, NGX_HTTP_TB_RPC_UUID_LEN);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, uuid, NGX_HTTP_TB_RPC_UUID_LEN);
    dst->len = NGX_HTTP_TB_RPC_UUID_LEN;

    return NGX_OK;
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
