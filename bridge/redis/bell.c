
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connections that listen to the bells of our queues, one of each shard;
 * one connection for each node.  They bring forward what happens anyway: a
 * shard whose bell is not heard is taken from every TB_TAKE_EVERY.  What was
 * pushed before a subscription has rung for nobody: so each one that is
 * confirmed counts as a ring.
 *
 * A shard that moves takes its bell along: whoever had it says so unasked, or
 * refuses us, and whoever has it is asked.  That concerns no other bell.
 */


#include "../../common/tb_rpc_redis_error.h"
#include "../base/clock.h"
#include "../base/str.h"
#include "bell.h"
#include "greet.h"
#include "key.h"


#define TB_BELL_PING         10000
/* what is asked for and not confirmed, of one connection */
#define TB_BELL_ASKED        (2 * TB_MAX_SHARDS)
#define TB_BELL_PONG         -1


typedef struct tb_bell_s  tb_bell_t;

struct tb_bell_s {
    tb_bell_t               *next;
    tb_bells_t              *bells;
    tb_node_t               *node;         /* as long as it is one */
    tb_server_t              server;
    tb_redis_t               redis;
    unsigned                 moves;        /* of the master, seen */
    int                      asked[TB_BELL_ASKED];  /* shards, in order */
    unsigned                 first;
    unsigned                 last;
    int64_t                  ping_at;
};


typedef struct {
    tb_bell_t               *bell;         /* that hears it, or is to */
    unsigned                 asked:1;
    unsigned                 heard:1;
    int64_t                  again_at;     /* was refused: not before */
} tb_heard_t;


struct tb_bells_s {
    const tb_redis_conf_t   *conf;
    tb_commands_t           *commands;
    tb_takes_t              *takes;
    tb_bell_t               *first;
    int                      shards;       /* that are listened to */
    unsigned                 moves;        /* of shards, seen */
    int64_t                  ask_at;       /* INT64_MAX: nothing is to be */
    tb_heard_t               shard[TB_MAX_SHARDS];
};


tb_bells_t *
tb_bells_create(const tb_redis_conf_t *conf, tb_commands_t *c, tb_takes_t *t)
{
    tb_bells_t  *bells;

    bells = tb_alloc(sizeof(tb_bells_t));
    bells->conf = conf;
    bells->commands = c;
    bells->takes = t;
    bells->moves = tb_command_moves(c) - 1;

    return bells;
}


static void
tb_bell_free(tb_bell_t *bell)
{
    tb_redis_free(&bell->redis);
    tb_server_clear(&bell->server);
    free(bell);
}


void
tb_bells_free(tb_bells_t *bells)
{
    tb_bell_t  *bell;

    while (bells->first != NULL) {
        bell = bells->first;
        bells->first = bell->next;
        tb_bell_free(bell);
    }

    free(bells);
}


/* --- one connection ------------------------------------------------------ */

static void
tb_bell_expect(tb_bell_t *bell, int what)
{
    bell->asked[bell->last++ % TB_BELL_ASKED] = what;

    if (bell->redis.deadline == 0) {
        bell->redis.deadline = tb_now() + TB_COMMAND_TIMEOUT;
    }
}


/* what the next reply is to; TB_ERROR: to nothing */

static int
tb_bell_expected(tb_bell_t *bell, int *what)
{
    if (bell->first == bell->last) {
        tb_redis_fail(&bell->redis, "a reply that nothing was asked for");
        return TB_ERROR;
    }

    *what = bell->asked[bell->first++ % TB_BELL_ASKED];

    return TB_OK;
}


static void
tb_bell_subscribe(tb_bell_t *bell, int shard)
{
    char         channel[TB_MAX_KEY];
    const char  *argv[2];

    tb_key(bell->bells->conf, shard, "bell", bell->bells->conf->name, channel,
           sizeof(channel));

    argv[0] = "SSUBSCRIBE";
    argv[1] = channel;

    tb_redis_send(&bell->redis, 2, argv, NULL);
    tb_bell_expect(bell, shard);

    bell->bells->shard[shard].asked = 1;
}


static void
tb_bell_ping(tb_bell_t *bell)
{
    const char  *argv[1];

    if (tb_now() < bell->ping_at) {
        return;
    }

    argv[0] = "PING";

    tb_redis_send(&bell->redis, 1, argv, NULL);
    tb_bell_expect(bell, TB_BELL_PONG);

    bell->ping_at = tb_now() + TB_BELL_PING;
}


/* nothing is heard there any more: all of it is to be asked for again */

static void
tb_bell_deaf(tb_bell_t *bell)
{
    int          i;
    tb_bells_t  *bells;

    bells = bell->bells;
    bell->first = bell->last;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (bells->shard[i].bell == bell) {
            bells->shard[i].asked = 0;
            bells->shard[i].heard = 0;
        }
    }
}


