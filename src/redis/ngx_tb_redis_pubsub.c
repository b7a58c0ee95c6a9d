
/*
 * The subscription connection: one SSUBSCRIBE per channel, since channels
 * of different slots may not share one, confirmations, messages and PINGs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


static ngx_uint_t ngx_tb_redis_pubsub_moved(ngx_tb_redis_state_t *state);
static ngx_uint_t ngx_tb_redis_pubsub_elsewhere(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_pubsub_start(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_pubsub_established(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_pubsub_ask(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_pubsub_send(ngx_tb_redis_conn_t *conn,
    ngx_str_t *argv, ngx_uint_t argc);
static void ngx_tb_redis_pubsub_reply(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_pubsub_error(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_pubsub_push(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_tb_redis_channel_t *ngx_tb_redis_pubsub_channel(
    ngx_tb_redis_state_t *state, redisReply *name);
static void ngx_tb_redis_pubsub_confirmed(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel);
static void ngx_tb_redis_pubsub_dropped(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel);
static void ngx_tb_redis_resubscribe_handler(ngx_event_t *ev);
static ngx_uint_t ngx_tb_redis_pubsub_backoff(ngx_tb_redis_conn_t *conn,
    ngx_uint_t shift);
static void ngx_tb_redis_pubsub_down(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_pubsub_watch(ngx_tb_redis_conn_t *conn);


ngx_tb_redis_role_t  ngx_tb_redis_pubsub_role = {
    "subscription",
    ngx_tb_redis_pubsub_start,
    ngx_tb_redis_pubsub_established,
    ngx_tb_redis_pubsub_reply,
    ngx_tb_redis_pubsub_backoff,
    ngx_tb_redis_pubsub_down,
    ngx_tb_redis_pubsub_watch
};


void
ngx_tb_redis_pubsub_init(ngx_tb_redis_state_t *state)
{
    ngx_str_t               *names;
    ngx_uint_t               i;
    ngx_tb_redis_channel_t  *channel;

    ngx_tb_redis_conn_init(&state->pubsub, state, &ngx_tb_redis_pubsub_role);

    state->resubscribe.handler = ngx_tb_redis_resubscribe_handler;
    state->resubscribe.data = &state->pubsub;
    state->resubscribe.log = state->log;
    state->resubscribe.cancelable = 1;

    ngx_rbtree_init(&state->tree, &state->sentinel,
                    ngx_str_rbtree_insert_value);

    names = state->client->channels.elts;
    state->nchannels = state->client->channels.nelts;

    for (i = 0; i < state->nchannels; i++) {
        channel = &state->channels[i];

        channel->name = &names[i];
        channel->sn.str = names[i];
        channel->sn.node.key = ngx_crc32_short(names[i].data, names[i].len);

        ngx_rbtree_insert(&state->tree, &channel->sn.node);
    }
}


ngx_uint_t
ngx_tb_redis_subscribed(ngx_tb_redis_state_t *state)
{
    return state->nchannels == 0
           || state->pubsub.status == NGX_TB_REDIS_ST_READY;
}


void
ngx_tb_redis_pubsub_follow(ngx_tb_redis_state_t *state)
{
    ngx_tb_redis_conn_t  *conn, *command;

    if (state->nchannels == 0) {
        return;
    }

    conn = &state->pubsub;
    command = &state->command;

    /* a message is only heard on the server that it is published on */

    if (conn->connection && ngx_tb_redis_pubsub_moved(state)) {

        ngx_log_error(NGX_LOG_NOTICE, state->log, 0,
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
ngx_tb_redis_pubsub_moved(ngx_tb_redis_state_t *state)
{
    ngx_tb_redis_conn_t  *conn, *command;

    conn = &state->pubsub;
    command = &state->command;

    if (ngx_cmp_sockaddr(&conn->sockaddr.sockaddr, conn->socklen,
                         &command->sockaddr.sockaddr, command->socklen, 1)
        != NGX_OK)
    {
        return 1;
    }

    if (conn->run_id.len && command->run_id.len) {
        return ngx_tb_redis_pubsub_elsewhere(state);
    }

    return conn->followed != command->connection->number;
}


/* 1 if both say who they are, and differ */

static ngx_uint_t
ngx_tb_redis_pubsub_elsewhere(ngx_tb_redis_state_t *state)
{
    ngx_str_t  *id, *command;

    id = &state->pubsub.run_id;
    command = &state->command.run_id;

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

    command = &conn->state->command;

    if (command->status != NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_IDLE, 0);
        return;
    }

    conn->socklen = command->socklen;
    ngx_memcpy(&conn->sockaddr, &command->sockaddr, sizeof(ngx_sockaddr_t));

    conn->name.len = command->name.len;
    ngx_memcpy(conn->name_buf, command->name_buf, command->name.len);

    conn->followed = command->connection->number;

    ngx_tb_redis_conn_open(conn);
}


static void
ngx_tb_redis_pubsub_established(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_pubsub_elsewhere(conn->state)) {
        ngx_tb_redis_conn_fail(conn, 0, "it is another server than that of "
                               "the command connection");
        return;
    }

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_SETTING_UP,
                             2 * conn->state->client->conf->command_timeout);

    ngx_add_timer(&conn->watch, NGX_TB_REDIS_PING);

    ngx_tb_redis_pubsub_ask(conn);
}


