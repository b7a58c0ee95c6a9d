
/*
 * The content handler of tb_rpc_docs: all is written but the address.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_docs_text.h"


ngx_int_t
ngx_http_tb_rpc_docs_handler(ngx_http_request_t *r)
{
    size_t                        len;
    u_char                       *p;
    ngx_str_t                     url, body;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_docs_conf_t  *docs;

    static ngx_str_t  allow = ngx_string("GET, HEAD");
    static ngx_str_t  html = ngx_string("text/html; charset=utf-8");
    static ngx_str_t  json = ngx_string("application/json");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_http_tb_rpc_add_header(r, "Allow", &allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);
    docs = lcf->docs;

    if (ngx_http_complex_value(r, docs->url, &url) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    len = docs->html ? url.len
                       + ngx_escape_html(NULL, url.data, url.len)
                     : ngx_http_tb_rpc_escape_len(&url);

    body.data = ngx_pnalloc(r->pool, docs->before.len + len
                                     + docs->after.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(body.data, docs->before.data, docs->before.len);

    p = docs->html ? (u_char *) ngx_escape_html(p, url.data, url.len)
                   : ngx_http_tb_rpc_escape(p, &url);

    p = ngx_cpymem(p, docs->after.data, docs->after.len);

    body.len = p - body.data;

    return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, docs->html ? &html : &json,
                                &body);
}
