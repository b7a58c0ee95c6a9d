
/*
 * The path of a device's request: which token is in it, and that nobody logs
 * it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_device_request.h"


/* more of a token is hidden in another way */

#define NGX_HTTP_TB_RPC_TOKEN_LEN  255


static ngx_int_t ngx_http_tb_rpc_device_parse(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr);
static ngx_uint_t ngx_http_tb_rpc_device_op(ngx_http_request_t *r,
    ngx_str_t *token, ngx_str_t *id);
static size_t ngx_http_tb_rpc_device_prefix(ngx_http_request_t *r);
static void ngx_http_tb_rpc_device_other(ngx_http_request_t *r,
    ngx_str_t *token);
static ngx_uint_t ngx_http_tb_rpc_device_goes_on(ngx_http_request_t *r);
static ngx_int_t ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr, ngx_str_t *token);
static ngx_int_t ngx_http_tb_rpc_device_mask(ngx_http_request_t *r,
    ngx_str_t *token);
static ngx_int_t ngx_http_tb_rpc_device_copy(ngx_http_request_t *r,
    ngx_str_t *text);
static void ngx_http_tb_rpc_device_mask_path(ngx_str_t *text, u_char *token,
    size_t len);
static ngx_uint_t ngx_http_tb_rpc_device_ends(u_char *p, u_char *last);


/* before limit_req and limit_conn, which log the request that they refuse */

ngx_int_t
ngx_http_tb_rpc_device_preaccess_handler(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->device_api && ngx_http_tb_rpc_device_path(r) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/* what was refused earlier, as by client_max_body_size */

ngx_int_t
ngx_http_tb_rpc_device_log_handler(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->device_api) {
        (void) ngx_http_tb_rpc_device_path(r);
    }

    return NGX_OK;
}


ngx_http_tb_rpc_device_req_t *
ngx_http_tb_rpc_device_path(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_ctx_t         *ctx;
    ngx_http_tb_rpc_device_req_t  *dr;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        goto failed;
    }

    if (ctx->device_req) {
        return ctx->device_req;
    }

    dr = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_device_req_t));
    if (dr == NULL) {
        goto failed;
    }

    dr->request = r;
    dr->ctx = ctx;

    if (ngx_http_tb_rpc_device_parse(r, dr) != NGX_OK) {
        goto failed;
    }

    ctx->device_req = dr;

    return dr;

failed:

    /* rather nothing in the log than the token */

    ngx_str_set(&r->uri, "/");
    ngx_str_set(&r->main->request_line, "-");
    ngx_str_set(&r->main->unparsed_uri, "-");

    return NULL;
}


static ngx_int_t
ngx_http_tb_rpc_device_parse(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_str_t   token;
    ngx_uint_t  op;

    op = ngx_http_tb_rpc_device_op(r, &token, &dr->id);

    if (op && ngx_http_tb_rpc_device_digest(r, dr, &token) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a copy of a request (mirror) must not take calls from the device */

    if (op
        && r == r->main
        && (op != NGX_HTTP_TB_RPC_DO_POLL || r->method != NGX_HTTP_POST))
    {
        dr->op = op;
        return ngx_http_tb_rpc_device_mask(r, &token);
    }

    dr->op = NGX_HTTP_TB_RPC_DO_NOTHING;

    if (ngx_http_tb_rpc_device_goes_on(r)) {
        return NGX_OK;
    }

    if (op == 0) {
        ngx_http_tb_rpc_device_other(r, &token);
    }

    return token.len ? ngx_http_tb_rpc_device_mask(r, &token) : NGX_OK;
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

static void
ngx_http_tb_rpc_device_other(ngx_http_request_t *r, ngx_str_t *token)
{
    u_char  *p, *last;

    last = r->uri.data + r->uri.len;

    p = ngx_strnstr(r->uri.data, "/v1/", r->uri.len);
    p = p ? p + 4 : r->uri.data + ngx_http_tb_rpc_device_prefix(r);

    if (p < last && *p == '/') {
        p++;
    }

    token->data = p;

    while (p < last && *p != '/') {
        p++;
    }

    token->len = p - token->data;
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
ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_req_t *dr, ngx_str_t *token)
{
    ngx_str_t  *key_id;

    if (EVP_Digest(token->data, token->len, dr->digest, NULL,
                   EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    key_id = &dr->ctx->key_id;

    key_id->data = ngx_pnalloc(r->pool, 16);
    if (key_id->data == NULL) {
        return NGX_ERROR;
    }

    key_id->len = ngx_hex_dump(key_id->data, dr->digest, 8)
                  - key_id->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_device_key_id(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_str_t                     token, id;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_device_req_t  dr;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->key_id.len == 0) {

        /* once the path was looked at, there is no token in it any more */

        if (ctx->device_req || ngx_http_tb_rpc_device_op(r, &token, &id) == 0) {
            return NGX_DECLINED;
        }

        dr.ctx = ctx;

        if (ngx_http_tb_rpc_device_digest(r, &dr, &token) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    *value = ctx->key_id;

    return NGX_OK;
}


/*
 * Nobody who logs the request from now on shows the token.  What stands where
 * it was read is left alone: a variable may refer to it, as a key of limit_req.
 */

static ngx_int_t
ngx_http_tb_rpc_device_mask(ngx_http_request_t *r, ngx_str_t *token)
{
    size_t   len;
    u_char  *start;

    start = r->uri.data;

    if (ngx_http_tb_rpc_device_copy(r, &r->uri) != NGX_OK
        || ngx_http_tb_rpc_device_copy(r, &r->main->request_line) != NGX_OK
        || ngx_http_tb_rpc_device_copy(r, &r->main->unparsed_uri) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memset(r->uri.data + (token->data - start), '*', token->len);

    len = ngx_min(token->len, NGX_HTTP_TB_RPC_TOKEN_LEN);

    /* it may stand there twice, as an id */

    ngx_http_tb_rpc_device_mask_path(&r->uri, token->data, token->len);
    ngx_http_tb_rpc_device_mask_path(&r->main->request_line, token->data,
                                     len);
    ngx_http_tb_rpc_device_mask_path(&r->main->unparsed_uri, token->data,
                                     len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_device_copy(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char  *copy;

    if (text->len == 0) {
        return NGX_OK;
    }

    copy = ngx_pnalloc(r->pool, text->len);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, text->data, text->len);
    text->data = copy;

    return NGX_OK;
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

        if (*p != '/' || (size_t) (last - p) <= len) {
            continue;
        }

        if (p[1] == '*') {
            masked = 1;

        } else if (ngx_memcmp(p + 1, token, len) == 0
                   && ngx_http_tb_rpc_device_ends(p + len + 1, last))
        {
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


/* is it the end of a segment? */

static ngx_uint_t
ngx_http_tb_rpc_device_ends(u_char *p, u_char *last)
{
    return p == last || *p == '/' || *p == '?' || *p == ' ';
}
