
/*
 * What a location is configured with for logins.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../auth/ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_login.h"
#include "ngx_http_tb_rpc_login_request.h"


/* so that a session is not known for ever */
#define NGX_HTTP_TB_RPC_LOGIN_MAX_TIME  (365 * 24 * 60 * 60)


typedef struct {
    ngx_str_t                        name;
    size_t                           offset;
    ngx_uint_t                       time;      /* in ms, of a msec_t */
    ngx_uint_t                       min;
    ngx_uint_t                       max;
} ngx_http_tb_rpc_login_param_t;


static char *ngx_http_tb_rpc_login_params(ngx_conf_t *cf, void *conf,
    ngx_http_tb_rpc_login_param_t *params);


static ngx_http_tb_rpc_login_param_t  ngx_http_tb_rpc_scrypt_params[] = {

    { ngx_string("ln="),
      offsetof(ngx_http_tb_rpc_login_conf_t, scrypt.ln), 0, 10, 20 },

    { ngx_string("r="),
      offsetof(ngx_http_tb_rpc_login_conf_t, scrypt.r), 0, 1, 32 },

    { ngx_string("p="),
      offsetof(ngx_http_tb_rpc_login_conf_t, scrypt.p), 0, 1, 16 },

    { ngx_null_string, 0, 0, 0, 0 }
};


static ngx_http_tb_rpc_login_param_t  ngx_http_tb_rpc_failures_params[] = {

    { ngx_string("user="),
      offsetof(ngx_http_tb_rpc_login_conf_t, user_failures),
      0, 1, 1000000 },

    { ngx_string("address="),
      offsetof(ngx_http_tb_rpc_login_conf_t, address_failures),
      0, 1, 1000000 },

    { ngx_string("time="),
      offsetof(ngx_http_tb_rpc_login_conf_t, window),
      1, 1000, 30u * 24 * 60 * 60 * 1000 },

    { ngx_string("delay="),
      offsetof(ngx_http_tb_rpc_login_conf_t, delay), 1, 0, 60000 },

    { ngx_string("max_delay="),
      offsetof(ngx_http_tb_rpc_login_conf_t, max_delay), 1, 0, 60000 },

    { ngx_null_string, 0, 0, 0, 0 }
};


void
ngx_http_tb_rpc_login_conf_init(ngx_http_tb_rpc_login_conf_t *conf)
{
    conf->token_time = NGX_CONF_UNSET;
    conf->refresh_time = NGX_CONF_UNSET;
    conf->max_sessions = NGX_CONF_UNSET_UINT;

    conf->scrypt.ln = NGX_CONF_UNSET_UINT;
    conf->scrypt.r = NGX_CONF_UNSET_UINT;
    conf->scrypt.p = NGX_CONF_UNSET_UINT;

    conf->user_failures = NGX_CONF_UNSET_UINT;
    conf->address_failures = NGX_CONF_UNSET_UINT;
    conf->window = NGX_CONF_UNSET_MSEC;
    conf->delay = NGX_CONF_UNSET_MSEC;
    conf->max_delay = NGX_CONF_UNSET_MSEC;
}


void
ngx_http_tb_rpc_login_conf_merge(ngx_http_tb_rpc_login_conf_t *prev,
    ngx_http_tb_rpc_login_conf_t *conf)
{
    ngx_conf_merge_sec_value(conf->token_time, prev->token_time, 9000);
    ngx_conf_merge_sec_value(conf->refresh_time, prev->refresh_time, 604800);
    ngx_conf_merge_uint_value(conf->max_sessions, prev->max_sessions, 100);

    /* with 16 MB the cost that OWASP asks for */

    ngx_conf_merge_uint_value(conf->scrypt.ln, prev->scrypt.ln, 14);
    ngx_conf_merge_uint_value(conf->scrypt.r, prev->scrypt.r, 8);
    ngx_conf_merge_uint_value(conf->scrypt.p, prev->scrypt.p, 5);

    ngx_conf_merge_uint_value(conf->user_failures, prev->user_failures, 10);
    ngx_conf_merge_uint_value(conf->address_failures, prev->address_failures,
                              100);
    ngx_conf_merge_msec_value(conf->window, prev->window, 15 * 60 * 1000);
    ngx_conf_merge_msec_value(conf->delay, prev->delay, 250);
    ngx_conf_merge_msec_value(conf->max_delay, prev->max_delay, 4000);
}


