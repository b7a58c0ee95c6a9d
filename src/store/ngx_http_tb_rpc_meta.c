
/*
 * The first step of the handshake: the Redis belongs to our number of shards
 * and is of our schema, as "tb:meta" says.  Of a cluster one node has it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_node.h"


static void ngx_http_tb_rpc_setup_elsewhere(ngx_http_tb_rpc_library_t *lib);
static void ngx_http_tb_rpc_setup_shards(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_setup_meta_written(void *data,
    ngx_uint_t status, redisReply *reply);
static void ngx_http_tb_rpc_setup_meta_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_setup_waiting(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_setup_meta_refused(ngx_http_tb_rpc_library_t *lib,
    int64_t shards, int64_t schema);


/*
 * Before the library: one that is older may be in use by an older nginx, whose
 * calls are in this Redis.
 */

void
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
        ngx_http_tb_rpc_setup_elsewhere(lib);
        return;
    }

    ngx_str_set(&argv[0], "HSETNX");
    ngx_str_set(&argv[2], "shards");
    argv[3].data = shards;
    argv[3].len = ngx_sprintf(shards, "%ui", w->conf->shards) - shards;

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_written);

    ngx_str_set(&argv[2], "schema");
    ngx_str_set(&argv[3], ngx_value(TB_RPC_SCHEMA));

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_written);

    ngx_str_set(&argv[0], "HMGET");
    ngx_str_set(&argv[2], "shards");
    ngx_str_set(&argv[3], "schema");

    ngx_http_tb_rpc_setup_command(lib, argv, 4,
                                  ngx_http_tb_rpc_setup_meta_done);
}


/*
 * "tb:meta" is another node's, which may be away: the settings of a shard here
 * say how many shards there are as well, once they have been written.
 */

static void
ngx_http_tb_rpc_setup_elsewhere(ngx_http_tb_rpc_library_t *lib)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[3];
    ngx_uint_t                 i;
    ngx_http_tb_rpc_worker_t  *w;

    w = lib->worker;

    if (w->meta) {
        ngx_http_tb_rpc_setup_version(lib);
        return;
    }

    for (i = 0; i < w->conf->shards; i++) {

        if (ngx_tb_redis_channel_node(&w->redis, i) == lib->node) {
            ngx_str_set(&argv[0], "HGET");
            ngx_http_tb_rpc_key(&argv[1], key, w->conf, i, "config", NULL);
            ngx_str_set(&argv[2], "settings");

            ngx_http_tb_rpc_setup_command(lib, argv, 3,
                                          ngx_http_tb_rpc_setup_shards);
            return;
        }
    }

    lib->waiting = 1;
}


static void
ngx_http_tb_rpc_setup_shards(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_library_t *lib = data;

    u_char     *p, *last, text[sizeof("shards= ") + NGX_INT_T_LEN];
    size_t      len;
    ngx_str_t   settings;

    if (status != NGX_TB_REDIS_REPLY) {
        ngx_tb_redis_node_refuse(lib->node);
        return;
    }

    if (lib->worker->meta) {
        ngx_http_tb_rpc_setup_version(lib);
        return;
    }

    if (ngx_tb_redis_reply_str(reply, &settings) == NGX_OK) {

        len = ngx_sprintf(text, "shards=%ui", lib->worker->conf->shards)
              - text;
        last = settings.data + settings.len;

        for (p = settings.data; (size_t) (last - p) >= len; p++) {

            if ((p == settings.data || p[-1] == ' ')
                && (p + len == last || p[len] == ' ')
                && ngx_memcmp(p, text, len) == 0)
            {
                ngx_http_tb_rpc_setup_version(lib);
                return;
            }
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, lib->worker->log, 0,
                   "tb_rpc: %V waits for the node that has \"meta\"",
                   ngx_tb_redis_node_addr(lib->node));

    lib->waiting = 1;
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
        && schema == TB_RPC_SCHEMA)
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
                      "this nginx has shards %ui, schema %d: set \"shards\" "
                      "as it was first, or another \"prefix\"; no call is "
                      "taken until then",
                      &w->conf->prefix, shards, schema, w->conf->shards,
                      TB_RPC_SCHEMA);
    }

    ngx_tb_redis_node_refuse(lib->node);
}
