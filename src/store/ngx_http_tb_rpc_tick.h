
/*
 * One worker of all that share a Redis calls tb_rpc_tick.
 */


#ifndef _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_


#include "ngx_http_tb_rpc_worker.h"


/* NULL without memory */
ngx_http_tb_rpc_tick_t *ngx_http_tb_rpc_tick_create(
    ngx_http_tb_rpc_worker_t *w);
void ngx_http_tb_rpc_tick_start(ngx_http_tb_rpc_tick_t *tick);
/* before the client is closed, and after that */
void ngx_http_tb_rpc_tick_stop(ngx_http_tb_rpc_tick_t *tick);
void ngx_http_tb_rpc_tick_close(ngx_http_tb_rpc_tick_t *tick);


#endif /* _NGX_HTTP_TB_RPC_TICK_H_INCLUDED_ */
