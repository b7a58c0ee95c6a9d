
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


#define NGX_TB_REDIS_AGAIN_MIN      20          /* ms */
#define NGX_TB_REDIS_AGAIN_JITTER   30
#define NGX_TB_REDIS_AGAIN_TOLD     10000


static void ngx_tb_redis_cluster_later(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd);
static void ngx_tb_redis_cluster_log_refusal(ngx_tb_redis_conn_t *conn,
    redisReply *reply);


ngx_uint_t
ngx_tb_redis_cluster_refused(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd, redisReply *reply)
{
    tb_rpc_redis_error_e     error;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;

    if (cluster == NULL || reply->type != REDIS_REPLY_ERROR || cmd->internal) {
        return 0;
    }

    error = ngx_tb_redis_reply_error(reply);

    if (error != TB_RPC_REDIS_TRYAGAIN
        && error != TB_RPC_REDIS_ELSEWHERE
        && error != TB_RPC_REDIS_AWAY
        && error != TB_RPC_REDIS_READONLY)
    {
        return 0;
    }

    if (error != TB_RPC_REDIS_TRYAGAIN) {
        ngx_tb_redis_cluster_refresh(cluster);
    }

    if (cmd->overdue || cmd->detached || cmd->slot < 0) {
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

    ngx_tb_redis_cluster_log_refusal(conn, reply);
    ngx_tb_redis_cluster_later(cluster, cmd);

    return 1;
}


void
ngx_tb_redis_cluster_send(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd)
{
    ngx_tb_redis_node_t  *node;

    node = cluster->slots[cmd->slot];

    if (node == NULL) {
        ngx_tb_redis_cluster_later(cluster, cmd);
        return;
    }

    cmd->node = node;

    ngx_tb_redis_node_send(node, cmd);
}


static void
ngx_tb_redis_cluster_later(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd)
{
    cmd->node = NULL;
    cmd->list = NGX_TB_REDIS_IN_LATER;

    ngx_queue_insert_tail(&cluster->later, &cmd->queue);
    cluster->nlater++;

    if (!cluster->again.timer_set) {
        ngx_add_timer(&cluster->again,
                      NGX_TB_REDIS_AGAIN_MIN
                      + (ngx_msec_t) ngx_random() % NGX_TB_REDIS_AGAIN_JITTER);
    }
}


void
ngx_tb_redis_cluster_sort(ngx_tb_redis_node_t *node)
{
    ngx_queue_t             *q, *next;
    ngx_tb_redis_command_t  *cmd;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = node->state->cluster;

    for (q = ngx_queue_head(&node->waiting);
         q != ngx_queue_sentinel(&node->waiting);
         q = next)
    {
        next = ngx_queue_next(q);

        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if (cluster->slots[cmd->slot] == node) {
            continue;
        }

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_cluster_send(cluster, cmd);
    }
}


void
ngx_tb_redis_cluster_retry(ngx_tb_redis_cluster_t *cluster)
{
    ngx_queue_t              later, *q;
    ngx_tb_redis_command_t  *cmd;

    if (ngx_queue_empty(&cluster->later)) {
        return;
    }

    /* without an owner they come back */

    ngx_queue_init(&later);
    ngx_queue_add(&later, &cluster->later);
    ngx_queue_init(&cluster->later);

    while (!ngx_queue_empty(&later)) {
        q = ngx_queue_head(&later);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_tb_redis_unlink(cmd);
        ngx_tb_redis_cluster_send(cluster, cmd);
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
ngx_tb_redis_cluster_log_refusal(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    u_char                   text[NGX_TB_REDIS_TEXT];
    uint32_t                 hash;
    ngx_str_t                value;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;

    ngx_tb_redis_reply_text(reply, text, &value);

    /* the first word: others may name slots and keys */

    hash = ngx_crc32_short(text, ngx_min(value.len, 8)) | 1;

    if (hash == cluster->refusal
        && ngx_current_msec - cluster->refused < NGX_TB_REDIS_AGAIN_TOLD)
    {
        ngx_log_debug2(NGX_LOG_DEBUG_EVENT, conn->node->log, 0,
                       "tb_rpc_redis: %V can't take a command: \"%V\"",
                       &conn->name, &value);
        return;
    }

    cluster->refusal = hash;
    cluster->refused = ngx_current_msec;

    ngx_log_error(NGX_LOG_WARN, conn->node->log, 0,
                  "tb_rpc_redis: %V can't take a command just now: \"%V\"; "
                  "it is sent again until its deadline", &conn->name, &value);
}
