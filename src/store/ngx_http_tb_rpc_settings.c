
/*
 * The settings that the functions need: what they are by default and, the
 * last step of the handshake, how each shard gets them, with the stamp of this
 * configuration.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_library.h"


typedef struct {
    ngx_str_t    name;
    size_t       offset;
} ngx_http_tb_rpc_setting_t;


static void ngx_http_tb_rpc_settings_again(ngx_http_tb_rpc_library_t *lib);
static void ngx_http_tb_rpc_settings_again_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_uint_t ngx_http_tb_rpc_settings_args(ngx_http_tb_rpc_worker_t *w,
    ngx_str_t *argv, u_char *buf, u_char *last);
static void ngx_http_tb_rpc_settings_done(void *data, ngx_uint_t status,
    redisReply *reply);


/* all of them are as wide as ngx_uint_t */

static ngx_http_tb_rpc_setting_t  ngx_http_tb_rpc_settings[] = {

    { ngx_string("max_retries"),
      offsetof(ngx_http_tb_rpc_settings_t, max_retries) },

    { ngx_string("ack_timeout"),
      offsetof(ngx_http_tb_rpc_settings_t, ack_timeout) },

    { ngx_string("response_timeout"),
      offsetof(ngx_http_tb_rpc_settings_t, response_timeout) },

    { ngx_string("events"),
      offsetof(ngx_http_tb_rpc_settings_t, events) },

    { ngx_string("max_pending"),
      offsetof(ngx_http_tb_rpc_settings_t, max_pending) },

    { ngx_string("max_records"),
      offsetof(ngx_http_tb_rpc_settings_t, max_records) },

    { ngx_string("max_queue"),
      offsetof(ngx_http_tb_rpc_settings_t, max_queue) },

    { ngx_string("max_response"),
      offsetof(ngx_http_tb_rpc_settings_t, max_response) },

    { ngx_null_string, 0 }
};


/* each at the place of its value */

ngx_conf_enum_t  ngx_http_tb_rpc_strategies[] = {
    { ngx_string("burst"), 0 },
    { ngx_string("sequential_on_ack"), 1 },
    { ngx_string("sequential_on_response"), 2 },
    { ngx_null_string, 0 }
};


void
ngx_http_tb_rpc_settings_create(ngx_http_tb_rpc_settings_t *settings)
{
    settings->max_retries = NGX_CONF_UNSET_UINT;
    settings->ack_timeout = NGX_CONF_UNSET_MSEC;
    settings->response_timeout = NGX_CONF_UNSET_MSEC;
    settings->record_ttl = NGX_CONF_UNSET;
    settings->strategy = NGX_CONF_UNSET_UINT;
    settings->events = NGX_CONF_UNSET;
    settings->max_pending = NGX_CONF_UNSET_UINT;
    settings->max_records = NGX_CONF_UNSET_UINT;
    settings->max_queue = NGX_CONF_UNSET_UINT;
    settings->max_response = NGX_CONF_UNSET_SIZE;
}


void
ngx_http_tb_rpc_settings_init(ngx_http_tb_rpc_settings_t *settings)
{
    ngx_conf_init_uint_value(settings->max_retries, 5);
    ngx_conf_init_msec_value(settings->ack_timeout, 10000);
    ngx_conf_init_msec_value(settings->response_timeout, 30000);
    ngx_conf_init_value(settings->record_ttl, 30 * 24 * 60 * 60);
    ngx_conf_init_uint_value(settings->strategy, 0);
    ngx_conf_init_value(settings->events, 0);
    ngx_conf_init_uint_value(settings->max_pending, 1000);
    ngx_conf_init_uint_value(settings->max_records, 200000);
    ngx_conf_init_uint_value(settings->max_queue, 10000);
    ngx_conf_init_size_value(settings->max_response, 64 * 1024);
}


void
ngx_http_tb_rpc_settings_send(ngx_http_tb_rpc_library_t *lib)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN], buf[256];
    ngx_str_t                  argv[32];
    ngx_uint_t                 i, n;
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;
    lib->configs = 0;

    n = ngx_http_tb_rpc_settings_args(w, argv, buf, buf + sizeof(buf));

    for (i = 0; i < w->conf->shards; i++) {

        if (ngx_tb_redis_channel_node(&w->redis, i) != lib->node) {
            continue;
        }

        ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf, i,
                            "config", NULL);

        if (ngx_tb_redis_node_command(lib->node, argv, n,
                                      w->conf->redis->command_timeout,
                                      NGX_TB_REDIS_SETUP
                                      |NGX_TB_REDIS_BACKGROUND,
                                      ngx_http_tb_rpc_settings_done, lib)
            == NULL)
        {
            ngx_tb_redis_node_refuse(lib->node);
            return;
        }

        lib->shards[lib->configs++] = (uint16_t) i;
    }

    lib->sent = lib->configs;

    if (lib->configs == 0) {
        ngx_tb_redis_node_ready(lib->node);
    }
}


