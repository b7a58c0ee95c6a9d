
/*
 * Query parameters of a list: page, pageSize, rpcStatus, textSearch,
 * sortProperty, sortOrder.  Names and values may be encoded; an empty value
 * is an absent one, a repeated parameter an error, and unknown ones are
 * ignored.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_list.h"
#include "ngx_http_tb_rpc_view.h"


#define NGX_HTTP_TB_RPC_MAX_INT      2147483647

#define NGX_HTTP_TB_RPC_ARG_PAGE     0
#define NGX_HTTP_TB_RPC_ARG_SIZE     1
#define NGX_HTTP_TB_RPC_ARG_STATUS   2
#define NGX_HTTP_TB_RPC_ARG_SEARCH   3
#define NGX_HTTP_TB_RPC_ARG_SORT     4
#define NGX_HTTP_TB_RPC_ARG_ORDER    5
#define NGX_HTTP_TB_RPC_ARGS         6

#define NGX_HTTP_TB_RPC_PROPERTIES   4    /* of the API */


static ngx_int_t ngx_http_tb_rpc_read_args(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page, ngx_str_t *values);
static ngx_int_t ngx_http_tb_rpc_read_arg(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page, ngx_str_t *values, u_char *p, u_char *last);
static u_char *ngx_http_tb_rpc_decode_arg(u_char *dst, u_char *p,
    u_char *last);
static ngx_int_t ngx_http_tb_rpc_arg_int(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page, ngx_uint_t arg, ngx_str_t *value,
    int64_t min, int64_t *n);
