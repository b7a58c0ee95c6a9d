
/*
 * The handshake with Redis.  What is in it is prepared by nginx's HTTP side,
 * whose settings the functions have, so it is only looked at: "tb:meta" is of
 * our schema and number of shards, the function library is not older than what
 * we call, and this is a master.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../../common/tb_rpc_shard.h"
#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_worker.h"


/* what is called is as it has it */
#define NGX_STREAM_TB_MQTT_LIBRARY  7


/* ms: nginx's HTTP side begins at the same time, and has to load a library */

#define NGX_STREAM_TB_MQTT_ASK      100
#define NGX_STREAM_TB_MQTT_PATIENCE 5000


/* of a node, kept for the next one when that goes */

typedef struct {
    ngx_queue_t                   queue;      /* in w->setups */
    ngx_stream_tb_mqtt_worker_t  *worker;
    ngx_tb_redis_node_t          *node;       /* NULL: it has gone */
    ngx_event_t                   again;
    ngx_msec_t                    since;      /* it is not prepared */
    unsigned                      unready:1;
} ngx_stream_tb_mqtt_setup_t;


static ngx_stream_tb_mqtt_setup_t *ngx_stream_tb_mqtt_setup_find(
    ngx_stream_tb_mqtt_worker_t *w, ngx_tb_redis_node_t *node);
static ngx_stream_tb_mqtt_setup_t *ngx_stream_tb_mqtt_setup_create(
    ngx_stream_tb_mqtt_worker_t *w);
static void ngx_stream_tb_mqtt_setup_begin(ngx_stream_tb_mqtt_setup_t *st);
static void ngx_stream_tb_mqtt_setup_again(ngx_event_t *ev);
static ngx_uint_t ngx_stream_tb_mqtt_setup_waits(
    ngx_stream_tb_mqtt_setup_t *st);
static void ngx_stream_tb_mqtt_setup_command(ngx_stream_tb_mqtt_setup_t *st,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);
static ngx_uint_t ngx_stream_tb_mqtt_setup_failed(
    ngx_stream_tb_mqtt_setup_t *st, ngx_uint_t status, redisReply *reply,
    const char *what);
