
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Takes of calls, over the command connection.  A shard is taken from when
 * its bell has rung (bell.c), while it says that something is left, and at
 * the latest TB_TAKE_EVERY after the last time: a ring may be lost.  One take
 * of a shard is under way at a time, and up to TB_MAX_TAKES in all; shards
 * have their turns in the order in which they rang.  In a cluster those whose
 * node is away keep their place, and others go first.
 *
 * A take claims what it returns.  So it asks for no more than can be written
 * to the broker now; and when its reply is lost, the command list sends it
 * again with the same ticket, which returns the same calls.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/random.h"
#include "../base/str.h"
#include "key.h"
#include "take.h"

#include <sys/time.h>


/* takes on their way, and calls in each */
#define TB_MAX_TAKES         8
#define TB_MAX_TAKE          256
/* a shard whose bell does not ring is taken from so often */
#define TB_TAKE_EVERY        5000
/* a node that hangs for so long holds up no other one's takes */
#define TB_TAKE_LATE         500


typedef struct tb_shard_s  tb_shard_t;

/* a shard: its queue */

struct tb_shard_s {
    tb_takes_t               *takes;
    tb_shard_t               *next;        /* of those that rang */
    int64_t                   take_at;
    int64_t                   asked_at;
    int                       asked;       /* by a take on its way; 0: none */
    unsigned                  rung:1;
    unsigned                  again:1;     /* rang while it was asked */
    unsigned                  told:1;      /* a refusal was logged */
};


struct tb_takes_s {
    const tb_redis_conf_t    *conf;
    const tb_redis_events_t  *events;
    tb_bridge_t              *bridge;
    tb_commands_t            *commands;
    char                      claimer[96];
    uint64_t                  ticket;
    tb_shard_t               *rung_head;
    tb_shard_t               *rung_tail;
    int                       nrung;
    int                       ntakes;      /* on their way */
    int                       asked;       /* calls that they may bring */
    int                       stopped;
    int64_t                   take_at;
    tb_shard_t                shard[TB_MAX_SHARDS];
};


static void
tb_take_claimer(tb_takes_t *t)
{
    uint32_t  id[2];

    if (tb_random(id, sizeof(id)) != TB_OK) {
        tb_log(TB_LOG_ERROR, "cannot read /dev/urandom");
        exit(1);
    }

    snprintf(t->claimer, sizeof(t->claimer), "%.64s:%08x%08x", t->conf->name,
             id[0], id[1]);
}


static int64_t
tb_take_later(void)
{
    return tb_now() + TB_TAKE_EVERY - random() % (TB_TAKE_EVERY / 5);
}


tb_takes_t *
tb_take_create(const tb_redis_conf_t *conf, const tb_redis_events_t *events,
    tb_bridge_t *b, tb_commands_t *c)
{
    int              i;
    tb_takes_t      *t;
    struct timeval   tv;

    t = tb_alloc(sizeof(tb_takes_t));
    t->conf = conf;
    t->events = events;
    t->bridge = b;
    t->commands = c;

    tb_take_claimer(t);

    gettimeofday(&tv, NULL);
    t->ticket = (uint64_t) tv.tv_sec * 1000000 + tv.tv_usec;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        t->shard[i].takes = t;
        t->shard[i].take_at = tb_take_later();
    }

    return t;
}


void
tb_take_ring(tb_takes_t *t, int n)
{
    tb_shard_t  *s;

    s = &t->shard[n];

    if (s->asked) {
        s->again = 1;
        return;
    }

    if (s->rung) {
        return;
    }

    s->rung = 1;
    s->next = NULL;

    *(t->rung_tail ? &t->rung_tail->next : &t->rung_head) = s;
    t->rung_tail = s;
    t->nrung++;
}


static void
tb_take_unlink(tb_takes_t *t, tb_shard_t *prev, tb_shard_t *s)
{
    *(prev ? &prev->next : &t->rung_head) = s->next;

    if (t->rung_tail == s) {
        t->rung_tail = prev;
    }

    t->nrung--;
    s->rung = 0;
}


/* those on their way and what they may bring; not those of a node that hangs */

static int
tb_take_count(tb_takes_t *t, int *asked)
{
    int          i, n;
    int64_t      now;
    tb_shard_t  *s;

    n = t->ntakes;
    *asked = t->asked;

    if (n == 0 || !tb_shards_spread(t->commands)) {
        return n;
    }

    now = tb_now();

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        s = &t->shard[i];

        if (s->asked && now - s->asked_at >= TB_TAKE_LATE) {
            n--;
            *asked -= s->asked;
        }
    }

    return n;
}


/* its node is there, and has not too many already */

static int
tb_take_may(tb_takes_t *t, tb_shard_t *s)
{
    int         i, n;
    tb_node_t  *node;

    if (!tb_shard_up(t->commands, (int) (s - t->shard))
        || tb_shard_away(t->commands, (int) (s - t->shard)))
    {
        return 0;
    }

    if (!tb_shards_spread(t->commands)) {
        return 1;
    }

    node = tb_command_node(t->commands, (int) (s - t->shard));
    n = 0;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        n += t->shard[i].asked && tb_command_node(t->commands, i) == node;
    }

    return n < TB_MAX_TAKES;
}


