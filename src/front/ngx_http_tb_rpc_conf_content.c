
/*
 * What answers in a location: one of ours, and nobody else.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../device/ngx_http_tb_rpc_device.h"
#include "../docs/ngx_http_tb_rpc_docs.h"
#include "../login/ngx_http_tb_rpc_login.h"
#include "../status/ngx_http_tb_rpc_status.h"
#include "ngx_http_tb_rpc_front.h"


static char *ngx_http_tb_rpc_set_content(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf);


ngx_http_handler_pt
ngx_http_tb_rpc_content(ngx_http_tb_rpc_loc_conf_t *conf)
{
    if (conf->device_api) {
        return ngx_http_tb_rpc_device_handler;
    }

    if (conf->status) {
        return ngx_http_tb_rpc_status_handler;
    }

    if (conf->logins) {
        return ngx_http_tb_rpc_login_handler;
    }

    if (conf->docs) {
        return ngx_http_tb_rpc_docs_handler;
    }

    return conf->api ? ngx_http_tb_rpc_handler : NULL;
}


char *
ngx_http_tb_rpc(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_loc_conf_t *lcf = conf;

    char       *error;
    ngx_str_t  *value;

    if (lcf->api) {
        return "is duplicate";
    }

    error = ngx_http_tb_rpc_occupied(lcf);
    if (error) {
        return error;
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "v1") == 0) {
        lcf->api = NGX_HTTP_TB_RPC_V1;

    } else if (ngx_strcmp(value[1].data, "v2") == 0) {
        lcf->api = NGX_HTTP_TB_RPC_V2;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"tb_rpc\", it must be "
                           "\"v1\" or \"v2\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_tb_rpc_set_content(cf, lcf);
}


char *
ngx_http_tb_rpc_device_api(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_loc_conf_t *lcf = conf;

    char       *error;
    ngx_int_t   ms;
    ngx_str_t  *value;

    if (lcf->device_api) {
        return "is duplicate";
    }

    error = ngx_http_tb_rpc_occupied(lcf);
    if (error) {
        return error;
    }

    lcf->poll_timeout = NGX_HTTP_TB_RPC_POLL_TIMEOUT;

    if (cf->args->nelts == 2) {
        value = cf->args->elts;

        ms = ngx_parse_time(&value[1], 0);

        if (ms == NGX_ERROR || ms == 0 || ms > NGX_HTTP_TB_RPC_POLL_MAX) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in "
                               "\"tb_rpc_device_api\", it must be a time "
                               "from 1ms to 5m", &value[1]);
            return NGX_CONF_ERROR;
        }

        lcf->poll_timeout = (ngx_msec_t) ms;
    }

    lcf->device_api = 1;

    return ngx_http_tb_rpc_set_content(cf, lcf);
}


char *
ngx_http_tb_rpc_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_loc_conf_t *lcf = conf;

    char                         *error;
    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    static ngx_conf_enum_t  forms[] = {
        { ngx_string("json"), NGX_HTTP_TB_RPC_STATUS_JSON },
        { ngx_string("prometheus"), NGX_HTTP_TB_RPC_STATUS_PROMETHEUS },
        { ngx_string("html"), NGX_HTTP_TB_RPC_STATUS_HTML },
        { ngx_string("health"), NGX_HTTP_TB_RPC_STATUS_HEALTH },
        { ngx_null_string, 0 }
    };

    if (lcf->status) {
        return "is duplicate";
    }

    error = ngx_http_tb_rpc_occupied(lcf);
    if (error) {
        return error;
    }

    lcf->status = NGX_HTTP_TB_RPC_STATUS_JSON;

    if (cf->args->nelts == 2) {
        value = cf->args->elts;

        for (i = 0; forms[i].name.len; i++) {
            if (value[1].len == forms[i].name.len
                && ngx_strcmp(value[1].data, forms[i].name.data) == 0)
            {
                break;
            }
        }

        if (forms[i].name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"tb_rpc_status\", "
                               "it must be \"json\", \"prometheus\", "
                               "\"html\" or \"health\"", &value[1]);
            return NGX_CONF_ERROR;
        }

        lcf->status = forms[i].value;
    }

    /* how a worker is needs no memory that is shared */

    if (lcf->status != NGX_HTTP_TB_RPC_STATUS_HEALTH) {
        mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);

        mcf->zone = ngx_http_tb_rpc_zone_add(cf);
        if (mcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return ngx_http_tb_rpc_set_content(cf, lcf);
}


char *
ngx_http_tb_rpc_login(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_loc_conf_t *lcf = conf;

    char  *error;

    if (lcf->logins) {
        return "is duplicate";
    }

    error = ngx_http_tb_rpc_occupied(lcf);
    if (error) {
        return error;
    }

    lcf->logins = 1;

    return ngx_http_tb_rpc_set_content(cf, lcf);
}


char *
ngx_http_tb_rpc_docs(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_loc_conf_t *lcf = conf;

    char  *error;

    if (lcf->docs) {
        return "is duplicate";
    }

    error = ngx_http_tb_rpc_occupied(lcf);
    if (error) {
        return error;
    }

    error = ngx_http_tb_rpc_docs_parse(cf, lcf);
    if (error) {
        return error;
    }

    return ngx_http_tb_rpc_set_content(cf, lcf);
}


char *
ngx_http_tb_rpc_occupied(ngx_http_tb_rpc_loc_conf_t *conf)
{
    if (conf->api) {
        return "can't be in a location with \"tb_rpc\"";
    }

    if (conf->device_api) {
        return "can't be in a location with \"tb_rpc_device_api\"";
    }

    if (conf->status) {
        return "can't be in a location with \"tb_rpc_status\"";
    }

    if (conf->logins) {
        return "can't be in a location with \"tb_rpc_login\"";
    }

    if (conf->docs) {
        return "can't be in a location with \"tb_rpc_docs\"";
    }

    return NULL;
}


/* what another module sets later is found when the location is merged */

static char *
ngx_http_tb_rpc_set_content(ngx_conf_t *cf, ngx_http_tb_rpc_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "can't be in a location with another content handler, "
               "as \"proxy_pass\"";
    }

    clcf->handler = ngx_http_tb_rpc_content(conf);

    conf->file = cf->conf_file->file.name.data;
    conf->line = cf->conf_file->line;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);
    mcf->used = 1;

    return NGX_CONF_OK;
}
