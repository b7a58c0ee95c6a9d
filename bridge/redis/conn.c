
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A Redis connection that never blocks: hiredis is the codec and does the
 * reads and writes when poll() says so.  What it does to connect may wait for
 * the name of a host, so that is a job.
 */


#include "../../common/tb_rpc_redis_error.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "conn.h"
#include "key.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>


#define TB_STEP_AUTH     0
#define TB_STEP_HELLO    1
#define TB_STEP_SELECT   2
#define TB_STEP_SETNAME  3
#define TB_STEP_META     4

#define TB_CONNECT_TIMEOUT    5000
#define TB_REDIS_MAX_BACKOFF  2000
/* has functions and shard channels */
#define TB_REDIS_VERSION      7
/* of its keys and functions */
#define TB_SCHEMA             2

#define TB_TOO_OLD  "Redis 7.0 or newer is needed"


const char *
tb_redis_hint(const redisReply *reply)
{
    switch (tb_rpc_redis_error(reply->str, reply->len)) {

    case TB_RPC_REDIS_NO_COMMAND:
        return TB_TOO_OLD ": ";

    case TB_RPC_REDIS_NO_AUTH:
        return "it wants a password, see --redis-password-file and"
               " --redis-user: ";

    case TB_RPC_REDIS_WRONG_PASSWORD:
        return "--redis-user, or the password of --redis-password-file, is"
               " wrong: ";

    case TB_RPC_REDIS_NO_RIGHT:
        return "the user has not all rights of docs/redis-schema.md: ";

    default:
        return "";
    }
}


const char *
tb_redis_error(const redisReply *reply)
{
    size_t       len;
    const char  *p;

    /* a command that is not known is quoted: AUTH with its password */

    p = strstr(reply->str, ", with args");
    len = p ? (size_t) (p - reply->str) : reply->len;

    return tb_safe(reply->str, len);
}


void
tb_redis_close(tb_redis_t *r)
{
    /* at the end of the program only */

    if (r->state == TB_REDIS_LOOKUP) {
        return;
    }

    if (r->ctx != NULL) {
        redisFree(r->ctx);
        r->ctx = NULL;
    }

    r->state = TB_REDIS_CLOSED;
    r->deadline = 0;
    r->fresh = 0;
}


void
tb_redis_fail(tb_redis_t *r, const char *fmt, ...)
{
    char     buf[512];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    tb_log(r->complained ? TB_LOG_DEBUG : TB_LOG_ERROR,
           "redis %s (%s): %s; trying again", r->conf->address, r->label, buf);

    r->complained = 1;
    tb_redis_close(r);
    r->retry_at = tb_backoff(&r->backoff, TB_REDIS_MAX_BACKOFF);
}


void
tb_redis_good(tb_redis_t *r)
{
    r->backoff = 0;

    if (r->complained) {
        r->complained = 0;
        tb_log(TB_LOG_INFO, "redis %s (%s): works again", r->conf->address,
               r->label);
    }
}


/* in its thread */

static void
tb_redis_lookup(void *data)
{
    tb_redis_t             *r = data;
    const tb_redis_conf_t  *conf;

    conf = r->conf;

    r->ctx = conf->path ? redisConnectUnixNonBlock(conf->path)
                        : redisConnectNonBlock(conf->host, conf->port);
}


static void
tb_redis_connect(tb_redis_t *r)
{
    if (tb_job_start(&r->job, tb_redis_lookup, r) != TB_OK) {
        tb_redis_fail(r, "cannot connect: no thread: %s", strerror(errno));
        return;
    }

    r->state = TB_REDIS_LOOKUP;
    r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
}


static void
tb_redis_connecting(tb_redis_t *r)
{
    tb_job_end(&r->job);
    r->state = TB_REDIS_CONNECTING;

    if (r->ctx == NULL || r->ctx->err) {
        tb_redis_fail(r, "cannot connect: %s",
                      r->ctx ? r->ctx->errstr : "no memory");
        return;
    }

    r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
}


/* it cannot be stopped, nor would another one come further */

static void
tb_redis_looking(tb_redis_t *r, short revents)
{
    if (revents) {
        tb_redis_connecting(r);

    } else if (tb_now() >= r->deadline) {
        tb_log(r->complained ? TB_LOG_DEBUG : TB_LOG_ERROR,
               "redis %s (%s): its name is still being looked up",
               r->conf->address, r->label);
        r->complained = 1;
        r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
    }
}


