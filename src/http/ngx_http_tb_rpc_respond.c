
/*
 * All output: JSON, errors, headers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_loc_conf.h"
#include "ngx_http_tb_rpc_respond.h"


#define NGX_HTTP_TB_RPC_MESSAGE_LEN  1024

#define NGX_HTTP_TB_RPC_ERROR_BODY                                            \
    "{\"status\":,\"message\":\"\",\"errorCode\":,\"timestamp\":}"


static ngx_int_t ngx_http_tb_rpc_prepare(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type);
static ngx_int_t ngx_http_tb_rpc_special(ngx_http_request_t *r,
    ngx_uint_t status);
static ngx_uint_t ngx_http_tb_rpc_intercepted(ngx_http_request_t *r,
    ngx_uint_t status);
static ngx_int_t ngx_http_tb_rpc_send_message(ngx_http_request_t *r,
    ngx_uint_t status, ngx_uint_t code, ngx_str_t *message);


static ngx_str_t  ngx_http_tb_rpc_json_type = ngx_string("application/json");
static ngx_str_t  ngx_http_tb_rpc_text_type = ngx_string("text/plain");


ngx_int_t
ngx_http_tb_rpc_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (body && body->len == 0) {
        body = NULL;
    }

    if (ngx_http_tb_rpc_prepare(r, status, body ? type : NULL) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.content_length_n = body ? (off_t) body->len : 0;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return (rc == NGX_AGAIN) ? NGX_OK : rc;
    }

    if (body) {
        b->start = body->data;
        b->pos = body->data;
        b->last = body->data + body->len;
        b->end = b->last;
        b->memory = 1;
    }

    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;
    b->sync = (b->last_buf || b->memory) ? 0 : 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_output_filter(r, &out);

    /* what is still buffered is seen by ngx_http_finalize_request() itself */

    return (rc == NGX_AGAIN) ? NGX_OK : rc;
}


ngx_int_t
ngx_http_tb_rpc_send_json(ngx_http_request_t *r, ngx_str_t *body)
{
    return ngx_http_tb_rpc_send(r, NGX_HTTP_OK, &ngx_http_tb_rpc_json_type,
                                body);
}


