
/*
 * All output: JSON, errors, headers.
 *
 * All that send return what ngx_http_finalize_request() takes, never NGX_AGAIN;
 * NGX_OK after an error answer too.
 */


#ifndef _NGX_HTTP_TB_RPC_RESPOND_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_RESPOND_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* errorCode of the error body */

#define NGX_HTTP_TB_RPC_GENERAL         2
#define NGX_HTTP_TB_RPC_AUTHENTICATION  10
#define NGX_HTTP_TB_RPC_TOKEN_EXPIRED   11
#define NGX_HTTP_TB_RPC_PERMISSION      20
#define NGX_HTTP_TB_RPC_BAD_REQUEST     31
#define NGX_HTTP_TB_RPC_NOT_FOUND       32
#define NGX_HTTP_TB_RPC_TOO_MANY        33


/* body may be NULL or empty: Content-Length: 0 and no Content-Type */
ngx_int_t ngx_http_tb_rpc_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body);
ngx_int_t ngx_http_tb_rpc_send_json(ngx_http_request_t *r, ngx_str_t *body);

/* only the header of a JSON answer; a len of -1 is not known yet */
ngx_int_t ngx_http_tb_rpc_send_json_header(ngx_http_request_t *r, off_t len);

/*
 * {"status":..,"message":..,"errorCode":..,"timestamp":..}, the message
 * escaped; honours tb_rpc_intercept_errors
 */
ngx_int_t ngx_http_tb_rpc_send_error(ngx_http_request_t *r,
    ngx_uint_t status, ngx_uint_t code, const char *fmt, ...);

/* any other answer of 400 and above; honours tb_rpc_intercept_errors */
ngx_int_t ngx_http_tb_rpc_send_failure(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body);

/* 403: who may not do this, or with sys_admin_calls a SYS_ADMIN who calls */
ngx_int_t ngx_http_tb_rpc_send_forbidden(ngx_http_request_t *r,
    ngx_uint_t sys_admin_calls);

/* 413 for a body above tb_rpc_max_payload */
ngx_int_t ngx_http_tb_rpc_send_too_large(ngx_http_request_t *r);

/* 413 as ThingsBoard says it: a string of JSON, limit in bytes */
ngx_int_t ngx_http_tb_rpc_send_limit(ngx_http_request_t *r, size_t limit);


/* 204 to OPTIONS, 405 to any other method; allow, which stays, says which */
ngx_int_t ngx_http_tb_rpc_refuse_method(ngx_http_request_t *r,
    ngx_str_t *allow);

/* replaces a header of that name */
ngx_int_t ngx_http_tb_rpc_add_header(ngx_http_request_t *r, const char *key,
    ngx_str_t *value);

/*
 * Ends a request with what sending returned, from outside of its own events,
 * such as the handler of a reply.  It may be gone afterwards.
 */
void ngx_http_tb_rpc_finalize(ngx_http_request_t *r, ngx_int_t rc);


#endif /* _NGX_HTTP_TB_RPC_RESPOND_H_INCLUDED_ */
