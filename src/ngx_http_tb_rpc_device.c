
/*
 * The HTTP transport of devices: which token is in the path, and what is
 * asked for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/evp.h>

#include "ngx_http_tb_rpc_device.h"


/* more of a token is hidden in another way */

#define NGX_HTTP_TB_RPC_TOKEN_LEN  255


static ngx_uint_t ngx_http_tb_rpc_device_op(ngx_http_request_t *r,
    ngx_str_t *token, ngx_str_t *id);
static size_t ngx_http_tb_rpc_device_prefix(ngx_http_request_t *r);
static ngx_int_t ngx_http_tb_rpc_device_not_ours(ngx_http_request_t *r,
    ngx_str_t *token);
static ngx_uint_t ngx_http_tb_rpc_device_goes_on(ngx_http_request_t *r);
static ngx_int_t ngx_http_tb_rpc_device_refuse_method(ngx_http_request_t *r,
    ngx_uint_t op);
static ngx_int_t ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *id);
static ngx_int_t ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *token);
static void ngx_http_tb_rpc_device_mask(ngx_http_request_t *r,
    ngx_str_t *token);
static void ngx_http_tb_rpc_device_mask_path(ngx_str_t *text, u_char *token,
    size_t len);


ngx_int_t
ngx_http_tb_rpc_device_handler(ngx_http_request_t *r)
{
    u_char                       *uri;
    ngx_int_t                     rc;
    ngx_str_t                     token, id;
    ngx_uint_t                    op;
    ngx_http_tb_rpc_device_t     *device;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    /* a part of it will be overwritten, and it may be the configuration's */

    uri = ngx_pstrdup(r->pool, &r->uri);
    if (uri == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->uri.data = uri;

    op = ngx_http_tb_rpc_device_op(r, &token, &id);

    /* a copy of a request (mirror) must not take calls from the device */

    if (op == 0
        || r != r->main
        || (op == NGX_HTTP_TB_RPC_DO_POLL && r->method == NGX_HTTP_POST))
    {
        return ngx_http_tb_rpc_device_not_ours(r, op ? &token : NULL);
    }

    device = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_device_t));
    if (device == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    device->request = r;
    device->start = ngx_current_msec;
    device->op = op;
    device->ctx = ngx_http_tb_rpc_get_ctx(r);
    device->worker = ngx_http_tb_rpc_worker(mcf);

    if (device->ctx == NULL || device->worker == NULL
        || ngx_http_tb_rpc_device_digest(r, device, &token) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the id stands behind the token, and stays as it is */

    ngx_http_tb_rpc_device_mask(r, &token);

    rc = ngx_http_tb_rpc_device_refuse_method(r, op);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_device_value(r, device, &id);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_tb_rpc_device_lookup(device);
}


/* .../{token}/rpc and .../{token}/rpc/{id}; 0: neither */

static ngx_uint_t
ngx_http_tb_rpc_device_op(ngx_http_request_t *r, ngx_str_t *token,
    ngx_str_t *id)
{
    u_char      *p, *first, *last;
    ngx_str_t    segment[3];
    ngx_uint_t   n;

    first = r->uri.data;
    last = first + r->uri.len;

    for (n = 0; n < 3; n++) {

        for (p = last; p > first && p[-1] != '/'; p--) { /* void */ }

        segment[n].data = p;
        segment[n].len = last - p;

        if (p == first) {
            return 0;
        }

        last = p - 1;
    }

    if (segment[0].len == 3 && ngx_memcmp(segment[0].data, "rpc", 3) == 0) {
        *token = segment[1];
        n = NGX_HTTP_TB_RPC_DO_POLL;

    } else if (segment[1].len == 3
               && ngx_memcmp(segment[1].data, "rpc", 3) == 0)
    {
        *token = segment[2];
        *id = segment[0];
        n = id->len ? NGX_HTTP_TB_RPC_DO_ANSWER : 0;

    } else {
        return 0;
    }

    if (token->len == 0) {
        return 0;
    }

    /* what ends the location's own path is no token: "/api/v1/rpc" */

    first = r->uri.data + ngx_http_tb_rpc_device_prefix(r);
    last = token->data + token->len;

    return (last == first || last + 1 == first) ? 0 : n;
}


/* how much of the path the location stands for, as far as that can be seen */

static size_t
ngx_http_tb_rpc_device_prefix(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->name.len > r->uri.len
        || ngx_memcmp(r->uri.data, clcf->name.data, clcf->name.len) != 0)
    {
        return 0;
    }

    return clcf->name.len;
}


/* telemetry, attributes, calls to the server: they have tokens, too */

static ngx_int_t
ngx_http_tb_rpc_device_not_ours(ngx_http_request_t *r, ngx_str_t *token)
{
    u_char     *p, *last;
    ngx_str_t   segment;

    if (token == NULL) {

        last = r->uri.data + r->uri.len;

        p = ngx_strnstr(r->uri.data, "/v1/", r->uri.len);
        p = p ? p + 4 : r->uri.data + ngx_http_tb_rpc_device_prefix(r);

        if (p < last && *p == '/') {
            p++;
        }

        segment.data = p;

        while (p < last && *p != '/') {
            p++;
        }

        segment.len = p - segment.data;
        token = &segment;
    }

    if (token->len && !ngx_http_tb_rpc_device_goes_on(r)) {
        ngx_http_tb_rpc_device_mask(r, token);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                      NGX_HTTP_TB_RPC_NOT_FOUND,
                                      "There is no such resource");
}