static void ngx_stream_tb_mqtt_setup_meta(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_setup_role(ngx_stream_tb_mqtt_setup_t *st);
static void ngx_stream_tb_mqtt_setup_role_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_setup_version_done(void *data,
    ngx_uint_t status, redisReply *reply);


void
ngx_stream_tb_mqtt_setup(void *data, ngx_tb_redis_node_t *node)
{
    ngx_stream_tb_mqtt_worker_t *w = data;

    ngx_stream_tb_mqtt_setup_t  *st;

    st = ngx_stream_tb_mqtt_setup_find(w, node);

    if (st == NULL) {

        st = ngx_stream_tb_mqtt_setup_find(w, NULL);

        if (st == NULL) {
            st = ngx_stream_tb_mqtt_setup_create(w);
        }

        if (st == NULL) {
            ngx_tb_redis_node_refuse(node);
            return;
        }

        st->node = node;
        st->unready = 0;
    }

    if (st->again.timer_set) {
        ngx_del_timer(&st->again);
    }

    ngx_stream_tb_mqtt_setup_begin(st);
}


void
ngx_stream_tb_mqtt_setup_gone(void *data, ngx_tb_redis_node_t *node)
{
    ngx_stream_tb_mqtt_worker_t *w = data;

    ngx_stream_tb_mqtt_setup_t  *st;

    st = ngx_stream_tb_mqtt_setup_find(w, node);

    if (st) {
        st->node = NULL;

        if (st->again.timer_set) {
            ngx_del_timer(&st->again);
        }
    }
}


void
ngx_stream_tb_mqtt_setups_close(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_queue_t                 *q;
    ngx_stream_tb_mqtt_setup_t  *st;

    for (q = ngx_queue_head(&w->setups);
         q != ngx_queue_sentinel(&w->setups);
         q = ngx_queue_next(q))
    {
        st = ngx_queue_data(q, ngx_stream_tb_mqtt_setup_t, queue);

        if (st->again.timer_set) {
            ngx_del_timer(&st->again);
        }
    }
}


/* NULL finds one that is free */

static ngx_stream_tb_mqtt_setup_t *
ngx_stream_tb_mqtt_setup_find(ngx_stream_tb_mqtt_worker_t *w,
    ngx_tb_redis_node_t *node)
{
    ngx_queue_t                 *q;
    ngx_stream_tb_mqtt_setup_t  *st;

    for (q = ngx_queue_head(&w->setups);
         q != ngx_queue_sentinel(&w->setups);
         q = ngx_queue_next(q))
    {
        st = ngx_queue_data(q, ngx_stream_tb_mqtt_setup_t, queue);

        if (st->node == node) {
            return st;
        }
    }

    return NULL;
}


static ngx_stream_tb_mqtt_setup_t *
ngx_stream_tb_mqtt_setup_create(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_stream_tb_mqtt_setup_t  *st;

    st = ngx_pcalloc(w->pool, sizeof(ngx_stream_tb_mqtt_setup_t));
    if (st == NULL) {
        return NULL;
    }

    st->worker = w;

    /* the dummy's data is the worker, so this one is found by its place */

    st->again.handler = ngx_stream_tb_mqtt_setup_again;
    st->again.data = &w->dummy;
    st->again.log = w->log;
    st->again.cancelable = 1;

    ngx_queue_insert_tail(&w->setups, &st->queue);

    return st;
}


static void
ngx_stream_tb_mqtt_setup_again(ngx_event_t *ev)
{
    ngx_stream_tb_mqtt_setup_begin((ngx_stream_tb_mqtt_setup_t *)
                ((u_char *) ev - offsetof(ngx_stream_tb_mqtt_setup_t, again)));
}


/* 1: it is asked again soon whether it is prepared */

static ngx_uint_t
ngx_stream_tb_mqtt_setup_waits(ngx_stream_tb_mqtt_setup_t *st)
{
    if (!st->unready) {
        st->unready = 1;
        st->since = ngx_current_msec;
    }

    if (ngx_current_msec - st->since >= NGX_STREAM_TB_MQTT_PATIENCE) {
        return 0;
    }

    ngx_add_timer(&st->again, NGX_STREAM_TB_MQTT_ASK);

    return 1;
}


static void
ngx_stream_tb_mqtt_setup_begin(ngx_stream_tb_mqtt_setup_t *st)
{
    u_char                        key[NGX_TB_RPC_KEY_LEN];
    ngx_str_t                     argv[4];
    ngx_tb_redis_node_t          *node;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = st->worker;
    node = st->node;

    ngx_tb_rpc_key(&argv[1], key, &w->conf->block.prefix, NGX_TB_RPC_NO_SHARD,
                   "meta", NULL);

    /* of a cluster one node has it, and until then nobody is let in */

    if (!ngx_tb_redis_node_has(node, &argv[1])) {
        ngx_stream_tb_mqtt_setup_role(st);
        return;
    }

    ngx_str_set(&argv[0], "HMGET");
    ngx_str_set(&argv[2], "shards");
    ngx_str_set(&argv[3], "schema");

    ngx_stream_tb_mqtt_setup_command(st, argv, 4,
                                     ngx_stream_tb_mqtt_setup_meta);
}


static void
ngx_stream_tb_mqtt_setup_command(ngx_stream_tb_mqtt_setup_t *st,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler)
{
    ngx_msec_t  timeout;

    timeout = st->worker->conf->block.redis->command_timeout;

    if (ngx_tb_redis_node_command(st->node, argv, argc, timeout,
                                  NGX_TB_REDIS_SETUP|NGX_TB_REDIS_BACKGROUND,
                                  handler, st)
        == NULL)
    {
        ngx_tb_redis_node_refuse(st->node);
    }
}


static ngx_uint_t
ngx_stream_tb_mqtt_setup_failed(ngx_stream_tb_mqtt_setup_t *st,
    ngx_uint_t status, redisReply *reply, const char *what)
{
    u_char                        text[NGX_TB_REDIS_TEXT];
    ngx_str_t                     error;
    ngx_stream_tb_mqtt_worker_t  *w;

    if (status == NGX_TB_REDIS_REPLY && reply->type != REDIS_REPLY_ERROR) {
        return 0;
    }

    w = st->worker;

    /* otherwise the client has told why */

    if (status == NGX_TB_REDIS_REPLY && !w->told_failed) {
        w->told_failed = 1;

        ngx_tb_redis_reply_text(reply, text, &error);

        ngx_log_error(NGX_LOG_ERR, w->log, 0,
                      "tb_mqtt: %s failed in %V: \"%V\"; it is tried again "
                      "until it succeeds", what,
                      ngx_tb_redis_node_addr(st->node), &error);
    }

    ngx_tb_redis_node_refuse(st->node);

    return 1;
}


static void
ngx_stream_tb_mqtt_setup_meta(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_stream_tb_mqtt_setup_t *st = data;

    int64_t                       shards, schema;
    ngx_stream_tb_mqtt_worker_t  *w;

    if (ngx_stream_tb_mqtt_setup_failed(st, status, reply, "HMGET meta")) {
        return;
    }

    w = st->worker;

    shards = 0;
    schema = 0;

    (void) ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0),
                                  &shards);
    (void) ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1),
                                  &schema);

    if (shards == (int64_t) w->conf->block.shards
        && schema == TB_RPC_SCHEMA)
    {
        w->meta = 1;
        w->told_meta = 0;

        ngx_stream_tb_mqtt_setup_role(st);
        return;
    }

    w->meta = 0;

    if (shards == 0 && schema == 0 && ngx_stream_tb_mqtt_setup_waits(st)) {
        return;
    }

    if (!w->told_meta) {
        w->told_meta = 1;

        if (shards == 0 && schema == 0) {
            ngx_log_error(NGX_LOG_ERR, w->log, 0,
                          "tb_mqtt: there is no \"%Vmeta\": an nginx with "
                          "\"tb_rpc\" in http{} has to prepare this Redis; "
                          "no device can log in until then",
                          &w->conf->block.prefix);

        } else {
            ngx_log_error(NGX_LOG_CRIT, w->log, 0,
                          "tb_mqtt: \"%Vmeta\" says shards %L, schema %L, but "
                          "this nginx has shards %ui, schema %d: set "
                          "\"shards\" as it was first, or another \"prefix\"; "
                          "no device can log in until then",
                          &w->conf->block.prefix, shards, schema,
                          w->conf->block.shards, TB_RPC_SCHEMA);
        }
    }

    ngx_tb_redis_node_refuse(st->node);
}


