
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The first words on a connection: who we are, and whether that Redis is the
 * one that is needed.
 */


#include "../base/log.h"
#include "greet.h"
#include "meta.h"


#define TB_STEP_AUTH     0
#define TB_STEP_HELLO    1
#define TB_STEP_SELECT   2
#define TB_STEP_SETNAME  3
#define TB_STEP_META     4

/* has functions and shard channels */
#define TB_REDIS_VERSION      7


static void
tb_greet_step(tb_redis_t *r, int step, int argc, const char **argv)
{
    tb_redis_send(r, argc, argv, NULL);

    r->steps[r->nsteps++] = step;
}


static void
tb_greet_auth(tb_redis_t *r)
{
    const char  *user, *password, *argv[3];

    user = r->conf->user;
    password = r->conf->password;

    if (r->kind == TB_REDIS_SENTINEL) {
        user = r->conf->sentinel_user;
        password = r->conf->sentinel_password;
    }

    if (password == NULL) {
        return;
    }

    argv[0] = "AUTH";
    argv[1] = user ? user : password;
    argv[2] = password;
    tb_greet_step(r, TB_STEP_AUTH, user ? 3 : 2, argv);
}


static void
tb_greet_start(tb_redis_t *r)
{
    char                    db[16], key[TB_META_KEY], name[256];
    const char             *args[4];
    const tb_redis_conf_t  *conf;

    conf = r->conf;
    r->nsteps = 0;
    r->step = 0;

    tb_greet_auth(r);

    /* it needs no right, but to be authenticated */

    args[0] = "HELLO";
    args[1] = "2";
    tb_greet_step(r, TB_STEP_HELLO, 2, args);

    if (conf->db && r->kind != TB_REDIS_SENTINEL) {
        snprintf(db, sizeof(db), "%d", conf->db);
        args[0] = "SELECT";
        args[1] = db;
        tb_greet_step(r, TB_STEP_SELECT, 2, args);
    }

    snprintf(name, sizeof(name), "tb-rpc-bridge:%s:%s", conf->name, r->label);
    args[0] = "CLIENT";
    args[1] = "SETNAME";
    args[2] = name;
    tb_greet_step(r, TB_STEP_SETNAME, 3, args);

    if (r->shards) {
        tb_meta_command(conf, key, args);
        tb_greet_step(r, TB_STEP_META, TB_META_ARGS, args);
    }

    r->state = TB_REDIS_GREETING;
}


/* an error of the handshake */

static int
tb_greet_refused(tb_redis_t *r, int step, redisReply *reply)
{
    static const char  *names[] = { "AUTH", "HELLO", "SELECT",
                                    "CLIENT SETNAME", "HMGET" };

    if (step == TB_STEP_SETNAME) {
        return TB_OK;
    }

    /* a proxy perhaps, or too old: what is needed will be asked for */

    if (step == TB_STEP_HELLO && strstr(reply->str, "unknown command")) {
        return TB_OK;
    }

    tb_redis_fail(r, "%s%s refused: %s", tb_redis_hint(r, reply), names[step],
                  tb_redis_error(reply));

    return TB_ERROR;
}


/* of what HELLO says: name, value, name, value; "" if it is not there */

static const char *
tb_greet_said(const redisReply *reply, const char *name)
{
    size_t       i;
    redisReply  *e, *value;

    if (reply->type != REDIS_REPLY_ARRAY) {
        return "";
    }

    for (i = 0; i + 1 < reply->elements; i += 2) {
        e = reply->element[i];
        value = reply->element[i + 1];

        if (e->type == REDIS_REPLY_STRING
            && value->type == REDIS_REPLY_STRING && strcmp(e->str, name) == 0)
        {
            return value->str;
        }
    }

    return "";
}


static int
tb_greet_hello(tb_redis_t *r, const redisReply *reply)
{
    const char  *mode, *role, *server, *version;

    mode = tb_greet_said(reply, "mode");
    role = tb_greet_said(reply, "role");
    server = tb_greet_said(reply, "server");
    version = tb_greet_said(reply, "version");

    if (r->kind == TB_REDIS_SENTINEL) {
        if (*mode && strcmp(mode, "sentinel") != 0) {
            tb_redis_fail(r, "it is no Sentinel (--redis-sentinel is for"
                          " them)");
            return TB_ERROR;
        }

        return TB_OK;
    }

    if (strcmp(mode, "sentinel") == 0) {
        tb_redis_fail(r, "it is a Sentinel, which needs --redis-sentinel");
        return TB_ERROR;
    }

    if (r->conf->cluster && *mode && strcmp(mode, "cluster") != 0) {
        tb_redis_fail(r, "it is no node of a cluster, which --redis-cluster"
                      " is for");
        return TB_ERROR;
    }

    if (!r->conf->cluster && strcmp(mode, "cluster") == 0) {
        tb_redis_fail(r, "it is a node of a cluster, which needs"
                      " --redis-cluster");
        return TB_ERROR;
    }

    if (r->kind == TB_REDIS_MASTER && strcmp(role, "master") != 0) {
        tb_redis_fail(r, "it is a replica, and not the master that a"
                      " sentinel takes it for");
        return TB_ERROR;
    }

    if (*version == '\0' || atoi(version) >= TB_REDIS_VERSION) {
        return TB_OK;
    }

    tb_redis_fail(r, TB_TOO_OLD ", this is %s %s",
                  *server ? tb_safe(server, strlen(server)) : "Redis",
                  tb_safe(version, strlen(version)));

    return TB_ERROR;
}


static int
tb_greet_meta(tb_redis_t *r, const redisReply *reply)
{
    char  why[512];

    if (tb_meta_reply(r->conf, reply, r->shards, why, sizeof(why)) == TB_OK) {
        return TB_OK;
    }

    tb_redis_fail(r, "%s", why);

    return TB_ERROR;
}


static void
tb_greet_replies(tb_redis_t *r)
{
    int          rc, step;
    redisReply  *reply;

    while (r->step < r->nsteps) {
        reply = tb_redis_reply(r);
        if (reply == NULL) {
            return;
        }

        step = r->steps[r->step++];
        rc = TB_OK;

        if (reply->type == REDIS_REPLY_ERROR) {
            rc = tb_greet_refused(r, step, reply);

        } else if (step == TB_STEP_HELLO) {
            rc = tb_greet_hello(r, reply);

        } else if (step == TB_STEP_META) {
            rc = tb_greet_meta(r, reply);
        }

        freeReplyObject(reply);

        if (rc == TB_ERROR) {
            return;
        }
    }

    r->state = TB_REDIS_READY;
    r->deadline = 0;
    r->fresh = 1;

    tb_log(r->complained ? TB_LOG_DEBUG : TB_LOG_INFO,
           "redis %s (%s): connected", r->server->text, r->label);
}


void
tb_greet_io(tb_redis_t *r, const tb_poll_t *p)
{
    tb_redis_io(r, p);

    if (r->state == TB_REDIS_OPEN) {
        tb_greet_start(r);
    }

    if (r->state == TB_REDIS_GREETING) {
        tb_greet_replies(r);
    }
}
