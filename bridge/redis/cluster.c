
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The nodes of a cluster.  They are asked in turns who has which slot, since
 * one that was cut off does not know that it is no master any more; the epoch
 * tells which of two says something newer.  Where none can be asked the seeds
 * are tried, one after the other, and each that is mute beside the next.
 */


#include "../../common/tb_rpc_slot.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "cluster.h"
#include "epoch.h"
#include "key.h"
#include "meta.h"
#include "slots.h"


#define TB_CLUSTER_ASK       500
#define TB_CLUSTER_AWAY      100           /* while a node is away */
#define TB_CLUSTER_SOON      20
/* a seed that has not answered for so long does not keep the next one back */
#define TB_CLUSTER_MUTE      200
#define TB_CLUSTER_META      1000

/* behind those of the shards: that of <prefix>meta */
#define TB_META              TB_MAX_SHARDS


struct tb_cluster_s {
    const tb_redis_conf_t   *conf;
    tb_tls_t                *tls;
    const tb_node_events_t  *events;
    void                    *owner;

    tb_node_t               *nodes;
    tb_node_t               *last;         /* that was asked */
    tb_node_t               *node[TB_MAX_SHARDS + 1];
    unsigned                 slot[TB_MAX_SHARDS + 1];
    unsigned                 numbers;
    unsigned                 moves;

    tb_epoch_t               epoch;
    int64_t                  asked_at;
    int64_t                  ask_at;
    int                      seed;         /* the next one */
    int                      tried;        /* in vain */

    int                     *shards;
    int                      used;         /* of node[], behind it is none */
    unsigned                 meta;         /* the node that has told it */
    int64_t                  meta_at;
    int                      meta_asked;
};


tb_cluster_t *
tb_cluster_create(const tb_redis_conf_t *conf, tb_tls_t *tls,
    const tb_node_events_t *events, void *owner, int *shards)
{
    int            i;
    char           key[TB_MAX_KEY];
    tb_cluster_t  *cl;

    cl = tb_alloc(sizeof(tb_cluster_t));
    cl->conf = conf;
    cl->tls = tls;
    cl->events = events;
    cl->owner = owner;
    cl->shards = shards;
    cl->used = TB_MAX_SHARDS;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        tb_key(conf, i, "", NULL, key, sizeof(key));
        cl->slot[i] = tb_rpc_slot(key, strlen(key));
    }

    snprintf(key, sizeof(key), "%smeta", conf->prefix);
    cl->slot[TB_META] = tb_rpc_slot(key, strlen(key));

    return cl;
}


void
tb_cluster_free(tb_cluster_t *cl)
{
    tb_node_t  *node;

    if (cl == NULL) {
        return;
    }

    while (cl->nodes != NULL) {
        node = cl->nodes;
        cl->nodes = node->next;
        tb_node_clear(node);
        free(node);
    }

    free(cl);
}


tb_node_t *
tb_cluster_nodes(const tb_cluster_t *cl)
{
    return cl->nodes;
}


tb_node_t *
tb_cluster_node(const tb_cluster_t *cl, int shard)
{
    return cl->node[shard];
}


unsigned
tb_cluster_moves(const tb_cluster_t *cl)
{
    return cl->moves;
}


void
tb_cluster_ask(tb_cluster_t *cl)
{
    cl->ask_at = tb_sooner(cl->ask_at, cl->asked_at + TB_CLUSTER_SOON);
}


static tb_node_t *
tb_cluster_find(tb_cluster_t *cl, const tb_master_t *m)
{
    tb_node_t  *node;

    for (node = cl->nodes; node != NULL; node = node->next) {
        if (tb_server_is(&node->server, m->host, m->len, m->port)) {
            return node;
        }
    }

    return NULL;
}


static tb_node_t *
tb_cluster_add(tb_cluster_t *cl, const tb_master_t *m)
{
    tb_node_t  *node;

    node = tb_alloc(sizeof(tb_node_t));

    tb_server_set(&node->server, m->host, m->len, m->port);
    tb_redis_init(&node->redis, cl->conf, cl->tls, &node->server, "commands");
    tb_node_init(node, cl->events, cl->owner);

    node->cluster = cl;
    node->number = ++cl->numbers;
    node->added_at = tb_now();

    node->next = cl->nodes;
    cl->nodes = node;

    return node;
}


static void
tb_cluster_give(tb_cluster_t *cl, int n, const tb_master_t *m,
    const char *said_by)
{
    tb_node_t  *node;

    node = tb_cluster_find(cl, m);

    if (node == NULL) {
        node = tb_cluster_add(cl, m);
        tb_log(TB_LOG_INFO, "redis %s: says that %s is a master of the"
               " cluster", said_by, node->server.text);
    }

    node->redis.held = 0;

    if (cl->node[n] != node) {
        cl->node[n] = node;
        cl->moves++;
    }
}


