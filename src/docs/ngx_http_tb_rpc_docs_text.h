
/*
 * The documents, as texts.
 */


#ifndef _NGX_HTTP_TB_RPC_DOCS_TEXT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DOCS_TEXT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_http_tb_rpc_docs.h"


/* what a server answers, and how who calls is known */

#define NGX_HTTP_TB_RPC_SERVES_V2       0x01
#define NGX_HTTP_TB_RPC_SERVES_V1       0x02
#define NGX_HTTP_TB_RPC_SERVES_DEVICES  0x04
#define NGX_HTTP_TB_RPC_SERVES_LOGIN    0x08
#define NGX_HTTP_TB_RPC_SERVES_JWT      0x10
#define NGX_HTTP_TB_RPC_SERVES_API_KEY  0x20

#define NGX_HTTP_TB_RPC_DOCS_SERVER     "@SERVER@"


struct ngx_http_tb_rpc_docs_conf_s {
    ngx_uint_t                 html;
    ngx_http_complex_value_t  *url;         /* of the server */
    void                      *server;      /* its core configuration */

    /* of the document, without the url */
    ngx_str_t                  before;
    ngx_str_t                  after;
};


/* a text that grows; in a temporary pool */

typedef struct {
    ngx_pool_t                *pool;
    u_char                    *start;
    u_char                    *last;
    u_char                    *end;
    ngx_uint_t                 failed;      /* no memory */
} ngx_http_tb_rpc_docs_text_t;


/* the document of a server that serves that much; NULL without memory */
json_t *ngx_http_tb_rpc_docs_document(ngx_uint_t serves);

void ngx_http_tb_rpc_docs_html(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document);

/* as it is */
void ngx_http_tb_rpc_docs_print(ngx_http_tb_rpc_docs_text_t *text,
    const char *s);


#endif /* _NGX_HTTP_TB_RPC_DOCS_TEXT_H_INCLUDED_ */
