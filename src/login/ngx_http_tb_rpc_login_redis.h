
/*
 * What Redis is asked for a login, and what it replies.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_


#include "ngx_http_tb_rpc_login_request.h"


/*
 * FCALL on login->name, with n arguments from argv[NGX_HTTP_TB_RPC_ARGS] on.
 * next is run with the reply and the word that it begins with, an empty one if
 * it is an integer; what it returns finalizes the request
 */
ngx_int_t ngx_http_tb_rpc_login_fcall(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next);

/* the same on the caller's address; NGX_DECLINED: it has none */
ngx_int_t ngx_http_tb_rpc_login_fcall_address(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next);

/* the tries that are open are over; nobody waits for a reply */
void ngx_http_tb_rpc_login_end_tries(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t failed);

/* 500, for a reply that makes no sense */
ngx_int_t ngx_http_tb_rpc_login_invalid(ngx_http_tb_rpc_login_t *login);

/* login->user, from element n on; NGX_DECLINED: that is none, NGX_ERROR */
ngx_int_t ngx_http_tb_rpc_login_fields(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_uint_t n);

/* of a reply, to the request's pool */
ngx_int_t ngx_http_tb_rpc_login_copy(ngx_http_tb_rpc_login_t *login,
    ngx_str_t *dst, ngx_str_t *value);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_ */
