
/*
 * A node's life, and the queue of the commands that wait for it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"
#include "ngx_tb_redis_ssl.h"


static ngx_uint_t ngx_tb_redis_node_subscribed(ngx_tb_redis_node_t *node);


ngx_tb_redis_node_t *
ngx_tb_redis_node_create(ngx_tb_redis_state_t *state)
{
    ngx_tb_redis_node_t  *node;

    node = ngx_calloc(sizeof(ngx_tb_redis_node_t), state->log);
    if (node == NULL) {
        return NULL;
    }

    node->state = state;
    node->conf = state->client->conf;
    node->log = state->log;

    ngx_queue_init(&node->waiting);
    ngx_queue_init(&node->again);
    ngx_queue_init(&node->later);
    node->pause = NGX_TB_REDIS_AGAIN_MIN;

    ngx_tb_redis_conn_init(&node->command, node, &ngx_tb_redis_command_role);
    ngx_tb_redis_conn_init(&node->sentinel, node,
                           &ngx_tb_redis_sentinel_role);
    ngx_tb_redis_pubsub_init(node);

    ngx_queue_insert_tail(&state->nodes, &node->queue);

    return node;
}


void
ngx_tb_redis_node_stop(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_resolve_cancel(node);

    ngx_tb_redis_conn_close(&node->command);
    ngx_tb_redis_conn_close(&node->pubsub);
    ngx_tb_redis_conn_close(&node->sentinel);

#if (NGX_SSL)
    ngx_tb_redis_ssl_forget(node);
#endif

    node->command.role->down(&node->command);
    node->pubsub.role->down(&node->pubsub);
    node->sentinel.role->down(&node->sentinel);

    ngx_tb_redis_node_end(&node->waiting);
    ngx_tb_redis_node_end(&node->later);
}


void
ngx_tb_redis_node_end(ngx_queue_t *queue)
{
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    while (!ngx_queue_empty(queue)) {
        q = ngx_queue_head(queue);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_tb_redis_end(cmd, cmd->written ? NGX_TB_REDIS_LOST
                                           : NGX_TB_REDIS_UNSENT);
    }
}


void
ngx_tb_redis_node_ready(ngx_tb_redis_node_t *node)
{
    if (node->command.status != NGX_TB_REDIS_ST_SETTING_UP
        || node->command.refused)
    {
        return;
    }

    ngx_tb_redis_conn_ready(&node->command);

    ngx_tb_redis_node_requeue(node, &node->again);
    ngx_tb_redis_node_pump(node);

    ngx_tb_redis_pubsub_follow(node);
}


void
ngx_tb_redis_node_drained(ngx_tb_redis_node_t *node)
{
    if (node->gone) {
        ngx_tb_redis_cluster_left(node);
        return;
    }

    ngx_tb_redis_conn_fail(&node->command, 0, "it is a read-only replica");
}


ngx_str_t *
ngx_tb_redis_node_addr(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_server_t  *server;

    if (node->named) {
        return &node->command.name;
    }

    server = ngx_tb_redis_server(node);

    return server ? &server->url : &node->command.name;
}


/* not at once: the caller is in a handler of the very connection */

void
ngx_tb_redis_node_refuse(ngx_tb_redis_node_t *node)
{
    if (node->command.status != NGX_TB_REDIS_ST_SETTING_UP) {
        return;
    }

    node->command.refused = 1;

    ngx_tb_redis_conn_post(&node->command);
}


ngx_uint_t
ngx_tb_redis_node_is_ready(ngx_tb_redis_node_t *node, ngx_uint_t flags)
{
    return node->command.status == NGX_TB_REDIS_ST_READY
           && (!(flags & NGX_TB_REDIS_SUBSCRIBED)
               || ngx_tb_redis_node_subscribed(node));
}


ngx_uint_t
ngx_tb_redis_node_is_away(ngx_tb_redis_node_t *node)
{
    return node->command.status != NGX_TB_REDIS_ST_READY
           && ngx_current_msec - node->command.left
              >= node->conf->command_timeout;
}


/* all channels are confirmed or there are none */

static ngx_uint_t
ngx_tb_redis_node_subscribed(ngx_tb_redis_node_t *node)
{
    return node->nchannels == 0
           || node->pubsub.status == NGX_TB_REDIS_ST_READY;
}


/* what waits for a connection, or for one that takes no more bytes */

ngx_uint_t
ngx_tb_redis_node_is_full(ngx_tb_redis_node_t *node, ngx_uint_t flags)
{
    ngx_uint_t  n;

    n = node->nwaiting + node->nlater;

    if (ngx_tb_redis_node_is_ready(node, flags)) {

        if (node->command.connection->write->ready
            && node->nlater < node->conf->queue)
        {
            return 0;
        }

        n += node->command.nsending;
    }

    return n >= node->conf->queue;
}


/* SETUP was checked to be within the setup */

void
ngx_tb_redis_node_send(ngx_tb_redis_node_t *node, ngx_tb_redis_command_t *cmd)
{
    if ((cmd->flags & NGX_TB_REDIS_SETUP)
        || ngx_tb_redis_node_is_ready(node, cmd->flags))
    {
        ngx_tb_redis_conn_send(&node->command, cmd);
        return;
    }

    cmd->list = NGX_TB_REDIS_IN_WAITING;
    ngx_queue_insert_tail(&node->waiting, &cmd->queue);
    node->nwaiting++;
}


void
ngx_tb_redis_node_requeue(ngx_tb_redis_node_t *node, ngx_queue_t *front)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(front)) {
        q = ngx_queue_last(front);

        ngx_queue_remove(q);
        ngx_queue_insert_head(&node->waiting, q);
    }
}


void
ngx_tb_redis_node_pump(ngx_tb_redis_node_t *node)
{
    ngx_uint_t               subscribed;
    ngx_queue_t             *q, *next;
    ngx_tb_redis_command_t  *cmd;

    if (node->command.status != NGX_TB_REDIS_ST_READY) {
        return;
    }

    subscribed = ngx_tb_redis_node_subscribed(node);

    for (q = ngx_queue_head(&node->waiting);
         q != ngx_queue_sentinel(&node->waiting);
         q = next)
    {
        next = ngx_queue_next(q);

        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if ((cmd->flags & NGX_TB_REDIS_SUBSCRIBED) && !subscribed) {
            continue;
        }

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_conn_send(&node->command, cmd);
    }
}
