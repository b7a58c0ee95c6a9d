
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The nodes of a cluster, and which of them has which shard.
 */


#ifndef _TB_CLUSTER_H_INCLUDED_
#define _TB_CLUSTER_H_INCLUDED_


#include "node.h"


/*
 * events and their owner are those of all nodes.  *shards is set to what
 * <prefix>meta says, 0 until that is known.
 */
tb_cluster_t *tb_cluster_create(const tb_redis_conf_t *conf, tb_tls_t *tls,
    const tb_node_events_t *events, void *owner, int *shards);
void tb_cluster_free(tb_cluster_t *cl);

/*
 * Once a turn, after the nodes: asks, and looks for other servers where none
 * answers.
 */
void tb_cluster_run(tb_cluster_t *cl);
/* of a node that is ready, it may be another Redis than before */
void tb_cluster_ready(tb_cluster_t *cl, const tb_node_t *node);
int64_t tb_cluster_timer(tb_cluster_t *cl);

/* all nodes, by their next */
tb_node_t *tb_cluster_nodes(const tb_cluster_t *cl);
/* NULL: none is known yet */
tb_node_t *tb_cluster_node(const tb_cluster_t *cl, int shard);
/* another number whenever a shard has another node, or a node is left */
unsigned tb_cluster_moves(const tb_cluster_t *cl);

/* soon, however often it is called: what the node has refused says why */
void tb_cluster_ask(tb_cluster_t *cl);
/* the reply is an error: TB_OK if it is a MOVED, which was heeded */
int tb_cluster_moved(tb_cluster_t *cl, tb_node_t *from,
    const redisReply *reply);

/*
 * Nodes that nobody needs any more were left; those that nothing points at
 * any more are forgotten by this.
 */
void tb_cluster_sweep(tb_cluster_t *cl);


#endif /* _TB_CLUSTER_H_INCLUDED_ */
