
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The command connection: pipelined, answered in order.  A command stays in
 * the list until its reply was handled; after a reconnect everything that has
 * no reply is sent again, in the same order.  All functions used here may be
 * repeated: the second report returns 0, the same ticket takes the same calls.
 */


#include "../../common/tb_rpc_redis_error.h"
#include "../../common/tb_rpc_shard.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "command.h"
#include "greet.h"
#include "key.h"
#include "sentinel.h"


/* commands written and not yet answered */
#define TB_MAX_PIPELINE      256


typedef struct tb_cmd_s  tb_cmd_t;

struct tb_cmd_s {
    tb_cmd_t                 *next;
    tb_reply_pt               handler;
    void                     *data;
    char                     *buf;
    size_t                    len;
    int64_t                   at;          /* written, or to be repeated */
    int                       patient;     /* OOM and NOPERM are waited out */
};


struct tb_commands_s {
    const tb_redis_conf_t    *conf;
    const tb_redis_events_t  *events;
    tb_bridge_t              *bridge;
    tb_counters_t            *count;
    tb_tls_t                 *tls;
    tb_sentinel_t            *sentinel;    /* or NULL */
    tb_redis_t                redis;
    unsigned                  moves;       /* of the master, seen */
    int                       shards;
    tb_cmd_t                 *head;
    tb_cmd_t                **tail;
    tb_cmd_t                 *unsent;
    tb_cmd_t                 *later;       /* to be repeated */
    unsigned                  nwritten;
    int64_t                   written_at;  /* of what is handled */
};


tb_commands_t *
tb_command_create(const tb_redis_conf_t *conf,
    const tb_redis_events_t *events, tb_bridge_t *b, tb_counters_t *count)
{
    tb_tls_t       *tls;
    tb_commands_t  *c;

    tls = NULL;

    if (conf->tls) {
        tls = tb_tls_create(conf);
        if (tls == NULL) {
            return NULL;
        }
    }

    c = tb_alloc(sizeof(tb_commands_t));
    c->conf = conf;
    c->events = events;
    c->bridge = b;
    c->count = count;
    c->tls = tls;

    if (conf->sentinel) {
        c->sentinel = tb_sentinel_create(conf, tls);
    }

    tb_command_redis(c, &c->redis, "commands");
    c->redis.shards = &c->shards;

    c->shards = conf->shards;
    c->tail = &c->head;

    return c;
}


void
tb_command_reload(tb_commands_t *c)
{
    if (c->tls) {
        tb_tls_reload(c->tls);
    }
}


void
tb_command_redis(tb_commands_t *c, tb_redis_t *r, const char *label)
{
    tb_redis_init(r, c->conf, c->tls, c->sentinel
                                      ? tb_sentinel_master(c->sentinel)
                                      : &c->conf->servers[0], label);

    if (c->sentinel) {
        r->kind = TB_REDIS_MASTER;
    }
}


void
tb_command_place(tb_commands_t *c, tb_redis_t *r, unsigned *moves)
{
    if (c->sentinel == NULL) {
        return;
    }

    /* whatever the one before still says, it is not the master */

    if (*moves != tb_sentinel_moves(c->sentinel)) {
        if (*moves) {
            tb_redis_leave(r, "it is the master no more");
        }

        *moves = tb_sentinel_moves(c->sentinel);
    }

    r->held = r->state == TB_REDIS_CLOSED && tb_now() >= r->retry_at
              && !tb_sentinel_knows(c->sentinel, r->closed_at);
}


int
tb_command_up(const tb_commands_t *c)
{
    return c->redis.state == TB_REDIS_READY;
}


int
tb_command_idle(const tb_commands_t *c)
{
    return c->head == NULL && c->later == NULL;
}


int64_t
tb_command_written(const tb_commands_t *c)
{
    return c->written_at;
}


int
tb_shards(const tb_commands_t *c)
{
    return c->shards;
}


