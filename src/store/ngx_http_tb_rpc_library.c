
/*
 * The handshake above the connection, after "tb:meta": the function library is
 * there and not older than ours, it is a master that keeps what it is given,
 * and the functions know our settings.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_node.h"

#include "ngx_http_tb_rpc_lua.h"


#define NGX_HTTP_TB_RPC_LOADS         3

#define NGX_HTTP_TB_RPC_VERSION_MARK  "local VERSION = "


static void ngx_http_tb_rpc_setup_version_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_setup_load(ngx_http_tb_rpc_library_t *lib);
static void ngx_http_tb_rpc_setup_load_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_setup_info(ngx_http_tb_rpc_library_t *lib);
static void ngx_http_tb_rpc_setup_info_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_uint_t ngx_http_tb_rpc_info_is(ngx_str_t *info, const char *line);


/* the version is written in one place only, the library's source */

ngx_http_tb_rpc_library_t *
ngx_http_tb_rpc_library_create(ngx_http_tb_rpc_worker_t *w)
{
    u_char                     *p, *last;
    ngx_http_tb_rpc_library_t  *lib;

    lib = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_library_t));
    if (lib == NULL) {
        return NULL;
    }

    p = ngx_strlcasestrn(ngx_http_tb_rpc_lua,
                         ngx_http_tb_rpc_lua + sizeof(ngx_http_tb_rpc_lua),
                         (u_char *) NGX_HTTP_TB_RPC_VERSION_MARK,
                         sizeof(NGX_HTTP_TB_RPC_VERSION_MARK) - 2);
    if (p == NULL) {
        ngx_log_error(NGX_LOG_ALERT, w->log, 0,
                      "tb_rpc: no version in the embedded library");
        return NULL;
    }

    last = ngx_http_tb_rpc_lua + sizeof(ngx_http_tb_rpc_lua);

    for (p += sizeof(NGX_HTTP_TB_RPC_VERSION_MARK) - 1;
         p < last && *p >= '0' && *p <= '9';
         p++)
    {
        lib->version = lib->version * 10 + (*p - '0');
    }

    lib->worker = w;

    return lib;
}


void
ngx_http_tb_rpc_library_reset(ngx_http_tb_rpc_library_t *lib)
{
    int64_t                    version;
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;
    version = lib->version;

    ngx_memzero(lib, sizeof(ngx_http_tb_rpc_library_t));

    lib->worker = w;
    lib->version = version;
}


void
ngx_http_tb_rpc_setup(ngx_http_tb_rpc_library_t *lib,
    ngx_tb_redis_node_t *node)
{
    lib->node = node;
    lib->loads = 0;
    lib->waiting = 0;
    lib->nmoved = 0;
    lib->told_moved = 0;

    ngx_http_tb_rpc_setup_meta(lib);
}


void
ngx_http_tb_rpc_setup_command(ngx_http_tb_rpc_library_t *lib, ngx_str_t *argv,
    ngx_uint_t argc, ngx_tb_redis_reply_pt handler)
{
    if (ngx_tb_redis_node_command(lib->node, argv, argc,
                                  lib->worker->conf->redis->command_timeout,
                                  NGX_TB_REDIS_SETUP|NGX_TB_REDIS_BACKGROUND,
                                  handler, lib)
        == NULL && handler)
    {
        ngx_tb_redis_node_refuse(lib->node);
    }
}


ngx_uint_t
ngx_http_tb_rpc_setup_failed(ngx_http_tb_rpc_library_t *lib, ngx_uint_t status,
    redisReply *reply, const char *what)
{
    u_char                     text[NGX_TB_REDIS_TEXT];
    uint32_t                   hash;
    ngx_str_t                  error;
    const char                *advice;
    ngx_http_tb_rpc_worker_t  *w;

    if (status != NGX_TB_REDIS_REPLY) {

        /* the client has told why */

        ngx_tb_redis_node_refuse(lib->node);
        return 1;
    }

    if (reply->type != REDIS_REPLY_ERROR) {
        return 0;
    }

    w = lib->worker;

    ngx_tb_redis_reply_text(reply, text, &error);

    /* INFO, which tells the version before, may be denied to us */

    advice = ngx_tb_redis_reply_error(reply) == TB_RPC_REDIS_NO_COMMAND
                 ? ": Redis 7.0 or newer is needed" : "";

    hash = ngx_crc32_long(error.data, error.len) | 1;

    if (hash != lib->told_failed) {
        lib->told_failed = hash;

        ngx_log_error(NGX_LOG_ERR, w->log, 0,
                      "tb_rpc: %s failed in %V: \"%V\"%s; it is tried again "
                      "until it succeeds", what,
                      ngx_tb_redis_node_addr(lib->node), &error, advice);
    }

    ngx_tb_redis_node_refuse(lib->node);

    return 1;
}


void
ngx_http_tb_rpc_setup_version(ngx_http_tb_rpc_library_t *lib)
{
    ngx_str_t  argv[3];

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_version");
    ngx_str_set(&argv[NGX_HTTP_TB_RPC_NUMKEYS], "0");

    ngx_http_tb_rpc_setup_command(lib, argv, NGX_HTTP_TB_RPC_KEY,
                                  ngx_http_tb_rpc_setup_version_done);
}


