
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Commands: each has a key, so a shard, so a node, which has it until its
 * reply was handled.  What a node refuses without having done it goes there
 * again soon, or to whom has the shard meanwhile, in the same order.  All
 * functions used here may be repeated: the second report returns 0, the same
 * ticket takes the same calls.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "cluster.h"
#include "command.h"
#include "judge.h"
#include "key.h"
#include "line.h"
#include "sentinel.h"


#define TB_COMMAND_MAX_WAIT  2000


struct tb_commands_s {
    const tb_redis_conf_t    *conf;
    const tb_redis_events_t  *events;
    tb_bridge_t              *bridge;
    tb_counters_t            *count;
    tb_tls_t                 *tls;
    int                       shards;

    tb_node_t                *single;      /* or NULL */
    tb_sentinel_t            *sentinel;    /* or NULL */
    tb_cluster_t             *cluster;     /* or NULL */
    unsigned                  moves;       /* seen */

    int                       ncommands;   /* without a reply */
    uint64_t                  number;
    int64_t                   written_at;  /* of what is handled */
    int                       held;        /* there are lines that are */
    int                       fresh;
    tb_line_t                 line[TB_MAX_SHARDS];
};


static void tb_command_ready(void *owner, tb_node_t *node);
static tb_verdict_e tb_command_judge(void *owner, tb_node_t *node,
    tb_cmd_t *cmd, redisReply *reply);
static void tb_command_done(void *owner, tb_cmd_t *cmd, redisReply *reply);
static void tb_command_again(void *owner, tb_node_t *node, tb_cmd_t *cmd);
static void tb_command_fetch(void *owner, tb_node_t *node);


static const tb_node_events_t  tb_command_events = {
    tb_command_ready,
    tb_command_judge,
    tb_command_done,
    tb_command_again,
    tb_command_fetch
};


tb_commands_t *
tb_command_create(const tb_redis_conf_t *conf,
    const tb_redis_events_t *events, tb_bridge_t *b, tb_counters_t *count)
{
    int             i;
    tb_tls_t       *tls;
    tb_commands_t  *c;

    tls = NULL;

    if (conf->tls) {
        tls = tb_tls_create(conf);
        if (tls == NULL) {
            return NULL;
        }
    }

    c = tb_alloc(sizeof(tb_commands_t));
    c->conf = conf;
    c->events = events;
    c->bridge = b;
    c->count = count;
    c->tls = tls;

    /* a cluster is asked first: it has no connection to end over it */

    c->shards = conf->cluster ? 0 : conf->shards;

    if (conf->cluster) {
        c->cluster = tb_cluster_create(conf, tls, &tb_command_events, c,
                                       &c->shards);
        return c;
    }

    if (conf->sentinel) {
        c->sentinel = tb_sentinel_create(conf, tls);
    }

    c->single = tb_alloc(sizeof(tb_node_t));
    tb_node_init(c->single, &tb_command_events, c);
    tb_command_redis(c, c->single, &c->single->redis, "commands");
    c->single->redis.shards = &c->shards;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        c->line[i].node = c->single;
    }

    return c;
}


void
tb_command_free(tb_commands_t *c)
{
    int  i;

    if (c->single) {
        tb_node_clear(c->single);
        free(c->single);
    }

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        tb_line_clear(&c->line[i]);
    }

    tb_cluster_free(c->cluster);
    tb_sentinel_free(c->sentinel);
    tb_tls_free(c->tls);
    free(c);
}


void
tb_command_reload(tb_commands_t *c)
{
    if (c->tls) {
        tb_tls_reload(c->tls);
    }
}


void
tb_command_redis(tb_commands_t *c, const tb_node_t *node, tb_redis_t *r,
    const char *label)
{
    const tb_server_t  *server;

    server = c->sentinel ? tb_sentinel_master(c->sentinel)
                         : &c->conf->servers[0];

    if (c->cluster) {
        server = &node->server;
    }

    tb_redis_init(r, c->conf, c->tls, server, label);

    if (c->sentinel) {
        r->kind = TB_REDIS_MASTER;
    }
}


