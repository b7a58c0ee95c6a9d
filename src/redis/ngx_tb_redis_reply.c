
/*
 * Replies: the helpers that look into them, the guard that bounds them
 * before they are decoded, and the check of the decoder itself.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


enum {
    ngx_tb_redis_scan_type = 0,
    ngx_tb_redis_scan_text,
    ngx_tb_redis_scan_number,
    ngx_tb_redis_scan_lf,
    ngx_tb_redis_scan_bulk,
    ngx_tb_redis_scan_bulk_cr,
    ngx_tb_redis_scan_bulk_lf
};


static ngx_int_t ngx_tb_redis_scan_byte(ngx_tb_redis_scan_t *scan, u_char ch);
static ngx_int_t ngx_tb_redis_scan_start(ngx_tb_redis_scan_t *scan, u_char ch);
static ngx_int_t ngx_tb_redis_scan_digit(ngx_tb_redis_scan_t *scan, u_char ch);
static ngx_int_t ngx_tb_redis_scan_line(ngx_tb_redis_scan_t *scan);
static void ngx_tb_redis_scan_item(ngx_tb_redis_scan_t *scan);
static redisReply *ngx_tb_redis_decode(const char *text, size_t len);
static ngx_int_t ngx_tb_redis_check_nested(void);


ngx_int_t
ngx_tb_redis_reply_str(redisReply *reply, ngx_str_t *value)
{
    if (reply == NULL
        || (reply->type != REDIS_REPLY_STRING
            && reply->type != REDIS_REPLY_STATUS)
        || reply->str == NULL)
    {
        return NGX_ERROR;
    }

    value->len = (size_t) reply->len;
    value->data = (u_char *) reply->str;

    return NGX_OK;
}


ngx_int_t
ngx_tb_redis_reply_int(redisReply *reply, int64_t *value)
{
    u_char     *p, *last;
    uint64_t    n, max;
    ngx_str_t   str;

    if (reply == NULL) {
        return NGX_ERROR;
    }

    if (reply->type == REDIS_REPLY_INTEGER) {
        *value = (int64_t) reply->integer;
        return NGX_OK;
    }

    if (ngx_tb_redis_reply_str(reply, &str) != NGX_OK) {
        return NGX_ERROR;
    }

    p = str.data;
    last = p + str.len;
    max = INT64_MAX;

    if (p < last && *p == '-') {
        p++;
        max++;
    }

    if (p == last) {
        return NGX_ERROR;
    }

    for (n = 0; p < last; p++) {

        if (*p < '0' || *p > '9') {
            return NGX_ERROR;
        }

        if (n > (max - (*p - '0')) / 10) {
            return NGX_ERROR;
        }

        n = n * 10 + (*p - '0');
    }

    *value = (str.data[0] == '-') ? (int64_t) (0 - n) : (int64_t) n;

    return NGX_OK;
}


redisReply *
ngx_tb_redis_reply_element(redisReply *reply, ngx_uint_t n)
{
    if (reply == NULL
        || reply->type != REDIS_REPLY_ARRAY
        || n >= reply->elements)
    {
        return NULL;
    }

    return reply->element[n];
}


tb_rpc_redis_error_e
ngx_tb_redis_reply_error(redisReply *reply)
{
    if (reply == NULL
        || reply->type != REDIS_REPLY_ERROR
        || reply->str == NULL)
    {
        return TB_RPC_REDIS_OTHER;
    }

    return tb_rpc_redis_error(reply->str, (size_t) reply->len);
}


ngx_uint_t
ngx_tb_redis_reply_is_error(redisReply *reply, const char *prefix)
{
    size_t  len;

    if (reply == NULL
        || reply->type != REDIS_REPLY_ERROR
        || reply->str == NULL)
    {
        return 0;
    }

    len = ngx_strlen(prefix);

    return (size_t) reply->len >= len
           && ngx_memcmp(reply->str, prefix, len) == 0;
}


void
ngx_tb_redis_reply_text(redisReply *reply, u_char *text, ngx_str_t *value)
{
    u_char   ch, *p;
    size_t   i, len;

    value->data = text;
    value->len = 0;

    if (reply->str == NULL
        || (reply->type != REDIS_REPLY_ERROR
            && reply->type != REDIS_REPLY_STATUS
            && reply->type != REDIS_REPLY_STRING))
    {
        return;
    }

    len = ngx_min((size_t) reply->len, NGX_TB_REDIS_TEXT);

    for (i = 0; i < len; i++) {
        ch = (u_char) reply->str[i];
        text[i] = (ch < 0x20 || ch > 0x7e) ? '.' : ch;
    }

    /* a command that is not known is quoted: AUTH with its password */

    p = ngx_strnstr(text, ", with args", len);

    value->len = p ? (size_t) (p - text) : len;
}


