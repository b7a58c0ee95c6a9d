
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection that listens to the bells of our queues, one of each shard.
 * It brings forward what happens anyway: a shard whose bell is not heard is
 * taken from every TB_TAKE_EVERY.  What was pushed before a subscription has
 * rung for nobody: so each one that is confirmed counts as a ring.
 */


#include "../base/clock.h"
#include "../base/str.h"
#include "bell.h"
#include "greet.h"
#include "key.h"


#define TB_BELL_PING         10000


struct tb_bell_s {
    tb_redis_t               redis;
    const tb_redis_conf_t   *conf;
    tb_commands_t           *commands;
    tb_takes_t              *takes;
    unsigned                 moves;        /* of the master, seen */
    int                      shards;       /* subscribed to */
    int                      missing;      /* and not confirmed yet */
    int64_t                  ping_at;
};


tb_bell_t *
tb_bell_create(const tb_redis_conf_t *conf, tb_commands_t *c, tb_takes_t *t)
{
    tb_bell_t  *bell;

    bell = tb_alloc(sizeof(tb_bell_t));
    bell->conf = conf;
    bell->commands = c;
    bell->takes = t;

    tb_command_redis(c, &bell->redis, "bells");

    return bell;
}


void
tb_bell_free(tb_bell_t *bell)
{
    tb_redis_free(&bell->redis);
    free(bell);
}


static void
tb_bell_subscribe(tb_bell_t *bell)
{
    int          i;
    char         channel[TB_MAX_KEY];
    const char  *argv[2];

    argv[0] = "SSUBSCRIBE";
    argv[1] = channel;

    for (i = 0; i < tb_shards(bell->commands); i++) {
        tb_key(bell->conf, i, "bell", bell->conf->name, channel,
               sizeof(channel));

        tb_redis_send(&bell->redis, 2, argv, NULL);
    }

    bell->shards = tb_shards(bell->commands);
    bell->missing = tb_shards(bell->commands);
    bell->ping_at = tb_now() + TB_BELL_PING;
    bell->redis.deadline = tb_now() + TB_COMMAND_TIMEOUT;
}


/* the shard of a channel, or TB_ERROR */

static int
tb_bell_shard(tb_bell_t *bell, redisReply *reply)
{
    int         n;
    char        channel[TB_MAX_KEY], *end;
    size_t      len;
    const char *text;

    len = strlen(bell->conf->prefix) + 2;

    if (reply->type != REDIS_REPLY_STRING || (size_t) reply->len < len) {
        return TB_ERROR;
    }

    text = reply->str + len;
    n = (int) strtol(text, &end, 8);

    if (end - text != 3 || n < 0 || n >= bell->shards) {
        return TB_ERROR;
    }

    tb_key(bell->conf, n, "bell", bell->conf->name, channel,
           sizeof(channel));

    return strcmp(channel, reply->str) == 0 ? n : TB_ERROR;
}


static void
tb_bell_reply(tb_bell_t *bell, redisReply *reply)
{
    int          n;
    const char  *kind;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_redis_fail(&bell->redis, "%sSSUBSCRIBE: %s", tb_redis_hint(&bell->redis, reply),
                      tb_redis_error(reply));
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        tb_redis_fail(&bell->redis, "SSUBSCRIBE: a reply of another kind");
        return;
    }

    kind = reply->element[0]->str;
    n = tb_bell_shard(bell, reply->element[1]);

    if (strcmp(kind, "sunsubscribe") == 0) {
        tb_redis_fail(&bell->redis, "a shard has left this server");
        return;
    }

    if (n != TB_ERROR) {
        tb_take_ring(bell->takes, n);
    }

    if (strcmp(kind, "ssubscribe") == 0 && --bell->missing == 0) {
        tb_redis_good(&bell->redis);
    }

    /* it is alive */

    bell->redis.deadline = bell->missing > 0 ? tb_now() + TB_COMMAND_TIMEOUT
                                             : 0;
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

    bell->ping_at = tb_now() + TB_BELL_PING;

    if (bell->redis.deadline == 0) {
        bell->redis.deadline = tb_now() + TB_COMMAND_TIMEOUT;
    }
}


void
tb_bell_run(tb_bell_t *bell, const tb_poll_t *p)
{
    redisReply  *reply;

    if (tb_shards(bell->commands) == 0) {
        return;
    }

    tb_command_place(bell->commands, &bell->redis, &bell->moves);
    tb_greet_io(&bell->redis, p);

    if (bell->redis.state != TB_REDIS_READY) {
        return;
    }

    if (bell->redis.fresh) {
        bell->redis.fresh = 0;
        tb_bell_subscribe(bell);

    } else if (bell->shards != tb_shards(bell->commands)) {
        tb_redis_close(&bell->redis);
        return;
    }

    while ((reply = tb_redis_reply(&bell->redis)) != NULL) {
        tb_bell_reply(bell, reply);
        freeReplyObject(reply);
    }

    if (bell->redis.state == TB_REDIS_READY) {
        tb_bell_ping(bell);
    }
}


void
tb_bell_poll(tb_bell_t *bell, tb_poll_t *p)
{
    tb_redis_poll(&bell->redis, p);
}


int64_t
tb_bell_timer(tb_bell_t *bell)
{
    int64_t  t;

    /* nobody knows yet how many there are */

    if (tb_shards(bell->commands) == 0) {
        return INT64_MAX;
    }

    t = tb_redis_timer(&bell->redis);

    return bell->redis.state == TB_REDIS_READY && bell->ping_at < t
           ? bell->ping_at : t;
}
