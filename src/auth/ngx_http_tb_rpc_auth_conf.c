
/*
 * What a location is configured with for auth.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_auth_conf.h"
#include "ngx_http_tb_rpc_jwt.h"


typedef struct {
    ngx_str_t   name;
    size_t      offset;
} ngx_http_tb_rpc_identity_param_t;


static ngx_http_complex_value_t *ngx_http_tb_rpc_complex_value(
    ngx_conf_t *cf, u_char *data, size_t len);


/* of tb_rpc_identity */

static ngx_http_tb_rpc_identity_param_t  ngx_http_tb_rpc_identity_params[] = {

    { ngx_string("tenant="),
      offsetof(ngx_http_tb_rpc_auth_conf_t, tenant) },

    { ngx_string("customer="),
      offsetof(ngx_http_tb_rpc_auth_conf_t, customer) },

    { ngx_string("user="),
      offsetof(ngx_http_tb_rpc_auth_conf_t, user) },

    { ngx_string("authority="),
      offsetof(ngx_http_tb_rpc_auth_conf_t, authority) },

    { ngx_null_string, 0 }
};


void
ngx_http_tb_rpc_auth_conf_init(ngx_http_tb_rpc_auth_conf_t *conf)
{
    conf->on = NGX_CONF_UNSET;

    conf->tenant = NGX_CONF_UNSET_PTR;
    conf->customer = NGX_CONF_UNSET_PTR;
    conf->user = NGX_CONF_UNSET_PTR;
    conf->authority = NGX_CONF_UNSET_PTR;

    conf->jwt_keys = NGX_CONF_UNSET_PTR;
    conf->jwt_alg = NGX_CONF_UNSET_UINT;
    conf->jwt_leeway = NGX_CONF_UNSET;

    conf->api_keys = NGX_CONF_UNSET;
}


void
ngx_http_tb_rpc_auth_conf_merge(ngx_http_tb_rpc_auth_conf_t *prev,
    ngx_http_tb_rpc_auth_conf_t *conf)
{
    ngx_conf_merge_value(conf->on, prev->on, 1);

    /* one directive: all of it is inherited or nothing */

    if (conf->tenant == NGX_CONF_UNSET_PTR) {
        ngx_conf_merge_ptr_value(conf->tenant, prev->tenant, NULL);
        ngx_conf_merge_ptr_value(conf->customer, prev->customer, NULL);
        ngx_conf_merge_ptr_value(conf->user, prev->user, NULL);
        ngx_conf_merge_ptr_value(conf->authority, prev->authority, NULL);
    }

    ngx_conf_merge_ptr_value(conf->jwt_keys, prev->jwt_keys, NULL);
    ngx_conf_merge_uint_value(conf->jwt_alg, prev->jwt_alg,
                              NGX_HTTP_TB_RPC_HS512);
    ngx_conf_merge_sec_value(conf->jwt_leeway, prev->jwt_leeway, 0);
    ngx_conf_merge_str_value(conf->jwt_issuer, prev->jwt_issuer, "");

    ngx_conf_merge_value(conf->api_keys, prev->api_keys, 0);
}


const char *
ngx_http_tb_rpc_auth_conf_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_auth_conf_t *conf)
{
    if (!conf->on) {
        return conf->tenant ? NULL : "has \"tb_rpc_auth off\" without "
                                     "\"tb_rpc_identity\"";
    }

    if (conf->jwt_keys == NULL && !conf->api_keys) {
        return "needs \"tb_rpc_jwt_key\", \"tb_rpc_api_keys on\", or "
               "\"tb_rpc_auth off\" with \"tb_rpc_identity\"";
    }

    if (conf->jwt_keys
        && ngx_http_tb_rpc_jwt_check_keys(cf, conf) != NGX_CONF_OK)
    {
        return "has an unusable \"tb_rpc_jwt_key\"";
    }

    return NULL;
}


char *
ngx_http_tb_rpc_identity(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char *p = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_complex_value_t         **cv;
    ngx_http_tb_rpc_auth_conf_t       *acf;
    ngx_http_tb_rpc_identity_param_t  *param;

    acf = (ngx_http_tb_rpc_auth_conf_t *) (p + cmd->offset);

    if (acf->tenant != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    acf->tenant = NULL;
    acf->customer = NULL;
    acf->user = NULL;
    acf->authority = NULL;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        for (param = ngx_http_tb_rpc_identity_params;
             param->name.len;
             param++)
        {
            if (value[i].len >= param->name.len
                && ngx_strncmp(value[i].data, param->name.data,
                               param->name.len)
                   == 0)
            {
                break;
            }
        }

        if (param->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (value[i].len == param->name.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "empty parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        cv = (ngx_http_complex_value_t **) ((char *) acf + param->offset);

        if (*cv) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        *cv = ngx_http_tb_rpc_complex_value(cf,
                                            value[i].data + param->name.len,
                                            value[i].len - param->name.len);
        if (*cv == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return acf->tenant ? NGX_CONF_OK : "needs a parameter \"tenant=\"";
}


static ngx_http_complex_value_t *
ngx_http_tb_rpc_complex_value(ngx_conf_t *cf, u_char *data, size_t len)
{
    ngx_str_t                          text;
    ngx_http_complex_value_t          *cv;
    ngx_http_compile_complex_value_t   ccv;

    cv = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (cv == NULL) {
        return NULL;
    }

    text.data = data;
    text.len = len;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &text;
    ccv.complex_value = cv;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NULL;
    }

    return cv;
}
