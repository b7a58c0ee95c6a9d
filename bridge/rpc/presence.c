
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Who is online.  A device says so on its (retained) presence topic; we
 * attach it to our bridge name and repeat that at a third of the session's
 * time to live.
 *
 * The session id names the device's connection and is shared by all processes
 * of our name.  A device may put its own into the payload.  Else the one that
 * Redis has for our name is adopted, and a random one made if there is none:
 * so processes agree without talking, and a device that went to another
 * bridge and comes back is a new session.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/random.h"
#include "../base/str.h"
#include "../redis/away.h"
#include "../redis/key.h"
#include "beat.h"
#include "device.h"
#include "presence.h"
#include "probe.h"
#include "resolve.h"


/* ms after which a call is returned with a session once more */
#define TB_RETURN_AGAIN  1000
/* commands on their way */
#define TB_MAX_PRESENCE  128


struct tb_presence_s {
    int           busy;                /* commands on their way */
    int           of[TB_MAX_SHARDS];   /* of them, of each shard */
};


static void tb_device_step(tb_bridge_t *b, tb_device_t *dev);


tb_presence_t *
tb_presence_create(void)
{
    return tb_alloc(sizeof(tb_presence_t));
}


void
tb_presence_free(tb_presence_t *p)
{
    free(p);
}


static void
tb_presence_less(tb_bridge_t *b, const tb_device_t *dev)
{
    b->presence->busy--;
    b->presence->of[dev->shard]--;
}


/* 1: one more may go; those to a node that is away hold up no others */

static int
tb_presence_room(const tb_bridge_t *b)
{
    int  n;

    n = b->presence->busy;

    return n < TB_MAX_PRESENCE
           || n - tb_shards_away(b->redis, b->presence->of) < TB_MAX_PRESENCE;
}


/* its session is that of now, as far as we know */

static int
tb_device_sure(tb_device_t *dev)
{
    return dev->session[0] != '\0' && !dev->moved && !dev->doubted;
}


static void
tb_device_attached(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_device_t  *dev = data;

    tb_presence_less(b, dev);

    /* an unknown device may be made known later: tried at every beat */

    dev->unknown = reply->type == REDIS_REPLY_ERROR
                   && strstr(reply->str, "is unknown") != NULL;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(dev->told ? TB_LOG_DEBUG : TB_LOG_WARN,
               "device %s cannot be attached, trying again: %s", dev->id,
               tb_safe(reply->str, reply->len));

        b->count->presence_unknown += !dev->told && dev->unknown;
    }

    dev->told = reply->type == REDIS_REPLY_ERROR;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == -1) {
        tb_device_superseded(b, dev);

    } else if (tb_device_idle(b, dev)) {
        return;

    } else if (reply->type == REDIS_REPLY_INTEGER) {
        tb_list(b, dev, TB_LIST_BEAT);

    } else {
        tb_device_late(b, dev);
    }
}


static void
tb_device_detached(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_device_t  *dev = data;

    tb_presence_less(b, dev);

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "device %s cannot be detached: %s", dev->id,
               tb_safe(reply->str, reply->len));
    }

    dev->session[0] = '\0';

    if (!tb_device_idle(b, dev)) {
        tb_device_forget(b, dev);
    }
}


/* what Redis knows: bridge, session */

static void
tb_device_found(tb_bridge_t *b, void *data, redisReply *reply)
{
    int           known, ours;
    uint32_t      id[4];
    redisReply   *bridge, *session;
    tb_device_t  *dev = data;

    tb_presence_less(b, dev);
    known = 0;
    ours = 0;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        bridge = reply->element[0];
        session = reply->element[1];

        known = bridge->type == REDIS_REPLY_STRING && bridge->len > 0;
        ours = known && strcmp(bridge->str, b->conf->redis->name) == 0;

        if (ours && session->type == REDIS_REPLY_STRING && session->len > 0
            && (size_t) session->len <= TB_MAX_SESSION)
        {
            strcpy(dev->session, session->str);
            dev->moved = 0;
            dev->doubted = 0;
        }
    }

    if (tb_device_idle(b, dev)) {
        return;
    }

    if (!dev->online) {
        /* unless the broker was only asked about it */

        if (tb_device_sure(dev) && dev->epoch) {
            tb_device_step(b, dev);
        } else {
            tb_device_forget(b, dev);
        }

        return;
    }

    if (reply->type == REDIS_REPLY_ERROR || (known && !ours && !dev->live)) {
        /* another bridge has it, and what we know may be old: ask again */
        tb_device_late(b, dev);
        return;
    }

    dev->live = 0;
    dev->doubted = 0;

    if (known && !ours) {
        /* where nobody has it the one of before goes on */
        dev->session[0] = '\0';
    }

    if (!tb_device_sure(dev)) {
        if (tb_random(id, sizeof(id)) != TB_OK) {
            tb_device_late(b, dev);
            return;
        }

        sprintf(dev->session, "mqtt-%08x%08x", id[0], id[1]);
        dev->moved = 0;
    }

    tb_device_step(b, dev);
}


