
/*
 * tb_rpc_device_api: the HTTP transport of devices.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/* how long a device's poll is held, ms: without a timeout, and at most */

#define NGX_HTTP_TB_RPC_POLL_TIMEOUT    60000
#define NGX_HTTP_TB_RPC_POLL_MAX        300000


extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_device_part;


/* the content handler */
ngx_int_t ngx_http_tb_rpc_device_handler(ngx_http_request_t *r);


/* these see to it that no token is logged */

ngx_int_t ngx_http_tb_rpc_device_preaccess_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_tb_rpc_device_log_handler(ngx_http_request_t *r);

/* 16 hex digits of the SHA-256 of the token; NGX_DECLINED: there is none */
ngx_int_t ngx_http_tb_rpc_device_key_id(ngx_http_request_t *r,
    ngx_str_t *value);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_ */
