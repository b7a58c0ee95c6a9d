
/*
 * How calls end: the answer for each result.
 *
 * All of these return what ngx_http_finalize_request() takes, never NGX_AGAIN;
 * NGX_OK after an error answer too.
 */


#ifndef _NGX_HTTP_TB_RPC_OUTCOME_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_OUTCOME_H_INCLUDED_


#include "ngx_http_tb_rpc_ctx.h"


extern ngx_str_t  ngx_http_tb_rpc_results[];    /* "TIMEOUT", ... */


/*
 * The answer to a call that failed with this result: status by tb_rpc
 * v1|v2, body by profile, X-RPC-Result, Retry-After.  text (may be NULL)
 * is added to the message.
 */
ngx_int_t ngx_http_tb_rpc_send_result(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_result_e result,
    ngx_str_t *text);

/* the device's answer: 200 with its bytes, or 406 */
ngx_int_t ngx_http_tb_rpc_send_answer(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_str_t *answer);


#endif /* _NGX_HTTP_TB_RPC_OUTCOME_H_INCLUDED_ */