static void
tb_device_lookup(tb_bridge_t *b, tb_device_t *dev)
{
    char         key[TB_MAX_KEY];
    const char  *argv[4];

    tb_device_key(b->redis, "device", dev->id, key, sizeof(key));

    argv[0] = "HMGET";
    argv[1] = key;
    argv[2] = "bridge";
    argv[3] = "session";

    tb_command(b->redis, tb_device_found, dev, 0, 4, argv, NULL);
}


static void
tb_device_step(tb_bridge_t *b, tb_device_t *dev)
{
    char      ttl[16];
    tb_str_t  args[3];

    tb_list(b, dev, TB_LIST_NONE);
    dev->busy = 1;
    dev->shard = tb_device_shard(b->redis, dev->id);
    b->presence->busy++;
    b->presence->of[dev->shard]++;

    if (dev->given[0]) {
        strcpy(dev->session, dev->given);
        dev->moved = 0;
        dev->doubted = 0;
    }

    if (!tb_device_sure(dev)) {
        tb_device_lookup(b, dev);
        return;
    }

    if (!dev->online) {
        args[0].data = dev->session;
        args[0].len = strlen(dev->session);

        tb_fcall(b->redis, tb_device_detached, dev, 1, "tb_rpc_detach",
                 dev->id, 1, args);
        return;
    }

    args[0].data = b->conf->redis->name;
    args[0].len = strlen(b->conf->redis->name);
    args[1].data = dev->session;
    args[1].len = strlen(dev->session);
    args[2].data = ttl;
    args[2].len = sprintf(ttl, "%d", b->conf->session_ttl);

    /* a full Redis refuses attach, and it must not hold up the reports */
    tb_fcall(b->redis, tb_device_attached, dev, 0, "tb_rpc_attach", dev->id, 3,
             args);
}


/* takes the news over; 1 if something is to be done */

static int
tb_presence_update(tb_bridge_t *b, tb_device_t *dev, int online,
    const char *session, int live)
{
    int  changed;

    changed = dev->epoch != tb_mqtt_epoch(b->mqtt);
    dev->epoch = tb_mqtt_epoch(b->mqtt);

    if (!online) {
        if (dev->online && dev->given[0] && session[0]
            && strcmp(dev->given, session) != 0)
        {
            /* the will of a connection before this one */
            return 0;
        }

        changed = dev->online || changed;
        dev->online = 0;
        dev->stopped = 0;

        if (session[0]) {
            strcpy(dev->given, session);
        }

        return changed;
    }

    /* what the broker remembers may be old: Redis is asked whose it is */

    dev->doubted = dev->doubted || (changed && !live);
    changed = changed || !dev->online;

    if (strcmp(dev->given, session) != 0) {
        strcpy(dev->given, session);
        dev->session[0] = '\0';
        dev->moved = 0;
        dev->stopped = 0;
        changed = 1;
    }

    if (live) {
        dev->live = 1;

        /* it waits while another bridge has it */
        changed = changed || !tb_device_sure(dev);
    }

    dev->online = 1;

    return changed && !dev->stopped;
}


static void
tb_device_behind(tb_device_t *dev, const char *gateway, const char *name)
{
    if (dev->gateway && gateway && strcmp(dev->gateway, gateway) == 0
        && strcmp(dev->name, name) == 0)
    {
        return;
    }

    free(dev->gateway);
    free(dev->name);
    dev->gateway = NULL;
    dev->name = NULL;

    if (gateway) {
        dev->gateway = tb_strndup(gateway, strlen(gateway));
        dev->name = tb_strndup(name, strlen(name));
    }
}


void
tb_presence_set(tb_bridge_t *b, const char *id, int online,
    const char *session, int live, const char *gateway, const char *name)
{
    tb_device_t  *dev;

    dev = tb_device_get(b, id);

    if (dev == NULL) {
        b->count->presence_bad++;
        tb_log(TB_LOG_ERROR, "device %s is beyond --max-devices %d, ignored",
               id, b->conf->max_devices);
        return;
    }

    tb_log(TB_LOG_DEBUG, "device %s is %s", id,
           online ? "online" : "offline");

    if (online) {
        tb_device_behind(dev, gateway, name);
    }

    if (!tb_presence_update(b, dev, online, session, live)) {
        return;
    }

    if (dev->busy) {
        dev->again = 1;
        return;
    }

    tb_list(b, dev, TB_LIST_DIRTY);
}


int
tb_presence_gateway(tb_bridge_t *b, const char *id, const char **gateway,
    const char **name)
{
    tb_device_t  *dev;

    dev = tb_device_find(b, id);

    if (dev == NULL || dev->gateway == NULL) {
        return 0;
    }

    *gateway = dev->gateway;
    *name = dev->name;

    return 1;
}