/* the shard of a channel, or TB_ERROR */

static int
tb_bell_shard(tb_bell_t *bell, const redisReply *reply)
{
    int                     n;
    char                    channel[TB_MAX_KEY];
    const tb_redis_conf_t  *conf;

    if (reply->type != REDIS_REPLY_STRING) {
        return TB_ERROR;
    }

    conf = bell->bells->conf;
    n = tb_key_shard(conf, reply->str, reply->len);

    if (n == TB_ERROR) {
        return TB_ERROR;
    }

    tb_key(conf, n, "bell", conf->name, channel, sizeof(channel));

    return strcmp(channel, reply->str) == 0 ? n : TB_ERROR;
}


/* a shard is not to be heard there, for now */

static void
tb_bell_later(tb_bell_t *bell, int shard)
{
    tb_heard_t  *h;

    h = &bell->bells->shard[shard];

    if (h->bell != bell) {
        return;
    }

    h->asked = 0;
    h->heard = 0;
    h->again_at = tb_now() + 20 + random() % 80;

    bell->bells->ask_at = tb_sooner(bell->bells->ask_at, h->again_at);
    tb_command_lost(bell->bells->commands);
}


static void
tb_bell_refused(tb_bell_t *bell, const redisReply *reply)
{
    int                    what;
    tb_rpc_redis_error_e   error;

    if (tb_bell_expected(bell, &what) != TB_OK) {
        return;
    }

    error = tb_rpc_redis_error(reply->str, reply->len);

    if (what == TB_BELL_PONG || !tb_shards_spread(bell->bells->commands)
        || (error != TB_RPC_REDIS_ELSEWHERE && error != TB_RPC_REDIS_AWAY
            && error != TB_RPC_REDIS_TRYAGAIN
            && error != TB_RPC_REDIS_READONLY))
    {
        tb_redis_fail(&bell->redis, "%sSSUBSCRIBE: %s",
                      tb_redis_hint(&bell->redis, reply),
                      tb_redis_error(reply));
        return;
    }

    tb_bell_later(bell, what);
}


static void
tb_bell_confirmed(tb_bell_t *bell, int shard)
{
    int          what;
    tb_heard_t  *h;

    if (tb_bell_expected(bell, &what) != TB_OK) {
        return;
    }

    if (shard == TB_ERROR || what != shard) {
        tb_redis_fail(&bell->redis, "SSUBSCRIBE: a reply of another kind");
        return;
    }

    h = &bell->bells->shard[shard];

    /* it may have moved meanwhile */

    if (h->bell == bell) {
        h->asked = 0;
        h->heard = 1;
    }

    tb_take_ring(bell->bells->takes, shard);

    if (bell->first == bell->last) {
        tb_redis_good(&bell->redis);
    }
}


static void
tb_bell_message(tb_bell_t *bell, const redisReply *reply)
{
    int          n, what;
    const char  *kind;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        tb_redis_fail(&bell->redis, "SSUBSCRIBE: a reply of another kind");
        return;
    }

    kind = reply->element[0]->str;
    n = tb_bell_shard(bell, reply->element[1]);

    if (strcmp(kind, "ssubscribe") == 0) {
        tb_bell_confirmed(bell, n);

    } else if (strcmp(kind, "pong") == 0) {
        (void) tb_bell_expected(bell, &what);

    } else if (strcmp(kind, "sunsubscribe") != 0) {
        if (n != TB_ERROR) {
            tb_take_ring(bell->bells->takes, n);
        }

    } else if (!tb_shards_spread(bell->bells->commands)) {
        tb_redis_fail(&bell->redis, "a shard has left this server");

    } else if (n != TB_ERROR) {
        tb_bell_later(bell, n);
    }
}


static void
tb_bell_reply(tb_bell_t *bell, const redisReply *reply)
{
    int  what;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_bell_refused(bell, reply);

    } else if (reply->type == REDIS_REPLY_STATUS) {
        /* of one that listens to nothing */
        (void) tb_bell_expected(bell, &what);

    } else {
        tb_bell_message(bell, reply);
    }

    /* it is alive */

    if (bell->redis.state == TB_REDIS_READY) {
        bell->redis.deadline = bell->first != bell->last
                               ? tb_now() + TB_COMMAND_TIMEOUT : 0;
    }
}


