
/*
 * What Redis is asked for a login, and what it replies.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_


#include "ngx_http_tb_rpc_login_request.h"


typedef ngx_int_t (*ngx_http_tb_rpc_login_reply_pt)(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);

/* FCALL on login->name, with n arguments from argv[NGX_HTTP_TB_RPC_ARGS] on */
ngx_int_t ngx_http_tb_rpc_login_fcall(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_tb_redis_reply_pt done);

/* the same on the caller's address; NGX_DECLINED: it has none */
ngx_int_t ngx_http_tb_rpc_login_fcall_address(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_tb_redis_reply_pt done);

/* the tries that are open are over; nobody waits for a reply */
void ngx_http_tb_rpc_login_end_tries(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t failed);

/*
 * For handlers of replies: runs next with the word that the reply begins with,
 * an empty one if it is an integer, and finalizes
 */
void ngx_http_tb_rpc_login_reply(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t status, redisReply *reply, ngx_http_tb_rpc_login_reply_pt next);

/* 500, for a reply that makes no sense */
ngx_int_t ngx_http_tb_rpc_login_invalid(ngx_http_tb_rpc_login_t *login);

/* login->user, from element n on; NGX_DECLINED: that is none, NGX_ERROR */
ngx_int_t ngx_http_tb_rpc_login_fields(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_uint_t n);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_REDIS_H_INCLUDED_ */