void
tb_command_place(tb_commands_t *c, tb_redis_t *r, unsigned *moves)
{
    if (c->sentinel == NULL) {
        return;
    }

    /* whatever the one before still says, it is not the master */

    if (*moves != tb_sentinel_moves(c->sentinel)) {
        if (*moves) {
            tb_redis_leave(r, "it is the master no more");
        }

        *moves = tb_sentinel_moves(c->sentinel);
    }

    r->held = r->state == TB_REDIS_CLOSED && tb_now() >= r->retry_at
              && !tb_sentinel_knows(c->sentinel, r->closed_at);
}


tb_node_t *
tb_command_nodes(const tb_commands_t *c)
{
    return c->cluster ? tb_cluster_nodes(c->cluster) : c->single;
}


tb_node_t *
tb_command_node(const tb_commands_t *c, int shard)
{
    return c->line[shard].node;
}


unsigned
tb_command_moves(const tb_commands_t *c)
{
    return c->moves;
}


void
tb_command_lost(tb_commands_t *c)
{
    if (c->cluster) {
        tb_cluster_ask(c->cluster);
    }
}


int
tb_shard_up(const tb_commands_t *c, int shard)
{
    const tb_line_t  *line;

    line = &c->line[shard];

    return line->node != NULL && !line->held && tb_node_up(line->node);
}


int
tb_shard_fresh(const tb_commands_t *c, int shard)
{
    return c->line[shard].fresh;
}


int
tb_shards_spread(const tb_commands_t *c)
{
    return c->cluster != NULL;
}


int
tb_shard_away(const tb_commands_t *c, int shard)
{
    return c->cluster != NULL
           && (!tb_shard_up(c, shard) || c->line[shard].node->silent);
}


const tb_redis_conf_t *
tb_command_conf(const tb_commands_t *c)
{
    return c->conf;
}


int
tb_command_up(const tb_commands_t *c)
{
    int  i;

    for (i = 0; i < c->shards; i++) {
        if (c->line[i].node == NULL || !tb_node_up(c->line[i].node)) {
            return 0;
        }
    }

    return c->shards > 0;
}


int
tb_command_idle(const tb_commands_t *c)
{
    return c->ncommands == 0;
}


int64_t
tb_command_written(const tb_commands_t *c)
{
    return c->written_at;
}


int
tb_shards(const tb_commands_t *c)
{
    return c->shards;
}


void
tb_command(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, int argc, const char **argv, const size_t *lens)
{
    int          shard;
    tb_cmd_t    *cmd;
    const char  *key;

    key = argv[strcmp(argv[0], "FCALL") == 0 ? 3 : 1];
    shard = tb_key_shard(c->conf, key, strlen(key));

    if (shard == TB_ERROR) {
        tb_log(TB_LOG_ERROR, "a key of no shard, giving up: %s", key);
        exit(1);
    }

    cmd = tb_cmd_create(argc, argv, lens);
    cmd->handler = handler;
    cmd->data = data;
    cmd->patient = patient;
    cmd->shard = shard;
    cmd->number = ++c->number;
    cmd->out = &c->line[shard].out;

    c->ncommands++;

    tb_line_push(&c->line[shard], cmd);

    c->held |= c->line[shard].held;
}


static tb_verdict_e
tb_command_judge(void *owner, tb_node_t *node, tb_cmd_t *cmd,
    redisReply *reply)
{
    tb_commands_t  *c = owner;

    c->count->redis_errors++;

    return tb_judge(c->cluster, node, cmd, reply);
}


static void
tb_command_done(void *owner, tb_cmd_t *cmd, redisReply *reply)
{
    tb_commands_t  *c = owner;

    c->ncommands--;
    c->written_at = cmd->at;

    /* what was not begun meanwhile may be */

    if (tb_line_works(&c->line[cmd->shard]) && c->cluster) {
        c->line[cmd->shard].fresh = 1;
        c->fresh = 1;
    }

    cmd->handler(c->bridge, cmd->data, reply);

    tb_cmd_free(cmd);
}


/*
 * Its shard is on its way to another master, or that one can't just now: the
 * same again soon; where somebody has to repair something, later and later.  At
 * once where it has another node.
 */

static void
tb_command_again(void *owner, tb_node_t *node, tb_cmd_t *cmd)
{
    int             wait, n;
    tb_commands_t  *c = owner;

    n = cmd->refusals++;
    wait = 20 + (int) (random() % 80);

    if (cmd->slow) {
        wait *= n < 5 ? 1 << n : TB_COMMAND_MAX_WAIT / 100;

    } else if (n == 0 && c->cluster
               && tb_cluster_node(c->cluster, cmd->shard) != node)
    {
        wait = 0;
    }

    tb_line_hold(&c->line[cmd->shard], cmd, tb_now() + wait);
    c->held = 1;
}


