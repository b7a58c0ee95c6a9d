
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Messages that Redis has not taken yet.  Their number and size is bounded:
 * when the bound is reached the MQTT socket is not read, so the broker keeps
 * the rest.
 *
 * In a cluster that is so of those that are there.  What waits for a master
 * that is away keeps the socket from nothing while another one is there: so
 * it has a bound of its own, beyond which messages are lost, as the log says.
 * That is the double: whoever goes may be full, and of masters that all go at
 * the same time one is known to be away before the others.
 */


#include "../base/str.h"
#include "../redis/away.h"
#include "unsaved.h"


/* at most so many come by one read: libmosquitto 2.1 has a buffer of 4 KB */
#define TB_ANSWER_AHEAD  256


/* open: those of the connection of that epoch, which is not to be written */

struct tb_unsaved_s {
    int                      n;
    size_t                   bytes;
    int                      open;
    unsigned                 epoch;
    int                      n_of[TB_MAX_SHARDS];
    size_t                   bytes_of[TB_MAX_SHARDS];
    int                      open_of[TB_MAX_SHARDS];
};


tb_unsaved_t *
tb_unsaved_create(void)
{
    return tb_alloc(sizeof(tb_unsaved_t));
}


void
tb_unsaved_free(tb_unsaved_t *u)
{
    free(u);
}


int
tb_answers_count(const tb_bridge_t *b)
{
    return b->unsaved->n;
}


size_t
tb_answer_kept(tb_bridge_t *b, const tb_str_t *payload)
{
    size_t  max;

    max = (size_t) b->conf->max_response + TB_AROUND_ANSWER;

    return payload->len < max ? payload->len : max;
}


/* n and bytes of those of a master that is there, or of all if none is */

static int
tb_answers_here(tb_bridge_t *b, size_t *bytes)
{
    int            i, n;
    tb_unsaved_t  *u;

    u = b->unsaved;
    n = u->n;
    *bytes = u->bytes;

    if (!tb_shards_spread(b->redis) || !tb_shards_any(b->redis)) {
        return n;
    }

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (u->n_of[i] && tb_shard_away(b->redis, i)) {
            n -= u->n_of[i];
            *bytes -= u->bytes_of[i];
        }
    }

    return n;
}


int
tb_answers_full(tb_bridge_t *b)
{
    int            n;
    size_t         bytes;
    tb_unsaved_t  *u;

    u = b->unsaved;

    if (u->n < b->conf->max_answers && u->bytes < TB_MAX_ANSWER_BYTES) {
        return 0;
    }

    n = tb_answers_here(b, &bytes);

    return n >= b->conf->max_answers || bytes >= TB_MAX_ANSWER_BYTES;
}


int
tb_answers_overfull(tb_bridge_t *b, int shard)
{
    int            i, n, max;
    size_t         bytes;
    tb_node_t     *node;
    tb_unsaved_t  *u;

    u = b->unsaved;
    max = 2 * b->conf->max_answers + TB_ANSWER_AHEAD;

    if (u->n < max && u->bytes < 2 * TB_MAX_ANSWER_BYTES) {
        return 0;
    }

    node = tb_command_node(b->redis, shard);
    n = 0;
    bytes = 0;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (u->n_of[i] && tb_command_node(b->redis, i) == node) {
            n += u->n_of[i];
            bytes += u->bytes_of[i];
        }
    }

    return n >= max || bytes >= 2 * TB_MAX_ANSWER_BYTES;
}


/* a connection that is gone acknowledges nothing */

static void
tb_answers_epoch(tb_bridge_t *b)
{
    tb_unsaved_t  *u;

    u = b->unsaved;

    if (u->epoch != tb_mqtt_epoch(b->mqtt)) {
        u->epoch = tb_mqtt_epoch(b->mqtt);
        u->open = 0;
        memset(u->open_of, 0, sizeof(u->open_of));
    }
}


int
tb_answers_unsaved(tb_bridge_t *b, int all)
{
    int            away;
    tb_unsaved_t  *u;

    tb_answers_epoch(b);

    u = b->unsaved;

    if (all || u->open == 0) {
        return u->open;
    }

    away = tb_shards_away(b->redis, u->open_of);

    return away && tb_shards_any(b->redis) ? u->open - away : u->open;
}


unsigned
tb_answer_unsaved(tb_bridge_t *b, int shard, size_t cost)
{
    tb_unsaved_t  *u;

    tb_answers_epoch(b);

    u = b->unsaved;
    u->n++;
    u->n_of[shard]++;
    u->bytes += cost;
    u->bytes_of[shard] += cost;
    u->open++;
    u->open_of[shard]++;

    return u->epoch;
}


void
tb_answer_saved(tb_bridge_t *b, int shard, size_t cost, unsigned epoch)
{
    tb_unsaved_t  *u;

    u = b->unsaved;
    u->n--;
    u->n_of[shard]--;
    u->bytes -= cost;
    u->bytes_of[shard] -= cost;

    if (epoch == u->epoch) {
        u->open--;
        u->open_of[shard]--;
    }
}
