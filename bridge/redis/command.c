
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The command connection: pipelined, answered in order.  A command stays in
 * the list until its reply was handled; after a reconnect everything that has
 * no reply is sent again, in the same order.  All functions used here may be
 * repeated: the second report returns 0, the same ticket takes the same calls.
 */


#include "../bridge.h"


static void
tb_command_append(tb_bridge_t *b, tb_cmd_t *cmd)
{
    cmd->next = NULL;
    *b->cmd_tail = cmd;
    b->cmd_tail = &cmd->next;

    if (b->cmd_unsent == NULL) {
        b->cmd_unsent = cmd;
    }
}


void
tb_command(tb_bridge_t *b, tb_cmd_handler_pt handler, void *data,
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

    tb_command_append(b, cmd);
}


int
tb_device_shard(tb_bridge_t *b, const char *device)
{
    return (int) (tb_crc32(device, TB_UUID_LEN) % (uint32_t) b->shards);
}


void
tb_device_key(tb_bridge_t *b, const char *kind, const char *device, char *out,
    size_t size)
{
    snprintf(out, size, "%s" TB_SHARD "%s:%s", b->opt.prefix,
             (unsigned) tb_device_shard(b, device), kind, device);
}


void
tb_fcall(tb_bridge_t *b, tb_cmd_handler_pt handler, void *data, int patient,
    const char *function, const char *device, int argc, const tb_str_t *args)
{
    char  key[512];

    tb_device_key(b, "device", device, key, sizeof(key));
    tb_fcall_key(b, handler, data, patient, function, key, argc, args);
}


void
tb_fcall_key(tb_bridge_t *b, tb_cmd_handler_pt handler, void *data,
    int patient, const char *function, const char *key, int argc,
    const tb_str_t *args)
{
    int          i;
    size_t       lens[4 + 1 + 2 * TB_BEAT_DEVICES];
    const char  *argv[4 + 1 + 2 * TB_BEAT_DEVICES];

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

    tb_command(b, handler, data, patient, 4 + argc, argv, lens);
}


/* errors that pass without us, and then the same command succeeds */

static int
tb_command_transient(redisReply *reply, int patient)
{
    size_t              i;

    static const char  *always[] = {
        "LOADING", "BUSY", "READONLY", "MASTERDOWN", "MISCONF", "NOREPLICAS",
        "CLUSTERDOWN", "NOAUTH", "UNKILLABLE"
    };

    if (strcasestr(reply->str, "function not found") != NULL
        || strncmp(reply->str, "ERR unknown command", 19) == 0)
    {
        return 1;
    }

    for (i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
        if (strncmp(reply->str, always[i], strlen(always[i])) == 0) {
            return 1;
        }
    }

    if (!patient) {
        return 0;
    }

    /* rights that are missing are an operator's mistake, and get repaired */

    return strncmp(reply->str, "OOM", 3) == 0
           || strncmp(reply->str, "NOPERM", 6) == 0
           || strstr(reply->str, "user executing the script") != NULL;
}


/* the first one has its reply */

static tb_cmd_t *
tb_command_shift(tb_bridge_t *b)
{
    tb_cmd_t  *cmd;

    cmd = b->cmd_head;

    b->cmd_head = cmd->next;
    if (b->cmd_head == NULL) {
        b->cmd_tail = &b->cmd_head;
    }

    b->cmd_written--;
    b->cmd.deadline = b->cmd_written ? tb_now() + TB_COMMAND_TIMEOUT : 0;

    return cmd;
}


/* its shard is on its way to another master: the same again, soon */

static void
tb_command_repeat(tb_bridge_t *b, tb_cmd_t *cmd)
{
    cmd->at = tb_now() + 20 + random() % 80;
    cmd->next = b->cmd_later;
    b->cmd_later = cmd;
}


static void
tb_command_repeated(tb_bridge_t *b)
{
    int64_t    now;
    tb_cmd_t  *cmd, **p;

    now = tb_now();

    for (p = &b->cmd_later; *p != NULL; /* void */ ) {
        cmd = *p;

        if (cmd->at > now) {
            p = &cmd->next;
            continue;
        }

        *p = cmd->next;
        tb_command_append(b, cmd);
    }
}


int64_t
tb_command_timer(tb_bridge_t *b)
{
    int64_t    t;
    tb_cmd_t  *cmd;

    t = tb_redis_timer(&b->cmd);

    for (cmd = b->cmd_later; cmd != NULL; cmd = cmd->next) {
        if (cmd->at < t) {
            t = cmd->at;
        }
    }

    return t;
}


static void
tb_command_replies(tb_bridge_t *b)
{
    tb_cmd_t    *cmd;
    redisReply  *reply;

    while (b->cmd.state == TB_REDIS_READY) {
        reply = tb_redis_reply(&b->cmd);
        if (reply == NULL) {
            return;
        }

        cmd = b->cmd_head;

        if (cmd == NULL || b->cmd_written == 0) {
            freeReplyObject(reply);
            tb_redis_fail(&b->cmd, "a reply that nothing was asked for");
            return;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            b->count.redis_errors++;

            if (strncmp(reply->str, "TRYAGAIN", 8) == 0) {
                tb_command_repeat(b, tb_command_shift(b));
                freeReplyObject(reply);
                continue;
            }

            if (tb_command_transient(reply, cmd->patient)) {
                tb_redis_fail(&b->cmd, "%s%s", tb_redis_hint(reply),
                              tb_safe(reply->str, reply->len));
                freeReplyObject(reply);
                return;
            }

        } else {
            tb_redis_good(&b->cmd);
        }

        tb_command_shift(b);
        b->cmd_answered = cmd->at;

        cmd->handler(b, cmd->data, reply);

        redisFreeCommand(cmd->buf);
        free(cmd);
        freeReplyObject(reply);
    }
}


void
tb_command_run(tb_bridge_t *b, short revents)
{
    tb_redis_io(b, &b->cmd, revents);

    if (b->cmd.state != TB_REDIS_READY) {
        b->cmd_unsent = b->cmd_head;
        b->cmd_written = 0;
        return;
    }

    if (b->cmd.fresh) {
        b->cmd.fresh = 0;
        b->cmd_unsent = b->cmd_head;
        b->cmd_written = 0;
        tb_presence_redis_up(b);
    }

    tb_command_replies(b);
    tb_command_repeated(b);
}


void
tb_command_flush(tb_bridge_t *b)
{
    tb_cmd_t  *cmd;

    if (b->cmd.state != TB_REDIS_READY || b->cmd.fresh) {
        return;
    }

    while (b->cmd_unsent != NULL && b->cmd_written < TB_MAX_PIPELINE) {
        cmd = b->cmd_unsent;

        if (redisAppendFormattedCommand(b->cmd.ctx, cmd->buf, cmd->len)
            != REDIS_OK)
        {
            tb_redis_fail(&b->cmd, "no memory for a command");
            return;
        }

        cmd->at = tb_now();

        if (b->cmd_written++ == 0) {
            b->cmd.deadline = cmd->at + TB_COMMAND_TIMEOUT;
        }

        b->cmd_unsent = cmd->next;
    }
}


void
tb_command_free(tb_bridge_t *b)
{
    tb_cmd_t  *cmd;

    *b->cmd_tail = b->cmd_later;

    while (b->cmd_head != NULL) {
        cmd = b->cmd_head;
        b->cmd_head = cmd->next;
        redisFreeCommand(cmd->buf);
        free(cmd);
    }
}
