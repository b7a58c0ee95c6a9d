
#ifndef _NGX_HTTP_TB_RPC_UNKNOWN_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_UNKNOWN_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"


/*
 * Device unknown, foreign or another customer's: by profile; which of these
 * it is, as {unknown}, {unknown, tenant} or {customer} tell, is logged.
 */
ngx_int_t ngx_http_tb_rpc_send_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, redisReply *reply);
void ngx_http_tb_rpc_log_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


#endif /* _NGX_HTTP_TB_RPC_UNKNOWN_H_INCLUDED_ */