static ngx_int_t ngx_http_tb_rpc_arg_status(ngx_http_request_t *r,
    ngx_str_t *value, ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_trim(ngx_str_t *value);
static ngx_int_t ngx_http_tb_rpc_arg_sort(ngx_http_request_t *r,
    ngx_str_t *values, ngx_http_tb_rpc_page_t *page);
static ngx_int_t ngx_http_tb_rpc_arg_property(ngx_http_request_t *r,
    ngx_str_t *value, ngx_http_tb_rpc_page_t *page);
static ngx_int_t ngx_http_tb_rpc_bad_arg(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page, ngx_uint_t arg, const char *text);


static ngx_str_t  ngx_http_tb_rpc_args[] = {
    ngx_string("page"),
    ngx_string("pageSize"),
    ngx_string("rpcStatus"),
    ngx_string("textSearch"),
    ngx_string("sortProperty"),
    ngx_string("sortOrder")
};


static ngx_str_t  ngx_http_tb_rpc_list_digits = ngx_string("0123456");


static ngx_str_t  ngx_http_tb_rpc_properties[] = {
    ngx_string("createdTime"),
    ngx_string("expirationTime"),
    ngx_string("request"),
    ngx_string("response"),

    /* the original server has it, the API has not */

    ngx_string("status")
};


ngx_int_t
ngx_http_tb_rpc_list_args(ngx_http_request_t *r, ngx_http_tb_rpc_page_t *page)
{
    ngx_int_t  rc;
    ngx_str_t  values[NGX_HTTP_TB_RPC_ARGS];

    ngx_memzero(values, sizeof(values));

    rc = ngx_http_tb_rpc_read_args(r, page, values);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_tb_rpc_arg_int(r, page, NGX_HTTP_TB_RPC_ARG_SIZE,
                                 &values[NGX_HTTP_TB_RPC_ARG_SIZE], 1,
                                 &page->page_size);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_tb_rpc_arg_int(r, page, NGX_HTTP_TB_RPC_ARG_PAGE,
                                 &values[NGX_HTTP_TB_RPC_ARG_PAGE], 0,
                                 &page->page);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_tb_rpc_arg_status(r, &values[NGX_HTTP_TB_RPC_ARG_STATUS],
                                    page);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_tb_rpc_arg_sort(r, values, page);
}


static ngx_int_t
ngx_http_tb_rpc_read_args(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page, ngx_str_t *values)
{
    u_char     *p, *last, *end;
    ngx_int_t   rc;

    p = r->args.data;
    end = p + r->args.len;

    while (p < end) {
        last = ngx_strlchr(p, end, '&');
        if (last == NULL) {
            last = end;
        }

        rc = ngx_http_tb_rpc_read_arg(r, page, values, p, last);
        if (rc != NGX_OK) {
            return rc;
        }

        p = last + 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_read_arg(ngx_http_request_t *r, ngx_http_tb_rpc_page_t *page,
    ngx_str_t *values, u_char *p, u_char *last)
{
    u_char      *eq, *dst;
    ngx_str_t    name;
    ngx_uint_t   i;

    eq = ngx_strlchr(p, last, '=');

    if (eq == NULL || eq + 1 == last) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, last - p);
    if (dst == NULL) {
        page->rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        return NGX_DECLINED;
    }

    name.data = dst;
    dst = ngx_http_tb_rpc_decode_arg(dst, p, eq);
    name.len = dst - name.data;

    for (i = 0; i < NGX_HTTP_TB_RPC_ARGS; i++) {
        if (ngx_http_tb_rpc_args[i].len == name.len
            && ngx_memcmp(ngx_http_tb_rpc_args[i].data, name.data, name.len)
               == 0)
        {
            break;
        }
    }

    if (i == NGX_HTTP_TB_RPC_ARGS) {
        return NGX_OK;
    }

    if (values[i].data) {
        return ngx_http_tb_rpc_bad_arg(r, page, i, "is given twice");
    }

    values[i].data = dst;
    values[i].len = ngx_http_tb_rpc_decode_arg(dst, eq + 1, last) - dst;

    return NGX_OK;
}


/* as forms are encoded, where a blank may be a "+" */

static u_char *
ngx_http_tb_rpc_decode_arg(u_char *dst, u_char *p, u_char *last)
{
    u_char  *src, *end;

    for (end = dst; p < last; p++) {
        *end++ = (*p == '+') ? ' ' : *p;
    }

    src = dst;

    ngx_unescape_uri(&dst, &src, end - src, 0);

    return dst;
}


static ngx_int_t
ngx_http_tb_rpc_arg_int(ngx_http_request_t *r, ngx_http_tb_rpc_page_t *page,
    ngx_uint_t arg, ngx_str_t *value, int64_t min, int64_t *n)
{
    size_t   i;
    int64_t  v;

    if (value->len == 0) {
        return ngx_http_tb_rpc_bad_arg(r, page, arg, "is missing");
    }

    v = 0;

    for (i = 0; i < value->len; i++) {

        if (value->data[i] < '0' || value->data[i] > '9') {
            return ngx_http_tb_rpc_bad_arg(r, page, arg,
                            min ? "must be an integer from 1 to 2147483647"
                                : "must be an integer from 0 to 2147483647");
        }

        v = v * 10 + (value->data[i] - '0');

        if (v > NGX_HTTP_TB_RPC_MAX_INT) {
            break;
        }
    }

    if (v < min || v > NGX_HTTP_TB_RPC_MAX_INT) {
        return ngx_http_tb_rpc_bad_arg(r, page, arg,
                            min ? "must be an integer from 1 to 2147483647"
                                : "must be an integer from 0 to 2147483647");
    }

    *n = v;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_arg_status(ngx_http_request_t *r, ngx_str_t *value,
    ngx_http_tb_rpc_page_t *page)
{
    ngx_str_t                   *s;
    ngx_uint_t                   i;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (value->len == 0) {
        return NGX_OK;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        ngx_http_tb_rpc_trim(value);
    }

    for (i = 0; ngx_http_tb_rpc_statuses[i].len; i++) {
        s = &ngx_http_tb_rpc_statuses[i];

        if (s->len == value->len
            && ngx_memcmp(s->data, value->data, s->len) == 0)
        {
            page->status.data = &ngx_http_tb_rpc_list_digits.data[i];
            page->status.len = 1;
            return NGX_OK;
        }
    }

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD
        && value->len == sizeof("DELETED") - 1
        && ngx_memcmp(value->data, "DELETED", sizeof("DELETED") - 1) == 0)
    {
        page->rc = ngx_http_tb_rpc_send_error(r,
                                              NGX_HTTP_INTERNAL_SERVER_ERROR,
                                              NGX_HTTP_TB_RPC_GENERAL,
                                              "400 BAD_REQUEST "
                                              "\"RpcStatus: DELETED\"");
        return NGX_DECLINED;
    }

    return ngx_http_tb_rpc_bad_arg(r, page, NGX_HTTP_TB_RPC_ARG_STATUS,
                                   "must be one of QUEUED, SENT, DELIVERED, "
                                   "SUCCESSFUL, TIMEOUT, EXPIRED, FAILED");
}


/* blanks and all that is below them, as the original server does */

static void
ngx_http_tb_rpc_trim(ngx_str_t *value)
{
    while (value->len && value->data[0] <= ' ') {
        value->data++;
        value->len--;
    }

    while (value->len && value->data[value->len - 1] <= ' ') {
        value->len--;
    }
}


static ngx_int_t
ngx_http_tb_rpc_arg_sort(ngx_http_request_t *r, ngx_str_t *values,
    ngx_http_tb_rpc_page_t *page)
{
    ngx_str_t   *value;
    ngx_int_t    rc;

    rc = ngx_http_tb_rpc_arg_property(r, &values[NGX_HTTP_TB_RPC_ARG_SORT],
                                      page);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_set(&page->order, "asc");

    value = &values[NGX_HTTP_TB_RPC_ARG_ORDER];

    if (value->len == 0
        || (value->len == 3
            && ngx_strncasecmp(value->data, (u_char *) "asc", 3) == 0))
    {
        return NGX_OK;
    }

    if (value->len == 4
        && ngx_strncasecmp(value->data, (u_char *) "desc", 4) == 0)
    {
        ngx_str_set(&page->order, "desc");
        return NGX_OK;
    }

    return ngx_http_tb_rpc_bad_arg(r, page, NGX_HTTP_TB_RPC_ARG_ORDER,
                                   "must be ASC or DESC");
}


static ngx_int_t
ngx_http_tb_rpc_arg_property(ngx_http_request_t *r, ngx_str_t *value,
    ngx_http_tb_rpc_page_t *page)
{
    ngx_str_t                   *property;
    ngx_uint_t                   i, n;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    page->property = ngx_http_tb_rpc_properties[0];

    if (value->len == 0) {
        return NGX_OK;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    n = NGX_HTTP_TB_RPC_PROPERTIES;

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        n++;
    }

    for (i = 0; i < n; i++) {
        property = &ngx_http_tb_rpc_properties[i];

        if (property->len == value->len
            && ngx_memcmp(property->data, value->data, value->len) == 0)
        {
            page->property = *property;
            return NGX_OK;
        }
    }

    return ngx_http_tb_rpc_bad_arg(r, page, NGX_HTTP_TB_RPC_ARG_SORT,
                                   n > NGX_HTTP_TB_RPC_PROPERTIES
                                   ? "must be one of createdTime, "
                                     "expirationTime, request, response, "
                                     "status"
                                   : "must be one of createdTime, "
                                     "expirationTime, request, response");
}


static ngx_int_t
ngx_http_tb_rpc_bad_arg(ngx_http_request_t *r, ngx_http_tb_rpc_page_t *page,
    ngx_uint_t arg, const char *text)
{
    page->rc = ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "query parameter \"%V\" %s",
                                          &ngx_http_tb_rpc_args[arg], text);

    return NGX_DECLINED;
}
