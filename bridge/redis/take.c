
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Takes of calls, over the command connection.  A shard is taken from when
 * its bell has rung (bell.c), while it says that something is left, and at
 * the latest TB_TAKE_EVERY after the last time: a ring may be lost.  One take
 * of a shard is under way at a time, and up to TB_MAX_TAKES in all; shards
 * have their turns in the order in which they rang.
 *
 * A take claims what it returns.  So it asks for no more than can be written
 * to the broker now; and when its reply is lost, the command list sends it
 * again with the same ticket, which returns the same calls.
 */


#include "../bridge.h"

#include <sys/time.h>


static void
tb_take_claimer(tb_bridge_t *b)
{
    uint32_t  id[2];

    if (tb_random(id, sizeof(id)) != TB_OK) {
        tb_log(TB_LOG_ERROR, "cannot read /dev/urandom");
        exit(1);
    }

    snprintf(b->claimer, sizeof(b->claimer), "%.64s:%08x%08x", b->opt.name,
             id[0], id[1]);
}


static int64_t
tb_take_later(void)
{
    return tb_now() + TB_TAKE_EVERY - random() % (TB_TAKE_EVERY / 5);
}


void
tb_take_start(tb_bridge_t *b)
{
    int             i;
    struct timeval  tv;

    tb_take_claimer(b);

    gettimeofday(&tv, NULL);
    b->ticket = (uint64_t) tv.tv_sec * 1000000 + tv.tv_usec;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        b->shard[i].take_at = tb_take_later();
    }
}


void
tb_take_ring(tb_bridge_t *b, int n)
{
    tb_shard_t  *s;

    s = &b->shard[n];

    if (s->asked) {
        s->again = 1;
        return;
    }

    if (s->rung) {
        return;
    }

    s->rung = 1;
    s->next = NULL;

    *(b->rung_tail ? &b->rung_tail->next : &b->rung_head) = s;
    b->rung_tail = s;
    b->nrung++;
}


static tb_shard_t *
tb_take_next(tb_bridge_t *b)
{
    tb_shard_t  *s;

    s = b->rung_head;

    b->rung_head = s->next;
    if (b->rung_head == NULL) {
        b->rung_tail = NULL;
    }

    b->nrung--;
    s->rung = 0;

    return s;
}


/* what can be written now, and is not asked for yet */

static int
tb_take_room(tb_bridge_t *b)
{
    int  room, hands;

    if (b->stopping || b->shards == 0 || b->cmd.state != TB_REDIS_READY
        || !tb_mqtt_ready(b) || tb_answers_full(b))
    {
        return 0;
    }

    room = b->window - b->nopen;
    hands = b->opt.concurrency - b->ncalls;

    return (room < hands ? room : hands) - b->asked;
}


static void
tb_take_refused(tb_bridge_t *b, tb_shard_t *s, redisReply *reply)
{
    /* nothing was claimed: somebody has our name, or the clock went back */

    if (strstr(reply->str, " is older than ") != NULL) {
        tb_log(TB_LOG_WARN, "%s; taking under another name",
               tb_safe(reply->str, reply->len));
        tb_take_claimer(b);
        tb_take_ring(b, (int) (s - b->shard));
        return;
    }

    tb_log(s->told ? TB_LOG_DEBUG : TB_LOG_ERROR,
           "tb_rpc_take of shard %d refused, trying again: %s",
           (int) (s - b->shard), tb_safe(reply->str, reply->len));
    s->told = 1;
}


static void
tb_take_reply(tb_bridge_t *b, void *data, redisReply *reply)
{
    int          again;
    size_t       i;
    redisReply  *item;
    tb_shard_t  *s = data;

    again = s->again;

    b->ntakes--;
    b->asked -= s->asked;
    s->asked = 0;
    s->again = 0;
    s->take_at = tb_take_later();

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_take_refused(b, s, reply);
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
            b->count.taken++;
            tb_call_add(b, item->str, item->len);
        }
    }

    if (reply->element[0]->integer == 1 || again) {
        tb_take_ring(b, (int) (s - b->shard));
    }
}


static void
tb_take_send(tb_bridge_t *b, tb_shard_t *s, int max)
{
    char         key[512], ticket[24], count[16];
    tb_str_t     args[3];

    snprintf(key, sizeof(key), "%s" TB_SHARD "queue:%s", b->opt.prefix,
             (unsigned) (s - b->shard), b->opt.name);

    args[0].data = b->claimer;
    args[0].len = strlen(b->claimer);
    args[1].data = ticket;
    args[1].len = sprintf(ticket, "%llu", (unsigned long long) ++b->ticket);
    args[2].data = count;
    args[2].len = sprintf(count, "%d", max);

    s->asked = max;
    b->asked += max;
    b->ntakes++;

    tb_fcall_key(b, tb_take_reply, s, 1, "tb_rpc_take", key, 3, args);
}


/* shards whose bell was not heard for long */

static void
tb_take_sweep(tb_bridge_t *b)
{
    int          i;
    int64_t      now;
    tb_shard_t  *s;

    now = tb_now();

    if (now < b->take_at) {
        return;
    }

    b->take_at = now + TB_TAKE_EVERY;

    for (i = 0; i < b->shards; i++) {
        s = &b->shard[i];

        if (s->take_at <= now) {
            s->take_at = tb_take_later();

            if (!s->asked) {
                tb_take_ring(b, i);
            }
        }

        if (s->take_at < b->take_at) {
            b->take_at = s->take_at;
        }
    }
}


void
tb_take_run(tb_bridge_t *b)
{
    int          n, max;
    tb_shard_t  *s;

    tb_take_sweep(b);

    while (b->rung_head != NULL && b->ntakes < TB_MAX_TAKES) {
        max = tb_take_room(b);
        if (max <= 0) {
            return;
        }

        /* divided among those that have their turn now */

        n = TB_MAX_TAKES - b->ntakes;
        n = b->nrung < n ? b->nrung : n;
        max = max > n ? max / n : 1;

        s = tb_take_next(b);

        /* there may be fewer shards than there were */

        if (s - b->shard < b->shards) {
            tb_take_send(b, s, max > TB_MAX_TAKE ? TB_MAX_TAKE : max);
        }
    }
}
