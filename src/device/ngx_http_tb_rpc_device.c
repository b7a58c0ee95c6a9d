
/*
 * The HTTP transport of devices: what is asked for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_device.h"
#include "ngx_http_tb_rpc_device_request.h"


static ngx_int_t ngx_http_tb_rpc_device_refuse_method(ngx_http_request_t *r,
    ngx_uint_t op);
static ngx_int_t ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr);


ngx_int_t
ngx_http_tb_rpc_device_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_tb_rpc_device_req_t  *dr;
    ngx_http_tb_rpc_main_conf_t   *mcf;

    dr = ngx_http_tb_rpc_device_path(r);
    if (dr == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (dr->op == NGX_HTTP_TB_RPC_DO_NOTHING) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                          NGX_HTTP_TB_RPC_NOT_FOUND,
                                          "There is no such resource");
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    dr->start = ngx_current_msec;
    dr->worker = ngx_http_tb_rpc_worker(mcf);

    if (dr->worker == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_tb_rpc_device_refuse_method(r, dr->op);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_device_value(r, dr);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_tb_rpc_device_lookup(dr);
}


static ngx_int_t
ngx_http_tb_rpc_device_refuse_method(ngx_http_request_t *r, ngx_uint_t op)
{
    static ngx_str_t  poll = ngx_string("GET, OPTIONS");
    static ngx_str_t  answer = ngx_string("POST, OPTIONS");

    /* no HEAD: it would take a call and not show it */

    if (r->method == (op == NGX_HTTP_TB_RPC_DO_POLL ? NGX_HTTP_GET
                                                 : NGX_HTTP_POST))
    {
        return NGX_DECLINED;
    }

    return ngx_http_tb_rpc_refuse_method(r, op == NGX_HTTP_TB_RPC_DO_POLL
                                            ? &poll : &answer);
}


/* what else the request says: NGX_DECLINED, or it was refused */

static ngx_int_t
ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_int_t                    n;
    ngx_str_t                   *id, value;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (dr->op == NGX_HTTP_TB_RPC_DO_ANSWER) {

        id = &dr->id;

        n = (id->len <= 10) ? ngx_atoi(id->data, id->len) : NGX_ERROR;

        if (n == NGX_ERROR || n == 0 || n > 0x7fffffff) {
            return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                              NGX_HTTP_TB_RPC_BAD_REQUEST,
                                              "Invalid request id: %*s",
                                              ngx_min(id->len, 64), id->data);
        }

        dr->value = n;

        return ngx_http_tb_rpc_device_too_large(r,
                                             r->headers_in.content_length_n);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    n = 0;

    if (ngx_http_arg(r, (u_char *) "timeout", 7, &value) == NGX_OK
        && value.len)
    {
        /* larger ones than fit are above the limit anyway */

        n = ngx_atoi(value.data, ngx_min(value.len, 9));

        if (n == NGX_ERROR
            || (value.len > 9
                && ngx_atoi(value.data + 9, ngx_min(value.len - 9, 9))
                   == NGX_ERROR))
        {
            return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                              NGX_HTTP_TB_RPC_BAD_REQUEST,
                                              "Invalid timeout: %*s",
                                              ngx_min(value.len, 64),
                                              value.data);
        }

        if (value.len > 9) {
            n = NGX_HTTP_TB_RPC_POLL_MAX;
        }
    }

    dr->value = n ? ngx_min(n, NGX_HTTP_TB_RPC_POLL_MAX)
                  : (ngx_int_t) lcf->poll_timeout;

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_device_process(ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_msec_int_t       left;
    ngx_http_request_t  *r;

    r = dr->request;

    if (dr->ctx->device_id.len == 0) {
        dr->ctx->result = NGX_HTTP_TB_RPC_UNKNOWN_TOKEN;

        ngx_http_tb_rpc_count(dr->worker,
                              refused[NGX_HTTP_TB_RPC_CAUSE_DEVICE_TOKEN]);

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: unauthorized: the token \"%V...\" is no "
                      "device's", &dr->ctx->key_id);

        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_UNAUTHORIZED, NULL,
                                            NULL);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc device: %V, %s", &dr->ctx->device_id,
                   dr->op == NGX_HTTP_TB_RPC_DO_ANSWER ? "an answer"
                                                       : "a poll");

    if (dr->op == NGX_HTTP_TB_RPC_DO_ANSWER) {
        return ngx_http_tb_rpc_device_answer(r, dr->ctx, dr->value);
    }

    /* it counts from the request on, however long the lookup took */

    left = (ngx_msec_int_t) (dr->start + (ngx_msec_t) dr->value
                             - ngx_current_msec);

    return ngx_http_tb_rpc_poll(r, dr->ctx, dr->worker,
                                (ngx_msec_t) ngx_max(left, 1));
}
