
/*
 * Base64, as strict as nginx's own is lenient.
 */


#include "ngx_http_tb_rpc_jwt.h"


ssize_t
ngx_http_tb_rpc_base64(u_char *dst, u_char *src, size_t len, ngx_uint_t url)
{
    u_char      c, *p, *last;
    uint32_t    bits;
    ngx_uint_t  n;

    if (!url && len % 4 == 0 && len && src[len - 1] == '=') {
        len -= (src[len - 2] == '=') ? 2 : 1;
    }

    if (len % 4 == 1) {
        return NGX_ERROR;
    }

    p = dst;
    bits = 0;
    n = 0;

    for (last = src + len; src < last; src++) {
        c = *src;

        if (c >= 'A' && c <= 'Z') {
            c -= 'A';

        } else if (c >= 'a' && c <= 'z') {
            c = c - 'a' + 26;

        } else if (c >= '0' && c <= '9') {
            c = c - '0' + 52;

        } else if (c == (url ? '-' : '+')) {
            c = 62;

        } else if (c == (url ? '_' : '/')) {
            c = 63;

        } else {
            return NGX_ERROR;
        }

        bits = (bits << 6) | c;
        n += 6;

        if (n >= 8) {
            n -= 8;
            *p++ = (u_char) (bits >> n);
            bits &= (1 << n) - 1;
        }
    }

    /* one text for one value: the bits left over must be zero */

    return bits ? NGX_ERROR : p - dst;
}
