
/*
 * Lanes of nodes of Redis.
 */


#include "ngx_tb_rpc_lane.h"


void
ngx_tb_rpc_lanes_init(ngx_tb_rpc_lanes_t *lanes)
{
    ngx_queue_init(&lanes->queue);

    lanes->init(lanes->nobody);
    ngx_queue_insert_tail(&lanes->queue, &lanes->nobody->queue);
}


/*
 * Nodes come and go, so what is free is used again.  There are as many lanes
 * as nodes that something has waited for at once.
 */

ngx_tb_rpc_lane_t *
ngx_tb_rpc_lane(ngx_tb_rpc_lanes_t *lanes, ngx_tb_redis_node_t *node)
{
    ngx_tb_rpc_lane_t  *lane, *found;

    found = NULL;

    for (lane = ngx_tb_rpc_lane_next(lanes, NULL);
         lane;
         lane = ngx_tb_rpc_lane_next(lanes, lane))
    {
        if (lane->node == node) {
            return lane;
        }

        if (found == NULL && lane != lanes->nobody && lanes->is_free(lane)) {
            found = lane;
        }
    }

    if (found == NULL) {
        found = ngx_pcalloc(lanes->pool, lanes->size);
        if (found == NULL) {
            return lanes->nobody;
        }

        ngx_queue_insert_tail(&lanes->queue, &found->queue);
    }

    found->node = node;
    lanes->init(found);

    return found;
}


ngx_tb_rpc_lane_t *
ngx_tb_rpc_lane_next(ngx_tb_rpc_lanes_t *lanes, ngx_tb_rpc_lane_t *lane)
{
    ngx_queue_t  *q;

    q = lane ? ngx_queue_next(&lane->queue) : ngx_queue_head(&lanes->queue);

    if (q == ngx_queue_sentinel(&lanes->queue)) {
        return NULL;
    }

    return ngx_queue_data(q, ngx_tb_rpc_lane_t, queue);
}
