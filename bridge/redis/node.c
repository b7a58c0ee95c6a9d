
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A node: its command connection, pipelined, answered in order.  A command
 * stays in the list until its reply was handled, or somebody has taken it back;
 * after a reconnect everything that has no reply is sent again, in the same
 * order.  What a refusal means is for the owner to say.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "format.h"
#include "greet.h"
#include "node.h"


/* commands written and not yet answered */
#define TB_MAX_PIPELINE      256


tb_cmd_t *
tb_cmd_create(int argc, const char **argv, const size_t *lens)
{
    tb_cmd_t  *cmd;

    cmd = tb_alloc(sizeof(tb_cmd_t) + tb_format_max(argc, argv, lens));
    cmd->buf = (char *) (cmd + 1);
    cmd->len = tb_format(cmd->buf, argc, argv, lens);

    return cmd;
}


void
tb_cmd_free(tb_cmd_t *cmd)
{
    free(cmd);
}


void
tb_node_init(tb_node_t *node, const tb_node_events_t *events, void *owner)
{
    node->events = events;
    node->owner = owner;
    node->tail = &node->head;
}


void
tb_node_clear(tb_node_t *node)
{
    tb_cmd_t  *cmd;

    tb_redis_free(&node->redis);

    while (node->head != NULL) {
        cmd = node->head;
        node->head = cmd->next;
        tb_cmd_free(cmd);
    }

    tb_server_clear(&node->server);
}


int
tb_node_up(const tb_node_t *node)
{
    return node->redis.state == TB_REDIS_READY;
}


void
tb_node_push(tb_node_t *node, tb_cmd_t *cmd)
{
    cmd->next = NULL;
    *node->tail = cmd;
    node->tail = &cmd->next;

    if (node->unsent == NULL) {
        node->unsent = cmd;
    }
}


void
tb_node_ask(tb_node_t *node, tb_node_reply_pt handler, int argc,
    const char **argv)
{
    tb_cmd_t  *cmd;

    cmd = tb_cmd_create(argc, argv, NULL);
    cmd->own = handler;
    cmd->shard = TB_OWN;
    node->nown++;

    tb_node_push(node, cmd);
}


tb_cmd_t *
tb_node_pull(tb_node_t *node, int shard)
{
    tb_cmd_t  *cmd, *pulled, **last, **p;

    pulled = NULL;
    last = &pulled;

    if (node->unsent == NULL) {
        return NULL;
    }

    for (p = &node->head; *p != node->unsent; p = &(*p)->next) { /* void */ }

    node->unsent = NULL;

    while ((cmd = *p) != NULL) {

        if (cmd->shard == shard) {
            *p = cmd->next;
            cmd->next = NULL;
            *last = cmd;
            last = &cmd->next;
            continue;
        }

        if (node->unsent == NULL) {
            node->unsent = cmd;
        }

        p = &cmd->next;
    }

    node->tail = p;

    return pulled;
}


/* the connection has ended: nothing is written any more, questions are moot */

static void
tb_node_lost(tb_node_t *node)
{
    unsigned   n;
    tb_cmd_t  *cmd, *own, **p;

    if (node->head == node->unsent && node->nown == 0) {
        return;
    }

    n = node->nwritten;

    own = NULL;
    node->nown = 0;

    for (p = &node->head; (cmd = *p) != NULL; /* void */ ) {

        if (node->nwritten) {
            node->nwritten--;

            if (cmd->out) {
                (*cmd->out)--;
            }
        }

        if (cmd->own == NULL) {
            p = &cmd->next;
            continue;
        }

        *p = cmd->next;
        cmd->next = own;
        own = cmd;
    }

    node->tail = p;
    node->unsent = node->head;

    while (own != NULL) {
        cmd = own;
        own = cmd->next;
        cmd->own(node, NULL);
        tb_cmd_free(cmd);
    }

    if (n) {
        node->events->lost(node->owner, node);
    }
}


void
tb_node_leave(tb_node_t *node, const char *why)
{
    tb_redis_leave(&node->redis, why);
    tb_node_lost(node);
}


/* the first one has its reply */