static ngx_uint_t
ngx_http_tb_rpc_settings_args(ngx_http_tb_rpc_worker_t *w, ngx_str_t *argv,
    u_char *buf, u_char *last)
{
    ngx_uint_t                    i, n, value;
    ngx_http_tb_rpc_settings_t   *settings;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = w->conf;
    settings = &mcf->settings;

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_config");

    n = NGX_HTTP_TB_RPC_ARGS;

    argv[n].data = buf;
    buf = ngx_slprintf(buf, last, "%uL", mcf->stamp);
    argv[n].len = buf - argv[n].data;
    n++;

    ngx_str_set(&argv[n], "shards");
    argv[n + 1].data = buf;
    buf = ngx_slprintf(buf, last, "%ui", mcf->shards);
    argv[n + 1].len = buf - argv[n + 1].data;
    n += 2;

    for (i = 0; ngx_http_tb_rpc_settings[i].name.len; i++) {
        value = *(ngx_uint_t *) ((u_char *) settings
                                 + ngx_http_tb_rpc_settings[i].offset);

        argv[n++] = ngx_http_tb_rpc_settings[i].name;
        argv[n].data = buf;
        buf = ngx_slprintf(buf, last, "%ui", value);
        argv[n].len = buf - argv[n].data;
        n++;
    }

    ngx_str_set(&argv[n], "record_ttl");
    argv[n + 1].data = buf;
    buf = ngx_slprintf(buf, last, "%L", (int64_t) settings->record_ttl * 1000);
    argv[n + 1].len = buf - argv[n + 1].data;
    n += 2;

    ngx_str_set(&argv[n], "strategy");
    argv[n + 1] = ngx_http_tb_rpc_strategies[settings->strategy].name;

    return n + 2;
}


static void
ngx_http_tb_rpc_settings_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    int64_t               written;
    tb_rpc_redis_error_e  error;

    if (status == NGX_TB_REDIS_REPLY) {

        error = ngx_tb_redis_reply_error(reply);

        if (error == TB_RPC_REDIS_ELSEWHERE || error == TB_RPC_REDIS_TRYAGAIN)
        {
            lib->moved[lib->nmoved++] = lib->shards[lib->sent - lib->configs];
            goto done;
        }
    }

    if (ngx_http_tb_rpc_setup_failed(lib, status, reply,
                                     "FCALL tb_rpc_config"))
    {
        return;
    }

    written = 1;

    (void) ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0),
                                  &written);

    if (!written && !lib->told_config) {
        lib->told_config = 1;

        ngx_log_error(NGX_LOG_WARN, lib->worker->log, 0,
                      "tb_rpc: another nginx has set other settings for "
                      "this Redis since, they are kept: hosts that share a "
                      "Redis must agree on tb_rpc_max_retries, "
                      "tb_rpc_ack_timeout and so on");
    }

done:

    if (--lib->configs == 0) {
        lib->told_failed = 0;
        ngx_tb_redis_node_ready(lib->node);

        if (lib->nmoved) {
            ngx_http_tb_rpc_settings_again(lib);
        }
    }
}


/* a shard that is on its way is no reason to wait; it gets them where it is */

static void
ngx_http_tb_rpc_settings_again(ngx_http_tb_rpc_library_t *lib)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN], buf[256];
    ngx_str_t                  argv[32];
    ngx_uint_t                 i, n;
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;

    n = ngx_http_tb_rpc_settings_args(w, argv, buf, buf + sizeof(buf));

    for (i = 0; i < lib->nmoved; i++) {

        ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf,
                            lib->moved[i], "config", NULL);

        (void) ngx_tb_redis_command(&w->redis, argv, n,
                                    10 * w->conf->redis->command_timeout,
                                    NGX_TB_REDIS_BACKGROUND
                                    |NGX_TB_REDIS_UNBOUNDED
                                    |NGX_TB_REDIS_REPEAT,
                                    ngx_http_tb_rpc_settings_again_done, lib);
    }
}


static void
ngx_http_tb_rpc_settings_again_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    if ((status == NGX_TB_REDIS_REPLY && reply->type != REDIS_REPLY_ERROR)
        || lib->told_moved
        || lib->worker->redis.state == NULL)
    {
        return;
    }

    lib->told_moved = 1;

    ngx_log_error(NGX_LOG_WARN, lib->worker->log, 0,
                  "tb_rpc: a shard that moves did not get the settings of "
                  "this configuration, it has those before until the next "
                  "reload");
}


/* as in the functions: what is due at once is due for ever */

char *
ngx_http_tb_rpc_check_due(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *msp = data;

    return *msp >= 10 ? NGX_CONF_OK : "must be at least 10ms";
}
