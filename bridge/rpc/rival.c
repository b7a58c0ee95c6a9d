
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Two gateways that name the same device.  A gateway is a device itself, which
 * nginx has attached; so Redis knows whether it is there.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "../redis/key.h"
#include "rival.h"
#include "unsaved.h"


typedef struct tb_rival_s  tb_rival_t;

struct tb_rival_s {
    tb_rival_t     *prev;
    tb_rival_t     *next;
    tb_message_t   *msg;
    size_t          cost;
    int             shard;
    unsigned        epoch;
    tb_message_pt   gone;
    void          (*there)(tb_bridge_t *b, tb_message_t *msg,
                        const char *why);
    char            id[TB_UUID_LEN + 1];
};


struct tb_rivals_s {
    tb_rival_t     *first;             /* Redis has been asked */
};


tb_rivals_t *
tb_rivals_create(void)
{
    return tb_alloc(sizeof(tb_rivals_t));
}


static void
tb_rival_free(tb_rival_t *r)
{
    free(r->msg);
    free(r);
}


void
tb_rivals_free(tb_rivals_t *rivals)
{
    tb_rival_t  *r, *next;

    for (r = rivals->first; r != NULL; r = next) {
        next = r->next;
        tb_rival_free(r);
    }

    free(rivals);
}


static void
tb_rival_found(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_rival_t  *r = data;

    if (r->next) {
        r->next->prev = r->prev;
    }

    if (r->prev) {
        r->prev->next = r->next;
    } else {
        b->rivals->first = r->next;
    }

    tb_answer_saved(b, r->shard, r->cost, r->epoch);

    /* an error says nothing: it may be there */

    if (reply->type == REDIS_REPLY_NIL) {
        r->gone(b, r->msg, r->id);
    } else {
        r->there(b, r->msg, "the device is behind another gateway, which"
                            " is online");
    }

    tb_rival_free(r);
}


void
tb_rival(tb_bridge_t *b, tb_message_t *msg, const char *id,
    const char *gateway, tb_message_pt gone,
    void (*there)(tb_bridge_t *b, tb_message_t *msg, const char *why))
{
    int          shard;
    char         key[TB_MAX_KEY], device[TB_UUID_LEN + 1];
    tb_rival_t  *r;
    const char  *argv[3];

    if (tb_uuid(gateway, strlen(gateway), device) != TB_OK) {
        gone(b, msg, id);
        return;
    }

    shard = (int) tb_rpc_shard(device, TB_UUID_LEN,
                               (unsigned) tb_shards(b->redis));

    if (tb_answers_overfull(b, shard)) {
        tb_message_no_room(b, msg);
        return;
    }

    r = tb_alloc(sizeof(tb_rival_t));

    r->msg = tb_message_copy(b, msg);
    r->cost = sizeof(tb_rival_t) + tb_message_size(b, msg);
    r->shard = shard;
    r->epoch = tb_answer_unsaved(b, shard, r->cost);
    r->gone = gone;
    r->there = there;
    strcpy(r->id, id);

    r->next = b->rivals->first;

    if (r->next) {
        r->next->prev = r;
    }

    b->rivals->first = r;

    tb_device_key(b->redis, "device", device, key, sizeof(key));

    argv[0] = "HGET";
    argv[1] = key;
    argv[2] = "session";

    tb_command(b->redis, tb_rival_found, r, 0, 3, argv, NULL);
}
