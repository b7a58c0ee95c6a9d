
/*
 * Numbers, strings and topics.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_packet.h"


static ngx_uint_t ngx_stream_tb_mqtt_utf8_valid(u_char *p, u_char *last);


ngx_int_t
ngx_stream_tb_mqtt_take_number(u_char **pos, u_char *last, ngx_uint_t bytes,
    ngx_uint_t *number)
{
    ngx_uint_t  n;

    if ((size_t) (last - *pos) < bytes) {
        return NGX_ERROR;
    }

    for (n = 0; bytes; bytes--) {
        n = n << 8 | *(*pos)++;
    }

    *number = n;

    return NGX_OK;
}


ngx_int_t
ngx_stream_tb_mqtt_take_string(u_char **pos, u_char *last, ngx_str_t *string)
{
    size_t  len;

    if (last - *pos < 2) {
        return NGX_ERROR;
    }

    len = ngx_stream_tb_mqtt_uint16(*pos);

    if ((size_t) (last - *pos) - 2 < len) {
        return NGX_ERROR;
    }

    string->len = len;
    string->data = *pos + 2;

    *pos += 2 + len;

    return NGX_OK;
}


ngx_int_t
ngx_stream_tb_mqtt_take_varint(u_char **pos, u_char *last, ngx_uint_t *number)
{
    u_char      *p;
    ngx_uint_t   n, shift;

    n = 0;
    p = *pos;

    for (shift = 0; shift < 28 && p < last; shift += 7) {
        n |= (ngx_uint_t) (*p & 0x7f) << shift;

        if ((*p++ & 0x80) == 0) {
            *number = n;
            *pos = p;
            return NGX_OK;
        }
    }

    return NGX_ERROR;
}


ngx_int_t
ngx_stream_tb_mqtt_take_props(u_char **pos, u_char *last, ngx_str_t *props)
{
    u_char      *p;
    ngx_uint_t   len;

    p = *pos;

    if (ngx_stream_tb_mqtt_take_varint(&p, last, &len) != NGX_OK
        || (size_t) (last - p) < len)
    {
        return NGX_ERROR;
    }

    props->len = len;
    props->data = p;

    *pos = p + len;

    return NGX_OK;
}


size_t
ngx_stream_tb_mqtt_varint_len(size_t n)
{
    return n < 128 ? 1 : n < 16384 ? 2 : n < 2097152 ? 3 : 4;
}


u_char *
ngx_stream_tb_mqtt_varint(u_char *p, size_t n)
{
    while (n > 0x7f) {
        *p++ = (u_char) (n | 0x80);
        n >>= 7;
    }

    *p++ = (u_char) n;

    return p;
}


/* what begins at p has a byte above 0x7f */

static ngx_uint_t
ngx_stream_tb_mqtt_utf8_valid(u_char *p, u_char *last)
{
    uint32_t  c;

    while (p < last) {
        if (*p < 0x80) {
            if (*p++ == '\0') {
                return 0;
            }

            continue;
        }

        c = ngx_utf8_decode(&p, last - p);

        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
            return 0;
        }
    }

    return 1;
}


ngx_uint_t
ngx_stream_tb_mqtt_text_valid(ngx_str_t *text)
{
    return ngx_stream_tb_mqtt_utf8_valid(text->data, text->data + text->len);
}


ngx_uint_t
ngx_stream_tb_mqtt_topic_valid(ngx_str_t *topic)
{
    u_char  *p, *last;

    p = topic->data;
    last = p + topic->len;

    if (p == last) {
        return 0;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p == '+' || *p == '#' || *p == '\0') {
            return 0;
        }

        if (*p > 0x7f) {
            break;
        }
    }

    if (p == last) {
        return 1;
    }

    /* a wildcard is no part of a longer sequence */

    return ngx_strlchr(p, last, '+') == NULL
           && ngx_strlchr(p, last, '#') == NULL
           && ngx_stream_tb_mqtt_utf8_valid(p, last);
}


/* a wildcard is a level of its own, and "#" the last one */

ngx_uint_t
ngx_stream_tb_mqtt_filter_valid(ngx_str_t *filter)
{
    u_char  *p, *start, *last;

    start = filter->data;
    last = start + filter->len;

    if (start == last) {
        return 0;
    }

    for (p = start; p < last; p++) {
        if (*p != '+' && *p != '#') {
            continue;
        }

        if (p > start && p[-1] != '/') {
            return 0;
        }

        if (p + 1 < last && (*p == '#' || p[1] != '/')) {
            return 0;
        }
    }

    return ngx_stream_tb_mqtt_utf8_valid(start, last);
}