static void
tb_command_append(tb_commands_t *c, tb_cmd_t *cmd)
{
    cmd->next = NULL;
    *c->tail = cmd;
    c->tail = &cmd->next;

    if (c->unsent == NULL) {
        c->unsent = cmd;
    }
}


void
tb_command(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, int argc, const char **argv, const size_t *lens)
{
    int        len;
    tb_cmd_t  *cmd;

    cmd = tb_alloc(sizeof(tb_cmd_t));

    len = redisFormatCommandArgv(&cmd->buf, argc, argv, lens);
    if (len < 0) {
        tb_log(TB_LOG_ERROR, "no memory for a command, giving up");
        exit(1);
    }

    cmd->len = (size_t) len;
    cmd->handler = handler;
    cmd->data = data;
    cmd->patient = patient;

    tb_command_append(c, cmd);
}


int
tb_device_shard(const tb_commands_t *c, const char *device)
{
    return (int) tb_rpc_shard(device, TB_UUID_LEN, (unsigned) c->shards);
}


void
tb_device_key(const tb_commands_t *c, const char *what, const char *device,
    char *out, size_t size)
{
    tb_key(c->conf, tb_device_shard(c, device), what, device, out, size);
}


void
tb_fcall(tb_commands_t *c, tb_reply_pt handler, void *data, int patient,
    const char *function, const char *device, int argc, const tb_str_t *args)
{
    char  key[TB_MAX_KEY];

    tb_device_key(c, "device", device, key, sizeof(key));
    tb_fcall_key(c, handler, data, patient, function, key, argc, args);
}


void
tb_fcall_key(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *key, int argc,
    const tb_str_t *args)
{
    int          i;
    size_t       lens[4 + TB_MAX_ARGS];
    const char  *argv[4 + TB_MAX_ARGS];

    argv[0] = "FCALL";
    argv[1] = function;
    argv[2] = "1";
    argv[3] = key;

    for (i = 0; i < 4; i++) {
        lens[i] = strlen(argv[i]);
    }

    for (i = 0; i < argc; i++) {
        argv[4 + i] = args[i].data;
        lens[4 + i] = args[i].len;
    }

    tb_command(c, handler, data, patient, 4 + argc, argv, lens);
}


/* it passes without us, and then the same command succeeds */

static int
tb_command_transient(tb_rpc_redis_error_e error, int patient)
{
    switch (error) {

    case TB_RPC_REDIS_OTHER:
    case TB_RPC_REDIS_ELSEWHERE:

        /* the same again, after a reconnect to the same server as well */

        return 0;

    case TB_RPC_REDIS_HALF:
    case TB_RPC_REDIS_NO_RIGHT:
    case TB_RPC_REDIS_FULL:

        /* an operator's mistake gets repaired */

        return patient;

    default:
        return 1;
    }
}


/* the first one has its reply */

static tb_cmd_t *
tb_command_shift(tb_commands_t *c)
{
    tb_cmd_t  *cmd;

    cmd = c->head;

    c->head = cmd->next;
    if (c->head == NULL) {
        c->tail = &c->head;
    }

    c->nwritten--;
    c->redis.deadline = c->nwritten ? tb_now() + TB_COMMAND_TIMEOUT : 0;

    return cmd;
}


/* its shard is on its way to another master: the same again, soon */

static void
tb_command_repeat(tb_commands_t *c, tb_cmd_t *cmd)
{
    cmd->at = tb_now() + 20 + random() % 80;
    cmd->next = c->later;
    c->later = cmd;
}


static void
tb_command_repeated(tb_commands_t *c)
{
    int64_t    now;
    tb_cmd_t  *cmd, **p;

    now = tb_now();

    for (p = &c->later; *p != NULL; /* void */ ) {
        cmd = *p;

        if (cmd->at > now) {
            p = &cmd->next;
            continue;
        }

        *p = cmd->next;
        tb_command_append(c, cmd);
    }
}