ngx_int_t
ngx_http_tb_rpc_send_json_header(ngx_http_request_t *r, off_t len)
{
    ngx_int_t  rc;

    if (ngx_http_tb_rpc_prepare(r, NGX_HTTP_OK, &ngx_http_tb_rpc_json_type)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.content_length_n = len;

    rc = ngx_http_send_header(r);

    return (rc == NGX_AGAIN) ? NGX_OK : rc;
}


static ngx_int_t
ngx_http_tb_rpc_prepare(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type)
{
    static ngx_str_t  no_store = ngx_string("no-store");

    /*
     * the rest of a body is not asked for, but what comes is read away; who
     * waits to be asked may not send it at all
     */

    if (r->headers_in.expect && !r->expect_tested) {
        r->keepalive = 0;
    }

    r->expect_tested = 1;

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    if (ngx_http_tb_rpc_add_header(r, "Cache-Control", &no_store) != NGX_OK) {
        return NGX_ERROR;
    }

    /* another location may have begun an answer, and redirected here */

    ngx_http_clear_content_length(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_etag(r);

    /* what was done is not to be told as "not modified" or "failed" */

    r->disable_not_modified = 1;

    r->headers_out.status = status;
    ngx_str_null(&r->headers_out.status_line);

    ngx_str_null(&r->headers_out.content_type);
    ngx_str_null(&r->headers_out.charset);
    r->headers_out.content_type_len = 0;
    r->headers_out.content_type_lowcase = NULL;

    if (type) {
        r->headers_out.content_type = *type;
        r->headers_out.content_type_len = type->len;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_send_error(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t code, const char *fmt, ...)
{
    u_char     *p, text[NGX_HTTP_TB_RPC_MESSAGE_LEN];
    va_list     args;
    ngx_str_t   message;

    va_start(args, fmt);
    p = ngx_vslprintf(text, text + sizeof(text), fmt, args);
    va_end(args);

    message.data = text;
    message.len = p - text;

    return ngx_http_tb_rpc_send_message(r, status, code, &message);
}


static ngx_int_t
ngx_http_tb_rpc_send_message(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t code, ngx_str_t *message)
{
    u_char      *p;
    ngx_str_t    body;
    ngx_time_t  *tp;

    if (ngx_http_tb_rpc_intercepted(r, status)) {
        return ngx_http_tb_rpc_special(r, status);
    }

    body.data = ngx_pnalloc(r->pool,
                            sizeof(NGX_HTTP_TB_RPC_ERROR_BODY) - 1
                            + 2 * NGX_INT_T_LEN + NGX_INT64_LEN
                            + ngx_http_tb_rpc_escape_len(message));
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    tp = ngx_timeofday();

    p = ngx_sprintf(body.data, "{\"status\":%ui,\"message\":\"", status);
    p = ngx_http_tb_rpc_escape(p, message);
    p = ngx_sprintf(p, "\",\"errorCode\":%ui,\"timestamp\":%L}", code,
                    (int64_t) tp->sec * 1000 + tp->msec);

    body.len = p - body.data;

    return ngx_http_tb_rpc_send(r, status, &ngx_http_tb_rpc_json_type, &body);
}


ngx_int_t
ngx_http_tb_rpc_send_failure(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body)
{
    if (ngx_http_tb_rpc_intercepted(r, status)) {
        return ngx_http_tb_rpc_special(r, status);
    }

    return ngx_http_tb_rpc_send(r, status, type, body);
}


static ngx_uint_t
ngx_http_tb_rpc_intercepted(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    return lcf->intercept_errors && status >= NGX_HTTP_BAD_REQUEST;
}


static ngx_int_t
ngx_http_tb_rpc_special(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    static ngx_str_t  no_store = ngx_string("no-store");

    if (ngx_http_tb_rpc_add_header(r, "Cache-Control", &no_store) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* nor is a page that stands for our answer */

    r->disable_not_modified = 1;

    if (status != NGX_HTTP_REQUEST_TIME_OUT) {
        return status;
    }

    /*
     * as a code, this one makes ngx_http_finalize_request() drop the
     * connection; so do what it does with the others
     */

    c = r->connection;

    if (r == r->main) {
        if (c->read->timer_set) {
            ngx_del_timer(c->read);
        }

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }
    }

    rc = ngx_http_special_response_handler(r, status);

    return (rc == NGX_AGAIN) ? NGX_OK : rc;
}


ngx_int_t
ngx_http_tb_rpc_send_too_large(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "tb_rpc: client intended to send too large body: more than "
                  "%uz bytes, see \"tb_rpc_max_payload\"", lcf->max_payload);

    if (lcf->profile != NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Payload size exceeds the limit of "
                                          "%uz bytes", lcf->max_payload);
    }

    return ngx_http_tb_rpc_send_limit(r, lcf->max_payload);
}


ngx_int_t
ngx_http_tb_rpc_send_limit(ngx_http_request_t *r, size_t limit)
{
    ngx_str_t  body;

    body.data = ngx_pnalloc(r->pool,
                   sizeof("\"Payload size exceeds the limit of  bytes\"") - 1
                   + NGX_SIZE_T_LEN);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.len = ngx_sprintf(body.data,
                           "\"Payload size exceeds the limit of %uz bytes\"",
                           limit)
               - body.data;

    return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                        &ngx_http_tb_rpc_json_type, &body);
}


ngx_int_t
ngx_http_tb_rpc_send_forbidden(ngx_http_request_t *r,
    ngx_uint_t sys_admin_calls)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  sys_admin =
        ngx_string("System administrator is not allowed to perform this "
                   "operation!");

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (!sys_admin_calls) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_FORBIDDEN,
                                          NGX_HTTP_TB_RPC_PERMISSION,
                                          "You don't have permission to "
                                          "perform this operation!");
    }

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_FORBIDDEN,
                                            &ngx_http_tb_rpc_text_type,
                                            &sys_admin);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_FORBIDDEN,
                                      NGX_HTTP_TB_RPC_PERMISSION, "%V",
                                      &sys_admin);
}


ngx_int_t
ngx_http_tb_rpc_refuse_method(ngx_http_request_t *r, ngx_str_t *allow)
{
    if (ngx_http_tb_rpc_add_header(r, "Allow", allow) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method == NGX_HTTP_OPTIONS) {
        return ngx_http_tb_rpc_send(r, NGX_HTTP_NO_CONTENT, NULL, NULL);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_ALLOWED,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Request method '%*s' is not supported",
                                      ngx_min(r->method_name.len, 32),
                                      r->method_name.data);
}


ngx_int_t
ngx_http_tb_rpc_add_header(ngx_http_request_t *r, const char *key,
    ngx_str_t *value)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(key);

    part = &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash
            && h[i].key.len == len
            && ngx_strncasecmp(h[i].key.data, (u_char *) key, len) == 0)
        {
            /* left by the location that redirected here */

            h[i].value = *value;
            return NGX_OK;
        }
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) key;
    h->key.len = len;
    h->value = *value;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


void
ngx_http_tb_rpc_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_connection_t  *c;

    c = r->connection;

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}
