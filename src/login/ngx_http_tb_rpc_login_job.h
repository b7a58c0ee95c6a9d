
/*
 * Passwords in threads.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_JOB_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_JOB_H_INCLUDED_


#include "ngx_http_tb_rpc_login_request.h"


/* 1: one more would be refused */
ngx_uint_t ngx_http_tb_rpc_login_is_full(ngx_http_tb_rpc_login_t *login);

/*
 * Compares login->password with login->hash in a thread, or does as much work
 * for nothing; then calls ngx_http_tb_rpc_login_computed().  Of a password
 * that is right login->new_hash is set where its hash is to be another one.
 */
ngx_int_t ngx_http_tb_rpc_login_compute(ngx_http_tb_rpc_login_t *login);

/* nobody waits any more; 1: a thread compares it all the same */
ngx_uint_t ngx_http_tb_rpc_login_drop_job(ngx_http_tb_rpc_login_t *login);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_JOB_H_INCLUDED_ */
