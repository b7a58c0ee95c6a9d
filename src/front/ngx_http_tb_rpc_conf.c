
/*
 * Configuration: defaults, inheritance, and what "nginx -t" refuses.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../auth/ngx_http_tb_rpc_auth_conf.h"
#include "../call/ngx_http_tb_rpc_call_conf.h"
#include "../docs/ngx_http_tb_rpc_docs.h"
#include "../login/ngx_http_tb_rpc_login.h"
#include "../store/ngx_http_tb_rpc_library.h"
#include "ngx_http_tb_rpc_front.h"
#include "../share/ngx_tb_rpc_block.h"


#define NGX_HTTP_TB_RPC_MAX_TEXT  (1024 * 1024)


static char *ngx_http_tb_rpc_init_resolver(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);
static char *ngx_http_tb_rpc_check_location(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf);
static void ngx_http_tb_rpc_merge_nameless(ngx_http_tb_rpc_loc_conf_t *prev,
    ngx_http_tb_rpc_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf);
static char *ngx_http_tb_rpc_location_error(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf, const char *text);


void *
ngx_http_tb_rpc_create_main_conf(ngx_conf_t *cf)
{
    ngx_time_t                   *tp;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_tb_rpc_main_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     mcf->redis = NULL;
     *     mcf->prefix = { 0, NULL };
     *     mcf->longest_hold = 0;
     *     mcf->used = 0;
     *     mcf->zone = NULL;
     *     mcf->worker = NULL;
     */

    mcf->shards = NGX_CONF_UNSET_UINT;
    mcf->max_held = NGX_CONF_UNSET_UINT;

    ngx_http_tb_rpc_settings_create(&mcf->settings);
    ngx_http_tb_rpc_login_threads_create(&mcf->login_threads);

    tp = ngx_timeofday();

    mcf->stamp = (uint64_t) tp->sec * 1000 + tp->msec;

    return mcf;
}


char *
ngx_http_tb_rpc_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_tb_rpc_main_conf_t *mcf = conf;

    ngx_conf_init_uint_value(mcf->shards, 128);
    ngx_conf_init_uint_value(mcf->max_held, 10000);

    ngx_http_tb_rpc_settings_init(&mcf->settings);
    ngx_http_tb_rpc_login_threads_init(&mcf->login_threads);

    if (mcf->redis == NULL) {
        return NGX_CONF_OK;
    }

    return ngx_http_tb_rpc_init_resolver(cf, mcf);
}


static char *
ngx_http_tb_rpc_init_resolver(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf)
{
    ngx_tb_rpc_block_t         block;
    ngx_http_core_loc_conf_t  *clcf;

    /* of http{}: the worker's client belongs to no server */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    block.redis = mcf->redis;

    return ngx_tb_rpc_block_resolver(cf, &block, clcf->resolver,
                                     clcf->resolver_timeout, "http");
}


char *
ngx_http_tb_rpc_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_main_conf_t *mcf = conf;

    char                *rv;
    ngx_tb_rpc_block_t   block;

    ngx_memzero(&block, sizeof(ngx_tb_rpc_block_t));
    ngx_tb_rpc_block_create(&block);

    block.redis = mcf->redis;

    rv = ngx_tb_rpc_block(cf, cmd, &block);

    if (rv == NGX_CONF_OK) {
        mcf->redis = block.redis;
        mcf->prefix = block.prefix;
        mcf->shards = block.shards;
    }

    return rv;
}


void *
ngx_http_tb_rpc_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_tb_rpc_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_tb_rpc_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->api = 0;
     *     conf->device_api = 0;
     *     conf->status = 0;
     *     conf->logins = 0;
     *     conf->docs = NULL;
     *     conf->poll_timeout = 0;
     *     conf->file = NULL;
     *     conf->line = 0;
     */

    ngx_http_tb_rpc_auth_conf_init(&conf->auth);
    ngx_http_tb_rpc_call_conf_init(&conf->call);
    ngx_http_tb_rpc_login_conf_init(&conf->login);

    conf->api_key_cache = NGX_CONF_UNSET_MSEC;

    conf->profile = NGX_CONF_UNSET_UINT;
    conf->validation = NGX_CONF_UNSET_UINT;
    conf->max_payload = NGX_CONF_UNSET_SIZE;
    conf->ignore_client_abort = NGX_CONF_UNSET;
    conf->intercept_errors = NGX_CONF_UNSET;

    return conf;
}