/* the next shard that there is, and then that of <prefix>meta */

static int
tb_cluster_shard(const tb_cluster_t *cl, int i)
{
    i++;

    return i < cl->used || i > TB_META ? i : TB_META;
}


/* before it is known how many there are, any may be one */

static void
tb_cluster_use(tb_cluster_t *cl)
{
    int  i;

    cl->used = *cl->shards ? *cl->shards : TB_MAX_SHARDS;

    for (i = cl->used; i < TB_META; i++) {
        if (cl->node[i] != NULL) {
            cl->node[i] = NULL;
            cl->moves++;
        }
    }
}


/* those that have nothing of ours are left, if another one can be asked */

static void
tb_cluster_want(tb_cluster_t *cl)
{
    int         i, up;
    tb_node_t  *node;

    up = 0;

    for (node = cl->nodes; node != NULL; node = node->next) {
        node->wanted = 0;
    }

    for (i = 0; i <= TB_META; i = tb_cluster_shard(cl, i)) {
        node = cl->node[i];

        if (node != NULL) {
            node->wanted = 1;
            node->known = 1;
            up |= tb_node_up(node) && !node->asked;
        }
    }

    for (node = cl->nodes; node != NULL; node = node->next) {
        if (up && !node->wanted && !node->redis.held) {
            node->redis.held = 1;
            tb_node_leave(node, node->known
                                ? "it has no slot of the cluster any more"
                                : "its masters are known");
            cl->moves++;
        }
    }
}


void
tb_cluster_sweep(tb_cluster_t *cl)
{
    tb_node_t  *node, **p;

    for (p = &cl->nodes; (node = *p) != NULL; /* void */ ) {

        if (!node->redis.held || node->head != NULL
            || node->redis.state != TB_REDIS_CLOSED)
        {
            p = &node->next;
            continue;
        }

        if (cl->last == node) {
            cl->last = NULL;
        }

        *p = node->next;
        tb_node_clear(node);
        free(node);
    }
}


int
tb_cluster_moved(tb_cluster_t *cl, tb_node_t *from, const redisReply *reply)
{
    int          i;
    unsigned     slot;
    tb_master_t  m;

    if (tb_slots_moved(reply, &from->server, &slot, &m) != TB_OK) {
        return TB_ERROR;
    }

    for (i = 0; i <= TB_META; i = tb_cluster_shard(cl, i)) {
        if (cl->slot[i] == slot) {
            tb_cluster_give(cl, i, &m, from->server.text);
        }
    }

    tb_cluster_ask(cl);

    return TB_OK;
}


static void
tb_cluster_info(tb_node_t *node, redisReply *reply)
{
    node->epoch = reply ? tb_epoch_reply(&node->cluster->epoch, &node->redis,
                                         reply)
                        : 0;
}


static void
tb_cluster_slots(tb_node_t *node, redisReply *reply)
{
    int            i;
    tb_cluster_t  *cl;
    tb_master_t    masters[TB_MAX_SHARDS + 1];

    cl = node->cluster;
    node->asked = 0;

    if (reply == NULL || node->redis.held) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_redis_refuse(&node->redis, "CLUSTER SLOTS refused: %s%s",
                        tb_redis_hint(&node->redis, reply),
                        tb_redis_error(reply));
        return;
    }

    if (tb_slots_reply(reply, &node->server, cl->slot, TB_META + 1, masters)
        != TB_OK)
    {
        tb_redis_refuse(&node->redis, "its CLUSTER SLOTS can't be used");
        return;
    }

    if (tb_epoch_stale(&cl->epoch, node->epoch)) {
        tb_log(TB_LOG_DEBUG, "redis %s: knows the cluster only as it was"
               " before", node->server.text);
        return;
    }

    cl->tried = 0;

    for (i = 0; i <= TB_META; i = tb_cluster_shard(cl, i)) {
        if (masters[i].host) {
            tb_cluster_give(cl, i, &masters[i], node->server.text);
        }
    }

    if (cl->node[TB_META] == NULL) {
        tb_redis_refuse(&node->redis, "its cluster has no slots yet");
    }
}


/* the next one that answers, after the last; none: the seeds may know more */

static tb_node_t *
tb_cluster_next(tb_cluster_t *cl)
{
    int         passes;
    tb_node_t  *node;

    node = cl->last ? cl->last->next : cl->nodes;

    for (passes = 0; passes < 2; passes++) {

        for ( /* void */ ; node != NULL; node = node->next) {
            if (tb_node_up(node) && !node->asked) {
                return node;
            }
        }

        node = cl->nodes;
    }

    return NULL;
}


