
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What becomes of a command that was refused.
 */


#include "../../common/tb_rpc_redis_error.h"
#include "judge.h"


/* it passes without us, and then the same command succeeds */

static int
tb_judge_transient(tb_rpc_redis_error_e error, int patient)
{
    switch (error) {

    case TB_RPC_REDIS_OTHER:
    case TB_RPC_REDIS_ELSEWHERE:

        /* the same again, after a reconnect to the same server as well */

        return 0;

    case TB_RPC_REDIS_HALF:
    case TB_RPC_REDIS_NO_RIGHT:
    case TB_RPC_REDIS_FULL:

        /* an operator's mistake gets repaired */

        return patient;

    default:
        return 1;
    }
}


/* a node of a cluster: what is refused there may be welcome at another one */

static tb_verdict_e
tb_judge_node(tb_cluster_t *cluster, tb_node_t *node, tb_cmd_t *cmd,
    redisReply *reply, tb_rpc_redis_error_e error)
{
    if (error == TB_RPC_REDIS_ELSEWHERE) {

        /* an ASK is not followed: there, keys to come would be missing */

        (void) tb_cluster_moved(cluster, node, reply);
        return TB_VERDICT_AGAIN;
    }

    if (!tb_judge_transient(error, cmd->patient)) {
        return TB_VERDICT_DONE;
    }

    cmd->slow = error != TB_RPC_REDIS_AWAY && error != TB_RPC_REDIS_READONLY;

    tb_redis_refuse(&node->redis, "%s%s", tb_redis_hint(&node->redis, reply),
                    tb_redis_error(reply));
    tb_cluster_ask(cluster);

    return TB_VERDICT_AGAIN;
}


tb_verdict_e
tb_judge(tb_cluster_t *cluster, tb_node_t *node, tb_cmd_t *cmd,
    redisReply *reply)
{
    tb_rpc_redis_error_e  error;

    cmd->slow = 0;

    error = tb_rpc_redis_error(reply->str, reply->len);

    if (error == TB_RPC_REDIS_TRYAGAIN) {
        return TB_VERDICT_AGAIN;
    }

    if (cluster && error != TB_RPC_REDIS_NO_AUTH) {
        return tb_judge_node(cluster, node, cmd, reply, error);
    }

    if (!tb_judge_transient(error, cmd->patient)) {
        return TB_VERDICT_DONE;
    }

    tb_redis_fail(&node->redis, "%s%s", tb_redis_hint(&node->redis, reply),
                  tb_redis_error(reply));

    return TB_VERDICT_FAILED;
}
