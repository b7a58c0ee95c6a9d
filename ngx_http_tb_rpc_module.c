
/*
 * ngx_http_tb_rpc_module: the ThingsBoard server-side RPC API in nginx.
 *
 * This file holds the directives, the phases and the life of the module, and
 * lists its parts; the content handler is in
 * src/front/ngx_http_tb_rpc_handler.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "src/store/ngx_http_tb_rpc_library.h"
#include "src/auth/ngx_http_tb_rpc_auth_conf.h"
#include "src/auth/ngx_http_tb_rpc_jwt.h"
#include "src/call/ngx_http_tb_rpc_call.h"
#include "src/device/ngx_http_tb_rpc_device.h"
#include "src/docs/ngx_http_tb_rpc_docs.h"
#include "src/login/ngx_http_tb_rpc_login.h"
#include "src/status/ngx_http_tb_rpc_status.h"
#include "src/front/ngx_http_tb_rpc_front.h"
#include "src/ngx_http_tb_rpc_version.h"


#define NGX_HTTP_TB_RPC_ANY_CONF                                              \
    (NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF)


static ngx_int_t ngx_http_tb_rpc_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_tb_rpc_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_tb_rpc_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_tb_rpc_init_process(ngx_cycle_t *cycle);
static void ngx_http_tb_rpc_exit_process(ngx_cycle_t *cycle);


/* in this order they are made, told and closed */

static ngx_http_tb_rpc_part_t  *ngx_http_tb_rpc_parts[] = {
    &ngx_http_tb_rpc_auth_part,
    &ngx_http_tb_rpc_call_part,
    &ngx_http_tb_rpc_device_part,
    &ngx_http_tb_rpc_login_part,
    &ngx_http_tb_rpc_status_part,
    NULL
};