static void
tb_cluster_question(tb_cluster_t *cl, tb_node_t *node)
{
    const char  *argv[2];

    cl->last = node;
    node->asked = 1;

    argv[0] = "CLUSTER";
    argv[1] = "INFO";
    tb_node_ask(node, tb_cluster_info, 2, argv);

    argv[1] = "SLOTS";
    tb_node_ask(node, tb_cluster_slots, 2, argv);
}


/* one that is no node yet; one that has failed makes room for the next */

static void
tb_cluster_seeds(tb_cluster_t *cl)
{
    int                 i;
    tb_node_t          *node;
    tb_master_t         m;
    const tb_server_t  *s;

    for (node = cl->nodes; node != NULL; node = node->next) {
        if (node->wanted || node->redis.held) {
            continue;
        }

        if (!node->redis.failed) {
            if (tb_now() - node->added_at < TB_CLUSTER_MUTE) {
                return;
            }

            continue;
        }

        node->redis.held = 1;
        tb_node_leave(node, "it can't be asked");
        cl->moves++;
    }

    for (i = 0; i < cl->conf->nservers; i++) {
        s = &cl->conf->servers[cl->seed++ % cl->conf->nservers];
        m.host = s->host;
        m.len = strlen(s->host);
        m.port = s->port;

        if (tb_cluster_find(cl, &m) == NULL) {
            node = tb_cluster_add(cl, &m);

            /* each has been in the log once */
            node->redis.complained = cl->tried++ >= cl->conf->nservers;
            return;
        }
    }
}


static void
tb_cluster_meta(tb_node_t *node, redisReply *reply)
{
    int            shards;
    char           why[512];
    tb_cluster_t  *cl;

    cl = node->cluster;
    cl->meta_asked = 0;
    cl->meta_at = tb_now() + TB_CLUSTER_AWAY;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        if (tb_cluster_moved(cl, node, reply) != TB_OK) {
            tb_redis_refuse(&node->redis, "%sHMGET refused: %s",
                            tb_redis_hint(&node->redis, reply),
                            tb_redis_error(reply));
        }

        return;
    }

    if (tb_meta_reply(cl->conf, reply, &shards, why, sizeof(why)) != TB_OK) {
        cl->meta_at = tb_now() + TB_CLUSTER_META;
        tb_redis_refuse(&node->redis, "%s", why);
        return;
    }

    cl->meta = node->number;

    if (*cl->shards != shards) {
        *cl->shards = shards;
        cl->moves++;
    }
}


/* of the node that has it now */

static void
tb_cluster_ask_meta(tb_cluster_t *cl)
{
    char        key[TB_META_KEY];
    tb_node_t  *node;
    const char  *argv[TB_META_ARGS];

    node = cl->node[TB_META];

    if (node == NULL || !tb_node_up(node) || cl->meta == node->number
        || cl->meta_asked || tb_now() < cl->meta_at)
    {
        return;
    }

    tb_meta_command(cl->conf, key, argv);
    cl->meta_asked = 1;
    tb_node_ask(node, tb_cluster_meta, TB_META_ARGS, argv);
}


void
tb_cluster_run(tb_cluster_t *cl)
{
    int         away;
    int64_t     now;
    tb_node_t  *node;

    now = tb_now();

    tb_cluster_use(cl);
    tb_cluster_want(cl);
    tb_cluster_ask_meta(cl);

    if (now < cl->ask_at) {
        return;
    }

    away = cl->nodes == NULL;

    for (node = cl->nodes; node != NULL; node = node->next) {
        away |= node->wanted && !tb_node_up(node);
    }

    cl->asked_at = now;
    cl->ask_at = now + (away ? TB_CLUSTER_AWAY : TB_CLUSTER_ASK);

    node = tb_cluster_next(cl);

    if (node != NULL) {
        tb_cluster_question(cl, node);

    } else {
        tb_cluster_seeds(cl);
    }
}


void
tb_cluster_ready(tb_cluster_t *cl, const tb_node_t *node)
{
    /* it may have forgotten */

    if (cl->meta == node->number) {
        cl->meta = 0;
    }
}


int64_t
tb_cluster_timer(tb_cluster_t *cl)
{
    tb_node_t  *node;

    node = cl->node[TB_META];

    if (node != NULL && tb_node_up(node) && cl->meta != node->number
        && !cl->meta_asked && cl->meta_at < cl->ask_at)
    {
        return cl->meta_at;
    }

    return cl->ask_at;
}