static void
ngx_http_tb_rpc_setup_version_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    int64_t  version;

    if (status == NGX_TB_REDIS_REPLY
        && ngx_tb_redis_reply_error(reply) == TB_RPC_REDIS_NO_FUNCTION)
    {
        version = -1;

    } else if (ngx_http_tb_rpc_setup_failed(lib, status, reply,
                                            "FCALL tb_rpc_version"))
    {
        return;

    } else if (ngx_tb_redis_reply_int(reply, &version) != NGX_OK) {
        version = -1;
    }

    if (version >= lib->version) {
        ngx_http_tb_rpc_setup_info(lib);
        return;
    }

    /*
     * an older nginx may load its own just now; it asks again and gives
     * way to ours
     */

    if (lib->loads++ < NGX_HTTP_TB_RPC_LOADS) {
        ngx_http_tb_rpc_setup_load(lib);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, lib->worker->log, 0,
                  "tb_rpc: the function library was loaded %d times, but "
                  "its version is still %L and not %L",
                  NGX_HTTP_TB_RPC_LOADS, version, lib->version);

    ngx_tb_redis_node_refuse(lib->node);
}


static void
ngx_http_tb_rpc_setup_load(ngx_http_tb_rpc_library_t *lib)
{
    ngx_str_t  argv[4];

    ngx_str_set(&argv[0], "FUNCTION");
    ngx_str_set(&argv[1], "LOAD");
    ngx_str_set(&argv[2], "REPLACE");
    argv[3].data = ngx_http_tb_rpc_lua;
    argv[3].len = sizeof(ngx_http_tb_rpc_lua);

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_load_done);
}


static void
ngx_http_tb_rpc_setup_load_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  error;

    if (status == NGX_TB_REDIS_REPLY && reply->type == REDIS_REPLY_ERROR) {

        if (!lib->told_version) {
            lib->told_version = 1;

            ngx_tb_redis_reply_text(reply, text, &error);

            ngx_log_error(NGX_LOG_ERR, lib->worker->log, 0,
                          "tb_rpc: the function library is missing or older "
                          "than %L and can't be loaded: \"%V\"; allow "
                          "+function|load to this user, or load the "
                          "build's tb_rpc.lua by tb-rpc-admin",
                          lib->version, &error);
        }

        ngx_tb_redis_node_refuse(lib->node);
        return;
    }

    if (ngx_http_tb_rpc_setup_failed(lib, status, reply, "FUNCTION LOAD")) {
        return;
    }

    lib->told_version = 0;

    ngx_log_error(NGX_LOG_NOTICE, lib->worker->log, 0,
                  "tb_rpc: function library, version %L, loaded",
                  lib->version);

    ngx_http_tb_rpc_setup_version(lib);
}


static void
ngx_http_tb_rpc_setup_info(ngx_http_tb_rpc_library_t *lib)
{
    ngx_str_t  argv[1];

    ngx_str_set(&argv[0], "INFO");

    ngx_http_tb_rpc_setup_command(lib, argv, 1,
                                  ngx_http_tb_rpc_setup_info_done);
}


static void
ngx_http_tb_rpc_setup_info_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    ngx_str_t   info;
    ngx_log_t  *log;

    log = lib->worker->log;

    if (status != NGX_TB_REDIS_REPLY) {
        ngx_tb_redis_node_refuse(lib->node);
        return;
    }

    if (ngx_tb_redis_reply_str(reply, &info) != NGX_OK) {

        /* INFO may be denied to us: then nothing can be said */

        ngx_http_tb_rpc_settings_send(lib);
        return;
    }

    if (ngx_http_tb_rpc_info_is(&info, "role:slave")) {

        if (!lib->told_role) {
            lib->told_role = 1;

            ngx_log_error(NGX_LOG_ERR, log, 0,
                          "tb_rpc: Redis is a replica, the master is needed; "
                          "it is tried again until it is one");
        }

        ngx_tb_redis_node_refuse(lib->node);
        return;
    }

    lib->told_role = 0;

    if (!lib->told_info) {
        lib->told_info = 1;

        if (!ngx_http_tb_rpc_info_is(&info, "maxmemory_policy:noeviction")) {
            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "tb_rpc: Redis may evict calls that were accepted: "
                          "set \"maxmemory-policy noeviction\"");
        }

        if (!ngx_http_tb_rpc_info_is(&info, "aof_enabled:1")) {
            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "tb_rpc: Redis loses accepted calls when it "
                          "restarts: set \"appendonly yes\"");
        }
    }

    ngx_http_tb_rpc_settings_send(lib);
}


/* line is one whole line of INFO */

static ngx_uint_t
ngx_http_tb_rpc_info_is(ngx_str_t *info, const char *line)
{
    u_char  *p, *last;
    size_t   len;

    len = ngx_strlen(line);
    last = info->data + info->len;

    for (p = info->data; (size_t) (last - p) >= len; p++) {

        if (ngx_memcmp(p, line, len) == 0
            && (p == info->data || p[-1] == LF)
            && (p + len == last || p[len] == CR || p[len] == LF))
        {
            return 1;
        }

        p = ngx_strlchr(p, last, LF);
        if (p == NULL) {
            break;
        }
    }

    return 0;
}