static void
tb_redis_step(tb_redis_t *r, int step, int argc, const char **argv)
{
    if (redisAppendCommandArgv(r->ctx, argc, argv, NULL) != REDIS_OK) {
        tb_log(TB_LOG_ERROR, "redis %s (%s): no memory", r->conf->address,
               r->label);
        exit(1);
    }

    r->steps[r->nsteps++] = step;
}


static void
tb_redis_handshake(tb_redis_t *r)
{
    int                     err;
    char                    db[16], key[256], name[256];
    socklen_t               len;
    const char             *auth[3], *args[4];
    const tb_redis_conf_t  *conf;

    conf = r->conf;
    len = sizeof(int);

    if (getsockopt(r->ctx->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
        err = errno;
    }

    if (err) {
        tb_redis_fail(r, "cannot connect: %s", strerror(err));
        return;
    }

    if (conf->path == NULL) {
        redisEnableKeepAlive(r->ctx);
    }

    r->nsteps = 0;
    r->step = 0;

    if (conf->password) {
        auth[0] = "AUTH";
        auth[1] = conf->user ? conf->user : conf->password;
        auth[2] = conf->password;
        tb_redis_step(r, TB_STEP_AUTH, conf->user ? 3 : 2, auth);
    }

    /* it needs no right, but to be authenticated */

    args[0] = "HELLO";
    args[1] = "2";
    tb_redis_step(r, TB_STEP_HELLO, 2, args);

    if (conf->db) {
        snprintf(db, sizeof(db), "%d", conf->db);
        args[0] = "SELECT";
        args[1] = db;
        tb_redis_step(r, TB_STEP_SELECT, 2, args);
    }

    snprintf(name, sizeof(name), "tb-rpc-bridge:%s:%s", conf->name, r->label);
    args[0] = "CLIENT";
    args[1] = "SETNAME";
    args[2] = name;
    tb_redis_step(r, TB_STEP_SETNAME, 3, args);

    if (r->shards) {
        snprintf(key, sizeof(key), "%smeta", conf->prefix);
        args[0] = "HMGET";
        args[1] = key;
        args[2] = "shards";
        args[3] = "schema";
        tb_redis_step(r, TB_STEP_META, 4, args);
    }

    r->state = TB_REDIS_HANDSHAKE;
    r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
}


/* an error of the handshake */

static int
tb_redis_refused(tb_redis_t *r, int step, redisReply *reply)
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

    tb_redis_fail(r, "%s%s refused: %s", tb_redis_hint(reply), names[step],
                  tb_redis_error(reply));

    return TB_ERROR;
}


/* name, value, name, value */

static int
tb_redis_hello(tb_redis_t *r, redisReply *reply)
{
    size_t       i;
    redisReply  *name, *value;
    const char  *server, *version;

    server = "Redis";
    version = "";

    for (i = 0; i + 1 < reply->elements; i += 2) {
        name = reply->element[i];
        value = reply->element[i + 1];

        if (name->type != REDIS_REPLY_STRING
            || value->type != REDIS_REPLY_STRING)
        {
            continue;
        }

        if (strcmp(name->str, "server") == 0) {
            server = value->str;

        } else if (strcmp(name->str, "version") == 0) {
            version = value->str;
        }
    }

    if (*version == '\0' || atoi(version) >= TB_REDIS_VERSION) {
        return TB_OK;
    }

    tb_redis_fail(r, TB_TOO_OLD ", this is %s %s",
                  tb_safe(server, strlen(server)),
                  tb_safe(version, strlen(version)));

    return TB_ERROR;
}


/* what tb:meta says: shards, schema */