static void
tb_presence_found(tb_bridge_t *b, tb_message_t *msg, const char *id)
{
    int           online;
    char          session[TB_MAX_SESSION + 1];
    tb_device_t  *dev;

    online = tb_presence_parse(b->conf, &msg->payload, session);

    tb_presence_set(b, id, online, session, !msg->retain, NULL, NULL);

    dev = tb_device_find(b, id);

    if (dev != NULL) {
        tb_probe_topic(b, dev, msg->topic);
    }
}


void
tb_presence_message(tb_bridge_t *b, tb_message_t *msg, tb_str_t *values)
{
    char  session[TB_MAX_SESSION + 1];

    if (tb_presence_parse(b->conf, &msg->payload, session) == TB_ERROR
        || tb_message_device(b, msg, values, tb_presence_found) != TB_OK)
    {
        b->count->presence_bad++;
        tb_log(TB_LOG_WARN, "a message on %s is no presence: it needs a"
               " device id and a payload as \"%s\" or \"%s\"",
               tb_safe(msg->topic, strlen(msg->topic)), b->conf->online,
               b->conf->offline);
    }
}


int
tb_presence_here(tb_bridge_t *b, const char *id, const char **session)
{
    tb_device_t  *dev;

    *session = NULL;
    dev = tb_device_find(b, id);

    if (b->conf->attached && (dev == NULL || dev->gateway == NULL)) {

        /* it is not for us to know */

        return 1;
    }

    if (dev == NULL || !tb_device_fresh(b, dev)) {
        return 0;
    }

    if (dev->online && !dev->stopped && !dev->moved) {
        return 1;
    }

    /* it comes back to us at once: what we know is old, it is left alone */

    if (tb_now() - dev->returned_at < TB_RETURN_AGAIN) {
        return 0;
    }

    dev->returned_at = tb_now();

    if (dev->given[0]) {
        *session = dev->given;

    } else if (dev->session[0]) {
        *session = dev->session;
    }

    return 0;
}


/*
 * Retained presence comes before the acknowledgement of its subscription, or
 * soon after: a call that is looked at earlier is of a device that seems to
 * be away.  Nor can an answer be heard before.
 */

int
tb_presence_ready(tb_bridge_t *b)
{
    return tb_mqtt_up(b->mqtt) && tb_mqtt_subscribed(b->mqtt);
}


static void
tb_presence_late(tb_bridge_t *b, unsigned list)
{
    int64_t       now;
    tb_device_t  *dev;

    now = tb_now();

    while ((dev = tb_list_first(b, list, 0)) != NULL && dev->due <= now)
    {
        if (tb_device_fresh(b, dev)) {
            tb_list(b, dev, TB_LIST_DIRTY);

        } else if (now - tb_mqtt_since(b->mqtt) < b->conf->presence_grace
                   || tb_probe(b, dev))
        {
            tb_device_late(b, dev);

        } else {
            tb_device_gone(b, dev);
        }
    }
}


void
tb_presence_run(tb_bridge_t *b)
{
    tb_device_t  *dev;

    /*
     * Without a broker nobody is known to be present: sessions may lapse.  At
     * the end the next process goes on with them.
     */

    if (tb_mqtt_up(b->mqtt) && !b->stopping) {
        tb_presence_late(b, TB_LIST_LATE);
        tb_presence_late(b, TB_LIST_UNKNOWN);
        tb_beats_run(b);
        tb_probes_run(b);
    }

    while (tb_mqtt_up(b->mqtt) && tb_shards(b->redis)
           && tb_presence_room(b)
           && (dev = tb_list_first(b, TB_LIST_DIRTY, 0)) != NULL)
    {
        /* one whose shard is away is looked at again when that is back */

        if ((dev->online && !tb_device_fresh(b, dev))
            || tb_shard_away(b->redis, tb_device_shard(b->redis, dev->id)))
        {
            tb_device_late(b, dev);
            continue;
        }

        tb_device_step(b, dev);
    }
}


void
tb_presence_redis_up(tb_bridge_t *b)
{
    tb_device_t  *dev;

    while ((dev = tb_list_first(b, TB_LIST_LATE, 0)) != NULL
           || (dev = tb_list_first(b, TB_LIST_UNKNOWN, 0)) != NULL)
    {
        dev->doubted = 1;
        tb_list(b, dev, TB_LIST_DIRTY);
    }

    /* a heartbeat takes no device from another bridge, as attach does */

    tb_beats_now(b);
}


int64_t
tb_presence_timer(tb_bridge_t *b)
{
    int64_t       t;
    tb_device_t  *late;

    if (!tb_mqtt_up(b->mqtt) || b->stopping) {
        return INT64_MAX;
    }

    t = tb_beats_timer(b);
    late = tb_list_first(b, TB_LIST_LATE, 0);
    t = late && late->due < t ? late->due : t;
    late = tb_list_first(b, TB_LIST_UNKNOWN, 0);

    return late && late->due < t ? late->due : t;
}
