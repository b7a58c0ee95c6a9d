
/*
 * ngx_stream_tb_mqtt_module: devices made for ThingsBoard, in front of any MQTT
 * broker.
 *
 * This file holds the directives, the phases and the life of the module; what
 * it does is in src/mqtt, see docs/design.md.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "src/mqtt/ngx_stream_tb_mqtt_conf.h"
#include "src/mqtt/ngx_stream_tb_mqtt_worker.h"
#include "src/ngx_http_tb_rpc_version.h"


#define NGX_STREAM_TB_MQTT_ANY_CONF  (NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF)


static ngx_int_t ngx_stream_tb_mqtt_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_stream_tb_mqtt_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_stream_tb_mqtt_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_stream_tb_mqtt_init_process(ngx_cycle_t *cycle);
static void ngx_stream_tb_mqtt_exit_process(ngx_cycle_t *cycle);


static ngx_conf_bitmask_t  ngx_stream_tb_mqtt_logins[] = {
    { ngx_string("token"), NGX_STREAM_TB_MQTT_BY_TOKEN },
    { ngx_string("basic"), NGX_STREAM_TB_MQTT_BY_BASIC },
    { ngx_string("certificate"), NGX_STREAM_TB_MQTT_BY_CERTIFICATE },
    { ngx_null_string, 0 }
};


static ngx_conf_post_t  ngx_stream_tb_mqtt_ttl_post = {
    ngx_stream_tb_mqtt_check_ttl
};


static ngx_conf_post_t  ngx_stream_tb_mqtt_head_post = {
    ngx_stream_tb_mqtt_check_head
};


static ngx_conf_post_t  ngx_stream_tb_mqtt_packet_post = {
    ngx_stream_tb_mqtt_check_packet
};


static ngx_command_t  ngx_stream_tb_mqtt_commands[] = {

    { ngx_string("tb_rpc_redis"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS,
      ngx_tb_rpc_block,
      NGX_STREAM_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_mqtt"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_tb_mqtt,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_mqtt_login"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, login),
      &ngx_stream_tb_mqtt_logins },

    { ngx_string("tb_mqtt_map"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE2,
      ngx_stream_tb_mqtt_map,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_mqtt_username"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_stream_set_complex_value_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, username),
      NULL },

    { ngx_string("tb_mqtt_password_file"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_stream_tb_mqtt_password_file,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_mqtt_max_packet"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, max_packet),
      &ngx_stream_tb_mqtt_packet_post },

    { ngx_string("tb_mqtt_head_size"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, head_size),
      &ngx_stream_tb_mqtt_head_post },

    { ngx_string("tb_mqtt_cache"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, cache),
      NULL },

    { ngx_string("tb_mqtt_refuse_delay"),
      NGX_STREAM_TB_MQTT_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_srv_conf_t, delay),
      NULL },

    { ngx_string("tb_mqtt_session_ttl"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_tb_mqtt_main_conf_t, session_ttl),
      &ngx_stream_tb_mqtt_ttl_post },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_tb_mqtt_module_ctx = {
    ngx_stream_tb_mqtt_preconfiguration,   /* preconfiguration */
    ngx_stream_tb_mqtt_postconfiguration,  /* postconfiguration */

    ngx_stream_tb_mqtt_create_main_conf,   /* create main configuration */
    ngx_stream_tb_mqtt_init_main_conf,     /* init main configuration */

    ngx_stream_tb_mqtt_create_srv_conf,    /* create server configuration */
    ngx_stream_tb_mqtt_merge_srv_conf      /* merge server configuration */
};


ngx_module_t  ngx_stream_tb_mqtt_module = {
    NGX_MODULE_V1,
    &ngx_stream_tb_mqtt_module_ctx,        /* module context */
    ngx_stream_tb_mqtt_commands,           /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    ngx_stream_tb_mqtt_init_module,        /* init module */
    ngx_stream_tb_mqtt_init_process,       /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_stream_tb_mqtt_exit_process,       /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_stream_tb_mqtt_preconfiguration(ngx_conf_t *cf)
{
    /* as in the HTTP module: another one may bring a hiredis of its own */

    if (ngx_tb_redis_check_library(cf->log) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_stream_tb_mqtt_add_variables(cf);
}


static ngx_int_t
ngx_stream_tb_mqtt_postconfiguration(ngx_conf_t *cf)
{
    ngx_array_t                     *handlers;
    ngx_stream_handler_pt           *h;
    ngx_stream_core_main_conf_t     *cmcf;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_tb_mqtt_module);

    if (!mcf->used) {
        return NGX_OK;
    }

    if (ngx_stream_tb_mqtt_check_listen(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_PREREAD_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_tb_mqtt_preread_handler;

    /* these run from the first to the last, which writes the log */

    handlers = &cmcf->phases[NGX_STREAM_LOG_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;

    ngx_memmove(&h[1], &h[0],
                (handlers->nelts - 1) * sizeof(ngx_stream_handler_pt));

    h[0] = ngx_stream_tb_mqtt_log_handler;

    ngx_stream_tb_mqtt_next_filter = ngx_stream_top_filter;
    ngx_stream_top_filter = ngx_stream_tb_mqtt_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_init_module(ngx_cycle_t *cycle)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                ngx_stream_tb_mqtt_module);

    if (mcf == NULL || !mcf->used) {
        return NGX_OK;
    }

    /* nothing of a cycle fails behind this */

    mcf->top_filter = ngx_stream_top_filter;
    mcf->next_filter = ngx_stream_tb_mqtt_next_filter;

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "tb_mqtt: ngx_stream_tb_mqtt_module "
                  NGX_HTTP_TB_RPC_VERSION);

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_init_process(ngx_cycle_t *cycle)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    /* cache manager and loader come here too */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                ngx_stream_tb_mqtt_module);

    if (mcf == NULL || !mcf->used) {
        return NGX_OK;
    }

    /*
     * Phases belong to a cycle, filters to the process: those of the master
     * may be of a later configuration, which has failed, and has no filter of
     * ours.
     */

    ngx_stream_top_filter = mcf->top_filter;
    ngx_stream_tb_mqtt_next_filter = mcf->next_filter;

    /* otherwise it is made, and may fail again, on first use */

    if (ngx_stream_tb_mqtt_worker(mcf) == NULL) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "tb_mqtt: could not prepare the worker");
    }

    return NGX_OK;
}


static void
ngx_stream_tb_mqtt_exit_process(ngx_cycle_t *cycle)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                ngx_stream_tb_mqtt_module);

    if (mcf) {
        ngx_stream_tb_mqtt_worker_close(mcf);
    }
}
