
/*
 * For load balancers: does this worker reach its Redis?  Of a cluster it is
 * enough to reach some, since whoever else is asked reaches no more of it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_page.h"


ngx_int_t
ngx_http_tb_rpc_status_health(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w)
{
    u_char                    *p;
    ngx_str_t                  body;
    ngx_uint_t                 i, n, half;
    ngx_tb_redis_node_t       *node;
    u_char                     text[NGX_HTTP_TB_RPC_PAGE_LINE];

    static ngx_str_t  type = ngx_string("text/plain");

    n = 0;
    half = 0;

    for (i = 0; i < w->conf->shards; i++) {
        node = ngx_tb_redis_channel_node(&w->redis, i);

        if (node == NULL || !ngx_tb_redis_node_is_ready(node, 0)) {
            continue;
        }

        half++;
        n += ngx_tb_redis_node_is_ready(node, NGX_TB_REDIS_SUBSCRIBED);
    }

    p = text;

    if (n == w->conf->shards) {
        p = ngx_cpymem(p, "ok" CRLF, sizeof("ok" CRLF) - 1);

    } else if (n) {
        p = ngx_sprintf(p, "ok, but Redis is ready for %ui of %ui shards only"
                        CRLF, n, w->conf->shards);

    } else if (half) {
        p = ngx_sprintf(p, "Redis is connected, but not subscribed to: no "
                        "answer of a device would be heard" CRLF);

    } else {
        p = ngx_sprintf(p, "Redis is not ready, see the error log" CRLF);
    }

    body.len = p - text;
    body.data = ngx_pnalloc(r->pool, body.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(body.data, text, body.len);

    if (n) {
        return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, &type, &body);
    }

    return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_SERVICE_UNAVAILABLE, &type,
                                        &body);
}
