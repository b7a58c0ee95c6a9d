
/*
 * Commands: encoding, deadlines, the way each one ends.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


static ngx_str_t *ngx_tb_redis_command_key(ngx_str_t *argv);
static ngx_tb_redis_command_t *ngx_tb_redis_command_create(
    ngx_tb_redis_state_t *state, ngx_str_t *argv, ngx_uint_t argc,
    ngx_msec_t timeout, ngx_uint_t flags, ngx_tb_redis_reply_pt handler,
    void *data);
static ngx_uint_t ngx_tb_redis_under_way(ngx_tb_redis_command_t *cmd);
static void ngx_tb_redis_deadline_handler(ngx_event_t *ev);
static void ngx_tb_redis_bury(ngx_tb_redis_command_t *cmd);


ngx_tb_redis_command_t *
ngx_tb_redis_command(ngx_tb_redis_client_t *client, ngx_str_t *argv,
    ngx_uint_t argc, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data)
{
    ngx_int_t                slot;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_command_t  *cmd;

    state = client->state;

    if (state == NULL || state->stopped) {
        return NULL;
    }

    slot = ngx_tb_redis_slot(state, ngx_tb_redis_command_key(argv));
    node = ngx_tb_redis_route(state, slot);

    if (!(flags & NGX_TB_REDIS_UNBOUNDED)
        && (node ? ngx_tb_redis_node_is_full(node, flags)
                 : state->cluster->nlater >= client->conf->queue))
    {
        ngx_log_debug0(NGX_LOG_DEBUG_EVENT, state->log, 0,
                       "tb_rpc_redis: command queue is full");
        return NULL;
    }

    cmd = ngx_tb_redis_command_create(state, argv, argc, timeout, flags,
                                      handler, data);
    if (cmd == NULL) {
        return NULL;
    }

    cmd->node = node;
    cmd->slot = slot;

    if (node) {
        ngx_tb_redis_node_send(node, cmd);

    } else {
        ngx_tb_redis_cluster_send(state->cluster, cmd);
    }

    return cmd;
}


ngx_tb_redis_command_t *
ngx_tb_redis_node_command(ngx_tb_redis_node_t *node, ngx_str_t *argv,
    ngx_uint_t argc, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data)
{
    ngx_tb_redis_command_t  *cmd;

    if (node->state->stopped
        || node->command.status != ((flags & NGX_TB_REDIS_SETUP)
                                    ? NGX_TB_REDIS_ST_SETTING_UP
                                    : NGX_TB_REDIS_ST_READY))
    {
        return NULL;
    }

    cmd = ngx_tb_redis_command_create(node->state, argv, argc, timeout, flags,
                                      handler, data);

    if (cmd) {
        cmd->node = node;

        ngx_tb_redis_node_send(node, cmd);
    }

    return cmd;
}


/* FCALL <function> <number of keys> <key> ..., <command> <key> ... */

static ngx_str_t *
ngx_tb_redis_command_key(ngx_str_t *argv)
{
    if (argv[0].len == sizeof("FCALL") - 1
        && ngx_strncmp(argv[0].data, "FCALL", sizeof("FCALL") - 1) == 0)
    {
        return &argv[3];
    }

    return &argv[1];
}


static ngx_tb_redis_command_t *
ngx_tb_redis_command_create(ngx_tb_redis_state_t *state, ngx_str_t *argv,
    ngx_uint_t argc, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data)
{
    ngx_tb_redis_command_t  *cmd;

    if (state->client->conf->wait_replicas == 0) {
        flags &= ~NGX_TB_REDIS_REPLICATED;
    }

    cmd = ngx_tb_redis_encode(state, argv, argc);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_tb_redis_count(state, commands);

    cmd->handler = handler;
    cmd->data = data;
    cmd->flags = flags;
    cmd->deadline = ngx_current_msec + timeout;

    cmd->timer.handler = ngx_tb_redis_deadline_handler;
    cmd->timer.data = cmd;
    cmd->timer.log = state->log;

    /* an exiting worker stays for the others only */

    cmd->timer.cancelable = (flags & (NGX_TB_REDIS_BACKGROUND
                                      |NGX_TB_REDIS_SETUP)) ? 1 : 0;

    ngx_add_timer(&cmd->timer, timeout);

    return cmd;
}


/* one allocation, the encoded bytes included; they are kept until the end */

ngx_tb_redis_command_t *
ngx_tb_redis_encode(ngx_tb_redis_state_t *state, ngx_str_t *argv,
    ngx_uint_t argc)
{
    u_char                  *p;
    size_t                   size;
    ngx_uint_t               i;
    ngx_tb_redis_command_t  *cmd;

    size = sizeof("*\r\n") - 1 + NGX_INT_T_LEN;

    for (i = 0; i < argc; i++) {
        size += sizeof("$\r\n\r\n") - 1 + NGX_SIZE_T_LEN + argv[i].len;
    }

    cmd = ngx_alloc(offsetof(ngx_tb_redis_command_t, bytes) + size,
                    state->log);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_memzero(cmd, offsetof(ngx_tb_redis_command_t, bytes));

    cmd->state = state;
    cmd->slot = -1;
    cmd->ident = -1;

    p = ngx_sprintf(cmd->bytes, "*%ui\r\n", argc);

    for (i = 0; i < argc; i++) {
        p = ngx_sprintf(p, "$%uz\r\n", argv[i].len);

        if (argv[i].len) {
            p = ngx_cpymem(p, argv[i].data, argv[i].len);
        }

        *p++ = '\r'; *p++ = '\n';
    }

    cmd->pos = cmd->bytes;
    cmd->last = p;

    return cmd;
}