ngx_int_t
ngx_tb_redis_info_value(ngx_str_t *info, const char *name, size_t max,
    ngx_str_t *value)
{
    size_t   len;
    u_char  *p, *last;

    len = ngx_strlen(name);
    last = info->data + info->len;

    for (p = info->data; /* void */ ; p++) {

        if ((size_t) (last - p) > len && ngx_memcmp(p, name, len) == 0) {
            break;
        }

        p = ngx_strlchr(p, last, LF);
        if (p == NULL) {
            return NGX_DECLINED;
        }
    }

    value->data = p + len;

    for (p = value->data; p < last && *p > ' ' && *p < 0x7f; p++) {
        /* void */
    }

    value->len = p - value->data;

    return (value->len && value->len <= max) ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_tb_redis_scan(ngx_tb_redis_scan_t *scan, u_char *p, u_char *last)
{
    size_t  n;

    while (p < last) {

        if (scan->state == ngx_tb_redis_scan_bulk) {
            n = ngx_min((size_t) (last - p), scan->rest);
            scan->rest -= n;

            if (scan->rest == 0) {
                scan->state = ngx_tb_redis_scan_bulk_cr;
            }

        } else {
            n = 1;

            if (ngx_tb_redis_scan_byte(scan, *p) != NGX_OK) {
                return NGX_ERROR;
            }
        }

        p += n;
        scan->bytes += n;

        if (scan->bytes > NGX_TB_REDIS_MAX_REPLY) {
            scan->error = "too large reply";
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_scan_byte(ngx_tb_redis_scan_t *scan, u_char ch)
{
    switch (scan->state) {

    case ngx_tb_redis_scan_type:
        return ngx_tb_redis_scan_start(scan, ch);

    case ngx_tb_redis_scan_number:
        return ngx_tb_redis_scan_digit(scan, ch);

    case ngx_tb_redis_scan_text:
        if (ch == '\r') {
            scan->state = ngx_tb_redis_scan_lf;

        } else if (++scan->line > NGX_TB_REDIS_MAX_LINE) {
            scan->error = "too long line in a reply";
            return NGX_ERROR;
        }

        return NGX_OK;

    case ngx_tb_redis_scan_bulk_cr:
        scan->error = "string reply without an end";
        scan->state = ngx_tb_redis_scan_bulk_lf;
        return (ch == '\r') ? NGX_OK : NGX_ERROR;

    default: /* ngx_tb_redis_scan_lf, ngx_tb_redis_scan_bulk_lf */
        break;
    }

    if (ch != '\n') {
        scan->error = "reply line without an end";
        return NGX_ERROR;
    }

    if (scan->state == ngx_tb_redis_scan_lf) {
        return ngx_tb_redis_scan_line(scan);
    }

    ngx_tb_redis_scan_item(scan);

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_scan_start(ngx_tb_redis_scan_t *scan, u_char ch)
{
    if (scan->depth == 0) {
        scan->bytes = 0;
        scan->elements = 0;
    }

    scan->type = ch;
    scan->line = 0;
    scan->number = 0;
    scan->negative = 0;

    switch (ch) {

    case '+':
    case '-':
        scan->state = ngx_tb_redis_scan_text;
        return NGX_OK;

    case ':':
    case '$':
    case '*':
        scan->state = ngx_tb_redis_scan_number;
        return NGX_OK;

    default:
        scan->error = "this is not the Redis protocol";
        return NGX_ERROR;
    }
}


static ngx_int_t
ngx_tb_redis_scan_digit(ngx_tb_redis_scan_t *scan, u_char ch)
{
    scan->error = "bad number in a reply";

    if (ch == '\r') {

        if (scan->line == 0 || (scan->line == 1 && scan->negative)) {
            return NGX_ERROR;
        }

        scan->state = ngx_tb_redis_scan_lf;
        return NGX_OK;
    }

    if (ch == '-' && scan->line == 0) {
        scan->negative = 1;
        scan->line = 1;
        return NGX_OK;
    }

    if (ch < '0' || ch > '9' || ++scan->line > NGX_TB_REDIS_MAX_NUMBER) {
        return NGX_ERROR;
    }

    /* an integer reply may overflow here, hiredis judges it */

    scan->number = scan->number * 10 + (ch - '0');

    if (scan->type != ':' && scan->number > NGX_TB_REDIS_MAX_REPLY) {
        scan->error = "too large reply";
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_scan_line(ngx_tb_redis_scan_t *scan)
{
    if (scan->type == '+' || scan->type == '-' || scan->type == ':') {
        ngx_tb_redis_scan_item(scan);
        return NGX_OK;
    }

    if (scan->negative) {

        if (scan->number != 1) {
            scan->error = "bad length in a reply";
            return NGX_ERROR;
        }

        ngx_tb_redis_scan_item(scan);
        return NGX_OK;
    }

    if (scan->type == '$') {
        scan->rest = (size_t) scan->number;
        scan->state = scan->rest ? ngx_tb_redis_scan_bulk
                                 : ngx_tb_redis_scan_bulk_cr;
        return NGX_OK;
    }

    scan->elements += (size_t) scan->number;

    if (scan->elements > NGX_TB_REDIS_MAX_ELEMENTS) {
        scan->error = "too many elements in a reply";
        return NGX_ERROR;
    }

    if (scan->number == 0) {
        ngx_tb_redis_scan_item(scan);
        return NGX_OK;
    }

    if (scan->depth == NGX_TB_REDIS_MAX_DEPTH) {
        scan->error = "too deeply nested reply";
        return NGX_ERROR;
    }

    scan->left[scan->depth++] = (size_t) scan->number;
    scan->state = ngx_tb_redis_scan_type;

    return NGX_OK;
}


/* an item is complete, and with it maybe the arrays that it is the last of */

static void
ngx_tb_redis_scan_item(ngx_tb_redis_scan_t *scan)
{
    scan->state = ngx_tb_redis_scan_type;

    while (scan->depth && --scan->left[scan->depth - 1] == 0) {
        scan->depth--;
    }
}


ngx_int_t
ngx_tb_redis_check_library(ngx_log_t *log)
{
    int64_t      n;
    ngx_int_t    rc;
    ngx_str_t    str;
    redisReply  *reply;

    rc = NGX_ERROR;

    reply = ngx_tb_redis_decode("$5\r\nhello\r\n", 11);

    if (reply
        && reply->type == REDIS_REPLY_STRING
        && ngx_tb_redis_reply_str(reply, &str) == NGX_OK
        && str.len == 5
        && ngx_memcmp(str.data, "hello", 6) == 0)
    {
        freeReplyObject(reply);

        reply = ngx_tb_redis_decode(":-42\r\n", 6);

        if (reply
            && ngx_tb_redis_reply_int(reply, &n) == NGX_OK
            && n == -42)
        {
            rc = ngx_tb_redis_check_nested();
        }
    }

    if (rc != NGX_OK) {

        /* what a strange library has made is better not freed by it */

        ngx_log_error(NGX_LOG_EMERG, log, 0,
                      "tb_rpc_redis: the hiredis library found at run time "
                      "does not decode as the one this module was built "
                      "with (%d.%d.%d); most likely another module brings "
                      "a hiredis of its own: build with the static "
                      "libhiredis.a, or load only one of the modules",
                      HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
        return NGX_ERROR;
    }

    freeReplyObject(reply);

    return NGX_OK;
}


static redisReply *
ngx_tb_redis_decode(const char *text, size_t len)
{
    void         *reply;
    redisReader  *reader;

    reader = redisReaderCreate();
    if (reader == NULL) {
        return NULL;
    }

    reply = NULL;

    if (redisReaderFeed(reader, text, len) != REDIS_OK
        || redisReaderGetReply(reader, &reply) != REDIS_OK)
    {
        reply = NULL;
    }

    redisReaderFree(reader);

    return reply;
}


static ngx_int_t
ngx_tb_redis_check_nested(void)
{
    int64_t      n;
    ngx_int_t    rc;
    ngx_str_t    str;
    redisReply  *reply, *inner;

    reply = ngx_tb_redis_decode("*2\r\n:7\r\n*2\r\n+ok\r\n$-1\r\n", 22);
    if (reply == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {

        inner = ngx_tb_redis_reply_element(reply, 1);

        if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0), &n)
            == NGX_OK
            && n == 7
            && inner != NULL
            && inner->type == REDIS_REPLY_ARRAY
            && inner->elements == 2
            && ngx_tb_redis_reply_str(inner->element[0], &str) == NGX_OK
            && str.len == 2
            && ngx_memcmp(str.data, "ok", 2) == 0
            && inner->element[1] != NULL
            && inner->element[1]->type == REDIS_REPLY_NIL)
        {
            rc = NGX_OK;
            freeReplyObject(reply);
        }
    }

    return rc;
}
