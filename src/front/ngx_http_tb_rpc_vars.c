
/*
 * Variables.  A path is known from the start, an identity when it is asked
 * for (limit_req does so before the ACCESS phase), all else when it happens.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../auth/ngx_http_tb_rpc_auth.h"
#include "../call/ngx_http_tb_rpc_call.h"
#include "../device/ngx_http_tb_rpc_device.h"
#include "ngx_http_tb_rpc_front.h"


static ngx_int_t ngx_http_tb_rpc_variable_ctx(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t **ctx);
static ngx_int_t ngx_http_tb_rpc_variable_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t **id);
static ngx_int_t ngx_http_tb_rpc_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_identity_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_authority_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_key_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_method_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_result_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_redis_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_traceparent_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tb_rpc_variable(ngx_http_variable_value_t *v,
    ngx_str_t *value);


static ngx_http_variable_t  ngx_http_tb_rpc_variables[] = {

    { ngx_string("tb_rpc_id"), NULL,
      ngx_http_tb_rpc_id_variable,
      offsetof(ngx_http_tb_rpc_ctx_t, rpc_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_device_id"), NULL,
      ngx_http_tb_rpc_id_variable,
      offsetof(ngx_http_tb_rpc_ctx_t, device_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_tenant_id"), NULL,
      ngx_http_tb_rpc_identity_variable,
      offsetof(ngx_http_tb_rpc_identity_t, tenant_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_customer_id"), NULL,
      ngx_http_tb_rpc_identity_variable,
      offsetof(ngx_http_tb_rpc_identity_t, customer_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_user_id"), NULL,
      ngx_http_tb_rpc_identity_variable,
      offsetof(ngx_http_tb_rpc_identity_t, user_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_authority"), NULL,
      ngx_http_tb_rpc_authority_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_key_id"), NULL,
      ngx_http_tb_rpc_key_id_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_method"), NULL,
      ngx_http_tb_rpc_method_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_result"), NULL,
      ngx_http_tb_rpc_result_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_redis_time"), NULL,
      ngx_http_tb_rpc_redis_time_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_rpc_traceparent"), NULL,
      ngx_http_tb_rpc_traceparent_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_tb_rpc_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_tb_rpc_variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* *ctx is NULL where there is nothing to tell */

static ngx_int_t
ngx_http_tb_rpc_variable_ctx(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t **ctx)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api) {
        *ctx = ngx_http_tb_rpc_get_ctx(r);
        return *ctx ? NGX_OK : NGX_ERROR;
    }

    /* error_page may have led out of our location */

    *ctx = ngx_http_tb_rpc_find_ctx(r);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_tb_rpc_ctx_t       *ctx;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (ctx && lcf->api
        && ctx->op == NGX_HTTP_TB_RPC_OP_UNKNOWN
        && ngx_http_tb_rpc_parse_uri(r, ctx) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v,
                              ctx ? (ngx_str_t *) ((u_char *) ctx + data)
                                  : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_variable_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t **id)
{
    ngx_http_tb_rpc_ctx_t       *ctx;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    *id = NULL;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL) {
        return NGX_OK;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    /* in the log, who was refused stays so */

    if (ctx->identity == NULL && lcf->api && ctx->auth_code == 0) {
        return ngx_http_tb_rpc_preview(r, ctx, id);
    }

    *id = ctx->identity;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_identity_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_tb_rpc_identity_t  *id;

    if (ngx_http_tb_rpc_variable_identity(r, &id) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v,
                              id ? (ngx_str_t *) ((u_char *) id + data)
                                 : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_authority_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_tb_rpc_identity_t  *id;

    /* in the order of ngx_http_tb_rpc_authority_e */

    static ngx_str_t  names[] = {
        ngx_null_string,
        ngx_string("SYS_ADMIN"),
        ngx_string("TENANT_ADMIN"),
        ngx_string("CUSTOMER_USER")
    };

    if (ngx_http_tb_rpc_variable_identity(r, &id) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v, id ? &names[id->authority] : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_key_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_int_t                    rc;
    ngx_str_t                    value;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    rc = lcf->device_api ? ngx_http_tb_rpc_device_key_id(r, &value)
                         : ngx_http_tb_rpc_key_id(r, &value);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v, rc == NGX_OK ? &value : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_method_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v, (ctx && ctx->call)
                                           ? &ctx->call->method_name : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_result_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               value, *result;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL || ctx->result == NGX_HTTP_TB_RPC_NO_RESULT) {
        return ngx_http_tb_rpc_variable(v, NULL);
    }

    result = &ngx_http_tb_rpc_results[ctx->result];

    value.len = result->len;
    value.data = ngx_pnalloc(r->pool, result->len);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(value.data, result->data, result->len);

    return ngx_http_tb_rpc_variable(v, &value);
}


/* seconds, as $upstream_response_time */

static ngx_int_t
ngx_http_tb_rpc_redis_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               value;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL || ctx->redis_time == (ngx_msec_t) -1) {
        return ngx_http_tb_rpc_variable(v, NULL);
    }

    value.data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%T.%03M",
                            (time_t) ctx->redis_time / 1000,
                            ctx->redis_time % 1000)
                - value.data;

    return ngx_http_tb_rpc_variable(v, &value);
}


/* of a device that was given a call the call's, else the request's own */

static ngx_int_t
ngx_http_tb_rpc_traceparent_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               value;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (ngx_http_tb_rpc_variable_ctx(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL) {
        return ngx_http_tb_rpc_variable(v, NULL);
    }

    if (ctx->traceparent.len) {
        return ngx_http_tb_rpc_variable(v, &ctx->traceparent);
    }

    value.len = TB_RPC_TRACEPARENT_LEN;
    value.data = ngx_pnalloc(r->pool, TB_RPC_TRACEPARENT_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_variable(v,
                       ngx_http_tb_rpc_traceparent(r, value.data) == NGX_OK
                       ? &value : NULL);
}


static ngx_int_t
ngx_http_tb_rpc_variable(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    if (value == NULL || value->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = value->data;
    v->len = value->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
