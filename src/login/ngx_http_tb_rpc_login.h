
/*
 * tb_rpc_login: users that log in by name and password, and get JWTs.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../store/ngx_http_tb_rpc_worker.h"


extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_login_part;


/* the content handler */
ngx_int_t ngx_http_tb_rpc_login_handler(ngx_http_request_t *r);

/*
 * As what a request is counted; login is that of its context, NULL when it was
 * refused before.  The result is set where the status does not tell it.
 */
ngx_http_tb_rpc_operation_e ngx_http_tb_rpc_login_counted(
    ngx_http_request_t *r, ngx_http_tb_rpc_login_t *login,
    ngx_uint_t *result);


/* ngx_http_tb_rpc_login_conf.c */

/* zeroed before */
void ngx_http_tb_rpc_login_conf_init(ngx_http_tb_rpc_login_conf_t *conf);
void ngx_http_tb_rpc_login_conf_merge(ngx_http_tb_rpc_login_conf_t *prev,
    ngx_http_tb_rpc_login_conf_t *conf);

/*
 * NULL, or what a location with tb_rpc_login lacks, behind the name of that
 * directive
 */
const char *ngx_http_tb_rpc_login_conf_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf);

/* tb_rpc_login_scrypt, _failures; cmd->offset is that of the conf */
char *ngx_http_tb_rpc_login_scrypt(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_tb_rpc_login_failures(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_tb_rpc_login_threads.c */

/* "not set", and what each is by default; zeroed before */
void ngx_http_tb_rpc_login_threads_create(
    ngx_http_tb_rpc_login_threads_t *threads);
void ngx_http_tb_rpc_login_threads_init(
    ngx_http_tb_rpc_login_threads_t *threads);

#if (NGX_THREADS)

/* NULL, or as above; finds the pool */
const char *ngx_http_tb_rpc_login_threads_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_login_threads_t *threads);

#endif

/* the thread that calls it becomes so weak, if it is not yet */
void ngx_http_tb_rpc_login_thread_weaken(ngx_uint_t nice);

/* tb_rpc_login_threads; cmd->offset is that of the threads */
char *ngx_http_tb_rpc_login_threads(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_H_INCLUDED_ */
