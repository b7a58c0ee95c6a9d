
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection to a Sentinel, who says where the master is: whenever a
 * connection is to be opened, and every half second, since a master that is
 * none any more goes on answering for seconds.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "greet.h"
#include "sentinel.h"


#define TB_SENTINEL_ASK      500


struct tb_sentinel_s {
    tb_redis_t               redis;
    const tb_redis_conf_t   *conf;
    tb_server_t              master;
    int                      server;       /* the one that is asked */
    int                      tries;        /* in vain, one after the other */
    unsigned                 moves;
    int64_t                  ask_at;
    int64_t                  asked_at;     /* 0: no question is under way */
    int64_t                  known_at;     /* when that was asked */
};


tb_sentinel_t *
tb_sentinel_create(const tb_redis_conf_t *conf, tb_tls_t *tls)
{
    tb_sentinel_t  *s;

    s = tb_alloc(sizeof(tb_sentinel_t));
    s->conf = conf;

    tb_redis_init(&s->redis, conf, tls, &conf->servers[0], "sentinel");
    s->redis.kind = TB_REDIS_SENTINEL;

    return s;
}


void
tb_sentinel_free(tb_sentinel_t *s)
{
    if (s != NULL) {
        tb_redis_free(&s->redis);
        tb_server_clear(&s->master);
        free(s);
    }
}


const tb_server_t *
tb_sentinel_master(const tb_sentinel_t *s)
{
    return &s->master;
}


unsigned
tb_sentinel_moves(const tb_sentinel_t *s)
{
    return s->moves;
}


int
tb_sentinel_knows(tb_sentinel_t *s, int64_t since)
{
    if (s->moves && s->known_at >= since) {
        return 1;
    }

    /* one that is under way may have been answered before */

    if (s->asked_at == 0 || s->asked_at < since) {
        s->ask_at = 0;
    }

    return 0;
}


static void
tb_sentinel_send(tb_sentinel_t *s)
{
    int64_t      now;
    const char  *argv[3];

    now = tb_now();

    if (s->asked_at || now < s->ask_at) {
        return;
    }

    argv[0] = "SENTINEL";
    argv[1] = "GET-MASTER-ADDR-BY-NAME";
    argv[2] = s->conf->sentinel;

    tb_redis_send(&s->redis, 3, argv, NULL);

    s->asked_at = now;
    s->ask_at = now + TB_SENTINEL_ASK;
    s->redis.deadline = now + TB_COMMAND_TIMEOUT;
}


/* it goes to the resolver and into the log */

static int
tb_sentinel_host(const redisReply *host)
{
    int  i;

    if (host->type != REDIS_REPLY_STRING || host->len == 0 || host->len > 255)
    {
        return TB_ERROR;
    }

    for (i = 0; i < (int) host->len; i++) {
        if (host->str[i] <= ' ' || host->str[i] >= 0x7f) {
            return TB_ERROR;
        }
    }

    return TB_OK;
}


static void
tb_sentinel_reply(tb_sentinel_t *s, redisReply *reply)
{
    uint32_t     port;
    redisReply  *host;

    if (s->asked_at == 0) {
        tb_redis_fail(&s->redis, "a reply that nothing was asked for");
        return;
    }

    if (reply->type == REDIS_REPLY_NIL) {
        tb_redis_fail(&s->redis, "it does not know the master \"%s\"",
                      s->conf->sentinel);
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_redis_fail(&s->redis, "%srefused: %s",
                      tb_redis_hint(&s->redis, reply), tb_redis_error(reply));
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || tb_sentinel_host(reply->element[0]) != TB_OK
        || reply->element[1]->type != REDIS_REPLY_STRING
        || tb_number(reply->element[1]->str, reply->element[1]->len, 1, 65535,
                     &port) != TB_OK)
    {
        tb_redis_fail(&s->redis, "its answer is no address");
        return;
    }

    tb_redis_good(&s->redis);

    s->known_at = s->asked_at;
    s->asked_at = 0;
    s->tries = 0;
    s->redis.deadline = 0;

    host = reply->element[0];

    if (tb_server_is(&s->master, host->str, host->len, (int) port)) {
        return;
    }

    tb_server_set(&s->master, host->str, host->len, (int) port);
    s->moves++;

    tb_log(TB_LOG_INFO, "redis %s (sentinel): it says that the master \"%s\""
           " is %s", s->redis.where, s->conf->sentinel,
           s->master.text);
}


/* the next one, at once until all have been tried */

static void
tb_sentinel_next(tb_sentinel_t *s)
{
    s->asked_at = 0;
    s->server = (s->server + 1) % s->conf->nservers;
    s->redis.server = &s->conf->servers[s->server];

    tb_tls_forget(&s->redis.peer);

    if (++s->tries % s->conf->nservers) {
        s->redis.retry_at = 0;
    }
}


void
tb_sentinel_run(tb_sentinel_t *s, const tb_poll_t *p)
{
    redisReply  *reply;

    /* the write of the question may have failed, at the end of a turn */

    if (s->redis.failed) {
        s->redis.failed = 0;
        tb_sentinel_next(s);
    }

    tb_greet_io(&s->redis, p);

    while (s->redis.state == TB_REDIS_READY
           && (reply = tb_redis_reply(&s->redis)) != NULL)
    {
        tb_sentinel_reply(s, reply);
        freeReplyObject(reply);
    }

    if (s->redis.state == TB_REDIS_READY) {
        tb_sentinel_send(s);

    } else if (s->redis.state == TB_REDIS_CLOSED && s->redis.failed) {
        s->redis.failed = 0;
        tb_sentinel_next(s);
    }
}


void
tb_sentinel_poll(tb_sentinel_t *s, tb_poll_t *p)
{
    /* asked for in this turn */

    if (s->redis.state == TB_REDIS_READY) {
        tb_sentinel_send(s);
    }

    tb_redis_poll(&s->redis, p);
}


int64_t
tb_sentinel_timer(tb_sentinel_t *s)
{
    int64_t  t;

    t = tb_redis_timer(&s->redis);

    if (s->redis.state == TB_REDIS_READY && s->asked_at == 0 && s->ask_at < t)
    {
        t = s->ask_at;
    }

    return t;
}