void
ngx_tb_redis_free(ngx_tb_redis_command_t *cmd)
{
    if (cmd->timer.timer_set) {
        ngx_del_timer(&cmd->timer);
    }

    if (cmd->secret) {
        ngx_explicit_memzero(cmd->bytes, cmd->last - cmd->bytes);
    }

    if (cmd->reply) {
        freeReplyObject(cmd->reply);
    }

    ngx_free(cmd);
}


ngx_int_t
ngx_tb_redis_detach(ngx_tb_redis_command_t *cmd)
{
    ngx_int_t  rc;

    cmd->handler = NULL;
    cmd->detached = 1;

    rc = cmd->written ? NGX_DECLINED : NGX_OK;

    if (cmd->list == NGX_TB_REDIS_IN_NONE) {
        return NGX_DECLINED;
    }

    if (ngx_tb_redis_under_way(cmd)) {

        /* RESP has no cancel: its place in the pipeline stays */

        cmd->timer.cancelable = 1;
        return NGX_DECLINED;
    }

    ngx_tb_redis_unlink(cmd);
    ngx_tb_redis_free(cmd);

    return rc;
}


ngx_int_t
ngx_tb_redis_redirect(ngx_tb_redis_command_t *cmd,
    ngx_tb_redis_reply_pt handler, void *data)
{
    if (!ngx_tb_redis_under_way(cmd)) {
        return NGX_DECLINED;
    }

    cmd->handler = handler;
    cmd->data = data;
    cmd->redirected = 1;

    return NGX_OK;
}


/* some of its bytes are with the server, the reply is not here */

static ngx_uint_t
ngx_tb_redis_under_way(ngx_tb_redis_command_t *cmd)
{
    return cmd->list == NGX_TB_REDIS_IN_SENT
           || (cmd->list == NGX_TB_REDIS_IN_SENDING && cmd->pos != cmd->bytes);
}


void
ngx_tb_redis_unlink(ngx_tb_redis_command_t *cmd)
{
    if (cmd->list == NGX_TB_REDIS_IN_WAITING) {
        cmd->node->nwaiting--;

    } else if (cmd->list == NGX_TB_REDIS_IN_SENDING) {
        cmd->node->command.nsending--;

    } else if (cmd->list == NGX_TB_REDIS_IN_LATER) {

        if (cmd->node) {
            cmd->node->nlater--;

        } else {
            cmd->state->cluster->nlater--;
        }
    }

    ngx_queue_remove(&cmd->queue);

    cmd->list = NGX_TB_REDIS_IN_NONE;
}


void
ngx_tb_redis_end(ngx_tb_redis_command_t *cmd, ngx_uint_t result)
{
    ngx_tb_redis_unlink(cmd);

    cmd->result = result;
    cmd->list = NGX_TB_REDIS_IN_ENDED;
    ngx_queue_insert_tail(&cmd->state->ended, &cmd->queue);
}


void
ngx_tb_redis_notify(ngx_tb_redis_state_t *state)
{
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    while (!ngx_queue_empty(&state->ended)) {
        q = ngx_queue_head(&state->ended);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_finish(cmd, cmd->result, NULL);
    }
}


void
ngx_tb_redis_finish(ngx_tb_redis_command_t *cmd, ngx_uint_t status,
    redisReply *reply)
{
    ngx_tb_redis_reply_pt  handler;

    if (cmd->timer.timer_set) {
        ngx_del_timer(&cmd->timer);
    }

    if (status == NGX_TB_REDIS_UNSENT) {
        ngx_tb_redis_count(cmd->state, unsent);

    } else if (status == NGX_TB_REDIS_LOST) {
        ngx_tb_redis_count(cmd->state, lost);
    }

    handler = cmd->handler;

    if (handler) {
        handler(cmd->data, status, reply);
    }

    ngx_tb_redis_free(cmd);
}


static void
ngx_tb_redis_deadline_handler(ngx_event_t *ev)
{
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_command_t  *cmd;

    cmd = ev->data;
    state = cmd->state;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, state->log, 0,
                   "tb_rpc_redis: deadline of command %p, list %ui, "
                   "written %ui", cmd, (ngx_uint_t) cmd->list,
                   (ngx_uint_t) cmd->written);

    ngx_tb_redis_enter(state);

    if (ngx_tb_redis_under_way(cmd)) {
        ngx_tb_redis_bury(cmd);

    } else {
        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_finish(cmd, cmd->written ? NGX_TB_REDIS_LOST
                                              : NGX_TB_REDIS_UNSENT, NULL);
    }

    ngx_tb_redis_leave(state);
}


/* its reply may still come and must not be taken for the next one's */

static void
ngx_tb_redis_bury(ngx_tb_redis_command_t *cmd)
{
    ngx_tb_redis_conn_t    *conn;
    ngx_tb_redis_reply_pt   handler;

    conn = &cmd->node->command;

    handler = cmd->handler;

    cmd->handler = NULL;
    cmd->overdue = 1;

    conn->noverdue++;
    ngx_tb_redis_count(cmd->state, lost);

    if (!conn->watch.timer_set) {
        ngx_add_timer(&conn->watch, cmd->node->conf->command_timeout);
    }

    if (handler) {
        handler(cmd->data, NGX_TB_REDIS_LOST, NULL);
    }
}
