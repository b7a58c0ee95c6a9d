
/*
 * The subscription connection: one SSUBSCRIBE per channel, since channels
 * of different slots may not share one, confirmations, messages and PINGs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


static ngx_uint_t ngx_tb_redis_pubsub_moved(ngx_tb_redis_node_t *node);
static ngx_uint_t ngx_tb_redis_pubsub_elsewhere(ngx_tb_redis_node_t *node);
static void ngx_tb_redis_pubsub_start(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_pubsub_established(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_pubsub_send(ngx_tb_redis_conn_t *conn,
    ngx_str_t *argv, ngx_uint_t argc);
static void ngx_tb_redis_pubsub_reply(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_pubsub_error(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_pubsub_push(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_uint_t ngx_tb_redis_pubsub_backoff(ngx_tb_redis_conn_t *conn,
    ngx_uint_t shift);
static void ngx_tb_redis_pubsub_down(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_pubsub_watch(ngx_tb_redis_conn_t *conn);


ngx_tb_redis_role_t  ngx_tb_redis_pubsub_role = {
    "subscription",
    ngx_tb_redis_login,
    ngx_tb_redis_greet,
    ngx_tb_redis_pubsub_start,
    ngx_tb_redis_pubsub_established,
    ngx_tb_redis_pubsub_reply,
    ngx_tb_redis_pubsub_backoff,
    ngx_tb_redis_pubsub_down,
    ngx_tb_redis_pubsub_watch,
    1,
    NGX_TB_REDIS_SUBSCRIPTION
};


void
ngx_tb_redis_pubsub_init(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_init(&node->pubsub, node, &ngx_tb_redis_pubsub_role);

    ngx_queue_init(&node->channels);

    node->resubscribe.handler = ngx_tb_redis_resubscribe_handler;
    node->resubscribe.data = &node->pubsub;
    node->resubscribe.log = node->log;
    node->resubscribe.cancelable = 1;
}


void
ngx_tb_redis_pubsub_follow(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn, *command;

    if (node->nchannels == 0) {
        return;
    }

    conn = &node->pubsub;
    command = &node->command;

    if (command->status != NGX_TB_REDIS_ST_READY) {
        return;
    }

    /* a message is only heard on the server that it is published on */

    if (conn->connection && ngx_tb_redis_pubsub_moved(node)) {

        ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                      "tb_rpc_redis: subscription moves from %V to %V, "
                      "where the commands go now",
                      &conn->name, &command->name);

        ngx_tb_redis_conn_close(conn);
        ngx_tb_redis_pubsub_down(conn);
    }

    if (conn->status == NGX_TB_REDIS_ST_IDLE) {
        ngx_tb_redis_conn_start(conn);
    }
}


/* behind one address may be another server than before */

static ngx_uint_t
ngx_tb_redis_pubsub_moved(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn, *command;

    conn = &node->pubsub;
    command = &node->command;

    if (ngx_cmp_sockaddr(&conn->sockaddr.sockaddr, conn->socklen,
                         &command->sockaddr.sockaddr, command->socklen, 1)
        != NGX_OK)
    {
        return 1;
    }

    if (conn->run_id.len && command->run_id.len) {
        return ngx_tb_redis_pubsub_elsewhere(node);
    }

    return node->followed != command->connection->number;
}


/* 1 if both say who they are, and differ */

static ngx_uint_t
ngx_tb_redis_pubsub_elsewhere(ngx_tb_redis_node_t *node)
{
    ngx_str_t  *id, *command;

    id = &node->pubsub.run_id;
    command = &node->command.run_id;

    if (id->len == 0 || command->len == 0) {
        return 0;
    }

    return id->len != command->len
           || ngx_memcmp(id->data, command->data, id->len) != 0;
}


/* it goes where the command connection is */

static void
ngx_tb_redis_pubsub_start(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_conn_t  *command;
    ngx_tb_redis_node_t  *node;

    node = conn->node;
    command = &node->command;

    if (command->status != NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_IDLE, 0);
        return;
    }

    conn->server = command->server;
    conn->socklen = command->socklen;
    ngx_memcpy(&conn->sockaddr, &command->sockaddr, sizeof(ngx_sockaddr_t));

    conn->name.len = command->name.len;
    ngx_memcpy(conn->name_buf, command->name_buf, command->name.len);

    node->followed = command->connection->number;

    ngx_tb_redis_conn_open(conn);
}


static void
ngx_tb_redis_pubsub_established(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_pubsub_elsewhere(conn->node)) {
        ngx_tb_redis_conn_fail(conn, 0, "it is another server than that of "
                               "the command connection");
        return;
    }

    ngx_tb_redis_channels_await(conn);

    ngx_add_timer(&conn->watch, NGX_TB_REDIS_PING);

    ngx_tb_redis_pubsub_ask(conn);
}


void
ngx_tb_redis_pubsub_ask(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t                argv[2];
    ngx_queue_t             *q;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_channel_t  *channel;

    node = conn->node;

    ngx_str_set(&argv[0], "SSUBSCRIBE");

    for (q = ngx_queue_head(&node->channels);
         q != ngx_queue_sentinel(&node->channels);
         q = ngx_queue_next(q))
    {
        channel = ngx_queue_data(q, ngx_tb_redis_channel_t, queue);

        if (channel->asked) {
            continue;
        }

        argv[1] = *channel->name;

        if (ngx_tb_redis_pubsub_send(conn, argv, 2) != NGX_OK) {
            /* the timer of the state makes it start anew */
            return;
        }

        channel->asked = 1;
    }
}


