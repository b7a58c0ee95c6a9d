
/*
 * What a location is configured with for auth: its defaults, its inheritance,
 * and what "nginx -t" refuses.
 */


#ifndef _NGX_HTTP_TB_RPC_AUTH_CONF_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_AUTH_CONF_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_loc_conf.h"


/* zeroed before */
void ngx_http_tb_rpc_auth_conf_init(ngx_http_tb_rpc_auth_conf_t *conf);
void ngx_http_tb_rpc_auth_conf_merge(ngx_http_tb_rpc_auth_conf_t *prev,
    ngx_http_tb_rpc_auth_conf_t *conf);

/* NULL, or what the location lacks, behind the name of its directive */
const char *ngx_http_tb_rpc_auth_conf_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_auth_conf_t *conf);

/* tb_rpc_identity; cmd->offset is that of an ngx_http_tb_rpc_auth_conf_t */
char *ngx_http_tb_rpc_identity(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_TB_RPC_AUTH_CONF_H_INCLUDED_ */
