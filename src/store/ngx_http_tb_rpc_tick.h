
/*
 * One worker of all that share a Redis, or a node of a cluster, calls
 * tb_rpc_tick for its shards.
 */


#ifndef _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_


#include "ngx_http_tb_rpc_worker.h"


typedef struct ngx_http_tb_rpc_tick_s  ngx_http_tb_rpc_tick_t;


/* NULL without memory */
ngx_http_tb_rpc_tick_t *ngx_http_tb_rpc_tick_create(
    ngx_http_tb_rpc_worker_t *w);
/* for the shards of that node */
void ngx_http_tb_rpc_tick_start(ngx_http_tb_rpc_tick_t *tick,
    ngx_tb_redis_node_t *node);
/* 1: no reply of the node before is awaited */
ngx_uint_t ngx_http_tb_rpc_tick_is_idle(ngx_http_tb_rpc_tick_t *tick);
/* before the client is closed, and after that or when the node has gone */
void ngx_http_tb_rpc_tick_stop(ngx_http_tb_rpc_tick_t *tick);
void ngx_http_tb_rpc_tick_close(ngx_http_tb_rpc_tick_t *tick);


#endif /* _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_ */