/* "error_page 404" may bring it to a server that needs the token */

static ngx_uint_t
ngx_http_tb_rpc_device_goes_on(ngx_http_request_t *r)
{
    ngx_uint_t                   i;
    ngx_http_err_page_t         *page;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!lcf->intercept_errors || clcf->error_pages == NULL) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == NGX_HTTP_NOT_FOUND) {
            return 1;
        }
    }

    return 0;
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

    if (ngx_http_tb_rpc_add_header(r, "Allow", op == NGX_HTTP_TB_RPC_DO_POLL
                                                   ? &poll : &answer)
        != NGX_OK)
    {
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


/* what else the request says: NGX_DECLINED, or it was refused */

static ngx_int_t
ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *id)
{
    ngx_int_t                    n;
    ngx_str_t                    value;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (device->op == NGX_HTTP_TB_RPC_DO_ANSWER) {

        n = (id->len <= 10) ? ngx_atoi(id->data, id->len) : NGX_ERROR;

        if (n == NGX_ERROR || n == 0 || n > 0x7fffffff) {
            return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                              NGX_HTTP_TB_RPC_BAD_REQUEST,
                                              "Invalid request id: %*s",
                                              ngx_min(id->len, 64), id->data);
        }

        device->value = n;

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

    device->value = n ? ngx_min(n, NGX_HTTP_TB_RPC_POLL_MAX)
                      : (ngx_int_t) lcf->poll_timeout;

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *token)
{
    ngx_str_t  *key_id;

    if (EVP_Digest(token->data, token->len, device->digest, NULL,
                   EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    key_id = &device->ctx->key_id;

    key_id->data = ngx_pnalloc(r->pool, 16);
    if (key_id->data == NULL) {
        return NGX_ERROR;
    }

    key_id->len = ngx_hex_dump(key_id->data, device->digest, 8)
                  - key_id->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_device_key_id(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_str_t                  token, id;
    ngx_http_tb_rpc_ctx_t     *ctx;
    ngx_http_tb_rpc_device_t   device;

    device.ctx = ngx_http_tb_rpc_get_ctx(r);
    if (device.ctx == NULL) {
        return NGX_ERROR;
    }

    ctx = device.ctx;

    if (ctx->key_id.len == 0) {

        if (ngx_http_tb_rpc_device_op(r, &token, &id) == 0) {
            return NGX_DECLINED;
        }

        if (ngx_http_tb_rpc_device_digest(r, &device, &token) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    *value = ctx->key_id;

    return NGX_OK;
}


/*
 * Nobody who logs the request from now on shows the token.  The two lines may
 * be parts of each other.
 */

static void
ngx_http_tb_rpc_device_mask(ngx_http_request_t *r, ngx_str_t *token)
{
    u_char  copy[NGX_HTTP_TB_RPC_TOKEN_LEN];
    size_t  len;

    len = ngx_min(token->len, NGX_HTTP_TB_RPC_TOKEN_LEN);

    ngx_memcpy(copy, token->data, len);
    ngx_memset(token->data, '*', token->len);

    ngx_http_tb_rpc_device_mask_path(&r->main->request_line, copy, len);
    ngx_http_tb_rpc_device_mask_path(&r->main->unparsed_uri, copy, len);
}


static void
ngx_http_tb_rpc_device_mask_path(ngx_str_t *text, u_char *token, size_t len)
{
    u_char      *p, *last, *path;
    ngx_uint_t   masked;

    last = text->data + text->len;

    for (path = text->data; path < last && *path != '/'; path++) {
        /* void */
    }

    masked = 0;

    for (p = path; p < last && *p != '?' && *p != ' '; p++) {

        if (*p != '/' || (size_t) (last - p) <= len + 1) {
            continue;
        }

        if (p[1] == '*') {
            masked = 1;

        } else if (p[len + 1] == '/' && ngx_memcmp(p + 1, token, len) == 0) {
            ngx_memset(p + 1, '*', len);
            masked = 1;
        }
    }

    if (masked) {
        return;
    }

    /* written in another way, with %XX: nothing of the path is left */

    for (p = path; p < last && *p != '?' && *p != ' '; p++) {
        if (*p != '/') {
            *p = '*';
        }
    }
}


ngx_int_t
ngx_http_tb_rpc_device_process(ngx_http_tb_rpc_device_t *device)
{
    ngx_msec_int_t       left;
    ngx_http_request_t  *r;

    r = device->request;

    if (device->ctx->device_id.len == 0) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: unauthorized: the token \"%V...\" is no "
                      "device's", &device->ctx->key_id);

        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_UNAUTHORIZED, NULL,
                                            NULL);
    }

    if (device->op == NGX_HTTP_TB_RPC_DO_ANSWER) {
        return ngx_http_tb_rpc_device_answer(r, device->ctx, device->value);
    }

    /* it counts from the request on, however long the lookup took */

    left = (ngx_msec_int_t) (device->start + (ngx_msec_t) device->value
                             - ngx_current_msec);

    return ngx_http_tb_rpc_poll(r, device->ctx, device->worker,
                                (ngx_msec_t) ngx_max(left, 1));
}
