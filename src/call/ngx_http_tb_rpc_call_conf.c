
/*
 * What a location is configured with for calls.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_call_conf.h"


void
ngx_http_tb_rpc_call_conf_init(ngx_http_tb_rpc_call_conf_t *conf)
{
    conf->min_timeout = NGX_CONF_UNSET_MSEC;
    conf->default_timeout = NGX_CONF_UNSET_MSEC;
    conf->max_timeout = NGX_CONF_UNSET_MSEC;
    conf->max_expiration = NGX_CONF_UNSET;
    conf->offline = NGX_CONF_UNSET_UINT;
}


void
ngx_http_tb_rpc_call_conf_merge(ngx_http_tb_rpc_call_conf_t *prev,
    ngx_http_tb_rpc_call_conf_t *conf)
{
    ngx_conf_merge_msec_value(conf->min_timeout, prev->min_timeout, 5000);
    ngx_conf_merge_msec_value(conf->default_timeout, prev->default_timeout,
                              10000);
    ngx_conf_merge_msec_value(conf->max_timeout, prev->max_timeout, 60000);
    ngx_conf_merge_sec_value(conf->max_expiration, prev->max_expiration, 0);
    ngx_conf_merge_uint_value(conf->offline, prev->offline,
                              NGX_HTTP_TB_RPC_OFFLINE_WAIT);
}


const char *
ngx_http_tb_rpc_call_conf_check(ngx_http_tb_rpc_call_conf_t *conf)
{
    if (conf->min_timeout > conf->max_timeout) {
        return "has a \"tb_rpc_min_timeout\" above its "
               "\"tb_rpc_max_timeout\"";
    }

    return NULL;
}