static tb_cmd_t *
tb_node_shift(tb_node_t *node)
{
    tb_cmd_t  *cmd;

    cmd = node->head;

    node->head = cmd->next;
    if (node->head == NULL) {
        node->tail = &node->head;
    }

    if (cmd->out) {
        (*cmd->out)--;
    }

    node->nwritten--;
    node->redis.deadline = node->nwritten ? tb_now() + TB_COMMAND_TIMEOUT : 0;

    return cmd;
}


static void
tb_node_reply(tb_node_t *node, redisReply *reply)
{
    tb_cmd_t      *cmd;
    tb_verdict_e   verdict;

    cmd = node->head;

    if (cmd == NULL || node->nwritten == 0) {
        tb_redis_fail(&node->redis, "a reply that nothing was asked for");
        return;
    }

    if (cmd->own) {
        if (reply->type != REDIS_REPLY_ERROR) {
            tb_redis_good(&node->redis);
        }

        tb_node_shift(node);
        node->nown--;
        cmd->own(node, reply);
        tb_cmd_free(cmd);
        return;
    }

    verdict = TB_VERDICT_DONE;

    if (reply->type == REDIS_REPLY_ERROR) {
        verdict = node->events->judge(node->owner, node, cmd, reply);

    } else {
        tb_redis_good(&node->redis);
    }

    if (verdict == TB_VERDICT_FAILED) {
        return;
    }

    tb_node_shift(node);

    if (verdict == TB_VERDICT_AGAIN) {
        node->events->again(node->owner, node, cmd);
        return;
    }

    node->events->done(node->owner, cmd, reply);
}


/* when it will be silent; INT64_MAX: it owes nothing, or nobody cares */

static int64_t
tb_node_silence(const tb_node_t *node)
{
    if (node->cluster == NULL || node->nwritten == 0 || !tb_node_up(node)) {
        return INT64_MAX;
    }

    /* each sign of life has put that off */

    return node->redis.deadline - TB_COMMAND_TIMEOUT + TB_NODE_SILENT;
}


/* what others do must not wait for it, long before its connection ends */

static void
tb_node_listen(tb_node_t *node)
{
    unsigned  silent;

    silent = tb_now() >= tb_node_silence(node);

    if (silent == node->silent) {
        return;
    }

    node->silent = silent;

    if (silent) {
        tb_log(TB_LOG_INFO, "redis %s: silent for %d ms, nothing of other"
               " nodes waits for it", node->server.text, TB_NODE_SILENT);

    } else if (tb_node_up(node)) {
        node->events->ready(node->owner, node);
    }
}


int64_t
tb_node_timer(tb_node_t *node)
{
    int64_t  t;

    t = tb_redis_timer(&node->redis);

    return node->silent ? t : tb_sooner(t, tb_node_silence(node));
}


void
tb_node_run(tb_node_t *node, const tb_poll_t *p)
{
    redisReply  *reply;

    tb_greet_io(&node->redis, p);

    if (node->redis.state == TB_REDIS_READY && node->redis.fresh) {
        node->redis.fresh = 0;
        tb_node_lost(node);
        node->events->ready(node->owner, node);
    }

    while (node->redis.state == TB_REDIS_READY
           && (reply = tb_redis_reply(&node->redis)) != NULL)
    {
        tb_node_reply(node, reply);
        freeReplyObject(reply);
    }

    if (node->redis.state != TB_REDIS_READY) {
        tb_node_lost(node);
    }

    tb_node_listen(node);
}


void
tb_node_poll(tb_node_t *node, tb_poll_t *p)
{
    tb_cmd_t  *cmd;

    while (node->redis.state == TB_REDIS_READY && node->unsent != NULL
           && node->nwritten < TB_MAX_PIPELINE)
    {
        cmd = node->unsent;

        tb_wire_append(&node->redis.wire, cmd->buf, cmd->len);

        cmd->at = tb_now();

        if (node->nwritten++ == 0) {
            node->redis.deadline = cmd->at + TB_COMMAND_TIMEOUT;
        }

        if (cmd->out) {
            (*cmd->out)++;
        }

        node->unsent = cmd->next;
    }

    tb_redis_poll(&node->redis, p);
}
