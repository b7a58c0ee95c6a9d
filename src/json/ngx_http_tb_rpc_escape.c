
/*
 * Text of any origin -> the inside of a JSON string: valid UTF-8 is kept,
 * each byte that is not part of it becomes U+FFFD.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_text.h"


static size_t ngx_http_tb_rpc_utf8_len(u_char *p, u_char *last);


size_t
ngx_http_tb_rpc_escape_len(ngx_str_t *text)
{
    size_t   n, len;
    u_char  *p, *last;

    len = 0;
    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {

            if (*p == '"' || *p == '\\') {
                len += 2;

            } else {
                len += (*p < 0x20 || *p == 0x7f) ? sizeof("\\u001F") - 1 : 1;
            }

            p++;
            continue;
        }

        n = ngx_http_tb_rpc_utf8_len(p, last);

        len += n ? n : 3;
        p += n ? n : 1;
    }

    return len;
}


u_char *
ngx_http_tb_rpc_escape(u_char *dst, ngx_str_t *text)
{
    size_t   n;
    u_char  *p, *last;

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {

            if (*p == '"' || *p == '\\') {
                *dst++ = '\\';
                *dst++ = *p++;

            } else if (*p < 0x20 || *p == 0x7f) {
                dst = ngx_sprintf(dst, "\\u%04xD", (uint32_t) *p++);

            } else {
                *dst++ = *p++;
            }

            continue;
        }

        n = ngx_http_tb_rpc_utf8_len(p, last);

        if (n) {
            dst = ngx_cpymem(dst, p, n);
            p += n;
            continue;
        }

        dst = ngx_cpymem(dst, "\xef\xbf\xbd", 3);
        p++;
    }

    return dst;
}


/* of the character at p, above ASCII; 0: it is none */

static size_t
ngx_http_tb_rpc_utf8_len(u_char *p, u_char *last)
{
    size_t  i, n;
    u_char  min, max;

    /* limits of the second byte: overlong forms, surrogates, the end */

    min = 0x80;
    max = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 2;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 3;
        min = (*p == 0xe0) ? 0xa0 : min;
        max = (*p == 0xed) ? 0x9f : max;

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 4;
        min = (*p == 0xf0) ? 0x90 : min;
        max = (*p == 0xf4) ? 0x8f : max;

    } else {
        return 0;
    }

    if ((size_t) (last - p) < n || p[1] < min || p[1] > max) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }

    return n;
}