static void
tb_take_refused(tb_takes_t *t, tb_shard_t *s, redisReply *reply)
{
    /* nothing was claimed: somebody has our name, or the clock went back */

    if (strstr(reply->str, " is older than ") != NULL) {
        tb_log(TB_LOG_WARN, "%s; taking under another name",
               tb_safe(reply->str, reply->len));
        tb_take_claimer(t);
        tb_take_ring(t, (int) (s - t->shard));
        return;
    }

    tb_log(s->told ? TB_LOG_DEBUG : TB_LOG_ERROR,
           "tb_rpc_take of shard %d refused, trying again: %s",
           (int) (s - t->shard), tb_safe(reply->str, reply->len));
    s->told = 1;
}


static void
tb_take_reply(tb_bridge_t *b, void *data, redisReply *reply)
{
    int          again;
    size_t       i;
    tb_takes_t  *t;
    redisReply  *item;
    tb_shard_t  *s = data;

    t = s->takes;
    again = s->again;

    t->ntakes--;
    t->asked -= s->asked;
    s->asked = 0;
    s->again = 0;
    s->take_at = tb_take_later();

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_take_refused(t, s, reply);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0
        || reply->element[0]->type != REDIS_REPLY_INTEGER)
    {
        tb_log(TB_LOG_ERROR, "tb_rpc_take: a reply of another kind");
        return;
    }

    s->told = 0;

    for (i = 1; i < reply->elements; i++) {
        item = reply->element[i];

        if (item->type == REDIS_REPLY_STRING) {
            t->events->taken(t->bridge, item->str, item->len);
        }
    }

    if (reply->element[0]->integer == 1 || again) {
        tb_take_ring(t, (int) (s - t->shard));
    }
}


static void
tb_take_send(tb_takes_t *t, tb_shard_t *s, int max)
{
    char         key[TB_MAX_KEY], ticket[TB_DECIMAL + 1], count[TB_DECIMAL + 1];
    tb_str_t     args[3];

    tb_key(t->conf, (int) (s - t->shard), "queue", t->conf->name, key,
           sizeof(key));

    args[0].data = t->claimer;
    args[0].len = strlen(t->claimer);
    args[1].data = ticket;
    args[1].len = tb_decimal(ticket, ++t->ticket);
    args[2].data = count;
    args[2].len = tb_decimal(count, (uint64_t) max);

    s->asked = max;
    s->asked_at = tb_now();
    t->asked += max;
    t->ntakes++;

    tb_fcall_key(t->commands, tb_take_reply, s, 1, "tb_rpc_take", key, 3,
                 args);
}


/* shards whose bell was not heard for long */

static void
tb_take_sweep(tb_takes_t *t)
{
    int          i;
    int64_t      now;
    tb_shard_t  *s;

    now = tb_now();

    if (now < t->take_at) {
        return;
    }

    t->take_at = now + TB_TAKE_EVERY;

    for (i = 0; i < tb_shards(t->commands); i++) {
        s = &t->shard[i];

        if (s->take_at <= now) {
            s->take_at = tb_take_later();

            if (!s->asked) {
                tb_take_ring(t, i);
            }
        }

        if (s->take_at < t->take_at) {
            t->take_at = s->take_at;
        }
    }
}


void
tb_take_run(tb_takes_t *t)
{
    int          n, max, takes, asked;
    tb_shard_t  *s, *prev, *next;

    tb_take_sweep(t);

    if (t->stopped || t->rung_head == NULL) {
        return;
    }

    takes = tb_take_count(t, &asked);
    prev = NULL;

    for (s = t->rung_head; s != NULL && takes < TB_MAX_TAKES; s = next) {
        next = s->next;

        /* there may be fewer shards than there were */

        if (s - t->shard >= tb_shards(t->commands)) {
            tb_take_unlink(t, prev, s);
            continue;
        }

        if (!tb_take_may(t, s)) {
            prev = s;
            continue;
        }

        max = t->events->room(t->bridge) - asked;
        if (max <= 0) {
            return;
        }

        /* divided among those that have their turn now */

        n = TB_MAX_TAKES - takes;
        n = t->nrung < n ? t->nrung : n;
        max = max > n ? max / n : 1;
        max = max > TB_MAX_TAKE ? TB_MAX_TAKE : max;

        tb_take_unlink(t, prev, s);
        tb_take_send(t, s, max);

        takes++;
        asked += max;
    }
}


void
tb_take_stop(tb_takes_t *t)
{
    t->stopped = 1;
}


int64_t
tb_take_timer(tb_takes_t *t)
{
    return t->take_at;
}


void
tb_take_free(tb_takes_t *t)
{
    free(t);
}
