
/*
 * What a worker has for each node of its Redis: the handshake and a ticker.
 */


#ifndef _NGX_HTTP_TB_RPC_NODE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_NODE_H_INCLUDED_


#include "ngx_http_tb_rpc_library.h"
#include "ngx_http_tb_rpc_tick.h"


struct ngx_http_tb_rpc_node_s {
    ngx_queue_t                 queue;          /* in w->nodes */
    ngx_tb_redis_node_t        *node;           /* NULL: it has gone */

    ngx_http_tb_rpc_library_t  *library;
    ngx_http_tb_rpc_tick_t     *tick;
};


/* the client's setup and gone; data is the worker */
void ngx_http_tb_rpc_node_setup(void *data, ngx_tb_redis_node_t *node);
void ngx_http_tb_rpc_node_gone(void *data, ngx_tb_redis_node_t *node);

/* all tickers: before the client is closed, and after that */
void ngx_http_tb_rpc_nodes_stop(ngx_http_tb_rpc_worker_t *w);
void ngx_http_tb_rpc_nodes_close(ngx_http_tb_rpc_worker_t *w);


#endif /* _NGX_HTTP_TB_RPC_NODE_H_INCLUDED_ */
