
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection that listens to the bells of our queues, one of each shard.
 * It brings forward what happens anyway: a shard whose bell is not heard is
 * taken from every TB_TAKE_EVERY.  What was pushed before a subscription has
 * rung for nobody: so each one that is confirmed counts as a ring.
 */


#include "../bridge.h"


static void
tb_bell_subscribe(tb_bridge_t *b)
{
    int          i;
    char         channel[512];
    const char  *argv[2];

    argv[0] = "SSUBSCRIBE";
    argv[1] = channel;

    for (i = 0; i < b->shards; i++) {
        snprintf(channel, sizeof(channel), "%s" TB_SHARD "bell:%s",
                 b->opt.prefix, (unsigned) i, b->opt.name);

        if (redisAppendCommandArgv(b->bell.ctx, 2, argv, NULL) != REDIS_OK) {
            tb_redis_fail(&b->bell, "no memory for a command");
            return;
        }
    }

    b->bell_shards = b->shards;
    b->bell_missing = b->shards;
    b->bell_ping_at = tb_now() + TB_BELL_PING;
    b->bell.deadline = tb_now() + TB_COMMAND_TIMEOUT;
}


/* the shard of a channel, or TB_ERROR */

static int
tb_bell_shard(tb_bridge_t *b, redisReply *reply)
{
    int         n;
    char        channel[512], *end;
    size_t      len;
    const char *text;

    len = strlen(b->opt.prefix) + 2;

    if (reply->type != REDIS_REPLY_STRING || (size_t) reply->len < len) {
        return TB_ERROR;
    }

    text = reply->str + len;
    n = (int) strtol(text, &end, 8);

    if (end - text != 3 || n < 0 || n >= b->bell_shards) {
        return TB_ERROR;
    }

    snprintf(channel, sizeof(channel), "%s" TB_SHARD "bell:%s",
             b->opt.prefix, (unsigned) n, b->opt.name);

    return strcmp(channel, reply->str) == 0 ? n : TB_ERROR;
}


static void
tb_bell_reply(tb_bridge_t *b, redisReply *reply)
{
    int          n;
    const char  *kind;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_redis_fail(&b->bell, "%sSSUBSCRIBE: %s", tb_redis_hint(reply),
                      tb_safe(reply->str, reply->len));
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        tb_redis_fail(&b->bell, "SSUBSCRIBE: a reply of another kind");
        return;
    }

    kind = reply->element[0]->str;
    n = tb_bell_shard(b, reply->element[1]);

    if (strcmp(kind, "sunsubscribe") == 0) {
        tb_redis_fail(&b->bell, "a shard has left this server");
        return;
    }

    if (n != TB_ERROR) {
        tb_take_ring(b, n);
    }

    if (strcmp(kind, "ssubscribe") == 0 && --b->bell_missing == 0) {
        tb_redis_good(&b->bell);
    }

    /* it is alive */

    b->bell.deadline = b->bell_missing > 0 ? tb_now() + TB_COMMAND_TIMEOUT
                                           : 0;
}


static void
tb_bell_ping(tb_bridge_t *b)
{
    const char  *argv[1];

    if (tb_now() < b->bell_ping_at) {
        return;
    }

    argv[0] = "PING";

    if (redisAppendCommandArgv(b->bell.ctx, 1, argv, NULL) != REDIS_OK) {
        tb_redis_fail(&b->bell, "no memory for a command");
        return;
    }

    b->bell_ping_at = tb_now() + TB_BELL_PING;

    if (b->bell.deadline == 0) {
        b->bell.deadline = tb_now() + TB_COMMAND_TIMEOUT;
    }
}


void
tb_bell_run(tb_bridge_t *b, short revents)
{
    redisReply  *reply;

    if (b->shards == 0) {
        return;
    }

    tb_redis_io(b, &b->bell, revents);

    if (b->bell.state != TB_REDIS_READY) {
        return;
    }

    if (b->bell.fresh) {
        b->bell.fresh = 0;
        tb_bell_subscribe(b);

    } else if (b->bell_shards != b->shards) {
        tb_redis_close(&b->bell);
        return;
    }

    while ((reply = tb_redis_reply(&b->bell)) != NULL) {
        tb_bell_reply(b, reply);
        freeReplyObject(reply);
    }

    if (b->bell.state == TB_REDIS_READY) {
        tb_bell_ping(b);
    }
}


int64_t
tb_bell_timer(tb_bridge_t *b)
{
    int64_t  t;

    /* nobody knows yet how many there are */

    if (b->shards == 0) {
        return INT64_MAX;
    }

    t = tb_redis_timer(&b->bell);

    return b->bell.state == TB_REDIS_READY && b->bell_ping_at < t
           ? b->bell_ping_at : t;
}
