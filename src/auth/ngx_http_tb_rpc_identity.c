
/*
 * An identity: its parts, and where they come from under "tb_rpc_auth off",
 * when somebody else has authenticated.
 */


#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_auth.h"


static ngx_int_t ngx_http_tb_rpc_check_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t preview);
static ngx_int_t ngx_http_tb_rpc_bad_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_str_t *value, ngx_uint_t preview);
static ngx_uint_t ngx_http_tb_rpc_no_customer(ngx_str_t *customer);
static ngx_int_t ngx_http_tb_rpc_identity_uuid(ngx_http_request_t *r,
    ngx_str_t *dst, ngx_str_t *text);
static u_char *ngx_http_tb_rpc_copy_part(u_char *p, ngx_str_t *dst,
    ngx_str_t *src);


static ngx_str_t  ngx_http_tb_rpc_null_uuid =
    ngx_string(NGX_HTTP_TB_RPC_NULL_UUID);


ngx_int_t
ngx_http_tb_rpc_identity_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id)
{
    return ngx_http_tb_rpc_check_values(r, ctx, id, 0);
}


/* a "map" remembers its value, but not that of too early a look */

ngx_int_t
ngx_http_tb_rpc_identity_preview(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id)
{
    size_t                      size;
    ngx_int_t                   rc;
    ngx_http_variable_value_t  *variables;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    size = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);

    variables = r->variables;

    r->variables = ngx_palloc(r->pool, size);

    if (r->variables == NULL) {
        r->variables = variables;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(r->variables, variables, size);

    rc = ngx_http_tb_rpc_check_values(r, ctx, id, 1);

    r->variables = variables;

    return rc;
}


static ngx_int_t
ngx_http_tb_rpc_check_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_uint_t preview)
{
    ngx_int_t                    rc;
    ngx_str_t                    value[4];
    ngx_uint_t                   i;
    ngx_http_complex_value_t    *cv[4];
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static const char  *names[] = {
        "tenant", "customer", "user", "authority"
    };

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    cv[0] = lcf->auth.tenant;
    cv[1] = lcf->auth.customer;
    cv[2] = lcf->auth.user;
    cv[3] = lcf->auth.authority;

    for (i = 0; i < 4; i++) {
        ngx_str_null(&value[i]);

        if (cv[i] == NULL) {
            continue;
        }

        if (ngx_http_complex_value(r, cv[i], &value[i]) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (value[i].len || cv[i] == lcf->auth.user) {
            continue;
        }

        /* who is said to have a customer is not more for having none */

        if (!preview) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "tb_rpc: \"%s=\" of tb_rpc_identity is empty",
                          names[i]);
        }

        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_CAUSE_IDENTITY,
                                          NGX_HTTP_TB_RPC_AUTH_FAILED);
    }

    if (cv[3] == NULL) {
        if (cv[1] == NULL || ngx_http_tb_rpc_no_customer(&value[1])) {
            ngx_str_set(&value[3], "TENANT_ADMIN");

        } else {
            ngx_str_set(&value[3], "CUSTOMER_USER");
        }
    }

    rc = ngx_http_tb_rpc_set_identity(r, id, &value[0], &value[1], &value[2],
                                      &value[3]);

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_bad_values(r, ctx, value, preview);
    }

    return (rc == NGX_OK) ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_tb_rpc_bad_values(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_str_t *value, ngx_uint_t preview)
{
    if (!preview) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc_identity is not valid: tenant \"%*s\", "
                      "customer \"%*s\", authority \"%*s\"",
                      ngx_min(value[0].len, 64), value[0].data,
                      ngx_min(value[1].len, 64), value[1].data,
                      ngx_min(value[3].len, 64), value[3].data);
    }

    return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                      NGX_HTTP_TB_RPC_CAUSE_IDENTITY,
                                      NGX_HTTP_TB_RPC_AUTH_FAILED);
}


static ngx_uint_t
ngx_http_tb_rpc_no_customer(ngx_str_t *customer)
{
    return customer->len == NGX_HTTP_TB_RPC_UUID_LEN
           && ngx_strncasecmp(customer->data, ngx_http_tb_rpc_null_uuid.data,
                              NGX_HTTP_TB_RPC_UUID_LEN)
              == 0;
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


ngx_http_tb_rpc_authority_e
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


size_t
ngx_http_tb_rpc_identity_len(ngx_http_tb_rpc_identity_t *id)
{
    return id->tenant_id.len + id->customer_id.len + id->user_id.len;
}


u_char *
ngx_http_tb_rpc_copy_identity(u_char *p, ngx_http_tb_rpc_identity_t *dst,
    ngx_http_tb_rpc_identity_t *src)
{
    dst->authority = src->authority;

    p = ngx_http_tb_rpc_copy_part(p, &dst->tenant_id, &src->tenant_id);
    p = ngx_http_tb_rpc_copy_part(p, &dst->customer_id, &src->customer_id);

    return ngx_http_tb_rpc_copy_part(p, &dst->user_id, &src->user_id);
}


/* one that is empty may be nowhere */

static u_char *
ngx_http_tb_rpc_copy_part(u_char *p, ngx_str_t *dst, ngx_str_t *src)
{
    dst->len = src->len;
    dst->data = p;

    return src->len ? ngx_cpymem(p, src->data, src->len) : p;
}