char *
ngx_http_tb_rpc_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_tb_rpc_loc_conf_t *prev = parent;
    ngx_http_tb_rpc_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_http_tb_rpc_auth_conf_merge(&prev->auth, &conf->auth);
    ngx_http_tb_rpc_call_conf_merge(&prev->call, &conf->call);
    ngx_http_tb_rpc_login_conf_merge(&prev->login, &conf->login);

    ngx_conf_merge_msec_value(conf->api_key_cache, prev->api_key_cache, 5000);
    ngx_conf_merge_uint_value(conf->profile, prev->profile,
                              NGX_HTTP_TB_RPC_PROFILE_OPENAPI);
    ngx_conf_merge_size_value(conf->max_payload, prev->max_payload,
                              64 * 1024);
    ngx_conf_merge_value(conf->ignore_client_abort,
                         prev->ignore_client_abort, 0);
    ngx_conf_merge_value(conf->intercept_errors, prev->intercept_errors, 0);

    /*
     * it stays unset where nobody has set it: its default is that of the
     * profile, which a nested location may change
     */

    if (conf->validation == NGX_CONF_UNSET_UINT) {
        conf->validation = prev->validation;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (ngx_http_tb_rpc_occupied(conf) == NULL) {

        if (clcf->noname) {
            ngx_http_tb_rpc_merge_nameless(prev, conf, clcf);
        }

        return NGX_CONF_OK;
    }

    return ngx_http_tb_rpc_check_location(cf, conf);
}


/* "if" and "limit_except" in a location that is ours */

static void
ngx_http_tb_rpc_merge_nameless(ngx_http_tb_rpc_loc_conf_t *prev,
    ngx_http_tb_rpc_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf)
{
    conf->api = prev->api;
    conf->device_api = prev->device_api;
    conf->poll_timeout = prev->poll_timeout;
    conf->status = prev->status;
    conf->logins = prev->logins;
    conf->docs = prev->docs;

    if (clcf->lmt_excpt && clcf->handler == NULL) {
        clcf->handler = ngx_http_tb_rpc_content(conf);
    }
}


static char *
ngx_http_tb_rpc_check_location(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf)
{
    const char                   *error;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler != ngx_http_tb_rpc_content(conf)) {
        return ngx_http_tb_rpc_location_error(cf, conf,
                                      "can't be in a location with another "
                                      "content handler, as \"proxy_pass\"");
    }

    if (ngx_http_tb_rpc_docs_note(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);

    if (mcf->redis == NULL) {
        return ngx_http_tb_rpc_location_error(cf, conf,
                                      "needs a \"tb_rpc_redis\" block");
    }

    if (conf->device_api || conf->status || conf->docs) {

        /* devices have their own credentials, and their own time */

        return NGX_CONF_OK;
    }

    if (conf->logins) {
        error = ngx_http_tb_rpc_login_conf_check(cf, conf);

        return error ? ngx_http_tb_rpc_location_error(cf, conf, error)
                     : NGX_CONF_OK;
    }

    error = ngx_http_tb_rpc_call_conf_check(&conf->call);

    if (error == NULL) {
        error = ngx_http_tb_rpc_auth_conf_check(cf, &conf->auth);
    }

    if (error) {
        return ngx_http_tb_rpc_location_error(cf, conf, error);
    }

    mcf->longest_hold = ngx_max(mcf->longest_hold, conf->call.max_timeout);

    return NGX_CONF_OK;
}


/* locations are merged when the line of tb_rpc is long past */

static char *
ngx_http_tb_rpc_location_error(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf, const char *text)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"tb_rpc%s\" %s in %s:%ui",
                  conf->device_api ? "_device_api"
                                   : conf->status ? "_status"
                                   : conf->logins ? "_login"
                                   : conf->docs ? "_docs" : "",
                  text, conf->file, conf->line);

    return NGX_CONF_ERROR;
}


char *
ngx_http_tb_rpc_check_time(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *msp = data;

    return *msp ? NGX_CONF_OK : "must be greater than zero";
}


char *
ngx_http_tb_rpc_check_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t *sp = data;

    if (*sp == 0 || *sp > NGX_HTTP_TB_RPC_MAX_TEXT) {
        return "must be greater than zero and at most 1m";
    }

    return NGX_CONF_OK;
}
