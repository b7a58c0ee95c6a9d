
/*
 * Heartbeats: those of a shard go together, up to 256 in a command, and shards
 * take turns, so that each has its own within a third of the ttl.  A turn costs
 * what its sessions cost, however many shards and sessions there are.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_beat.h"
#include "ngx_stream_tb_mqtt_session.h"


#define NGX_STREAM_TB_MQTT_BEATS  256

/* FCALL <function> 1 <key> <ttl> */
#define NGX_STREAM_TB_MQTT_ARGS   5


/* a device that is not fine, as Redis says, and its sessions here */

typedef struct {
    ngx_str_node_t                 sn;        /* its id */
    ngx_uint_t                     times;     /* Redis says it */
    ngx_uint_t                     none;      /* is attached */
    ngx_uint_t                     n;
    ngx_stream_tb_mqtt_session_t  *newest;
} ngx_stream_tb_mqtt_told_t;


static void ngx_stream_tb_mqtt_beat_timer(ngx_stream_tb_mqtt_worker_t *w);
static void ngx_stream_tb_mqtt_beat_handler(ngx_event_t *ev);
static void ngx_stream_tb_mqtt_beat_shard(ngx_stream_tb_mqtt_worker_t *w,
    ngx_uint_t shard);
static ngx_uint_t ngx_stream_tb_mqtt_beat_over(
    ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_beat_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_beat_failed(ngx_stream_tb_mqtt_worker_t *w,
    redisReply *reply);
static void ngx_stream_tb_mqtt_beat_told(redisReply *reply,
    ngx_rbtree_t *tree, ngx_stream_tb_mqtt_told_t *told);
static ngx_stream_tb_mqtt_told_t *ngx_stream_tb_mqtt_beat_lookup(
    ngx_rbtree_t *tree, ngx_stream_tb_mqtt_session_t *session);
static void ngx_stream_tb_mqtt_not_fine(ngx_stream_tb_mqtt_shard_t *shard,
    ngx_rbtree_t *tree, ngx_queue_t *ended);


ngx_int_t
ngx_stream_tb_mqtt_beats_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_uint_t  i;

    w->shards = ngx_palloc(w->pool, w->conf->block.shards
                                    * sizeof(ngx_stream_tb_mqtt_shard_t));
    if (w->shards == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < w->conf->block.shards; i++) {
        w->shards[i].worker = w;
        ngx_queue_init(&w->shards[i].sessions);
    }

    w->beat.handler = ngx_stream_tb_mqtt_beat_handler;
    w->beat.data = &w->dummy;
    w->beat.log = w->log;

    /* connections keep a worker that is exiting, and not this */

    w->beat.cancelable = 1;

    return NGX_OK;
}


void
ngx_stream_tb_mqtt_beats_close(ngx_stream_tb_mqtt_worker_t *w)
{
    if (w->beat.timer_set) {
        ngx_del_timer(&w->beat);
    }
}


void
ngx_stream_tb_mqtt_beat(ngx_stream_tb_mqtt_session_t *session)
{
    ngx_stream_tb_mqtt_worker_t  *w;

    w = session->worker;

    session->asked = 0;

    ngx_queue_insert_tail(&w->shards[session->shard].sessions,
                          &session->queue);

    if (!w->beat.timer_set) {
        w->beaten = ngx_current_msec;
        ngx_stream_tb_mqtt_beat_timer(w);
    }
}


static void
ngx_stream_tb_mqtt_beat_timer(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_msec_t  delay;

    delay = w->conf->session_ttl / 3 / w->conf->block.shards;

    ngx_add_timer(&w->beat, ngx_max(delay, 1));
}


static void
ngx_stream_tb_mqtt_beat_handler(ngx_event_t *ev)
{
    ngx_uint_t                    n, shards;
    ngx_msec_t                    turn;
    ngx_connection_t             *c;
    ngx_stream_tb_mqtt_worker_t  *w;

    c = ev->data;
    w = c->data;

    /* several, where a worker was late or the ttl is short */

    turn = w->conf->session_ttl / 3;
    shards = w->conf->block.shards;

    n = (ngx_current_msec - w->beaten) * shards / turn;

    if (n < shards) {
        w->beaten += n * turn / shards;

    } else {
        n = shards;
        w->beaten = ngx_current_msec;
    }

    while (n--) {
        ngx_stream_tb_mqtt_beat_shard(w, w->shard);

        if (++w->shard >= shards) {
            w->shard = 0;
        }
    }

    if (w->nsessions) {
        ngx_stream_tb_mqtt_beat_timer(w);
    }
}


