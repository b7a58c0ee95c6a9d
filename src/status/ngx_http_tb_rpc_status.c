
/*
 * The content handler of tb_rpc_status.  Nothing of the request is shown, and
 * nothing but its method is looked at.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_page.h"


static ngx_int_t ngx_http_tb_rpc_status_send(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w);


ngx_int_t
ngx_http_tb_rpc_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_tb_rpc_asking_t     *asking;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_http_tb_rpc_add_header(r, "Allow", &allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    w = ngx_http_tb_rpc_worker(mcf);
    if (w == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (lcf->status == NGX_HTTP_TB_RPC_STATUS_HEALTH) {
        return ngx_http_tb_rpc_status_health(r, w);
    }

    asking = ngx_http_tb_rpc_watch_asking(w);

    if (asking) {
        rc = ngx_http_tb_rpc_queues_ask(asking, r,
                                        ngx_http_tb_rpc_status_send);

        if (rc == NGX_AGAIN) {
            return NGX_DONE;
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_tb_rpc_status_send(r, w);
}


static ngx_int_t
ngx_http_tb_rpc_status_send(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w)
{
    ngx_str_t                    body, *type;
    ngx_http_tb_rpc_page_t       page;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  html = ngx_string("text/html; charset=utf-8");
    static ngx_str_t  json = ngx_string("application/json");
    static ngx_str_t  prometheus =
        ngx_string("text/plain; version=0.0.4; charset=utf-8");

    if (ngx_http_tb_rpc_page_init(&page, r->pool, w) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    switch (lcf->status) {

    case NGX_HTTP_TB_RPC_STATUS_PROMETHEUS:
        ngx_http_tb_rpc_status_prometheus(&page);
        type = &prometheus;
        break;

    case NGX_HTTP_TB_RPC_STATUS_HTML:
        ngx_http_tb_rpc_status_html(&page);
        type = &html;
        break;

    default:
        ngx_http_tb_rpc_status_json(&page);
        type = &json;
    }

    if (page.failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = page.start;
    body.len = page.last - page.start;

    return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, type, &body);
}
