
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The calls in hand: those of an rpcId, and all in the order of their takes.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/log.h"
#include "../base/str.h"
#include "../redis/away.h"
#include "calls.h"
#include "envelope.h"


#define TB_CALL_BUCKETS      4096


struct tb_calls_s {
    tb_call_t               *head;         /* the oldest */
    tb_call_t               *tail;
    int                      n;
    int                      nopen;        /* not reported yet */
    int                      nsent;        /* asking or published */
    int                      nasking;
    int                      asking[TB_MAX_SHARDS];    /* of each shard */
    int                      waiting[TB_MAX_SHARDS];   /* taken or asking */
    int                      said[TB_MAX_SHARDS];      /* asking, reporting */
    tb_call_t               *table[TB_CALL_BUCKETS];   /* by rpcId */
};


tb_calls_t *
tb_calls_create(void)
{
    return tb_alloc(sizeof(tb_calls_t));
}


void
tb_calls_free(tb_calls_t *calls)
{
    tb_call_t  *call;

    while (calls->head != NULL) {
        call = calls->head;
        calls->head = call->next;
        tb_call_free(call);
    }

    free(calls);
}


tb_call_t *
tb_calls_first(const tb_bridge_t *b)
{
    return b->calls->head;
}


int
tb_calls_count(const tb_bridge_t *b)
{
    return b->calls->n;
}


int
tb_calls_here(const tb_bridge_t *b)
{
    return b->calls->n - tb_shards_away(b->redis, b->calls->said);
}


int
tb_calls_open(const tb_bridge_t *b)
{
    /* what cannot be asked for now holds up none of other masters */

    return b->calls->nasking == 0 ? b->calls->nopen
           : b->calls->nopen - tb_shards_away(b->redis, b->calls->waiting);
}


int
tb_calls_sent(const tb_bridge_t *b)
{
    return b->calls->nasking == 0 ? b->calls->nsent
           : b->calls->nsent - tb_shards_away(b->redis, b->calls->asking);
}


static tb_call_t **
tb_call_bucket(tb_bridge_t *b, const char *rpc_id)
{
    uint32_t  hash;

    hash = tb_rpc_crc32(rpc_id, TB_UUID_LEN);

    return &b->calls->table[hash % TB_CALL_BUCKETS];
}


/* n is 1 or -1: the call counts, or no longer, for what its state is */

static void
tb_call_count(tb_calls_t *calls, const tb_call_t *call, int n)
{
    if (call->state != TB_CALL_REPORTING) {
        calls->nopen += n;
    }

    if (call->state == TB_CALL_ASKING || call->state == TB_CALL_PUBLISHED) {
        calls->nsent += n;
    }

    if (call->state == TB_CALL_ASKING) {
        calls->nasking += n;
        calls->asking[call->shard] += n;
    }

    if (call->state == TB_CALL_ASKING || call->state == TB_CALL_REPORTING) {
        calls->said[call->shard] += n;
    }

    if (call->state == TB_CALL_ASKING || call->state == TB_CALL_TAKEN) {
        calls->waiting[call->shard] += n;
    }
}


void
tb_call_to(tb_bridge_t *b, tb_call_t *call, tb_call_state_e state)
{
    tb_call_count(b->calls, call, -1);
    call->state = state;
    tb_call_count(b->calls, call, 1);
}


void
tb_call_end(tb_bridge_t *b, tb_call_t *call)
{
    tb_call_t   **p;
    tb_calls_t   *calls;

    calls = b->calls;
    tb_call_count(calls, call, -1);

    for (p = tb_call_bucket(b, call->rpc_id); *p != call; p = &(*p)->chain) {
        /* void */
    }

    *p = call->chain;

    if (call->prev) {
        call->prev->next = call->next;
    } else {
        calls->head = call->next;
    }

    if (call->next) {
        call->next->prev = call->prev;
    } else {
        calls->tail = call->prev;
    }

    calls->n--;
    tb_call_free(call);
}


void
tb_call_given_up(tb_bridge_t *b, tb_call_t *call, const char *why)
{
    tb_log(TB_LOG_INFO, "request %u of device %s: %s",
           (unsigned) call->request_id, call->device_id, why);

    b->count->given_up++;
    tb_call_end(b, call);
}


/* an envelope that came twice is 1; an attempt that Redis has given up ends */

static int
tb_call_known(tb_bridge_t *b, tb_call_t *call)
{
    tb_call_t  *c, *next;

    for (c = *tb_call_bucket(b, call->rpc_id); c != NULL; c = next) {
        next = c->chain;

        if (strcmp(c->rpc_id, call->rpc_id) != 0) {
            continue;
        }

        if (c->attempt == call->attempt) {
            return 1;
        }

        if (c->state == TB_CALL_TAKEN) {
            tb_call_given_up(b, c, "Redis has queued it again meanwhile");
        }
    }

    return 0;
}


void
tb_call_add(tb_bridge_t *b, const char *data, size_t len)
{
    tb_call_t   *call, **bucket;
    tb_calls_t  *calls;
    const char  *error;

    calls = b->calls;

    b->count->taken++;

    call = tb_envelope_parse(data, len, &error);

    if (call == NULL) {
        b->count->malformed++;
        tb_log(TB_LOG_ERROR, "dropped an envelope of %zu bytes: %s: %s", len,
               error, tb_safe(data, len > 80 ? 80 : len));
        return;
    }

    if (tb_call_known(b, call)) {
        b->count->repeated++;
        tb_call_free(call);
        return;
    }

    /* the take was made after it was written: what is left is not less */

    call->taken_at = tb_command_written(b->redis);
    call->dies_at = call->taken_at + call->expiration_time
                    - call->taken_time;
    call->epoch = tb_mqtt_epoch(b->mqtt);
    call->shard = tb_device_shard(b->redis, call->device_id);

    bucket = tb_call_bucket(b, call->rpc_id);
    call->chain = *bucket;
    *bucket = call;

    call->prev = calls->tail;

    if (calls->tail) {
        calls->tail->next = call;
    } else {
        calls->head = call;
    }

    calls->tail = call;
    calls->n++;
    tb_call_count(calls, call, 1);
}
