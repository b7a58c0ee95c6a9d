
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What must be known before a call is published: the name of its device, and
 * after a broken connection whether it is still wanted.
 */


#include "../base/str.h"
#include "../redis/key.h"
#include "ask.h"
#include "calls.h"
#include "names.h"
#include "publish.h"


/* of Redis, when its settings do not say */
#define TB_ACK_TIMEOUT       10000


struct tb_ask_s {
    int                      ack_timeout;  /* of Redis */
    int                      settings;     /* are asked for */
};


tb_ask_t *
tb_ask_create(void)
{
    tb_ask_t  *ask;

    ask = tb_alloc(sizeof(tb_ask_t));
    ask->ack_timeout = TB_ACK_TIMEOUT;

    return ask;
}


void
tb_ask_free(tb_ask_t *ask)
{
    free(ask);
}


/* the last reply makes it TAKEN again */

static void
tb_call_told(tb_bridge_t *b, tb_call_t *call)
{
    if (--call->asks > 0) {
        return;
    }

    tb_call_to(b, call, TB_CALL_TAKEN);

    if (call->ended) {
        tb_call_given_up(b, call, "it has ended meanwhile");
    }
}


static void
tb_call_exists(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_call_t  *call = data;

    call->ended = reply->type != REDIS_REPLY_INTEGER || reply->integer == 0;
    tb_call_told(b, call);
}


static void
tb_call_named(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_call_t  *call = data;

    if (reply->type == REDIS_REPLY_STRING
        && strlen(reply->str) == (size_t) reply->len)
    {
        free(call->name);
        call->name = tb_strndup(reply->str, reply->len);
    }

    tb_call_told(b, call);
}


int
tb_call_ask(tb_bridge_t *b, tb_call_t *call)
{
    char         key[TB_MAX_KEY], id[TB_DECIMAL + 1];
    const char  *argv[3], *name;

    argv[1] = key;

    if (call->epoch != tb_mqtt_epoch(b->mqtt)) {
        call->epoch = tb_mqtt_epoch(b->mqtt);
        call->asks++;
        tb_device_key(b->redis, "inflight", call->device_id, key, sizeof(key));
        tb_decimal(id, call->request_id);
        argv[0] = "HEXISTS";
        argv[2] = id;
        tb_command(b->redis, tb_call_exists, call, 1, 3, argv, NULL);
    }

    name = tb_name_of(b, call->device_id);

    if (name != NULL) {
        free(call->name);
        call->name = tb_strndup(name, strlen(name));

    } else if (tb_publish_named(b) && !call->named) {
        call->named = 1;
        call->asks++;
        tb_device_key(b->redis, "device", call->device_id, key, sizeof(key));
        argv[0] = "HGET";
        argv[2] = "name";
        tb_command(b->redis, tb_call_named, call, 1, 3, argv, NULL);
    }

    if (call->asks == 0) {
        return 0;
    }

    tb_call_to(b, call, TB_CALL_ASKING);

    return 1;
}


/* it waited while there was no broker, and for too long */

const char *
tb_call_stale(tb_bridge_t *b, tb_call_t *call, int64_t now)
{
    if (now >= call->dies_at) {
        return "it has expired";
    }

    if (call->persistent
        && (call->epoch != tb_mqtt_epoch(b->mqtt) || !tb_mqtt_up(b->mqtt))
        && now - call->taken_at >= b->ask->ack_timeout)
    {
        return "the broker was away, left to its acknowledgement timeout";
    }

    return NULL;
}


/* the settings of Redis: name=value, parted by blanks */

static void
tb_calls_settings(tb_bridge_t *b, void *data, redisReply *reply)
{
    int          ms;
    const char  *p;

    b->ask->settings = 0;

    if (reply->type != REDIS_REPLY_STRING) {
        return;
    }

    p = strstr(reply->str, "ack_timeout=");
    ms = p ? atoi(p + sizeof("ack_timeout=") - 1) : 0;

    b->ask->ack_timeout = ms > 0 ? ms : TB_ACK_TIMEOUT;
}


void
tb_calls_ask_settings(tb_bridge_t *b)
{
    char         key[TB_MAX_KEY];
    const char  *argv[3];

    if (b->ask->settings || tb_calls_open(b) == 0) {
        return;
    }

    tb_key(b->conf->redis, 0, "config", NULL, key, sizeof(key));

    argv[0] = "HGET";
    argv[1] = key;
    argv[2] = "settings";

    b->ask->settings = 1;
    tb_command(b->redis, tb_calls_settings, NULL, 0, 3, argv, NULL);
}