/* what answers comes as a push, or is an error: nothing is in the FIFO */

static ngx_int_t
ngx_tb_redis_pubsub_send(ngx_tb_redis_conn_t *conn, ngx_str_t *argv,
    ngx_uint_t argc)
{
    ngx_tb_redis_command_t  *cmd;

    cmd = ngx_tb_redis_conn_say(conn, argv, argc, NULL);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->silent = 1;

    return NGX_OK;
}


static void
ngx_tb_redis_pubsub_reply(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    ngx_str_t                value;
    ngx_tb_redis_command_t  *cmd;

    if (conn->status == NGX_TB_REDIS_ST_HANDSHAKE) {

        cmd = ngx_tb_redis_next_sent(conn, reply);

        if (cmd) {
            ngx_tb_redis_finish(cmd, NGX_TB_REDIS_REPLY, reply);
        }

        return;
    }

    switch (reply->type) {

    case REDIS_REPLY_ARRAY:
        if (ngx_tb_redis_pubsub_push(conn, reply) == NGX_OK) {
            return;
        }

        break;

    case REDIS_REPLY_ERROR:
        ngx_tb_redis_pubsub_error(conn, reply);
        return;

    default:
        if (ngx_tb_redis_reply_str(reply, &value) == NGX_OK
            && value.len == 4
            && ngx_strncmp(value.data, "PONG", 4) == 0)
        {
            return;
        }
    }

    ngx_tb_redis_conn_fail(conn, 0, "unexpected message");
}


static void
ngx_tb_redis_pubsub_error(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    tb_rpc_redis_error_e     error;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;
    error = ngx_tb_redis_reply_error(reply);

    if (cluster
        && (error == TB_RPC_REDIS_ELSEWHERE || error == TB_RPC_REDIS_AWAY))
    {
        /* of one channel, which is not named: those of this slot move */

        ngx_tb_redis_cluster_refresh(cluster);
        (void) ngx_tb_redis_slots_moved(conn, reply);
        ngx_tb_redis_channels_again(conn);
        return;
    }

    /* an ACL without PING: the refusal shows as well that it lives */

    if (conn->status == NGX_TB_REDIS_ST_READY
        && ngx_tb_redis_reply_is_error(reply, "NOPERM"))
    {
        return;
    }

    ngx_tb_redis_conn_fail_reply(conn, "SSUBSCRIBE refused", reply);
}


static ngx_int_t
ngx_tb_redis_pubsub_push(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    int64_t                  count;
    ngx_str_t                kind, bytes;
    ngx_tb_redis_client_t   *client;
    ngx_tb_redis_channel_t  *channel;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &kind)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (kind.len == 4 && ngx_strncmp(kind.data, "pong", 4) == 0) {
        return NGX_OK;
    }

    if (reply->elements != 3) {
        return NGX_ERROR;
    }

    channel = ngx_tb_redis_channel_find(conn->node, reply->element[1]);
    if (channel == NULL) {
        return NGX_ERROR;
    }

    if (kind.len == 8 && ngx_strncmp(kind.data, "smessage", 8) == 0) {

        if (ngx_tb_redis_reply_str(reply->element[2], &bytes) != NGX_OK) {
            return NGX_ERROR;
        }

        client = conn->node->state->client;

        client->message(client->data, channel->name, bytes.data, bytes.len);
        return NGX_OK;
    }

    if (ngx_tb_redis_reply_int(reply->element[2], &count) != NGX_OK) {
        return NGX_ERROR;
    }

    if (kind.len == 10 && ngx_strncmp(kind.data, "ssubscribe", 10) == 0) {
        ngx_tb_redis_channel_confirmed(conn, channel);
        return NGX_OK;
    }

    if (kind.len == 12 && ngx_strncmp(kind.data, "sunsubscribe", 12) == 0) {
        ngx_tb_redis_channel_dropped(conn, channel);
        return NGX_OK;
    }

    return NGX_ERROR;
}


/* it has no address of its own */

static ngx_uint_t
ngx_tb_redis_pubsub_backoff(ngx_tb_redis_conn_t *conn, ngx_uint_t shift)
{
    return shift;
}


static void
ngx_tb_redis_pubsub_down(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_channel_t  *channel;

    node = conn->node;

    if (node->resubscribe.timer_set) {
        ngx_del_timer(&node->resubscribe);
    }

    ngx_tb_redis_conn_drop(conn);

    node->nconfirmed = 0;

    for (q = ngx_queue_head(&node->channels);
         q != ngx_queue_sentinel(&node->channels);
         q = ngx_queue_next(q))
    {
        channel = ngx_queue_data(q, ngx_tb_redis_channel_t, queue);

        channel->asked = 0;
        channel->confirmed = 0;
    }
}


/* silence is broken by a PING; silence after it is the end */

static void
ngx_tb_redis_pubsub_watch(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t   ping;
    ngx_msec_t  silence, limit;

    silence = ngx_current_msec - conn->received;
    limit = conn->node->conf->command_timeout;

    if (silence < NGX_TB_REDIS_PING) {
        ngx_add_timer(&conn->watch, NGX_TB_REDIS_PING - silence);
        return;
    }

    if (conn->pinged) {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no reply to PING");
        return;
    }

    ngx_str_set(&ping, "PING");

    if (ngx_tb_redis_pubsub_send(conn, &ping, 1) == NGX_OK) {
        conn->pinged = 1;
    }

    ngx_add_timer(&conn->watch, limit);
}
