
/*
 * Replicated commands: one WAIT behind all that are written together, and
 * another one when it has its reply and more were written meanwhile.
 *
 * There is never more than one on its way, since each of them holds up all
 * that is behind it.  Replies come in order: those that are kept when the
 * reply to a WAIT comes are of commands before it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


#define NGX_TB_REDIS_WAIT_AGAIN  5000   /* ms without a failure: it works */


static void ngx_tb_redis_wait_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_wait_result(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_wait_again(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_wait_few(ngx_tb_redis_conn_t *conn, int64_t n);
static void ngx_tb_redis_wait_refused(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_wait_enough(ngx_tb_redis_conn_t *conn);
static ngx_uint_t ngx_tb_redis_wait_failed(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_wait_e state);
static void ngx_tb_redis_wait_tell(ngx_tb_redis_conn_t *conn,
    ngx_uint_t status);


/* the last of what is written now */

void
ngx_tb_redis_wait_send(ngx_tb_redis_conn_t *conn)
{
    u_char                   number[NGX_INT_T_LEN], time[NGX_INT_T_LEN];
    ngx_str_t                argv[3];
    ngx_uint_t               flags;
    ngx_tb_redis_conf_t     *conf;
    ngx_tb_redis_wait_t     *wait;
    ngx_tb_redis_command_t  *cmd;

    wait = &conn->wait;

    if (wait->command || (!wait->due && ngx_queue_empty(&wait->replied))) {
        return;
    }

    flags = NGX_TB_REDIS_BACKGROUND|NGX_TB_REDIS_UNBOUNDED;

    if (conn->status == NGX_TB_REDIS_ST_SETTING_UP) {

        /* once more: the functions were missing */

        flags |= NGX_TB_REDIS_SETUP;

    } else if (conn->status != NGX_TB_REDIS_ST_READY) {
        return;
    }

    conf = conn->node->conf;

    ngx_str_set(&argv[0], "WAIT");
    argv[1].data = number;
    argv[1].len = ngx_sprintf(number, "%ui", conf->wait_replicas) - number;
    argv[2].data = time;
    argv[2].len = ngx_sprintf(time, "%M", conf->wait_timeout) - time;

    cmd = ngx_tb_redis_node_command(conn->node, argv, 3,
                                    conf->command_timeout, flags,
                                    ngx_tb_redis_wait_done, conn);
    if (cmd == NULL) {
        /* the next command brings it, or deadlines pass */
        return;
    }

    cmd->internal = 1;

    wait->command = cmd;
    wait->due = 0;
}


ngx_int_t
ngx_tb_redis_wait_keep(ngx_tb_redis_conn_t *conn, ngx_tb_redis_command_t *cmd)
{
    ngx_tb_redis_client_t  *client;

    client = conn->node->state->client;

    if (!(cmd->flags & NGX_TB_REDIS_REPLICATED)
        || cmd->handler == NULL
        || conn->reply->type == REDIS_REPLY_ERROR
        || (client->unchanged && client->unchanged(conn->reply)))
    {
        return NGX_DECLINED;
    }

    cmd->reply = conn->reply;
    conn->reply = NULL;

    cmd->list = NGX_TB_REDIS_IN_REPLIED;
    ngx_queue_insert_tail(&conn->wait.replied, &cmd->queue);

    return NGX_OK;
}


void
ngx_tb_redis_wait_unsend(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_wait_t     *wait;
    ngx_tb_redis_command_t  *cmd;

    wait = &conn->wait;
    cmd = wait->command;

    if (cmd == NULL
        || cmd->list != NGX_TB_REDIS_IN_SENDING
        || cmd->pos != cmd->bytes)
    {
        return;
    }

    ngx_tb_redis_unlink(cmd);
    ngx_tb_redis_free(cmd);

    wait->command = NULL;
    wait->due = 1;
}


/* a reply that nobody was told of is none: its command may be repeated */

void
ngx_tb_redis_wait_down(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q;
    ngx_tb_redis_wait_t     *wait;
    ngx_tb_redis_command_t  *cmd;

    wait = &conn->wait;

    wait->due = 0;

    if (wait->command) {
        ngx_tb_redis_unlink(wait->command);
        ngx_tb_redis_free(wait->command);
        wait->command = NULL;
    }

    while (!ngx_queue_empty(&wait->replied)) {
        q = ngx_queue_last(&wait->replied);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        freeReplyObject(cmd->reply);
        cmd->reply = NULL;

        ngx_tb_redis_unlink(cmd);

        cmd->list = NGX_TB_REDIS_IN_SENT;
        ngx_queue_insert_head(&conn->sent, q);
    }
}


static void
ngx_tb_redis_wait_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t *conn = data;

    ngx_int_t  rc;

    conn->wait.command = NULL;

    rc = NGX_DECLINED;

    if (status == NGX_TB_REDIS_REPLY) {
        rc = ngx_tb_redis_wait_result(conn, reply);
    }

    if (rc == NGX_DONE) {
        return;
    }

    ngx_tb_redis_wait_tell(conn, (rc == NGX_OK) ? NGX_TB_REDIS_REPLY
                                                : NGX_TB_REDIS_LOST);

    if (conn->wait.due && conn->connection) {
        ngx_tb_redis_conn_post(conn);
    }
}


/* NGX_OK, NGX_DECLINED; NGX_DONE: the connection is gone */

static ngx_int_t
ngx_tb_redis_wait_result(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    int64_t  n;

    if (ngx_tb_redis_reply_int(reply, &n) == NGX_OK) {

        if (n >= (int64_t) conn->node->conf->wait_replicas) {
            ngx_tb_redis_wait_enough(conn);
            return NGX_OK;
        }

        ngx_tb_redis_wait_few(conn, n);
        return NGX_DECLINED;
    }

    /* the master has become a replica meanwhile: repeat them elsewhere */

    if (ngx_tb_redis_reply_is_error(reply, "UNBLOCKED")
        || ngx_tb_redis_reply_is_error(reply, "ERR WAIT cannot be used with "
                                       "replica"))
    {
        if (conn->node->state->cluster) {
            ngx_tb_redis_wait_again(conn);
            return NGX_DONE;
        }

        conn->node->rotate = 1;
        ngx_tb_redis_conn_fail_reply(conn, "WAIT refused", reply);
        return NGX_DONE;
    }

    ngx_tb_redis_wait_refused(conn, reply);

    return NGX_DECLINED;
}


/*
 * It has handed its slots over, and with them what was written; what is still
 * to be answered there is answered MOVED.
 */

static void
ngx_tb_redis_wait_again(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q, *replied;
    ngx_tb_redis_command_t  *cmd;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;
    replied = &conn->wait.replied;

    ngx_tb_redis_cluster_refresh(cluster);

    while (!ngx_queue_empty(replied)) {
        q = ngx_queue_head(replied);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        freeReplyObject(cmd->reply);
        cmd->reply = NULL;

        ngx_tb_redis_unlink(cmd);

        if (cmd->detached || cmd->overdue || cmd->repeated
            || !(cmd->flags & NGX_TB_REDIS_REPEAT))
        {
            ngx_tb_redis_finish(cmd, NGX_TB_REDIS_LOST, NULL);
            continue;
        }

        cmd->repeated = 1;
        cmd->pos = cmd->bytes;

        ngx_tb_redis_cluster_later(cluster, cmd);
    }
}


static void
ngx_tb_redis_wait_few(ngx_tb_redis_conn_t *conn, int64_t n)
{
    ngx_tb_redis_conf_t  *conf;

    if (ngx_tb_redis_wait_failed(conn, NGX_TB_REDIS_WAIT_FEW)) {

        conf = conn->node->conf;

        ngx_log_error(NGX_LOG_ERR, conn->node->log, 0,
                      "tb_rpc_redis: %L of the %ui replicas of %V that "
                      "\"wait\" asks for had what was written within %Mms; "
                      "until they do its outcome is told as unknown; see "
                      "INFO replication there",
                      n, conf->wait_replicas, &conn->name,
                      conf->wait_timeout);
    }
}


static void
ngx_tb_redis_wait_refused(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  value;

    if (ngx_tb_redis_wait_failed(conn, NGX_TB_REDIS_WAIT_REFUSED)) {

        ngx_tb_redis_reply_text(reply, text, &value);

        ngx_log_error(NGX_LOG_ERR, conn->node->log, 0,
                      "tb_rpc_redis: WAIT is refused by %V: \"%V\"; the "
                      "outcome of what is written is told as unknown; allow "
                      "+wait to this user, or remove \"wait\"",
                      &conn->name, &value);
    }
}


/* who was told that it does not work is told that it does */

static void
ngx_tb_redis_wait_enough(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_wait_t  *wait;

    wait = &conn->wait;

    if (wait->state == NGX_TB_REDIS_WAIT_ENOUGH
        || ngx_current_msec - wait->failed < NGX_TB_REDIS_WAIT_AGAIN)
    {
        return;
    }

    wait->state = NGX_TB_REDIS_WAIT_ENOUGH;

    ngx_log_error(NGX_LOG_ERR, conn->node->log, 0,
                  "tb_rpc_redis: the replicas of %V have what is written, "
                  "as \"wait\" asks for", &conn->name);
}


/* 1 if the log does not know it */

static ngx_uint_t
ngx_tb_redis_wait_failed(ngx_tb_redis_conn_t *conn, ngx_tb_redis_wait_e state)
{
    ngx_uint_t            news;
    ngx_tb_redis_wait_t  *wait;

    wait = &conn->wait;

    news = (wait->state != state);

    wait->state = state;
    wait->failed = ngx_current_msec;

    return news;
}


/* a handler may close the client, which empties the queue */

static void
ngx_tb_redis_wait_tell(ngx_tb_redis_conn_t *conn, ngx_uint_t status)
{
    ngx_queue_t             *q, *replied;
    ngx_tb_redis_command_t  *cmd;

    replied = &conn->wait.replied;

    while (!ngx_queue_empty(replied)) {
        q = ngx_queue_head(replied);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_finish(cmd, status,
                            (status == NGX_TB_REDIS_REPLY) ? cmd->reply
                                                           : NULL);
    }
}