static void
ngx_stream_tb_mqtt_beat_shard(ngx_stream_tb_mqtt_worker_t *w,
    ngx_uint_t shard)
{
    u_char                           key[NGX_TB_RPC_KEY_LEN];
    u_char                           ttl[NGX_INT_T_LEN];
    ngx_str_t                        argv[NGX_STREAM_TB_MQTT_ARGS
                                          + 2 * NGX_STREAM_TB_MQTT_BEATS];
    ngx_uint_t                       n;
    ngx_queue_t                     *q, *next, *sessions;
    ngx_stream_tb_mqtt_session_t    *session;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = w->conf;
    sessions = &w->shards[shard].sessions;

    ngx_str_set(&argv[0], "FCALL");
    ngx_str_set(&argv[1], "tb_rpc_heartbeat");
    ngx_str_set(&argv[2], "1");
    ngx_tb_rpc_key(&argv[3], key, &mcf->block.prefix, shard, "due", NULL);
    argv[4].data = ttl;
    argv[4].len = ngx_sprintf(ttl, "%M", mcf->session_ttl) - ttl;

    q = ngx_queue_head(sessions);

    while (q != ngx_queue_sentinel(sessions)) {

        for (n = NGX_STREAM_TB_MQTT_ARGS;
             q != ngx_queue_sentinel(sessions)
             && n < sizeof(argv) / sizeof(ngx_str_t);
             q = next)
        {
            next = ngx_queue_next(q);
            session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

            if (ngx_stream_tb_mqtt_beat_over(session)) {
                ngx_stream_tb_mqtt_leave(session->ctx);
                continue;
            }

            session->asked = 1;

            argv[n].data = session->id;
            argv[n++].len = NGX_STREAM_TB_MQTT_UUID_LEN;
            argv[n++] = session->name;
        }

        if (n == NGX_STREAM_TB_MQTT_ARGS) {
            return;
        }

        if (ngx_tb_redis_command(&w->redis, argv, n,
                                 mcf->block.redis->command_timeout,
                                 NGX_TB_REDIS_BACKGROUND|NGX_TB_REDIS_REPEAT,
                                 ngx_stream_tb_mqtt_beat_done,
                                 &w->shards[shard])
            == NULL)
        {
            /* the next turn is soon enough */

            return;
        }
    }
}


/*
 * The broker has closed, and the proxy does not read that, since the client
 * does not take what came before.
 */

static ngx_uint_t
ngx_stream_tb_mqtt_beat_over(ngx_stream_tb_mqtt_session_t *session)
{
    ngx_connection_t       *c;
    ngx_stream_upstream_t  *u;

    u = session->ctx->session->upstream;
    c = u ? u->peer.connection : NULL;

    return c == NULL || c->read->pending_eof || c->read->eof;
}


static void
ngx_stream_tb_mqtt_beat_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_stream_tb_mqtt_shard_t *shard = data;

    ngx_queue_t                    ended, *q;
    ngx_rbtree_t                   tree;
    ngx_rbtree_node_t              sentinel;
    ngx_stream_tb_mqtt_told_t      told[NGX_STREAM_TB_MQTT_BEATS];
    ngx_stream_tb_mqtt_session_t  *session;

    if (status != NGX_TB_REDIS_REPLY || reply->type != REDIS_REPLY_ARRAY) {

        /* the client has told of others; sessions last for three turns */

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_stream_tb_mqtt_beat_failed(shard->worker, reply);
        }

        return;
    }

    if (reply->elements == 0) {
        return;
    }

    ngx_queue_init(&ended);
    ngx_rbtree_init(&tree, &sentinel, ngx_str_rbtree_insert_value);

    ngx_stream_tb_mqtt_beat_told(reply, &tree, told);
    ngx_stream_tb_mqtt_not_fine(shard, &tree, &ended);

    /* each takes its connection along, and maybe another one */

    while (!ngx_queue_empty(&ended)) {
        q = ngx_queue_head(&ended);
        ngx_queue_remove(q);

        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

        ngx_stream_tb_mqtt_end_session(session, "another login of it");
    }
}