static ngx_conf_enum_t  ngx_http_tb_rpc_profiles[] = {
    { ngx_string("openapi"), NGX_HTTP_TB_RPC_PROFILE_OPENAPI },
    { ngx_string("thingsboard"), NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_tb_rpc_validations[] = {
    { ngx_string("strict"), NGX_HTTP_TB_RPC_STRICT },
    { ngx_string("lenient"), NGX_HTTP_TB_RPC_LENIENT },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_tb_rpc_offlines[] = {
    { ngx_string("wait"), NGX_HTTP_TB_RPC_OFFLINE_WAIT },
    { ngx_string("reject"), NGX_HTTP_TB_RPC_OFFLINE_REJECT },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_http_tb_rpc_retries_bounds = {
    ngx_conf_check_num_bounds, 0, 0x7fffffff
};


static ngx_conf_num_bounds_t  ngx_http_tb_rpc_count_bounds = {
    ngx_conf_check_num_bounds, 1, 0x7fffffff
};


static ngx_conf_num_bounds_t  ngx_http_tb_rpc_sessions_bounds = {
    ngx_conf_check_num_bounds, 1, 1000
};


static ngx_conf_post_t  ngx_http_tb_rpc_time_post = {
    ngx_http_tb_rpc_check_time
};


static ngx_conf_post_t  ngx_http_tb_rpc_due_post = {
    ngx_http_tb_rpc_check_due
};


static ngx_conf_post_t  ngx_http_tb_rpc_size_post = {
    ngx_http_tb_rpc_check_size
};


static ngx_command_t  ngx_http_tb_rpc_commands[] = {

    { ngx_string("tb_rpc_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS,
      ngx_http_tb_rpc_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_max_retries"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.max_retries),
      &ngx_http_tb_rpc_retries_bounds },

    { ngx_string("tb_rpc_ack_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.ack_timeout),
      &ngx_http_tb_rpc_due_post },

    { ngx_string("tb_rpc_response_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.response_timeout),
      &ngx_http_tb_rpc_due_post },

    { ngx_string("tb_rpc_record_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.record_ttl),
      NULL },

    { ngx_string("tb_rpc_strategy"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.strategy),
      &ngx_http_tb_rpc_strategies },

    { ngx_string("tb_rpc_events"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.events),
      NULL },

    { ngx_string("tb_rpc_max_pending"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.max_pending),
      &ngx_http_tb_rpc_count_bounds },

    { ngx_string("tb_rpc_max_records"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.max_records),
      &ngx_http_tb_rpc_count_bounds },

    { ngx_string("tb_rpc_max_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.max_queue),
      &ngx_http_tb_rpc_count_bounds },

    { ngx_string("tb_rpc_max_response"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, settings.max_response),
      &ngx_http_tb_rpc_size_post },

    { ngx_string("tb_rpc_max_held"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, max_held),
      &ngx_http_tb_rpc_count_bounds },

    { ngx_string("tb_rpc"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_tb_rpc,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_auth"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth.on),
      NULL },

    { ngx_string("tb_rpc_identity"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1234,
      ngx_http_tb_rpc_identity,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth),
      NULL },

    { ngx_string("tb_rpc_jwt_key"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_tb_rpc_jwt_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth),
      NULL },

    { ngx_string("tb_rpc_device_api"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_tb_rpc_device_api,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_tb_rpc_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_login"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_tb_rpc_login,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_docs"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE12,
      ngx_http_tb_rpc_docs,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tb_rpc_login_token_time"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, login.token_time),
      NULL },

    { ngx_string("tb_rpc_login_refresh_time"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, login.refresh_time),
      NULL },

    { ngx_string("tb_rpc_login_sessions"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, login.max_sessions),
      &ngx_http_tb_rpc_sessions_bounds },

    { ngx_string("tb_rpc_login_scrypt"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_tb_rpc_login_scrypt,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, login),
      NULL },

    { ngx_string("tb_rpc_login_failures"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_tb_rpc_login_failures,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, login),
      NULL },

    { ngx_string("tb_rpc_login_threads"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1234,
      ngx_http_tb_rpc_login_threads,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_main_conf_t, login_threads),
      NULL },

    { ngx_string("tb_rpc_jwt_alg"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth.jwt_alg),
      &ngx_http_tb_rpc_jwt_algs },

    { ngx_string("tb_rpc_jwt_leeway"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth.jwt_leeway),
      NULL },

    { ngx_string("tb_rpc_jwt_issuer"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth.jwt_issuer),
      NULL },

    { ngx_string("tb_rpc_api_keys"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, auth.api_keys),
      NULL },

    { ngx_string("tb_rpc_api_key_cache"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, api_key_cache),
      NULL },

    { ngx_string("tb_rpc_profile"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, profile),
      &ngx_http_tb_rpc_profiles },

    { ngx_string("tb_rpc_validation"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, validation),
      &ngx_http_tb_rpc_validations },

    { ngx_string("tb_rpc_min_timeout"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, call.min_timeout),
      NULL },

    { ngx_string("tb_rpc_default_timeout"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, call.default_timeout),
      &ngx_http_tb_rpc_time_post },

    { ngx_string("tb_rpc_max_timeout"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, call.max_timeout),
      &ngx_http_tb_rpc_time_post },

    { ngx_string("tb_rpc_max_expiration"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, call.max_expiration),
      NULL },

    { ngx_string("tb_rpc_max_payload"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, max_payload),
      &ngx_http_tb_rpc_size_post },

    { ngx_string("tb_rpc_offline"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, call.offline),
      &ngx_http_tb_rpc_offlines },

    { ngx_string("tb_rpc_ignore_client_abort"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, ignore_client_abort),
      NULL },

    { ngx_string("tb_rpc_intercept_errors"),
      NGX_HTTP_TB_RPC_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_tb_rpc_loc_conf_t, intercept_errors),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_tb_rpc_module_ctx = {
    ngx_http_tb_rpc_preconfiguration,      /* preconfiguration */
    ngx_http_tb_rpc_postconfiguration,     /* postconfiguration */

    ngx_http_tb_rpc_create_main_conf,      /* create main configuration */
    ngx_http_tb_rpc_init_main_conf,        /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_tb_rpc_create_loc_conf,       /* create location configuration */
    ngx_http_tb_rpc_merge_loc_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_tb_rpc_module = {
    NGX_MODULE_V1,
    &ngx_http_tb_rpc_module_ctx,           /* module context */
    ngx_http_tb_rpc_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_tb_rpc_init_module,           /* init module */
    ngx_http_tb_rpc_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_tb_rpc_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_tb_rpc_preconfiguration(ngx_conf_t *cf)
{
    /*
     * nginx loads modules with RTLD_GLOBAL: a hiredis that another module
     * exports would be called with the layouts of ours
     */

    if (ngx_tb_redis_check_library(cf->log) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_add_variables(cf);
}


static ngx_int_t
ngx_http_tb_rpc_postconfiguration(ngx_conf_t *cf)
{
    ngx_array_t                  *handlers;
    ngx_http_handler_pt          *h;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);

    if (!mcf->used) {
        return NGX_OK;
    }

    mcf->parts = ngx_http_tb_rpc_parts;

    if (ngx_http_tb_rpc_docs_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    handlers = &cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    /*
     * handlers run from the last to the first: ours is to run last, when
     * allow, deny and auth_basic have had their say
     */

    h = handlers->elts;

    ngx_memmove(&h[1], &h[0],
                (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));

    h[0] = ngx_http_tb_rpc_access_handler;

    /* this one is to run first, before limit_req */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tb_rpc_device_preaccess_handler;

    /* these run from the first to the last */

    handlers = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;

    ngx_memmove(&h[1], &h[0],
                (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));

    h[0] = ngx_http_tb_rpc_device_log_handler;

    if (mcf->zone == NULL) {
        return NGX_OK;
    }

    h = ngx_array_push(handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tb_rpc_log_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_init_module(ngx_cycle_t *cycle)
{
    ngx_core_conf_t              *ccf;
    ngx_event_conf_t             *ecf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_tb_rpc_module);

    if (mcf == NULL || !mcf->used) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "tb_rpc: ngx_http_tb_rpc_module "
                  NGX_HTTP_TB_RPC_VERSION);

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (ccf->shutdown_timeout != 0
        && ccf->shutdown_timeout < mcf->longest_hold)
    {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "\"worker_shutdown_timeout\" of %Mms is shorter than "
                      "\"tb_rpc_max_timeout\" of %Mms: held calls will be "
                      "cut off on reload",
                      ccf->shutdown_timeout, mcf->longest_hold);
    }

    ecf = ngx_event_get_conf(cycle->conf_ctx, ngx_event_core_module);

    if (ecf->connections < mcf->max_held) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "%ui \"worker_connections\" are less than "
                      "\"tb_rpc_max_held\" of %ui: each held call needs a "
                      "connection", ecf->connections, mcf->max_held);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_init_process(ngx_cycle_t *cycle)
{
    ngx_http_tb_rpc_main_conf_t  *mcf;

    /* cache manager and loader come here too */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_tb_rpc_module);

    if (mcf == NULL || !mcf->used) {
        return NGX_OK;
    }

    /* otherwise it is made, and may fail again, on first use */

    if (ngx_http_tb_rpc_worker(mcf) == NULL) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "tb_rpc: could not prepare the worker");
    }

    return NGX_OK;
}


static void
ngx_http_tb_rpc_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_tb_rpc_module);

    if (mcf) {
        ngx_http_tb_rpc_worker_close(mcf);
    }
}
