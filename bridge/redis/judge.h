
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What becomes of a command that was refused.
 */


#ifndef _TB_JUDGE_H_INCLUDED_
#define _TB_JUDGE_H_INCLUDED_


#include "cluster.h"


/*
 * The reply is an error.  Without a cluster the connection ends where the same
 * command will succeed later: what is behind it must not overtake it.
 */
tb_verdict_e tb_judge(tb_cluster_t *cluster, tb_node_t *node, tb_cmd_t *cmd,
    redisReply *reply);


#endif /* _TB_JUDGE_H_INCLUDED_ */
