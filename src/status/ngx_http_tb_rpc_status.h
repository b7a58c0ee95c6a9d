
/*
 * tb_rpc_status: what all workers have counted, how they are, and what waits.
 */


#ifndef _NGX_HTTP_TB_RPC_STATUS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_STATUS_H_INCLUDED_


#include "../store/ngx_http_tb_rpc_worker.h"


extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_status_part;


/* the content handler */
ngx_int_t ngx_http_tb_rpc_status_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_TB_RPC_STATUS_H_INCLUDED_ */
