
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A Redis connection that never blocks: it looks for the server's addresses,
 * tries one after the other, and reads and writes when poll() says so.
 */


#include "../../common/tb_rpc_redis_error.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "conn.h"
#include "format.h"

#include <poll.h>
#include <stdarg.h>


#define TB_REDIS_MAX_BACKOFF  2000
#define TB_REDIS_TELL         10000

/* of an array; no reply to us has as many, whatever it says of itself */
#define TB_REDIS_MAX_ARRAY    1048576


#if (HIREDIS_MAJOR >= 1)
typedef size_t  tb_redis_elements_t;
#else
typedef int     tb_redis_elements_t;
#endif


static void tb_redis_next(tb_redis_t *r, const char *why);


/* hiredis' own, but for arrays, which it allocates as they are announced */
static redisReplyObjectFunctions  tb_redis_functions;
static void *(*tb_redis_array)(const redisReadTask *task,
    tb_redis_elements_t n);


static void *
tb_redis_bounded(const redisReadTask *task, tb_redis_elements_t n)
{
    if (n > TB_REDIS_MAX_ARRAY) {
        tb_log(TB_LOG_ERROR, "redis: a reply of %zu elements is refused",
               (size_t) n);
        return NULL;
    }

    return tb_redis_array(task, n);
}


redisReader *
tb_redis_reader(void)
{
    redisReader  *reader;

    reader = redisReaderCreate();

    if (reader != NULL) {
        tb_redis_functions = *reader->fn;
        tb_redis_array = reader->fn->createArray;
        tb_redis_functions.createArray = tb_redis_bounded;
        reader->fn = &tb_redis_functions;
    }

    return reader;
}


void
tb_redis_init(tb_redis_t *r, const tb_redis_conf_t *conf, tb_tls_t *tls,
    const tb_server_t *server, const char *label)
{
    memset(r, 0, sizeof(tb_redis_t));

    r->conf = conf;
    r->tls = tls;
    r->server = server;
    r->label = label;
    r->wire.fd = -1;
    r->place = -1;
}


