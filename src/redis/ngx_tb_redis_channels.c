
/*
 * The channels of a node: which of them are asked for and confirmed, and how
 * they move to another one.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


static void ngx_tb_redis_channel_take(ngx_tb_redis_channel_t *channel);
static void ngx_tb_redis_channel_let(ngx_tb_redis_channel_t *channel);
static void ngx_tb_redis_channels_check(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_channels_ask(ngx_tb_redis_node_t *node,
    ngx_msec_t delay);


void
ngx_tb_redis_channel_move(ngx_tb_redis_channel_t *channel,
    ngx_tb_redis_node_t *node)
{
    if (channel->node == node) {
        return;
    }

    if (channel->node) {
        ngx_tb_redis_channel_let(channel);
    }

    channel->node = node;
    channel->asked = 0;
    channel->confirmed = 0;

    if (node) {
        ngx_tb_redis_channel_take(channel);
    }
}


/* all that come in one turn are asked for at once */

static void
ngx_tb_redis_channel_take(ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_conn_t  *conn;
    ngx_tb_redis_node_t  *node;

    node = channel->node;
    conn = &node->pubsub;

    ngx_queue_insert_tail(&node->channels, &channel->queue);
    node->nchannels++;

    if (conn->status == NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_channels_await(conn);
    }

    if (node->state->cluster) {
        ngx_tb_redis_channels_ask(node, 1);
    }
}


/* the server that had it has unsubscribed us, or is about to */

static void
ngx_tb_redis_channel_let(ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_conn_t  *conn;
    ngx_tb_redis_node_t  *node;

    node = channel->node;
    conn = &node->pubsub;

    ngx_queue_remove(&channel->queue);
    node->nchannels--;

    if (channel->confirmed) {
        node->nconfirmed--;
    }

    if (node->nchannels == 0) {
        ngx_tb_redis_conn_close(conn);
        conn->role->down(conn);
        return;
    }

    /* it may have been the last one to be waited for */

    ngx_tb_redis_channels_check(conn);
}


void
ngx_tb_redis_channel_confirmed(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    if (channel->node != node || channel->confirmed || !channel->asked) {
        return;
    }

    channel->confirmed = 1;
    channel->fresh = 1;
    node->nconfirmed++;

    ngx_tb_redis_channels_check(conn);
}


/* ready, with the last one */

static void
ngx_tb_redis_channels_check(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_client_t   *client;
    ngx_tb_redis_channel_t  *channel;

    node = conn->node;

    if (conn->status != NGX_TB_REDIS_ST_SETTING_UP
        || node->nconfirmed < node->nchannels)
    {
        return;
    }

    ngx_tb_redis_conn_ready(conn);

    ngx_tb_redis_node_pump(node);

    client = node->state->client;

    if (client->subscribed) {
        client->subscribed(client->data);
    }

    for (q = ngx_queue_head(&node->channels);
         q != ngx_queue_sentinel(&node->channels);
         q = ngx_queue_next(q))
    {
        channel = ngx_queue_data(q, ngx_tb_redis_channel_t, queue);
        channel->fresh = 0;
    }
}


/* a slot went elsewhere, or an administrator did it */

void
ngx_tb_redis_channel_dropped(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel)
{
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    if (channel->node != node || !channel->confirmed) {
        return;
    }

    channel->confirmed = 0;
    channel->asked = 0;
    node->nconfirmed--;

    if (node->state->cluster) {
        ngx_tb_redis_cluster_refresh(node->state->cluster);

        ngx_log_error(NGX_LOG_INFO, node->log, 0,
                      "tb_rpc_redis: unsubscribed from \"%V\" by %V, as if "
                      "its slot had moved", channel->name, &conn->name);

    } else if (conn->status == NGX_TB_REDIS_ST_READY) {
        ngx_log_error(NGX_LOG_WARN, node->log, 0,
                      "tb_rpc_redis: unsubscribed by %V, "
                      "subscribing again", &conn->name);
    }

    if (conn->status == NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_channels_await(conn);
    }

    ngx_tb_redis_channels_ask(node, NGX_TB_REDIS_RESUBSCRIBE);
}


static void
ngx_tb_redis_channels_ask(ngx_tb_redis_node_t *node, ngx_msec_t delay)
{
    if (node->state->stopped) {
        return;
    }

    ngx_tb_redis_timer_sooner(&node->resubscribe, delay);
}


void
ngx_tb_redis_resubscribe_handler(ngx_event_t *ev)
{
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    conn = ev->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (conn->status == NGX_TB_REDIS_ST_SETTING_UP) {
        ngx_tb_redis_pubsub_ask(conn);

    } else {
        ngx_tb_redis_pubsub_follow(conn->node);
    }

    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_channels_await(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_SETTING_UP,
                             2 * conn->node->conf->command_timeout);
}


void
ngx_tb_redis_channels_again(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_channel_t  *channel;

    node = conn->node;

    if (conn->status != NGX_TB_REDIS_ST_SETTING_UP) {
        return;
    }

    ngx_tb_redis_channels_await(conn);

    for (q = ngx_queue_head(&node->channels);
         q != ngx_queue_sentinel(&node->channels);
         q = ngx_queue_next(q))
    {
        channel = ngx_queue_data(q, ngx_tb_redis_channel_t, queue);

        if (!channel->confirmed) {
            channel->asked = 0;
        }
    }

    ngx_tb_redis_channels_ask(node, 4 * NGX_TB_REDIS_RESUBSCRIBE);
}


/*
 * One that is another node's by now may still bring a message, or its end;
 * without a cluster there is no other.
 */

ngx_tb_redis_channel_t *
ngx_tb_redis_channel_find(ngx_tb_redis_node_t *node, redisReply *name)
{
    ngx_str_t  value;

    if (ngx_tb_redis_reply_str(name, &value) != NGX_OK) {
        return NULL;
    }

    /* sn is the first member of a channel */

    return (ngx_tb_redis_channel_t *)
               ngx_str_rbtree_lookup(&node->state->tree, &value,
                                     ngx_crc32_short(value.data, value.len));
}