static int
tb_redis_meta(tb_redis_t *r, redisReply *reply)
{
    uint32_t                shards;
    redisReply             *schema;
    const tb_redis_conf_t  *conf;

    conf = r->conf;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        tb_redis_fail(r, "%smeta: a reply of another kind", conf->prefix);
        return TB_ERROR;
    }

    schema = reply->element[1];
    reply = reply->element[0];

    if (schema->type == REDIS_REPLY_STRING && atoi(schema->str) != TB_SCHEMA)
    {
        tb_redis_fail(r, "%smeta says schema %s: this Redis has calls of"
                      " another version, which this one cannot read; use"
                      " another --prefix or an empty Redis", conf->prefix,
                      tb_safe(schema->str, schema->len));
        return TB_ERROR;
    }

    if (reply->type == REDIS_REPLY_NIL || schema->type == REDIS_REPLY_NIL) {
        if (conf->shards == 0) {
            tb_redis_fail(r, "%smeta is not there yet, it is made by nginx"
                          " or tb-rpc-admin; or use --shards", conf->prefix);
            return TB_ERROR;
        }

        *r->shards = conf->shards;
        return TB_OK;
    }

    if (reply->type != REDIS_REPLY_STRING
        || tb_number(reply->str, reply->len, 1, TB_MAX_SHARDS, &shards)
           != TB_OK)
    {
        tb_redis_fail(r, "%smeta has a wrong number of shards",
                      conf->prefix);
        return TB_ERROR;
    }

    if (conf->shards && conf->shards != (int) shards) {
        tb_redis_fail(r, "%smeta says %u shards, --shards %d",
                      conf->prefix, (unsigned) shards, conf->shards);
        return TB_ERROR;
    }

    *r->shards = (int) shards;

    return TB_OK;
}


static void
tb_redis_shake(tb_redis_t *r)
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
            rc = tb_redis_refused(r, step, reply);

        } else if (step == TB_STEP_HELLO && r->shards) {
            rc = tb_redis_hello(r, reply);

        } else if (step == TB_STEP_META) {
            rc = tb_redis_meta(r, reply);
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
           "redis %s (%s): connected", r->conf->address, r->label);
}


int
tb_redis_poll(tb_redis_t *r, short *events)
{
    int  done;

    if (r->state == TB_REDIS_CLOSED) {
        return -1;
    }

    if (r->state == TB_REDIS_LOOKUP) {
        *events = POLLIN;
        return r->job.fd;
    }

    if (r->state == TB_REDIS_CONNECTING) {
        *events = POLLOUT;
        return r->ctx->fd;
    }

    done = 1;

    if (redisBufferWrite(r->ctx, &done) != REDIS_OK) {
        tb_redis_fail(r, "write: %s", r->ctx->errstr);
        return -1;
    }

    *events = done ? POLLIN : POLLIN | POLLOUT;

    return r->ctx->fd;
}


void
tb_redis_io(tb_redis_t *r, short revents)
{
    int64_t  alive;

    if (r->state == TB_REDIS_CLOSED) {
        if (tb_now() >= r->retry_at) {
            tb_redis_connect(r);
        }

        return;
    }

    if (r->state == TB_REDIS_LOOKUP) {
        tb_redis_looking(r, revents);
        return;
    }

    if (r->state == TB_REDIS_CONNECTING) {
        if (revents) {
            tb_redis_handshake(r);
        }

    } else if (revents & (POLLIN|POLLHUP|POLLERR)) {
        if (redisBufferRead(r->ctx) != REDIS_OK) {
            tb_redis_fail(r, "read: %s", r->ctx->errstr);
            return;
        }

        /* a sign of life, also when a reply comes little by little */
        alive = tb_now() + TB_COMMAND_TIMEOUT;

        if (r->state == TB_REDIS_READY && r->deadline
            && r->deadline < alive)
        {
            r->deadline = alive;
        }
    }

    if (r->state == TB_REDIS_HANDSHAKE) {
        tb_redis_shake(r);
    }

    if (r->state != TB_REDIS_CLOSED && r->deadline
        && tb_now() >= r->deadline)
    {
        tb_redis_fail(r, "no reply in time");
    }
}


redisReply *
tb_redis_reply(tb_redis_t *r)
{
    void  *reply;

    if (r->ctx == NULL) {
        return NULL;
    }

    reply = NULL;

    if (redisGetReplyFromReader(r->ctx, &reply) != REDIS_OK) {
        tb_redis_fail(r, "broken reply: %s", r->ctx->errstr);
        return NULL;
    }

    return reply;
}


int64_t
tb_redis_timer(tb_redis_t *r)
{
    if (r->state == TB_REDIS_CLOSED) {
        return r->retry_at;
    }

    return r->deadline ? r->deadline : INT64_MAX;
}