/* it never said what has become of those whose shard is elsewhere by now */

static void
tb_command_fetch(void *owner, tb_node_t *node)
{
    int             i;
    tb_cmd_t       *cmd, *next;
    tb_commands_t  *c = owner;

    for (cmd = node->head; cmd != NULL; cmd = next) {
        i = cmd->shard;
        next = cmd->next;

        if (i != TB_OWN && c->line[i].node != node) {
            tb_line_fetch(&c->line[i], node, i);
            c->held = 1;
            next = node->head;
        }
    }
}


static void
tb_command_ready(void *owner, tb_node_t *node)
{
    int             i;
    tb_commands_t  *c = owner;

    if (c->cluster) {
        tb_cluster_ready(c->cluster, node);
    }

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (c->line[i].node == node) {
            c->line[i].fresh = 1;
            c->fresh = 1;
        }
    }
}


/* shards that have another node; what was left at one that went */

static void
tb_command_moved(tb_commands_t *c)
{
    int         i;
    tb_node_t  *node;

    c->moves = tb_cluster_moves(c->cluster);

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        node = tb_cluster_node(c->cluster, i);

        if (c->line[i].node != node) {
            tb_line_move(&c->line[i], node, i);
            c->held = 1;
            c->line[i].fresh = 1;
            c->fresh |= node != NULL && tb_node_up(node);
        }
    }
}


/* commands that waited for a moment, or for another node */

static void
tb_command_release(tb_commands_t *c)
{
    int      i;
    int64_t  now;

    now = tb_now();
    c->held = 0;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (c->line[i].held
            && tb_line_release(&c->line[i], now) == TB_AGAIN)
        {
            c->held = 1;
        }
    }
}


/* what is known of devices of these shards may be forgotten there */

static void
tb_command_tell(tb_commands_t *c, int all)
{
    int  i;

    c->fresh = 0;

    for (i = 0; all && i < TB_MAX_SHARDS; i++) {
        c->line[i].fresh = 1;
    }

    if (c->shards) {
        c->events->ready(c->bridge);
    }

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (c->line[i].node == NULL || tb_node_up(c->line[i].node)) {
            c->line[i].fresh = 0;
        }
    }
}


void
tb_command_run(tb_commands_t *c, const tb_poll_t *p)
{
    int         shards;
    tb_node_t  *node;

    shards = c->shards;

    if (c->sentinel) {
        tb_sentinel_run(c->sentinel, p);
    }

    if (c->single) {
        tb_command_place(c, &c->single->redis, &c->moves);
    }

    for (node = tb_command_nodes(c); node != NULL; node = node->next) {
        tb_node_run(node, p);
    }

    if (c->cluster) {
        tb_cluster_run(c->cluster);

        if (c->moves != tb_cluster_moves(c->cluster)) {
            tb_command_moved(c);
        }

        tb_cluster_sweep(c->cluster);
    }

    if (c->held) {
        tb_command_release(c);
    }

    if (c->fresh || c->shards != shards) {
        tb_command_tell(c, c->shards != shards);
    }
}


void
tb_command_poll(tb_commands_t *c, tb_poll_t *p)
{
    tb_node_t  *node;

    for (node = tb_command_nodes(c); node != NULL; node = node->next) {
        tb_node_poll(node, p);
    }

    if (c->sentinel) {
        tb_sentinel_poll(c->sentinel, p);
    }
}


int64_t
tb_command_timer(tb_commands_t *c)
{
    int         i;
    int64_t     t;
    tb_node_t  *node;

    t = INT64_MAX;

    for (node = tb_command_nodes(c); node != NULL; node = node->next) {
        t = tb_sooner(t, tb_node_timer(node));
    }

    if (c->sentinel) {
        t = tb_sooner(t, tb_sentinel_timer(c->sentinel));
    }

    if (c->cluster) {
        t = tb_sooner(t, tb_cluster_timer(c->cluster));
    }

    for (i = 0; c->held && i < TB_MAX_SHARDS; i++) {
        t = tb_sooner(t, tb_line_timer(&c->line[i]));
    }

    return t;
}
