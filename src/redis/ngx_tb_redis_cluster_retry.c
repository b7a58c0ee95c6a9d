
/*
 * Commands that a node of a cluster has refused without executing them.
 *
 * An ASK is not followed: where it leads to a slot has but a part of its keys,
 * and our functions would take the others for missing.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


#define NGX_TB_REDIS_AGAIN_MAX      250         /* ms */
#define NGX_TB_REDIS_AGAIN_LAST     50          /* before the deadline */
#define NGX_TB_REDIS_AGAIN_TOLD     10000


static ngx_uint_t ngx_tb_redis_cluster_is_refusal(
    tb_rpc_redis_error_e error);
static void ngx_tb_redis_cluster_pause(ngx_tb_redis_cluster_t *cluster,
    ngx_msec_t pause);
static void ngx_tb_redis_cluster_resend(ngx_tb_redis_cluster_t *cluster,
    ngx_queue_t *later);
static void ngx_tb_redis_cluster_log_refusal(ngx_tb_redis_conn_t *conn,
    tb_rpc_redis_error_e error, redisReply *reply);


ngx_uint_t
ngx_tb_redis_cluster_refused(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd, redisReply *reply)
{
    tb_rpc_redis_error_e     error;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;

    if (cluster == NULL || cmd->slot < 0) {
        return 0;
    }

    error = ngx_tb_redis_reply_error(reply);

    if (!ngx_tb_redis_cluster_is_refusal(error)) {
        conn->node->pause = NGX_TB_REDIS_AGAIN_MIN;
        return 0;
    }

    if (error != TB_RPC_REDIS_TRYAGAIN) {
        ngx_tb_redis_cluster_refresh(cluster);
    }

    /* nobody waits for it any more: it may as well not have been */

    if (cmd->overdue || cmd->detached || cmd->redirected) {
        return 0;
    }

    cmd->pos = cmd->bytes;
    cmd->written = cmd->repeated;

    if (error == TB_RPC_REDIS_ELSEWHERE
        && ngx_tb_redis_slots_moved(conn, reply) == NGX_OK
        && !cmd->moved)
    {
        cmd->moved = 1;

        ngx_tb_redis_cluster_send(cluster, cmd);
        return 1;
    }

    ngx_tb_redis_cluster_log_refusal(conn, error, reply);

    cmd->node = conn->node;
    ngx_tb_redis_cluster_later(cluster, cmd);

    return 1;
}


static ngx_uint_t
ngx_tb_redis_cluster_is_refusal(tb_rpc_redis_error_e error)
{
    return error == TB_RPC_REDIS_TRYAGAIN
           || error == TB_RPC_REDIS_ELSEWHERE
           || error == TB_RPC_REDIS_AWAY
           || error == TB_RPC_REDIS_READONLY;
}


void
ngx_tb_redis_cluster_send(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd)
{
    cmd->node = cluster->slots[cmd->slot];

    if (cmd->node == NULL) {
        ngx_tb_redis_cluster_later(cluster, cmd);
        return;
    }

    ngx_tb_redis_node_send(cmd->node, cmd);
}


/* it counts for the node that has refused it: others have their own queues */

void
ngx_tb_redis_cluster_later(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd)
{
    ngx_tb_redis_node_t  *node;

    node = cmd->node;

    cmd->list = NGX_TB_REDIS_IN_LATER;

    if (node == NULL) {
        ngx_queue_insert_tail(&cluster->later, &cmd->queue);
        cluster->nlater++;

        ngx_tb_redis_cluster_pause(cluster, NGX_TB_REDIS_AGAIN_MAX);
        return;
    }

    ngx_queue_insert_tail(&node->later, &cmd->queue);
    node->nlater++;

    ngx_tb_redis_cluster_pause(cluster, node->pause);
}


static void
ngx_tb_redis_cluster_pause(ngx_tb_redis_cluster_t *cluster, ngx_msec_t pause)
{
    if (cluster->state->stopped || cluster->again.timer_set) {
        return;
    }

    ngx_add_timer(&cluster->again,
                  pause + (ngx_msec_t) ngx_random() % (pause / 2 + 1));
}


void
ngx_tb_redis_cluster_sort(ngx_tb_redis_node_t *node, ngx_queue_t *queue)
{
    ngx_queue_t             *q, *next;
    ngx_tb_redis_command_t  *cmd;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = node->state->cluster;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = next)
    {
        next = ngx_queue_next(q);

        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if (cmd->slot < 0 || cluster->slots[cmd->slot] == node) {
            continue;
        }

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_cluster_send(cluster, cmd);
    }
}


void
ngx_tb_redis_cluster_retry(ngx_tb_redis_cluster_t *cluster)
{
    ngx_queue_t           *q;
    ngx_tb_redis_node_t   *node;
    ngx_tb_redis_state_t  *state;

    state = cluster->state;

    ngx_tb_redis_cluster_resend(cluster, &cluster->later);

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (!ngx_queue_empty(&node->later)) {
            node->pause = ngx_min(2 * node->pause, NGX_TB_REDIS_AGAIN_MAX);

            ngx_tb_redis_cluster_resend(cluster, &node->later);
        }
    }
}


/*
 * Without an owner they come back.  One that has hardly any time left stays
 * until that is over: what is known not to have run is not sent once more just
 * to become unknown.
 */

static void
ngx_tb_redis_cluster_resend(ngx_tb_redis_cluster_t *cluster,
    ngx_queue_t *later)
{
    ngx_queue_t             *q, *next, *last;
    ngx_tb_redis_command_t  *cmd;

    if (ngx_queue_empty(later)) {
        return;
    }

    last = ngx_queue_last(later);

    for (q = ngx_queue_head(later); /* void */ ; q = next) {
        next = ngx_queue_next(q);

        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if ((ngx_msec_int_t) (cmd->deadline - ngx_current_msec)
            >= NGX_TB_REDIS_AGAIN_LAST)
        {
            ngx_tb_redis_unlink(cmd);
            ngx_tb_redis_cluster_send(cluster, cmd);
        }

        if (q == last) {
            break;
        }
    }
}


void
ngx_tb_redis_cluster_retry_handler(ngx_event_t *ev)
{
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = ev->data;
    state = cluster->state;

    ngx_tb_redis_enter(state);

    ngx_tb_redis_cluster_retry(cluster);

    ngx_tb_redis_leave(state);
}


/* why calls take long is told, but not for each of them */

static void
ngx_tb_redis_cluster_log_refusal(ngx_tb_redis_conn_t *conn,
    tb_rpc_redis_error_e error, redisReply *reply)
{
    u_char                   text[NGX_TB_REDIS_TEXT];
    ngx_str_t                value;
    ngx_msec_t              *told;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;
    told = &cluster->refused[(error - TB_RPC_REDIS_TRYAGAIN)
                             % NGX_TB_REDIS_REFUSALS];

    ngx_tb_redis_reply_text(reply, text, &value);

    if (*told && ngx_current_msec - *told < NGX_TB_REDIS_AGAIN_TOLD) {
        ngx_log_debug2(NGX_LOG_DEBUG_EVENT, conn->node->log, 0,
                       "tb_rpc_redis: %V can't take a command: \"%V\"",
                       &conn->name, &value);
        return;
    }

    *told = ngx_current_msec;

    ngx_log_error(NGX_LOG_WARN, conn->node->log, 0,
                  "tb_rpc_redis: %V can't take a command just now: \"%V\"; "
                  "it is sent again until its deadline", &conn->name, &value);
}
