
/*
 * What a location is configured with for calls: its defaults, its
 * inheritance, and what "nginx -t" refuses.
 */


#ifndef _NGX_HTTP_TB_RPC_CALL_CONF_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_CALL_CONF_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_loc_conf.h"


/* zeroed before */
void ngx_http_tb_rpc_call_conf_init(ngx_http_tb_rpc_call_conf_t *conf);
void ngx_http_tb_rpc_call_conf_merge(ngx_http_tb_rpc_call_conf_t *prev,
    ngx_http_tb_rpc_call_conf_t *conf);

/* NULL, or what is wrong, behind the name of the location's directive */
const char *ngx_http_tb_rpc_call_conf_check(ngx_http_tb_rpc_call_conf_t *conf);


#endif /* _NGX_HTTP_TB_RPC_CALL_CONF_H_INCLUDED_ */
