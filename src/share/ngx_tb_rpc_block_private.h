
/*
 * The settings of the tb_rpc_redis { } block, among its files.
 */


#ifndef _NGX_TB_RPC_BLOCK_PRIVATE_H_INCLUDED_
#define _NGX_TB_RPC_BLOCK_PRIVATE_H_INCLUDED_


#include "ngx_tb_rpc_block.h"


/* ngx_tb_rpc_block_value.c */

/* setters: a text as it is; "on" or "off" */
char *ngx_tb_rpc_block_text(ngx_str_t *value, ngx_str_t *text);
char *ngx_tb_rpc_block_flag(ngx_str_t *value, ngx_flag_t *flag);

/* setters: value[1], a number from min to max; a time above zero */
char *ngx_tb_rpc_block_number(ngx_conf_t *cf, ngx_str_t *value,
    ngx_uint_t min, ngx_uint_t max, ngx_uint_t *number);
char *ngx_tb_rpc_block_msec(ngx_conf_t *cf, ngx_str_t *value,
    ngx_msec_t *msec);


/* ngx_tb_rpc_block_cluster.c */

/* setters of the block; the last one is for its end */

char *ngx_tb_rpc_block_cluster(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_cluster_init(ngx_conf_t *cf, ngx_tb_rpc_block_t *block);


/* ngx_tb_rpc_block_sentinel.c */

/* the same */

char *ngx_tb_rpc_block_sentinel(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_sentinel_username(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_sentinel_password_file(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_sentinel_init(ngx_conf_t *cf, ngx_tb_rpc_block_t *block);


/* ngx_tb_rpc_block_ssl.c */

/* the same */

char *ngx_tb_rpc_block_ssl_verify(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_ssl_name(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_ssl_trusted_certificate(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_ssl_certificate(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_ssl_certificate_key(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_ssl_init(ngx_conf_t *cf, ngx_tb_rpc_block_t *block);

/* all servers have TLS, or none; logs and returns NGX_CONF_ERROR */
char *ngx_tb_rpc_block_ssl_alike(ngx_conf_t *cf, ngx_tb_rpc_block_t *block);


/* ngx_tb_rpc_block_wait.c */

/* the same */

char *ngx_tb_rpc_block_wait(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
char *ngx_tb_rpc_block_wait_init(ngx_conf_t *cf, ngx_tb_rpc_block_t *block);


#endif /* _NGX_TB_RPC_BLOCK_PRIVATE_H_INCLUDED_ */
