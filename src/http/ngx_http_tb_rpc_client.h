
/*
 * What comes from the client while its request is with us.
 */


#ifndef _NGX_HTTP_TB_RPC_CLIENT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_CLIENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../../common/tb_rpc_trace.h"


/* a request that waits is told when its client leaves, unless ignored */
ngx_int_t ngx_http_tb_rpc_watch_client(ngx_http_request_t *r);
/* the same, whatever tb_rpc_ignore_client_abort says */
ngx_int_t ngx_http_tb_rpc_watch(ngx_http_request_t *r);

/*
 * The bytes of a body that was read, wherever they are.  NGX_OK,
 * NGX_DECLINED: more than max, NGX_ERROR
 */
ngx_int_t ngx_http_tb_rpc_collect_body(ngx_http_request_t *r, size_t max,
    ngx_str_t *text);

/*
 * The trace that a request is part of, into TB_RPC_TRACEPARENT_LEN bytes.
 * NGX_OK, NGX_DECLINED: there is none, or what says so is not valid
 */
ngx_int_t ngx_http_tb_rpc_traceparent(ngx_http_request_t *r, u_char *dst);


#endif /* _NGX_HTTP_TB_RPC_CLIENT_H_INCLUDED_ */