static void
tb_bell_run(tb_bell_t *bell, const tb_poll_t *p)
{
    redisReply  *reply;

    tb_command_place(bell->bells->commands, &bell->redis, &bell->moves);
    tb_greet_io(&bell->redis, p);

    if (bell->redis.state == TB_REDIS_READY && bell->redis.fresh) {
        bell->redis.fresh = 0;
        bell->ping_at = tb_now() + TB_BELL_PING;
        tb_bell_deaf(bell);
        bell->bells->ask_at = 0;
    }

    while (bell->redis.state == TB_REDIS_READY
           && (reply = tb_redis_reply(&bell->redis)) != NULL)
    {
        tb_bell_reply(bell, reply);
        freeReplyObject(reply);
    }

    if (bell->redis.state == TB_REDIS_READY) {
        tb_bell_ping(bell);
    }
}


/* --- all of them --------------------------------------------------------- */

static tb_bell_t *
tb_bells_of(tb_bells_t *bells, tb_node_t *node)
{
    tb_bell_t  *bell;

    for (bell = bells->first; bell != NULL; bell = bell->next) {
        if (bell->node == node) {
            return bell;
        }
    }

    bell = tb_alloc(sizeof(tb_bell_t));
    bell->bells = bells;
    bell->node = node;

    tb_command_redis(bells->commands, node, &bell->redis, "bells");

    /* the node may go before it */

    if (node->server.host != NULL) {
        tb_server_set(&bell->server, node->server.host,
                      strlen(node->server.host), node->server.port);
        bell->redis.server = &bell->server;
    }

    bell->next = bells->first;
    bells->first = bell;

    return bell;
}


/* those of nodes that are none of ours any more */

static void
tb_bells_leave(tb_bells_t *bells)
{
    int         i;
    tb_bell_t  *bell, **p;

    for (p = &bells->first; (bell = *p) != NULL; /* void */ ) {

        for (i = 0; i < bells->shards; i++) {
            if (bells->shard[i].bell == bell) {
                break;
            }
        }

        if (i < bells->shards) {
            p = &bell->next;
            continue;
        }

        bell->node = NULL;
        bell->redis.held = 1;
        tb_redis_leave(&bell->redis, "no shard is heard there any more");

        if (bell->redis.state != TB_REDIS_CLOSED) {
            /* its host is still being looked up */
            p = &bell->next;
            continue;
        }

        *p = bell->next;
        tb_bell_free(bell);
    }
}


/* where each shard is to be heard */

static void
tb_bells_place(tb_bells_t *bells)
{
    int          i;
    tb_bell_t   *bell;
    tb_node_t   *node;
    tb_heard_t  *h;

    bells->moves = tb_command_moves(bells->commands);
    bells->shards = tb_shards(bells->commands);
    bells->ask_at = 0;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        h = &bells->shard[i];
        node = i < bells->shards ? tb_command_node(bells->commands, i) : NULL;
        bell = node != NULL ? tb_bells_of(bells, node) : NULL;

        if (h->bell != bell) {
            memset(h, 0, sizeof(tb_heard_t));
            h->bell = bell;
        }
    }

    tb_bells_leave(bells);
}


/* those that are not heard */

static void
tb_bells_ask(tb_bells_t *bells)
{
    int          i;
    int64_t      now;
    tb_heard_t  *h;

    now = tb_now();

    if (now < bells->ask_at) {
        return;
    }

    bells->ask_at = INT64_MAX;

    for (i = 0; i < bells->shards; i++) {
        h = &bells->shard[i];

        if (h->bell == NULL || h->asked || h->heard
            || h->bell->redis.state != TB_REDIS_READY)
        {
            continue;
        }

        if (now < h->again_at) {
            bells->ask_at = tb_sooner(bells->ask_at, h->again_at);
            continue;
        }

        tb_bell_subscribe(h->bell, i);
    }
}


void
tb_bells_run(tb_bells_t *bells, const tb_poll_t *p)
{
    tb_bell_t  *bell;

    if (tb_shards(bells->commands) == 0) {
        return;
    }

    if (bells->moves != tb_command_moves(bells->commands)
        || bells->shards != tb_shards(bells->commands))
    {
        tb_bells_place(bells);
    }

    for (bell = bells->first; bell != NULL; bell = bell->next) {
        tb_bell_run(bell, p);
    }

    tb_bells_ask(bells);
}


void
tb_bells_poll(tb_bells_t *bells, tb_poll_t *p)
{
    tb_bell_t  *bell;

    for (bell = bells->first; bell != NULL; bell = bell->next) {
        tb_redis_poll(&bell->redis, p);
    }
}


int64_t
tb_bells_timer(tb_bells_t *bells)
{
    int64_t     t;
    tb_bell_t  *bell;

    /* nobody knows yet how many there are */

    if (bells->shards == 0) {
        return INT64_MAX;
    }

    t = bells->ask_at;

    for (bell = bells->first; bell != NULL; bell = bell->next) {
        t = tb_sooner(t, tb_redis_timer(&bell->redis));

        if (bell->redis.state == TB_REDIS_READY) {
            t = tb_sooner(t, bell->ping_at);
        }
    }

    return t;
}