const char *
ngx_http_tb_rpc_login_conf_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf)
{
#if (NGX_THREADS)

    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    if (conf->auth.jwt_keys == NULL) {
        return "needs \"tb_rpc_jwt_key\", by which it signs";
    }

    if (conf->auth.jwt_alg > NGX_HTTP_TB_RPC_HS512) {
        return "needs a secret to sign by: \"tb_rpc_jwt_alg\" HS256, HS384 or "
               "HS512";
    }

    if (ngx_http_tb_rpc_jwt_check_keys(cf, &conf->auth) != NGX_CONF_OK) {
        return "has an unusable \"tb_rpc_jwt_key\"";
    }

    if (conf->login.token_time < 1 || conf->login.refresh_time < 1
        || conf->login.refresh_time > NGX_HTTP_TB_RPC_LOGIN_MAX_TIME
        || conf->login.token_time > conf->login.refresh_time)
    {
        return "needs a \"tb_rpc_login_token_time\" of 1s at least, and a "
               "\"tb_rpc_login_refresh_time\" that is not below it, nor above "
               "a year";
    }

    if (!ngx_http_tb_rpc_scrypt_is_good(&conf->login.scrypt)) {
        return "has a \"tb_rpc_login_scrypt\" that takes more than 256 MB "
               "for each login";
    }

    if (ngx_http_tb_rpc_scrypt_is_there() != NGX_OK) {
        return "needs scrypt of OpenSSL, which this libcrypto does not have "
               "or does not allow";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_body_buffer_size < NGX_HTTP_TB_RPC_LOGIN_MAX_BODY) {
        return "needs a \"client_body_buffer_size\" of 8k at least: passwords "
               "are not written to the disk";
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);

    return ngx_http_tb_rpc_login_threads_check(cf, &mcf->login_threads);

#else

    return "needs an nginx that was built \"--with-threads\": passwords are "
           "not computed in the event loop";

#endif
}


char *
ngx_http_tb_rpc_login_scrypt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_http_tb_rpc_login_conf_t  *lcf;

    lcf = (ngx_http_tb_rpc_login_conf_t *) (p + cmd->offset);

    if (lcf->scrypt.ln != NGX_CONF_UNSET_UINT
        || lcf->scrypt.r != NGX_CONF_UNSET_UINT
        || lcf->scrypt.p != NGX_CONF_UNSET_UINT)
    {
        return "is duplicate";
    }

    return ngx_http_tb_rpc_login_params(cf, lcf,
                                        ngx_http_tb_rpc_scrypt_params);
}


char *
ngx_http_tb_rpc_login_failures(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_http_tb_rpc_login_conf_t  *lcf;

    lcf = (ngx_http_tb_rpc_login_conf_t *) (p + cmd->offset);

    if (lcf->user_failures != NGX_CONF_UNSET_UINT
        || lcf->address_failures != NGX_CONF_UNSET_UINT
        || lcf->window != NGX_CONF_UNSET_MSEC
        || lcf->delay != NGX_CONF_UNSET_MSEC
        || lcf->max_delay != NGX_CONF_UNSET_MSEC)
    {
        return "is duplicate";
    }

    return ngx_http_tb_rpc_login_params(cf, lcf,
                                        ngx_http_tb_rpc_failures_params);
}


static char *
ngx_http_tb_rpc_login_params(ngx_conf_t *cf, void *conf,
    ngx_http_tb_rpc_login_param_t *params)
{
    ngx_int_t                       n;
    ngx_str_t                      *value, text;
    ngx_uint_t                      i, *number;
    ngx_http_tb_rpc_login_param_t  *param;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        for (param = params; param->name.len; param++) {
            if (value[i].len > param->name.len
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

        text.data = value[i].data + param->name.len;
        text.len = value[i].len - param->name.len;

        n = param->time ? ngx_parse_time(&text, 0)
                        : ngx_atoi(text.data, text.len);

        number = (ngx_uint_t *) ((char *) conf + param->offset);

        if (n == NGX_ERROR
            || (ngx_uint_t) n < param->min || (ngx_uint_t) n > param->max
            || *number != NGX_CONF_UNSET_UINT)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid or duplicate parameter \"%V\", it "
                               "must be from %ui to %ui%s", &value[i],
                               param->min, param->max,
                               param->time ? " ms" : "");
            return NGX_CONF_ERROR;
        }

        *number = (ngx_uint_t) n;
    }

    return NGX_CONF_OK;
}
