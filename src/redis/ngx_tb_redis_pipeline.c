
/*
 * The command connection: replies come in the order of the commands; what
 * becomes of those that have none when it goes down.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


static ngx_int_t ngx_tb_redis_command_greet(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_command_start(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_command_established(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_command_reply(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_uint_t ngx_tb_redis_missing(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd, redisReply *reply);
static void ngx_tb_redis_answered(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd, redisReply *reply);
static void ngx_tb_redis_drain(ngx_tb_redis_conn_t *conn);
static ngx_uint_t ngx_tb_redis_command_backoff(ngx_tb_redis_conn_t *conn,
    ngx_uint_t shift);
static void ngx_tb_redis_command_down(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sort_out(ngx_queue_t *from, ngx_queue_t *keep);
static void ngx_tb_redis_command_watch(ngx_tb_redis_conn_t *conn);


ngx_tb_redis_role_t  ngx_tb_redis_command_role = {
    "command",
    ngx_tb_redis_login,
    ngx_tb_redis_command_greet,
    ngx_tb_redis_command_start,
    ngx_tb_redis_command_established,
    ngx_tb_redis_command_reply,
    ngx_tb_redis_command_backoff,
    ngx_tb_redis_command_down,
    ngx_tb_redis_command_watch,
    1,
    NGX_TB_REDIS_COMMANDS
};


static ngx_int_t
ngx_tb_redis_command_greet(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_greet(conn) != NGX_OK) {
        return NGX_ERROR;
    }

    return conn->node->conf->cluster ? ngx_tb_redis_cluster_greet(conn)
                                     : NGX_OK;
}


static void
ngx_tb_redis_command_start(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_RESOLVING, 0);

    if (conn->node->conf->sentinel.len) {
        ngx_tb_redis_sentinel_ask(conn->node);
        return;
    }

    ngx_tb_redis_command_resolve(conn->node);
}


void
ngx_tb_redis_command_resolve(ngx_tb_redis_node_t *node)
{
    if (ngx_tb_redis_resolve(node) != NGX_AGAIN) {
        ngx_tb_redis_addr_open(node);
    }
}


static void
ngx_tb_redis_command_established(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_client_t  *client;

    client = conn->node->state->client;

    client->setup(client->data, conn->node);
}


ngx_tb_redis_command_t *
ngx_tb_redis_next_sent(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    if (ngx_queue_empty(&conn->sent)) {

        /* "max number of clients reached" comes unasked */

        if (reply->type == REDIS_REPLY_ERROR) {
            ngx_tb_redis_conn_fail_reply(conn, "refused", reply);

        } else {
            ngx_tb_redis_conn_fail(conn, 0, "reply to no command");
        }

        return NULL;
    }

    q = ngx_queue_head(&conn->sent);
    cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

    ngx_tb_redis_unlink(cmd);

    return cmd;
}


static void
ngx_tb_redis_command_reply(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    ngx_tb_redis_command_t  *cmd;

    cmd = ngx_tb_redis_next_sent(conn, reply);
    if (cmd == NULL) {
        return;
    }

    if (cmd->overdue) {
        conn->noverdue--;
    }

    if (!ngx_tb_redis_missing(conn, cmd, reply)
        && !ngx_tb_redis_cluster_refused(conn, cmd, reply))
    {
        if (ngx_tb_redis_reply_error(reply) == TB_RPC_REDIS_READONLY
            && conn->node->state->cluster == NULL)
        {
            ngx_tb_redis_drain(conn);
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            ngx_tb_redis_count(conn->node->state, errors);
        }

        ngx_tb_redis_answered(conn, cmd, reply);
    }

    if (conn->status == NGX_TB_REDIS_ST_DRAINING
        && ngx_queue_empty(&conn->sent)
        && ngx_queue_empty(&conn->sending))
    {
        ngx_tb_redis_node_drained(conn->node);
    }
}


/*
 * Redis has lost the functions, it restarted empty or they were flushed:
 * the command did nothing, it is sent again once they are back.
 */

static ngx_uint_t
ngx_tb_redis_missing(ngx_tb_redis_conn_t *conn, ngx_tb_redis_command_t *cmd,
    redisReply *reply)
{
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_client_t  *client;

    if (reply->type != REDIS_REPLY_ERROR
        || cmd->internal
        || cmd->reloaded
        || cmd->overdue
        || cmd->detached
        || (cmd->flags & NGX_TB_REDIS_SETUP)
        || ngx_tb_redis_reply_error(reply) != TB_RPC_REDIS_NO_FUNCTION)
    {
        return 0;
    }

    node = conn->node;

    cmd->reloaded = 1;
    cmd->pos = cmd->bytes;
    cmd->written = cmd->repeated;
    cmd->list = NGX_TB_REDIS_IN_WAITING;

    ngx_queue_insert_tail(&node->again, &cmd->queue);
    node->nwaiting++;

    if (conn->status != NGX_TB_REDIS_ST_READY) {
        return 1;
    }

    ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                  "tb_rpc_redis: a function is missing in %V, "
                  "setting up again", &conn->name);

    ngx_tb_redis_unsend(conn);

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_SETTING_UP,
                             10 * node->conf->command_timeout);

    client = node->state->client;

    client->setup(client->data, node);

    return 1;
}


/* that the second of two was refused says nothing of the first */