static void
ngx_stream_tb_mqtt_beat_failed(ngx_stream_tb_mqtt_worker_t *w,
    redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  error;

    if (!ngx_stream_tb_mqtt_say(&w->said_beat)) {
        return;
    }

    ngx_tb_redis_reply_text(reply, text, &error);

    ngx_log_error(NGX_LOG_ERR, w->log, 0,
                  "tb_mqtt: heartbeats of devices that are connected fail: "
                  "\"%V\"; they lapse, and get no calls until it is mended",
                  &error);
}


/*
 * What Redis says of the devices of a command, into told[], which the tree is
 * of; those of a device that was asked for twice may be there twice.
 */

static void
ngx_stream_tb_mqtt_beat_told(redisReply *reply, ngx_rbtree_t *tree,
    ngx_stream_tb_mqtt_told_t *told)
{
    int64_t                     state;
    uint32_t                    hash;
    ngx_str_t                   id;
    ngx_uint_t                  i, n;
    ngx_stream_tb_mqtt_told_t  *known;

    n = 0;

    for (i = 0; i + 1 < reply->elements; i += 2) {

        if (ngx_tb_redis_reply_str(reply->element[i], &id) != NGX_OK
            || ngx_tb_redis_reply_int(reply->element[i + 1], &state) != NGX_OK
            || id.len != NGX_STREAM_TB_MQTT_UUID_LEN)
        {
            continue;
        }

        hash = ngx_crc32_short(id.data, id.len);

        known = (ngx_stream_tb_mqtt_told_t *)
                    ngx_str_rbtree_lookup(tree, &id, hash);

        if (known == NULL) {
            if (n == NGX_STREAM_TB_MQTT_BEATS) {
                return;
            }

            known = &told[n++];

            ngx_memzero(known, sizeof(ngx_stream_tb_mqtt_told_t));

            known->sn.str = id;
            known->sn.node.key = hash;

            ngx_rbtree_insert(tree, &known->sn.node);
        }

        known->times++;

        if (state == 0) {
            known->none = 1;
        }
    }
}


static ngx_stream_tb_mqtt_told_t *
ngx_stream_tb_mqtt_beat_lookup(ngx_rbtree_t *tree,
    ngx_stream_tb_mqtt_session_t *session)
{
    ngx_str_t  id;

    id.data = session->id;
    id.len = NGX_STREAM_TB_MQTT_UUID_LEN;

    return (ngx_stream_tb_mqtt_told_t *)
               ngx_str_rbtree_lookup(tree, &id,
                                     ngx_crc32_short(id.data, id.len));
}


/*
 * None is attached, after a loss of Redis: ours is, if it still is the newest
 * one.  Another one is attached: ours is over; of two of one device here it is
 * the older one that is meant, and if not, the next turn tells.
 */

static void
ngx_stream_tb_mqtt_not_fine(ngx_stream_tb_mqtt_shard_t *shard,
    ngx_rbtree_t *tree, ngx_queue_t *ended)
{
    ngx_queue_t                    some, *q, *next;
    ngx_stream_tb_mqtt_told_t     *told;
    ngx_stream_tb_mqtt_session_t  *session;

    ngx_queue_init(&some);

    /* of a large shard each session is looked at once */

    for (q = ngx_queue_head(&shard->sessions);
         q != ngx_queue_sentinel(&shard->sessions);
         q = next)
    {
        next = ngx_queue_next(q);

        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);
        told = ngx_stream_tb_mqtt_beat_lookup(tree, session);

        if (told == NULL) {
            continue;
        }

        told->n++;

        if (told->newest == NULL || session->number > told->newest->number) {
            told->newest = session;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&some, q);
    }

    while (!ngx_queue_empty(&some)) {
        q = ngx_queue_head(&some);
        ngx_queue_remove(q);

        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);
        told = ngx_stream_tb_mqtt_beat_lookup(tree, session);

        if (told->none && session == told->newest) {
            session->state = NGX_STREAM_TB_MQTT_JOINING;
            ngx_stream_tb_mqtt_tell(session);

        } else if (session->asked
                   && (session != told->newest || told->n == 1
                       || told->times > 1))
        {
            ngx_queue_insert_tail(ended, q);

        } else {
            ngx_queue_insert_tail(&shard->sessions, q);
        }
    }
}
