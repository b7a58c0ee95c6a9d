
/*
 * What nginx calls, and where requests come in.
 */


#ifndef _NGX_HTTP_TB_RPC_FRONT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_FRONT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/* ngx_http_tb_rpc_handler.c */

ngx_int_t ngx_http_tb_rpc_handler(ngx_http_request_t *r);


/* ngx_http_tb_rpc_log.c: only where there is something to count in */

ngx_int_t ngx_http_tb_rpc_log_handler(ngx_http_request_t *r);


/* ngx_http_tb_rpc_route.c */

/*
 * Sets ctx->op and the ids, and answers everything that needs no identity:
 * OPTIONS, 404, 405, 400 for a malformed id.
 * NGX_DECLINED: go on; anything else is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_route(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/*
 * Sets ctx->op and the id of the path, whatever the method.  NGX_OK,
 * NGX_DECLINED: no such path or a malformed id, NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_tb_rpc_parse_uri(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


/* ngx_http_tb_rpc_conf.c */

void *ngx_http_tb_rpc_create_main_conf(ngx_conf_t *cf);
char *ngx_http_tb_rpc_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_http_tb_rpc_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_tb_rpc_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

char *ngx_http_tb_rpc(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_device_api(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_tb_rpc_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* post handlers: neither zero nor, sizes, above 1m */
char *ngx_http_tb_rpc_check_time(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_tb_rpc_check_size(ngx_conf_t *cf, void *post, void *data);


/* ngx_http_tb_rpc_conf_redis.c */

/*
 * setters: a text as it is; "on" or "off"; what is in that file, without its
 * last newline
 */
char *ngx_http_tb_rpc_redis_text(ngx_str_t *value, ngx_str_t *text);
char *ngx_http_tb_rpc_redis_flag(ngx_str_t *value, ngx_flag_t *flag);
char *ngx_http_tb_rpc_redis_secret(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *secret);

/* setters: value[1], a number from min to max; a time above zero */
char *ngx_http_tb_rpc_redis_number(ngx_conf_t *cf, ngx_str_t *value,
    ngx_uint_t min, ngx_uint_t max, ngx_uint_t *number);
char *ngx_http_tb_rpc_redis_msec(ngx_conf_t *cf, ngx_str_t *value,
    ngx_msec_t *msec);


/* ngx_http_tb_rpc_conf_redis_cluster.c */

/* setters of the block; the last one is for its end */

char *ngx_http_tb_rpc_redis_cluster(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_cluster_init(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);


/* ngx_http_tb_rpc_conf_redis_sentinel.c */

/* the same */

char *ngx_http_tb_rpc_redis_sentinel(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_sentinel_username(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_sentinel_password_file(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_sentinel_init(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);


/* ngx_http_tb_rpc_conf_redis_ssl.c */

/* the same */

char *ngx_http_tb_rpc_redis_ssl_verify(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_ssl_name(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_ssl_trusted_certificate(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_ssl_certificate(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_ssl_certificate_key(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_ssl_init(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);

/* all servers have TLS, or none; logs and returns NGX_CONF_ERROR */
char *ngx_http_tb_rpc_redis_ssl_alike(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);


/* ngx_http_tb_rpc_conf_redis_wait.c */

/* the same */

char *ngx_http_tb_rpc_redis_wait(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
char *ngx_http_tb_rpc_redis_wait_init(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);


/* ngx_http_tb_rpc_vars.c */

ngx_int_t ngx_http_tb_rpc_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_TB_RPC_FRONT_H_INCLUDED_ */