int64_t
tb_command_timer(tb_commands_t *c)
{
    int64_t    t;
    tb_cmd_t  *cmd;

    t = tb_redis_timer(&c->redis);

    if (c->sentinel && tb_sentinel_timer(c->sentinel) < t) {
        t = tb_sentinel_timer(c->sentinel);
    }

    for (cmd = c->later; cmd != NULL; cmd = cmd->next) {
        if (cmd->at < t) {
            t = cmd->at;
        }
    }

    return t;
}


static void
tb_command_replies(tb_commands_t *c)
{
    tb_cmd_t              *cmd;
    redisReply            *reply;
    tb_rpc_redis_error_e   error;

    while (c->redis.state == TB_REDIS_READY) {
        reply = tb_redis_reply(&c->redis);
        if (reply == NULL) {
            return;
        }

        cmd = c->head;

        if (cmd == NULL || c->nwritten == 0) {
            freeReplyObject(reply);
            tb_redis_fail(&c->redis, "a reply that nothing was asked for");
            return;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            c->count->redis_errors++;

            error = tb_rpc_redis_error(reply->str, reply->len);

            if (error == TB_RPC_REDIS_TRYAGAIN) {
                tb_command_repeat(c, tb_command_shift(c));
                freeReplyObject(reply);
                continue;
            }

            if (tb_command_transient(error, cmd->patient)) {
                tb_redis_fail(&c->redis, "%s%s", tb_redis_hint(&c->redis, reply),
                              tb_redis_error(reply));
                freeReplyObject(reply);
                return;
            }

        } else {
            tb_redis_good(&c->redis);
        }

        tb_command_shift(c);
        c->written_at = cmd->at;

        cmd->handler(c->bridge, cmd->data, reply);

        redisFreeCommand(cmd->buf);
        free(cmd);
        freeReplyObject(reply);
    }
}


void
tb_command_run(tb_commands_t *c, const tb_poll_t *p)
{
    if (c->sentinel) {
        tb_sentinel_run(c->sentinel, p);
    }

    tb_command_place(c, &c->redis, &c->moves);
    tb_greet_io(&c->redis, p);

    if (c->redis.state != TB_REDIS_READY) {
        c->unsent = c->head;
        c->nwritten = 0;
        return;
    }

    if (c->redis.fresh) {
        c->redis.fresh = 0;
        c->unsent = c->head;
        c->nwritten = 0;
        c->events->ready(c->bridge);
    }

    tb_command_replies(c);
    tb_command_repeated(c);
}


static void
tb_command_flush(tb_commands_t *c)
{
    tb_cmd_t  *cmd;

    if (c->redis.state != TB_REDIS_READY || c->redis.fresh) {
        return;
    }

    while (c->unsent != NULL && c->nwritten < TB_MAX_PIPELINE) {
        cmd = c->unsent;

        tb_wire_append(&c->redis.wire, cmd->buf, cmd->len);
        cmd->at = tb_now();

        if (c->nwritten++ == 0) {
            c->redis.deadline = cmd->at + TB_COMMAND_TIMEOUT;
        }

        c->unsent = cmd->next;
    }
}


void
tb_command_poll(tb_commands_t *c, tb_poll_t *p)
{
    tb_command_flush(c);
    tb_redis_poll(&c->redis, p);

    if (c->sentinel) {
        tb_sentinel_poll(c->sentinel, p);
    }
}


void
tb_command_free(tb_commands_t *c)
{
    tb_cmd_t  *cmd;

    tb_redis_free(&c->redis);
    tb_sentinel_free(c->sentinel);
    tb_tls_free(c->tls);
    *c->tail = c->later;

    while (c->head != NULL) {
        cmd = c->head;
        c->head = cmd->next;
        redisFreeCommand(cmd->buf);
        free(cmd);
    }

    free(c);
}
