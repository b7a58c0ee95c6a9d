
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Heartbeats: one command for up to TB_BEAT_DEVICES devices of a shard.  Each
 * shard has its own moments, so that all devices have their heartbeat within
 * a third of the session's time to live, and never all at once.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "../redis/away.h"
#include "../redis/key.h"
#include "beat.h"
#include "device.h"
#include "probe.h"


/* batches on their way, and devices in each */
#define TB_MAX_BEATS         4
#define TB_BEAT_DEVICES      ((TB_MAX_ARGS - 1) / 2)
/* when a shard is looked at again whose node is away */
#define TB_BEAT_AWAY         500


struct tb_beats_s {
    int           n;                   /* batches on their way */
    int           busy[TB_MAX_SHARDS]; /* of them, of each shard */
    int64_t       at;                  /* the next moment of a shard */
    int64_t       shard[TB_MAX_SHARDS];
    int           more[TB_MAX_SHARDS]; /* still to come, at once */
    int           next;                /* the first shard that may have some */
};


typedef struct {
    int           shard;
    int           n;
    tb_device_t  *devices[TB_BEAT_DEVICES];
} tb_beat_t;


tb_beats_t *
tb_beats_create(void)
{
    return tb_alloc(sizeof(tb_beats_t));
}


void
tb_beats_free(tb_beats_t *beats)
{
    free(beats);
}


/* 1: one more may go; those to a node that is away hold up no others */

static int
tb_beats_room(const tb_bridge_t *b)
{
    int  n;

    n = b->beats->n;

    return n < TB_MAX_BEATS
           || n - tb_shards_away(b->redis, b->beats->busy) < TB_MAX_BEATS;
}


int64_t
tb_beats_timer(const tb_bridge_t *b)
{
    /* with many on their way it is a reply that is waited for */

    return tb_beats_room(b) ? b->beats->at : INT64_MAX;
}


/* what the reply says about the next one: 1 goes on, 0 and -1 do not */

static long long
tb_beat_state(redisReply *reply, size_t *i, const char *id)
{
    redisReply  **e;

    if (reply->type != REDIS_REPLY_ARRAY || *i + 1 >= reply->elements) {
        return 1;
    }

    e = &reply->element[*i];

    if (e[0]->type != REDIS_REPLY_STRING || strcmp(e[0]->str, id) != 0
        || e[1]->type != REDIS_REPLY_INTEGER)
    {
        return 1;
    }

    *i += 2;

    return e[1]->integer;
}


static void
tb_beat_reply(tb_bridge_t *b, void *data, redisReply *reply)
{
    int           k;
    size_t        i;
    long long     state;
    tb_beat_t    *beat = data;
    tb_device_t  *dev;

    b->beats->n--;
    b->beats->busy[beat->shard]--;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "heartbeats of %d devices refused, trying again:"
               " %s", beat->n, tb_safe(reply->str, reply->len));
    }

    for (k = 0, i = 0; k < beat->n; k++) {
        dev = beat->devices[k];
        state = tb_beat_state(reply, &i, dev->id);

        if (state == -1) {
            tb_device_superseded(b, dev);

        } else if (tb_device_idle(b, dev)) {
            continue;

        } else if (reply->type == REDIS_REPLY_ERROR) {
            tb_device_late(b, dev);

        } else {
            /* it was let go, or lost: attached again */
            tb_list(b, dev, state == 0 ? TB_LIST_DIRTY : TB_LIST_BEAT);
        }
    }

    free(beat);
}


static void
tb_beat_send(tb_bridge_t *b, int n, tb_beat_t *beat)
{
    int        i;
    char       key[TB_MAX_KEY], ttl[16];
    tb_str_t   args[1 + 2 * TB_BEAT_DEVICES], *arg;

    tb_key(b->conf->redis, n, "due", NULL, key, sizeof(key));

    args[0].data = ttl;
    args[0].len = sprintf(ttl, "%d", b->conf->session_ttl);
    arg = &args[1];

    for (i = 0; i < beat->n; i++) {
        arg->data = beat->devices[i]->id;
        arg->len = TB_UUID_LEN;
        arg++;
        arg->data = beat->devices[i]->session;
        arg->len = strlen(arg->data);
        arg++;
    }

    b->beats->n++;
    b->beats->busy[n]++;
    beat->shard = n;

    tb_fcall_key(b->redis, tb_beat_reply, beat, 1, "tb_rpc_heartbeat", key,
                 1 + 2 * beat->n, args);
}


