
/*
 * The client: its life, its nodes, and which of them a command goes to.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


static ngx_tb_redis_state_t *ngx_tb_redis_state_create(
    ngx_tb_redis_client_t *client);
static ngx_int_t ngx_tb_redis_nodes(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_channels(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_state_free(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_free_gone(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_stop_nodes(ngx_queue_t *nodes);


ngx_int_t
ngx_tb_redis_client_init(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_state_t  *state;

    state = ngx_tb_redis_state_create(client);
    if (state == NULL) {
        return NGX_ERROR;
    }

    client->state = state;

    if (ngx_tb_redis_nodes(state) != NGX_OK) {
        ngx_tb_redis_client_close(client);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_nodes(ngx_tb_redis_state_t *state)
{
    ngx_tb_redis_node_t  *node;

    if (state->client->conf->cluster) {
        ngx_tb_redis_channels(state);

        return ngx_tb_redis_cluster_init(state);
    }

    node = ngx_tb_redis_node_create(state);
    if (node == NULL) {
        return NGX_ERROR;
    }

    ngx_tb_redis_channels(state);

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
    state->counts = client->counts;

    if (!(state->quiet.log_level & NGX_LOG_DEBUG_ALL)
        && state->quiet.log_level > NGX_LOG_ALERT)
    {
        state->quiet.log_level = NGX_LOG_ALERT;
    }

    ngx_queue_init(&state->nodes);
    ngx_queue_init(&state->gone);
    ngx_queue_init(&state->ended);

    ngx_rbtree_init(&state->tree, &state->sentinel,
                    ngx_str_rbtree_insert_value);

    return state;
}


/* each one becomes a channel of its node, as soon as that is known */

static void
ngx_tb_redis_channels(ngx_tb_redis_state_t *state)
{
    ngx_str_t               *names;
    ngx_uint_t               i, n;
    ngx_tb_redis_channel_t  *channel;

    names = state->client->channels.elts;
    n = state->client->channels.nelts;

    state->nchannels = n;

    for (i = 0; i < n; i++) {
        channel = &state->channels[i];

        channel->name = &names[i];
        channel->sn.str = names[i];
        channel->sn.node.key = ngx_crc32_short(names[i].data, names[i].len);

        ngx_rbtree_insert(&state->tree, &channel->sn.node);

        if (state->client->conf->cluster) {
            channel->slot = (ngx_int_t) tb_rpc_slot(names[i].data,
                                                    names[i].len);
            continue;
        }

        channel->slot = -1;

        ngx_tb_redis_channel_move(channel, ngx_tb_redis_route(state, -1));
    }
}


ngx_int_t
ngx_tb_redis_slot(ngx_tb_redis_state_t *state, ngx_str_t *key)
{
    return state->cluster ? (ngx_int_t) tb_rpc_slot(key->data, key->len) : -1;
}


ngx_tb_redis_node_t *
ngx_tb_redis_route(ngx_tb_redis_state_t *state, ngx_int_t slot)
{
    if (slot >= 0) {
        return state->cluster->slots[slot];
    }

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
    state->stopped = 1;

    if (state->cluster) {
        ngx_tb_redis_cluster_stop(state->cluster);
    }

    ngx_tb_redis_stop_nodes(&state->nodes);
    ngx_tb_redis_stop_nodes(&state->gone);

    ngx_tb_redis_notify(state);
}


static void
ngx_tb_redis_stop_nodes(ngx_queue_t *nodes)
{
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    for (q = ngx_queue_head(nodes);
         q != ngx_queue_sentinel(nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        ngx_tb_redis_node_stop(node);
    }
}


void
ngx_tb_redis_timer_sooner(ngx_event_t *ev, ngx_msec_t delay)
{
    if (ev->timer_set) {

        if ((ngx_msec_int_t) (ev->timer.key - ngx_current_msec)
            <= (ngx_msec_int_t) delay)
        {
            return;
        }

        /* otherwise it would stay where it is, within 300 ms */

        ngx_del_timer(ev);
    }

    ngx_add_timer(ev, delay);
}


void
ngx_tb_redis_leave(ngx_tb_redis_state_t *state)
{
    if (--state->busy) {
        return;
    }

    if (state->closed) {
        ngx_tb_redis_state_free(state);
        return;
    }

    if (!ngx_queue_empty(&state->gone)) {
        ngx_tb_redis_free_gone(state);
    }
}


static void
ngx_tb_redis_state_free(ngx_tb_redis_state_t *state)
{
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    ngx_queue_add(&state->nodes, &state->gone);

    while (!ngx_queue_empty(&state->nodes)) {
        q = ngx_queue_head(&state->nodes);
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        ngx_queue_remove(q);
        ngx_free(node);
    }

    if (state->cluster) {
        ngx_free(state->cluster);
    }

    ngx_free(state);
}


/* those that have their last reply */

static void
ngx_tb_redis_free_gone(ngx_tb_redis_state_t *state)
{
    ngx_queue_t            *q, *next;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_client_t  *client;

    client = state->client;

    for (q = ngx_queue_head(&state->gone);
         q != ngx_queue_sentinel(&state->gone);
         q = next)
    {
        next = ngx_queue_next(q);

        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (node->command.connection) {
            continue;
        }

        if (client->gone) {
            client->gone(client->data, node);
        }

        ngx_queue_remove(q);
        ngx_free(node);
    }
}


ngx_tb_redis_node_t *
ngx_tb_redis_key_node(ngx_tb_redis_client_t *client, ngx_str_t *key)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL) {
        return NULL;
    }

    return ngx_tb_redis_route(state, ngx_tb_redis_slot(state, key));
}


ngx_uint_t
ngx_tb_redis_client_nodes(ngx_tb_redis_client_t *client,
    ngx_tb_redis_node_info_t *info, ngx_uint_t n)
{
    ngx_uint_t            i;
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    if (client->state == NULL) {
        return 0;
    }

    i = 0;

    for (q = ngx_queue_head(&client->state->nodes);
         q != ngx_queue_sentinel(&client->state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (i < n) {
            info[i].addr = *ngx_tb_redis_node_addr(node);
            info[i].command = node->command.status;
            info[i].subscription = node->pubsub.status;
            info[i].writable = ngx_tb_redis_node_is_ready(node, 0);
            info[i].ready = ngx_tb_redis_node_is_ready(node,
                                                     NGX_TB_REDIS_SUBSCRIBED);
            info[i].waiting = node->nwaiting;
            info[i].channels = node->nchannels;
            info[i].reconnects = node->command.opened
                                 ? node->command.opened - 1 : 0;
        }

        i++;
    }

    return i;
}


ngx_tb_redis_node_t *
ngx_tb_redis_channel_node(ngx_tb_redis_client_t *client, ngx_uint_t n)
{
    return client->state ? client->state->channels[n].node : NULL;
}


ngx_uint_t
ngx_tb_redis_channel_is_new(ngx_tb_redis_client_t *client, ngx_uint_t n)
{
    return client->state ? client->state->channels[n].fresh : 0;
}


ngx_uint_t
ngx_tb_redis_node_has(ngx_tb_redis_node_t *node, ngx_str_t *key)
{
    ngx_tb_redis_state_t  *state;

    state = node->state;

    return ngx_tb_redis_route(state, ngx_tb_redis_slot(state, key)) == node;
}