static void
ngx_tb_redis_answered(ngx_tb_redis_conn_t *conn, ngx_tb_redis_command_t *cmd,
    redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  value;

    if (!cmd->repeated || reply->type != REDIS_REPLY_ERROR) {

        if (ngx_tb_redis_wait_keep(conn, cmd) != NGX_OK) {
            ngx_tb_redis_finish(cmd, NGX_TB_REDIS_REPLY, reply);
        }

        return;
    }

    if (cmd->handler) {
        ngx_tb_redis_reply_text(reply, text, &value);

        ngx_log_error(NGX_LOG_ERR, conn->node->log, 0,
                      "tb_rpc_redis: a command whose reply was lost is "
                      "refused by %V when it is repeated: \"%V\"; its "
                      "outcome is unknown", &conn->name, &value);
    }

    ngx_tb_redis_finish(cmd, NGX_TB_REDIS_LOST, NULL);
}


/* writing makes no sense here: take the replies due, then go elsewhere */

static void
ngx_tb_redis_drain(ngx_tb_redis_conn_t *conn)
{
    conn->node->rotate = 1;

    if (conn->status != NGX_TB_REDIS_ST_READY) {
        return;
    }

    ngx_tb_redis_unsend(conn);

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_DRAINING,
                             conn->node->conf->command_timeout);
}


/*
 * Becoming ready does not make a replica the master.  Who is the master now
 * is asked again each time.
 */

static ngx_uint_t
ngx_tb_redis_command_backoff(ngx_tb_redis_conn_t *conn, ngx_uint_t shift)
{
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    if (node->conf->sentinel.len) {
        node->rotate = 0;
        return ngx_min(shift, NGX_TB_REDIS_SENTINEL_SHIFT);
    }

    /* somebody else may be the master by now */

    if (node->state->cluster) {
        ngx_tb_redis_cluster_refresh(node->state->cluster);
        shift = ngx_min(shift, NGX_TB_REDIS_SENTINEL_SHIFT);
    }

    if ((!conn->up || node->rotate)
        && ngx_tb_redis_addr_next(node) != NGX_OK
        && node->rotate)
    {
        shift = ngx_max(shift, NGX_TB_REDIS_READONLY_SHIFT);
    }

    node->rotate = 0;

    return shift;
}


/*
 * What was not written keeps its place, behind what may be repeated; the
 * rest of what was written is lost.
 */

static void
ngx_tb_redis_command_down(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t           keep;
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    ngx_queue_init(&keep);

    ngx_tb_redis_wait_down(conn);

    ngx_tb_redis_sort_out(&conn->sent, &keep);
    ngx_tb_redis_sort_out(&conn->sending, &keep);

    ngx_tb_redis_node_requeue(node, &keep);
    ngx_tb_redis_node_requeue(node, &node->again);

    conn->noverdue = 0;
    conn->nsending = 0;

    node->asking = 0;
}


static void
ngx_tb_redis_sort_out(ngx_queue_t *from, ngx_queue_t *keep)
{
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    while (!ngx_queue_empty(from)) {
        q = ngx_queue_head(from);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if (cmd->internal || cmd->overdue || cmd->detached) {
            ngx_queue_remove(q);
            ngx_tb_redis_free(cmd);
            continue;
        }

        if ((cmd->flags & NGX_TB_REDIS_SETUP)
            || (cmd->pos != cmd->bytes
                && (cmd->repeated || !(cmd->flags & NGX_TB_REDIS_REPEAT))))
        {
            ngx_tb_redis_end(cmd, cmd->written ? NGX_TB_REDIS_LOST
                                               : NGX_TB_REDIS_UNSENT);
            continue;
        }

        if (cmd->pos != cmd->bytes) {
            cmd->repeated = 1;
            cmd->pos = cmd->bytes;
        }

        ngx_tb_redis_unlink(cmd);

        cmd->list = NGX_TB_REDIS_IN_WAITING;
        ngx_queue_insert_tail(keep, q);
        cmd->node->nwaiting++;
    }
}


void
ngx_tb_redis_unsend(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t              keep, *q;
    ngx_tb_redis_command_t  *cmd;

    ngx_queue_init(&keep);

    ngx_tb_redis_wait_unsend(conn);

    while (!ngx_queue_empty(&conn->sending)) {
        q = ngx_queue_last(&conn->sending);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if (cmd->pos != cmd->bytes) {
            break;
        }

        ngx_tb_redis_unlink(cmd);

        /* our own are said again when that makes sense */

        if (cmd->internal) {
            ngx_tb_redis_free(cmd);
            continue;
        }

        cmd->list = NGX_TB_REDIS_IN_WAITING;
        ngx_queue_insert_head(&keep, q);
        conn->node->nwaiting++;
    }

    ngx_tb_redis_node_requeue(conn->node, &keep);
}


static void
ngx_tb_redis_command_watch(ngx_tb_redis_conn_t *conn)
{
    ngx_msec_int_t  left;

    /* however long the one that is waited for may take, nothing came at all */

    if (conn->noverdue == 0) {
        return;
    }

    left = (ngx_msec_int_t) (conn->silent + conn->node->conf->command_timeout
                             - ngx_current_msec);

    if (left <= 0) {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no reply");
        return;
    }

    ngx_add_timer(&conn->watch, (ngx_msec_t) left);
}