/* the next ones of a shard; those that the broker did not name wait, or go */

static void
tb_beat_shard(tb_bridge_t *b, int i, int n)
{
    int64_t       now;
    tb_beat_t    *beat;
    tb_device_t  *dev;

    now = tb_now();
    beat = tb_alloc(sizeof(tb_beat_t));

    while (n--) {
        dev = tb_list_first(b, TB_LIST_BEAT, i);

        if (tb_device_fresh(b, dev)) {
            tb_list(b, dev, TB_LIST_NONE);
            dev->busy = 1;
            beat->devices[beat->n++] = dev;

        } else if (now - tb_mqtt_since(b->mqtt) < b->conf->presence_grace
                   || tb_probe(b, dev))
        {
            tb_list(b, dev, TB_LIST_BEAT);

        } else {
            tb_device_gone(b, dev);
        }
    }

    if (beat->n == 0) {
        free(beat);
        return;
    }

    tb_beat_send(b, i, beat);
}


void
tb_beats_now(tb_bridge_t *b)
{
    int  i, n;

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (!tb_shard_fresh(b->redis, i)) {
            continue;
        }

        for (n = tb_list_beats(b, i); n; n--) {
            /* there may be another number of shards */
            tb_list(b, tb_list_first(b, TB_LIST_BEAT, i), TB_LIST_BEAT);
        }
    }

    for (i = 0; i < TB_MAX_SHARDS; i++) {
        if (tb_shard_fresh(b->redis, i)) {
            b->beats->more[i] = tb_list_beats(b, i);
        }
    }

    b->beats->next = 0;
}


/* the moments of the shards stay as they are */

static void
tb_beats_again(tb_bridge_t *b)
{
    int          i, n;
    tb_beats_t  *beats;

    beats = b->beats;

    while (beats->next < tb_shards(b->redis) && tb_beats_room(b)) {
        i = beats->next;
        n = tb_list_beats(b, i);
        n = n < beats->more[i] ? n : beats->more[i];
        n = n < TB_BEAT_DEVICES ? n : TB_BEAT_DEVICES;

        /* one that is away will be fresh when it is back */

        if (n == 0 || tb_shard_away(b->redis, i)) {
            beats->next++;
            continue;
        }

        beats->more[i] -= n;
        tb_beat_shard(b, i, n);
    }
}


void
tb_beats_run(tb_bridge_t *b)
{
    int          i, n, parts, period;
    int64_t      now, *at;
    tb_beats_t  *beats;

    now = tb_now();
    beats = b->beats;

    tb_beats_again(b);

    if (now < beats->at || tb_shards(b->redis) == 0 || !tb_beats_room(b)) {
        return;
    }

    period = b->conf->session_ttl / 3;
    beats->at = now + period;

    for (i = 0; i < tb_shards(b->redis); i++) {
        at = &beats->shard[i];
        n = tb_list_beats(b, i);

        /* its first, or the broker was away: not with all others */

        if (*at + period < now) {
            *at = now + random() % period;
        }

        if (*at <= now && tb_shard_away(b->redis, i)) {
            *at = now + TB_BEAT_AWAY;

        } else if (*at <= now && n && tb_beats_room(b)) {
            parts = (n + TB_BEAT_DEVICES - 1) / TB_BEAT_DEVICES;
            *at = now + period / parts;
            tb_beat_shard(b, i, (n + parts - 1) / parts);

        } else if (*at <= now && n == 0) {
            *at = now + period;
        }

        if (*at < beats->at) {
            beats->at = *at;
        }
    }
}