const char *
tb_redis_hint(const tb_redis_t *r, const redisReply *reply)
{
    switch (tb_rpc_redis_error(reply->str, reply->len)) {

    case TB_RPC_REDIS_NO_COMMAND:
        return TB_TOO_OLD ": ";

    case TB_RPC_REDIS_NO_AUTH:
        return r->kind == TB_REDIS_SENTINEL
               ? "it wants a password, see --redis-sentinel-password-file and"
                 " --redis-sentinel-user: "
               : "it wants a password, see --redis-password-file and"
                 " --redis-user: ";

    case TB_RPC_REDIS_WRONG_PASSWORD:
        return r->kind == TB_REDIS_SENTINEL
               ? "--redis-sentinel-user, or the password of"
                 " --redis-sentinel-password-file, is wrong: "
               : "--redis-user, or the password of --redis-password-file, is"
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
    /* its thread has what would be freed here */

    if (r->state == TB_REDIS_LOOKUP) {
        return;
    }

    tb_wire_close(&r->wire);
    tb_lookup_clear(&r->lookup);

    if (r->reader != NULL) {
        redisReaderFree(r->reader);
        r->reader = NULL;
    }

    r->state = TB_REDIS_CLOSED;
    r->place = -1;
    r->deadline = 0;
    r->fresh = 0;
    r->left = 0;
    r->closed_at = tb_now();
}


void
tb_redis_free(tb_redis_t *r)
{
    tb_redis_close(r);
    tb_tls_forget(&r->peer);
}


void
tb_redis_fail(tb_redis_t *r, const char *fmt, ...)
{
    char     buf[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    tb_log(r->complained ? TB_LOG_DEBUG : TB_LOG_ERROR,
           "redis %s (%s): %s; trying again", r->where, r->label, buf);

    r->complained = 1;
    r->failed = 1;
    tb_redis_close(r);
    r->retry_at = tb_backoff(&r->backoff, TB_REDIS_MAX_BACKOFF);
}


void
tb_redis_refuse(tb_redis_t *r, const char *fmt, ...)
{
    int      level;
    char     buf[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    level = TB_LOG_DEBUG;

    if (r->told_at == 0 || tb_now() - r->told_at >= TB_REDIS_TELL) {
        r->told_at = tb_now();
        level = TB_LOG_ERROR;
    }

    tb_log(level, "redis %s (%s): %s; trying again", r->where, r->label, buf);
}


void
tb_redis_leave(tb_redis_t *r, const char *why)
{
    tb_tls_forget(&r->peer);
    r->retry_at = 0;

    if (r->state == TB_REDIS_LOOKUP) {
        r->left = 1;
        return;
    }

    if (r->state == TB_REDIS_CLOSED) {
        return;
    }

    tb_log(TB_LOG_INFO, "redis %s (%s): %s", r->where, r->label, why);
    tb_redis_close(r);
}


void
tb_redis_good(tb_redis_t *r)
{
    r->backoff = 0;

    if (r->complained) {
        r->complained = 0;
        tb_log(TB_LOG_INFO, "redis %s (%s): works again", r->where,
               r->label);
    }
}


/* the next one of its addresses */

static void
tb_redis_try(tb_redis_t *r, const char *why)
{
    const struct addrinfo  *ai;

    while ((ai = tb_lookup_next(&r->lookup)) != NULL) {
        if (tb_wire_connect(&r->wire, ai, &why) == TB_OK) {
            r->state = TB_REDIS_CONNECTING;
            r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
            return;
        }
    }

    tb_redis_fail(r, "cannot connect: %s", why);
}


static void
tb_redis_next(tb_redis_t *r, const char *why)
{
    tb_wire_close(&r->wire);
    tb_redis_try(r, why);
}


static void
tb_redis_connect(tb_redis_t *r)
{
    const char  *why;

    snprintf(r->where, sizeof(r->where), "%s", r->server->text);

    switch (tb_lookup_start(&r->lookup, r->server, &why)) {

    case TB_OK:
        tb_redis_try(r, "it has no address");
        return;

    case TB_AGAIN:
        r->state = TB_REDIS_LOOKUP;
        r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
        return;

    default: /* TB_ERROR */
        tb_redis_fail(r, "cannot connect: %s", why);
    }
}


/* it cannot be stopped, nor would another one come further */

static void
tb_redis_looking(tb_redis_t *r, short revents)
{
    int          rc;
    const char  *why;

    if (revents) {
        r->state = TB_REDIS_CONNECTING;

        rc = tb_lookup_end(&r->lookup, &why);

        if (r->left) {
            tb_redis_close(r);
            return;
        }

        if (rc != TB_OK) {
            tb_redis_fail(r, "cannot connect: %s", why);
            return;
        }

        tb_redis_try(r, "it has no address");

    } else if (tb_now() >= r->deadline) {
        tb_log(r->complained ? TB_LOG_DEBUG : TB_LOG_ERROR,
               "redis %s (%s): its name is still being looked up",
               r->where, r->label);
        r->complained = 1;
        r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
    }
}


static void
tb_redis_opened(tb_redis_t *r)
{
    r->reader = tb_redis_reader();

    if (r->reader == NULL) {
        tb_redis_fail(r, "no memory");
        return;
    }

    r->state = TB_REDIS_OPEN;
    r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
    r->heard = 0;
}


static void
tb_redis_handshake(tb_redis_t *r)
{
    int          rc;
    short        events;
    const char  *why;

    rc = tb_tls_handshake(r->wire.ssl, r->server->host, &events, &why);

    if (rc == TB_AGAIN) {
        r->wire.reading = events;
        return;
    }

    if (rc == TB_ERROR) {
        tb_tls_forget(&r->peer);
        tb_redis_fail(r, "%s", why);
        return;
    }

    r->wire.reading = 0;

    tb_log(TB_LOG_DEBUG, "redis %s (%s): TLS is there, session resumed: %d",
           r->where, r->label, SSL_session_reused(r->wire.ssl));

    tb_redis_opened(r);
}


static void
tb_redis_connected(tb_redis_t *r)
{
    const char  *why;

    if (tb_wire_connected(&r->wire, &why) != TB_OK) {
        tb_redis_next(r, why);
        return;
    }

    if (r->tls == NULL) {
        tb_redis_opened(r);
        return;
    }

    r->wire.ssl = tb_tls_open(r->tls, r->wire.fd, r->server->host, &r->peer,
                              &why);
    if (r->wire.ssl == NULL) {
        tb_redis_fail(r, "TLS failed: %s", why);
        return;
    }

    r->state = TB_REDIS_TLS;
    r->deadline = tb_now() + TB_CONNECT_TIMEOUT;
    tb_redis_handshake(r);
}


void
tb_redis_poll(tb_redis_t *r, tb_poll_t *p)
{
    const char  *why;

    r->place = -1;

    switch (r->state) {

    case TB_REDIS_CLOSED:
        return;

    case TB_REDIS_LOOKUP:
        r->place = tb_poll_add(p, r->lookup.job.fd, POLLIN);
        return;

    case TB_REDIS_CONNECTING:
        r->place = tb_poll_add(p, r->wire.fd, POLLOUT);
        return;

    case TB_REDIS_TLS:
        r->place = tb_poll_add(p, r->wire.fd, r->wire.reading);
        return;

    default:
        break;
    }

    if (tb_wire_write(&r->wire, &why) != TB_OK) {
        tb_redis_fail(r, "%s: %s", r->tls ? "TLS failed" : "write", why);
        return;
    }

    r->place = tb_poll_add(p, r->wire.fd, tb_wire_events(&r->wire));
}


static void
tb_redis_read(tb_redis_t *r)
{
    int64_t      alive;
    const char  *why;

    if (tb_wire_read(&r->wire, r->reader, &why) != TB_OK) {
        tb_redis_fail(r, "%s: %s%s", r->tls ? "TLS failed" : "read", why,
                      r->tls || r->heard ? ""
                      : ", as if its port had TLS (\"rediss://\")");
        return;
    }

    /* a sign of life, also when a reply comes little by little */

    alive = tb_now() + TB_COMMAND_TIMEOUT;

    if (r->state == TB_REDIS_READY && r->deadline && r->deadline < alive) {
        r->deadline = alive;
    }
}


void
tb_redis_io(tb_redis_t *r, const tb_poll_t *p)
{
    short  revents;

    revents = tb_poll_events(p, r->place);

    switch (r->state) {

    case TB_REDIS_CLOSED:
        if (!r->held && tb_now() >= r->retry_at) {
            tb_redis_connect(r);
        }

        return;

    case TB_REDIS_LOOKUP:
        tb_redis_looking(r, revents);
        return;

    case TB_REDIS_CONNECTING:
        if (revents) {
            tb_redis_connected(r);
        }

        break;

    case TB_REDIS_TLS:
        if (revents) {
            tb_redis_handshake(r);
        }

        break;

    default:
        if ((revents & (POLLIN|POLLHUP|POLLERR))
            || (revents & r->wire.reading))
        {
            tb_redis_read(r);
        }
    }

    if (r->state == TB_REDIS_CLOSED || r->deadline == 0
        || tb_now() < r->deadline)
    {
        return;
    }

    if (r->state == TB_REDIS_CONNECTING && r->lookup.next != NULL) {
        tb_redis_next(r, "it does not answer");
        return;
    }

    tb_redis_fail(r, r->state == TB_REDIS_TLS
                     ? "no TLS handshake in time, as if its port had none"
                     : "no reply in time");
}


void
tb_redis_send(tb_redis_t *r, int argc, const char **argv, const size_t *lens)
{
    char    *buf;
    size_t   len;

    buf = tb_alloc(tb_format_max(argc, argv, lens));
    len = tb_format(buf, argc, argv, lens);

    tb_wire_append(&r->wire, buf, len);
    free(buf);
}


redisReply *
tb_redis_reply(tb_redis_t *r)
{
    void  *reply;

    if (r->reader == NULL) {
        return NULL;
    }

    reply = NULL;

    if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
        tb_redis_fail(r, "broken reply: %s%s", r->reader->errstr,
                      r->tls || r->heard ? ""
                      : ", as if its port had TLS (\"rediss://\")");
        return NULL;
    }

    if (reply != NULL) {
        r->heard = 1;
    }

    return reply;
}


int64_t
tb_redis_timer(tb_redis_t *r)
{
    if (r->state == TB_REDIS_CLOSED) {
        return r->held ? INT64_MAX : r->retry_at;
    }

    return r->deadline ? r->deadline : INT64_MAX;
}
