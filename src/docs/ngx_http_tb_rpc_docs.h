
/*
 * tb_rpc_docs: the OpenAPI document of what a server answers.
 */


#ifndef _NGX_HTTP_TB_RPC_DOCS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DOCS_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/* the content handler */
ngx_int_t ngx_http_tb_rpc_docs_handler(ngx_http_request_t *r);


/* ngx_http_tb_rpc_docs_conf.c */

/* the directive: sets conf->docs */
char *ngx_http_tb_rpc_docs_parse(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf);

/* at the merge of each location of ours: what its server answers */
ngx_int_t ngx_http_tb_rpc_docs_note(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *conf);

/* when all locations are known: writes the documents */
ngx_int_t ngx_http_tb_rpc_docs_init(ngx_conf_t *cf);


#endif /* _NGX_HTTP_TB_RPC_DOCS_H_INCLUDED_ */
