
/*
 * Lanes: one for each node of Redis that something is on its way to, or waits
 * for.  A node that is away or hangs, or a shard that has none, stands in the
 * way of nobody else.
 */


#ifndef _NGX_TB_RPC_LANE_H_INCLUDED_
#define _NGX_TB_RPC_LANE_H_INCLUDED_


#include "../redis/ngx_tb_redis.h"


/* what a lane begins with; what waits in it is its owner's */

typedef struct {
    ngx_queue_t            queue;       /* in lanes->queue */

    /* may be freed by now: to be compared only; NULL: nobody's */
    ngx_tb_redis_node_t   *node;
} ngx_tb_rpc_lane_t;


typedef struct {
    ngx_queue_t            queue;
    ngx_tb_rpc_lane_t         *nobody;      /* the first of them */
    ngx_pool_t            *pool;
    size_t                 size;        /* of a lane */

    /* one that is all zero, or was free and is used again */
    void                 (*init)(ngx_tb_rpc_lane_t *lane);
    ngx_uint_t           (*is_free)(ngx_tb_rpc_lane_t *lane);
} ngx_tb_rpc_lanes_t;


/* all but the queue is set; nobody's lane is all zero */
void ngx_tb_rpc_lanes_init(ngx_tb_rpc_lanes_t *lanes);

/* the lane of a node, or of nobody (NULL); without memory that one, too */
ngx_tb_rpc_lane_t *ngx_tb_rpc_lane(ngx_tb_rpc_lanes_t *lanes, ngx_tb_redis_node_t *node);

/* the next of all lanes, the first one after NULL; NULL: no more */
ngx_tb_rpc_lane_t *ngx_tb_rpc_lane_next(ngx_tb_rpc_lanes_t *lanes, ngx_tb_rpc_lane_t *lane);


#endif /* _NGX_TB_RPC_LANE_H_INCLUDED_ */
