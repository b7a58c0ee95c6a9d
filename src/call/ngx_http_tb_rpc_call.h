
/*
 * One-way and two-way calls.
 */


#ifndef _NGX_HTTP_TB_RPC_CALL_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_CALL_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/*
 * A validated call.  Strings point into the request's body or its pool and
 * are the sender's bytes; method, params and additional_info are JSON texts.
 */

struct ngx_http_tb_rpc_call_s {
    ngx_str_t                     method;       /* with its quotes */
    ngx_str_t                     method_name;  /* decoded, for logs */
    ngx_str_t                     params;
    ngx_str_t                     additional_info;  /* empty: none */
    ngx_str_t                     request_uuid; /* 36 lower-case or empty */
    int64_t                       timeout;      /* ms, already bounded below;
                                                   0 if expiration is given */
    int64_t                       sent_timeout; /* INT64_MIN = not given */
    int64_t                       expiration;   /* epoch ms, -1 = not given */
    int64_t                       retries;      /* -1 = null */
    unsigned                      oneway:1;
    unsigned                      persistent:1;
};


extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_call_part;


/*
 * Called when the request's body was read.  NGX_OK and ctx->call; or
 * ctx->call is NULL, and what an error answer (already sent, so maybe NGX_OK)
 * returned is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_parse_body(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/*
 * Sends the call to Redis.  NGX_DONE: the request is held or waits for its
 * reply (the caller has taken the reference: it returns NGX_DONE too);
 * anything else is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_call(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


#endif /* _NGX_HTTP_TB_RPC_CALL_H_INCLUDED_ */
