
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

char *ngx_http_tb_rpc_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* post handlers: neither zero nor, sizes, above 1m */
char *ngx_http_tb_rpc_check_time(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_tb_rpc_check_size(ngx_conf_t *cf, void *post, void *data);


/* ngx_http_tb_rpc_conf_content.c */

/* the content handler of a location that is ours, NULL of others */
ngx_http_handler_pt ngx_http_tb_rpc_content(ngx_http_tb_rpc_loc_conf_t *conf);

/* NULL, or by which of ours a location is taken */
char *ngx_http_tb_rpc_occupied(ngx_http_tb_rpc_loc_conf_t *conf);

/* directives */
char *ngx_http_tb_rpc(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_device_api(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_tb_rpc_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_login(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_docs(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


/* ngx_http_tb_rpc_vars.c */

ngx_int_t ngx_http_tb_rpc_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_TB_RPC_FRONT_H_INCLUDED_ */
