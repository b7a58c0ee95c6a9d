
/*
 * Reading and deleting persistent records.
 */


#ifndef _NGX_HTTP_TB_RPC_RECORD_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_RECORD_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"


/* as a content handler, with a reference of its own */
ngx_int_t ngx_http_tb_rpc_record(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


#endif /* _NGX_HTTP_TB_RPC_RECORD_H_INCLUDED_ */
