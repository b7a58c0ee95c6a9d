
/*
 * Variables, for log_format and for the maps.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_conf.h"


static ngx_int_t ngx_stream_tb_mqtt_variable_str(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_tb_mqtt_variable_version(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_tb_mqtt_variable_refused(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_tb_mqtt_variable_set(
    ngx_stream_variable_value_t *v, const u_char *p, size_t len);


static ngx_stream_variable_t  ngx_stream_tb_mqtt_variables[] = {

    { ngx_string("tb_mqtt_device_id"), NULL,
      ngx_stream_tb_mqtt_variable_str,
      offsetof(ngx_stream_tb_mqtt_ctx_t, device_id),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_mqtt_tenant_id"), NULL,
      ngx_stream_tb_mqtt_variable_str,
      offsetof(ngx_stream_tb_mqtt_ctx_t, tenant_id),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_mqtt_client_id"), NULL,
      ngx_stream_tb_mqtt_variable_str,
      offsetof(ngx_stream_tb_mqtt_ctx_t, client_id),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_mqtt_version"), NULL,
      ngx_stream_tb_mqtt_variable_version, 0,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("tb_mqtt_refused"), NULL,
      ngx_stream_tb_mqtt_variable_refused, 0,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

      ngx_stream_null_variable
};


ngx_int_t
ngx_stream_tb_mqtt_add_variables(ngx_conf_t *cf)
{
    ngx_stream_variable_t  *var, *v;

    for (v = ngx_stream_tb_mqtt_variables; v->name.len; v++) {
        var = ngx_stream_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_variable_str(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                 *str;
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    str = (ngx_str_t *) ((u_char *) ctx + data);

    return ngx_stream_tb_mqtt_variable_set(v, str->data, str->len);
}


static ngx_int_t
ngx_stream_tb_mqtt_variable_version(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    static ngx_str_t  versions[] = {
        ngx_string("3.1"),
        ngx_string("3.1.1"),
        ngx_string("5")
    };

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (ctx == NULL
        || ctx->version < NGX_STREAM_TB_MQTT_31
        || ctx->version > NGX_STREAM_TB_MQTT_5)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_stream_tb_mqtt_variable_set(v,
                         versions[ctx->version - NGX_STREAM_TB_MQTT_31].data,
                         versions[ctx->version - NGX_STREAM_TB_MQTT_31].len);
}


static ngx_int_t
ngx_stream_tb_mqtt_variable_refused(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_stream_tb_mqtt_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (ctx == NULL || ctx->refused == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_stream_tb_mqtt_variable_set(v, (u_char *) ctx->refused,
                                           ngx_strlen(ctx->refused));
}


static ngx_int_t
ngx_stream_tb_mqtt_variable_set(ngx_stream_variable_value_t *v,
    const u_char *p, size_t len)
{
    if (len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = len;
    v->data = (u_char *) p;

    return NGX_OK;
}
