
/*
 * The client: its life, its nodes, and which of them a command goes to.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


static ngx_tb_redis_state_t *ngx_tb_redis_state_create(
    ngx_tb_redis_client_t *client);
static void ngx_tb_redis_channels(ngx_tb_redis_state_t *state);


ngx_int_t
ngx_tb_redis_client_init(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_node_t   *node;
    ngx_tb_redis_state_t  *state;

    state = ngx_tb_redis_state_create(client);
    if (state == NULL) {
        return NGX_ERROR;
    }

    node = ngx_tb_redis_node_create(state);
    if (node == NULL) {
        ngx_free(state);
        return NGX_ERROR;
    }

    ngx_tb_redis_channels(state);

    client->state = state;

    ngx_tb_redis_conn_start(&node->command);

    return NGX_OK;
}


static ngx_tb_redis_state_t *
ngx_tb_redis_state_create(ngx_tb_redis_client_t *client)
{
    size_t                 size;
    ngx_tb_redis_state_t  *state;

    /* not from client->pool: a handler may destroy that below us */

    size = sizeof(ngx_tb_redis_state_t)
           + client->channels.nelts * sizeof(ngx_tb_redis_channel_t);

    state = ngx_calloc(size, client->log);
    if (state == NULL) {
        return NULL;
    }

    state->client = client;
    state->log = client->log;
    state->quiet = *client->log;

    if (!(state->quiet.log_level & NGX_LOG_DEBUG_ALL)
        && state->quiet.log_level > NGX_LOG_ALERT)
    {
        state->quiet.log_level = NGX_LOG_ALERT;
    }

    ngx_queue_init(&state->nodes);
    ngx_queue_init(&state->ended);

    ngx_rbtree_init(&state->tree, &state->sentinel,
                    ngx_str_rbtree_insert_value);

    return state;
}


/* each one becomes a channel of its node */

static void
ngx_tb_redis_channels(ngx_tb_redis_state_t *state)
{
    ngx_str_t               *names;
    ngx_uint_t               i, n;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_channel_t  *channel;

    names = state->client->channels.elts;
    n = state->client->channels.nelts;

    for (i = 0; i < n; i++) {
        channel = &state->channels[i];

        channel->name = &names[i];
        channel->sn.str = names[i];
        channel->sn.node.key = ngx_crc32_short(names[i].data, names[i].len);

        ngx_rbtree_insert(&state->tree, &channel->sn.node);

        node = ngx_tb_redis_route(state);

        channel->node = node;
        ngx_queue_insert_tail(&node->channels, &channel->queue);
        node->nchannels++;
    }
}


ngx_tb_redis_node_t *
ngx_tb_redis_route(ngx_tb_redis_state_t *state)
{
    return ngx_queue_data(ngx_queue_head(&state->nodes), ngx_tb_redis_node_t,
                          queue);
}


void
ngx_tb_redis_client_close(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL) {
        return;
    }

    client->state = NULL;
    state->closed = 1;

    ngx_tb_redis_enter(state);
    ngx_tb_redis_stop(state);
    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_client_flush(ngx_tb_redis_client_t *client)
{
    ngx_event_t           *flush;
    ngx_queue_t           *q;
    ngx_tb_redis_node_t   *node;
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL) {
        return;
    }

    ngx_tb_redis_enter(state);

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        flush = &node->command.flush;

        if (flush->posted) {
            ngx_delete_posted_event(flush);
            flush->handler(flush);
        }
    }

    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_stop(ngx_tb_redis_state_t *state)
{
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    state->stopped = 1;

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        ngx_tb_redis_node_stop(node);
    }

    ngx_tb_redis_notify(state);
}


void
ngx_tb_redis_leave(ngx_tb_redis_state_t *state)
{
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    if (--state->busy || !state->closed) {
        return;
    }

    while (!ngx_queue_empty(&state->nodes)) {
        q = ngx_queue_head(&state->nodes);
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        ngx_queue_remove(q);
        ngx_free(node);
    }

    ngx_free(state);
}


ngx_uint_t
ngx_tb_redis_client_is_ready(ngx_tb_redis_client_t *client, ngx_uint_t flags)
{
    ngx_queue_t           *q;
    ngx_tb_redis_node_t   *node;
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL) {
        return 0;
    }

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (!ngx_tb_redis_node_is_ready(node, flags)) {
            return 0;
        }
    }

    return 1;
}