static void
ngx_tb_redis_pubsub_ask(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t                argv[2];
    ngx_uint_t               i;
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_channel_t  *channel;

    state = conn->state;

    ngx_str_set(&argv[0], "SSUBSCRIBE");

    for (i = 0; i < state->nchannels; i++) {
        channel = &state->channels[i];

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

    cmd = ngx_tb_redis_encode(conn->state, argv, argc);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->silent = 1;
    cmd->internal = 1;

    ngx_tb_redis_conn_send(conn, cmd);

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
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_channel_t  *channel;

    state = conn->state;

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

    channel = ngx_tb_redis_pubsub_channel(state, reply->element[1]);
    if (channel == NULL) {
        return NGX_ERROR;
    }

    if (kind.len == 8 && ngx_strncmp(kind.data, "smessage", 8) == 0) {

        if (ngx_tb_redis_reply_str(reply->element[2], &bytes) != NGX_OK) {
            return NGX_ERROR;
        }

        state->client->message(state->client->data, channel->name,
                               bytes.data, bytes.len);
        return NGX_OK;
    }

    if (ngx_tb_redis_reply_int(reply->element[2], &count) != NGX_OK) {
        return NGX_ERROR;
    }

    if (kind.len == 10 && ngx_strncmp(kind.data, "ssubscribe", 10) == 0) {
        ngx_tb_redis_pubsub_confirmed(conn, channel);
        return NGX_OK;
    }

    if (kind.len == 12 && ngx_strncmp(kind.data, "sunsubscribe", 12) == 0) {
        ngx_tb_redis_pubsub_dropped(conn, channel);
        return NGX_OK;
    }

    return NGX_ERROR;
}


static ngx_tb_redis_channel_t *
ngx_tb_redis_pubsub_channel(ngx_tb_redis_state_t *state, redisReply *name)
{
    ngx_str_t  value;

    if (ngx_tb_redis_reply_str(name, &value) != NGX_OK) {
        return NULL;
    }

    /* the node is the first member of a channel */

    return (ngx_tb_redis_channel_t *)
               ngx_str_rbtree_lookup(&state->tree, &value,
                                     ngx_crc32_short(value.data, value.len));
}


static void
ngx_tb_redis_pubsub_confirmed(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_state_t   *state;
    ngx_tb_redis_client_t  *client;

    state = conn->state;

    if (channel->confirmed || !channel->asked) {
        return;
    }

    channel->confirmed = 1;
    state->nconfirmed++;

    if (state->nconfirmed < state->nchannels) {
        return;
    }

    ngx_tb_redis_conn_ready(conn);

    ngx_tb_redis_pump(state);

    client = state->client;

    if (client->subscribed) {
        client->subscribed(client->data);
    }
}


/* a slot went elsewhere, or an administrator did it */

static void
ngx_tb_redis_pubsub_dropped(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_state_t  *state;

    state = conn->state;

    if (!channel->confirmed) {
        return;
    }

    channel->confirmed = 0;
    channel->asked = 0;
    state->nconfirmed--;

    if (conn->status == NGX_TB_REDIS_ST_READY) {

        ngx_log_error(NGX_LOG_WARN, state->log, 0,
                      "tb_rpc_redis: unsubscribed by %V, "
                      "subscribing again", &conn->name);

        ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_SETTING_UP,
                                 2 * state->client->conf->command_timeout);
    }

    if (!state->resubscribe.timer_set) {
        ngx_add_timer(&state->resubscribe, NGX_TB_REDIS_RESUBSCRIBE);
    }
}


static void
ngx_tb_redis_resubscribe_handler(ngx_event_t *ev)
{
    ngx_tb_redis_pubsub_ask(ev->data);
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
    ngx_uint_t               i;
    ngx_queue_t             *q, *list;
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_command_t  *cmd;

    state = conn->state;

    if (state->resubscribe.timer_set) {
        ngx_del_timer(&state->resubscribe);
    }

    for ( ;; ) {

        list = ngx_queue_empty(&conn->sent) ? &conn->sending : &conn->sent;

        if (ngx_queue_empty(list)) {
            break;
        }

        q = ngx_queue_head(list);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_queue_remove(q);
        ngx_tb_redis_free(cmd);
    }

    conn->nsending = 0;
    state->nconfirmed = 0;

    for (i = 0; i < state->nchannels; i++) {
        state->channels[i].asked = 0;
        state->channels[i].confirmed = 0;
    }
}


/* silence is broken by a PING; silence after it is the end */

static void
ngx_tb_redis_pubsub_watch(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t   ping;
    ngx_msec_t  silence, limit;

    silence = ngx_current_msec - conn->received;
    limit = conn->state->client->conf->command_timeout;

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
