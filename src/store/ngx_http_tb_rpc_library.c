
/*
 * The handshake above the connection: the Redis belongs to our number of
 * shards, the function library is there and not older than ours, it is a
 * master that keeps what it is given, and the functions know our settings.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_node.h"

#include "ngx_http_tb_rpc_lua.h"


#define NGX_HTTP_TB_RPC_SCHEMA        "2"
#define NGX_HTTP_TB_RPC_LOADS         3

#define NGX_HTTP_TB_RPC_VERSION_MARK  "local VERSION = "


static void ngx_http_tb_rpc_setup_command(ngx_http_tb_rpc_library_t *lib,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);
static void ngx_http_tb_rpc_setup_meta(ngx_http_tb_rpc_library_t *lib);
static void ngx_http_tb_rpc_setup_meta_written(void *data,
    ngx_uint_t status, redisReply *reply);
static void ngx_http_tb_rpc_setup_meta_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_setup_waiting(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_setup_meta_refused(ngx_http_tb_rpc_library_t *lib,
    int64_t shards, int64_t schema);
static void ngx_http_tb_rpc_setup_version(ngx_http_tb_rpc_library_t *lib);
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
    lib->moved = 0;

    ngx_http_tb_rpc_setup_meta(lib);
}


static void
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


/*
 * Before the library: one that is older may be in use by an older nginx, whose
 * calls are in this Redis.
 */

static void
ngx_http_tb_rpc_setup_meta(ngx_http_tb_rpc_library_t *lib)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    u_char                     shards[NGX_INT_T_LEN];
    ngx_str_t                  argv[4];
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;
    lib->error.len = 0;

    ngx_http_tb_rpc_key(&argv[1], key, w->conf, NGX_HTTP_TB_RPC_NO_SHARD,
                        "meta", NULL);

    if (!ngx_tb_redis_node_has(lib->node, &argv[1])) {

        if (w->meta) {
            ngx_http_tb_rpc_setup_version(lib);
            return;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, w->log, 0,
                       "tb_rpc: %V waits for the node that has \"meta\"",
                       ngx_tb_redis_node_addr(lib->node));

        lib->waiting = 1;
        return;
    }

    ngx_str_set(&argv[0], "HSETNX");
    ngx_str_set(&argv[2], "shards");
    argv[3].data = shards;
    argv[3].len = ngx_sprintf(shards, "%ui", w->conf->shards) - shards;

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_written);

    ngx_str_set(&argv[2], "schema");
    ngx_str_set(&argv[3], NGX_HTTP_TB_RPC_SCHEMA);

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_written);

    ngx_str_set(&argv[0], "HMGET");
    ngx_str_set(&argv[2], "shards");
    ngx_str_set(&argv[3], "schema");

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_done);
}


/* a full Redis refuses HSETNX also where there is nothing to write */

static void
ngx_http_tb_rpc_setup_meta_written(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    if (status != NGX_TB_REDIS_REPLY || reply->type != REDIS_REPLY_ERROR) {
        return;
    }

    ngx_tb_redis_reply_text(reply, lib->text, &lib->error);
}


static void
ngx_http_tb_rpc_setup_meta_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    int64_t  shards, schema;

    if (ngx_http_tb_rpc_setup_failed(lib, status, reply, "HMGET meta")) {
        return;
    }

    shards = 0;
    schema = 0;

    (void) ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0),
                                  &shards);
    (void) ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1),
                                  &schema);

    if (shards == (int64_t) lib->worker->conf->shards
        && schema == ngx_atoi((u_char *) NGX_HTTP_TB_RPC_SCHEMA,
                              sizeof(NGX_HTTP_TB_RPC_SCHEMA) - 1))
    {
        lib->told_meta = 0;
        lib->told_write = 0;
        lib->worker->meta = 1;

        ngx_http_tb_rpc_setup_version(lib);

    } else {
        lib->worker->meta = 0;

        ngx_http_tb_rpc_setup_meta_refused(lib, shards, schema);
    }

    ngx_http_tb_rpc_setup_waiting(lib->worker);
}


/* those that could not know whether they may go on */

static void
ngx_http_tb_rpc_setup_waiting(ngx_http_tb_rpc_worker_t *w)
{
    ngx_queue_t                *q;
    ngx_http_tb_rpc_node_t     *n;
    ngx_http_tb_rpc_library_t  *lib;

    for (q = ngx_queue_head(&w->nodes);
         q != ngx_queue_sentinel(&w->nodes);
         q = ngx_queue_next(q))
    {
        n = ngx_queue_data(q, ngx_http_tb_rpc_node_t, queue);
        lib = n->library;

        if (!lib->waiting) {
            continue;
        }

        lib->waiting = 0;

        if (w->meta) {
            ngx_http_tb_rpc_setup_version(lib);

        } else {
            ngx_tb_redis_node_refuse(lib->node);
        }
    }
}


static void
ngx_http_tb_rpc_setup_meta_refused(ngx_http_tb_rpc_library_t *lib,
    int64_t shards, int64_t schema)
{
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;

    if (shards == 0 && lib->error.len) {

        if (!lib->told_write) {
            lib->told_write = 1;

            ngx_log_error(NGX_LOG_ERR, w->log, 0,
                          "tb_rpc: \"%Vmeta\" is missing and can't be "
                          "written: \"%V\"; no call is taken until then",
                          &w->conf->prefix, &lib->error);
        }

    } else if (!lib->told_meta && schema == 1) {
        lib->told_meta = 1;

        ngx_log_error(NGX_LOG_CRIT, w->log, 0,
                      "tb_rpc: \"%Vmeta\" says schema 1: this Redis has calls "
                      "of an older version, which this one can't read; use "
                      "another \"prefix\" or an empty Redis; no call is taken "
                      "until then", &w->conf->prefix);

    } else if (!lib->told_meta) {
        lib->told_meta = 1;

        ngx_log_error(NGX_LOG_CRIT, w->log, 0,
                      "tb_rpc: \"%Vmeta\" says shards %L, schema %L, but "
                      "this nginx has shards %ui, schema %s: set \"shards\" "
                      "as it was first, or another \"prefix\"; no call is "
                      "taken until then",
                      &w->conf->prefix, shards, schema, w->conf->shards,
                      NGX_HTTP_TB_RPC_SCHEMA);
    }

    ngx_tb_redis_node_refuse(lib->node);
}


static void
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