static void
ngx_stream_tb_mqtt_setup_role(ngx_stream_tb_mqtt_setup_t *st)
{
    ngx_str_t  argv[1];

    ngx_str_set(&argv[0], "ROLE");

    ngx_stream_tb_mqtt_setup_command(st, argv, 1,
                                     ngx_stream_tb_mqtt_setup_role_done);
}


static void
ngx_stream_tb_mqtt_setup_role_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_stream_tb_mqtt_setup_t *st = data;

    ngx_str_t                     argv[3], role;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = st->worker;

    if (status != NGX_TB_REDIS_REPLY) {
        ngx_tb_redis_node_refuse(st->node);
        return;
    }

    /* ROLE may be denied to us: then nothing can be said */

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &role)
        == NGX_OK
        && role.len == sizeof("slave") - 1
        && ngx_memcmp(role.data, "slave", role.len) == 0)
    {
        if (!w->told_role) {
            w->told_role = 1;

            ngx_log_error(NGX_LOG_ERR, w->log, 0,
                          "tb_mqtt: Redis is a replica, the master is "
                          "needed; it is tried again until it is one");
        }

        ngx_tb_redis_node_refuse(st->node);
        return;
    }

    w->told_role = 0;

    ngx_str_set(&argv[0], "FCALL");
    ngx_str_set(&argv[1], "tb_rpc_version");
    ngx_str_set(&argv[2], "0");

    ngx_stream_tb_mqtt_setup_command(st, argv, 3,
                                     ngx_stream_tb_mqtt_setup_version_done);
}


static void
ngx_stream_tb_mqtt_setup_version_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_stream_tb_mqtt_setup_t *st = data;

    int64_t                       version;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = st->worker;
    version = 0;

    if (status != NGX_TB_REDIS_REPLY
        || ngx_tb_redis_reply_error(reply) != TB_RPC_REDIS_NO_FUNCTION)
    {
        if (ngx_stream_tb_mqtt_setup_failed(st, status, reply,
                                            "FCALL tb_rpc_version"))
        {
            return;
        }

        (void) ngx_tb_redis_reply_int(reply, &version);
    }

    if (version < NGX_STREAM_TB_MQTT_LIBRARY) {

        if (ngx_stream_tb_mqtt_setup_waits(st)) {
            return;
        }

        if (!w->told_version) {
            w->told_version = 1;

            ngx_log_error(NGX_LOG_ERR, w->log, 0,
                          "tb_mqtt: the function library in %V is missing or "
                          "older than %d: an nginx with \"tb_rpc\" in http{} "
                          "loads it, or tb-rpc-admin; no device can log in "
                          "until then", ngx_tb_redis_node_addr(st->node),
                          NGX_STREAM_TB_MQTT_LIBRARY);
        }

        ngx_tb_redis_node_refuse(st->node);
        return;
    }

    w->told_version = 0;
    w->told_failed = 0;

    st->unready = 0;

    ngx_tb_redis_node_ready(st->node);
}
