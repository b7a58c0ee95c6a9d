
/*
 * UUIDs as text.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_text.h"


ngx_int_t
ngx_http_tb_rpc_parse_uuid(u_char *dst, ngx_str_t *text)
{
    u_char      c;
    ngx_uint_t  i;

    if (text->len != NGX_HTTP_TB_RPC_UUID_LEN) {
        return NGX_DECLINED;
    }

    for (i = 0; i < NGX_HTTP_TB_RPC_UUID_LEN; i++) {

        c = text->data[i];

        if (i == 8 || i == 13 || i == 18 || i == 23) {

            if (c != '-') {
                return NGX_DECLINED;
            }

            dst[i] = c;
            continue;
        }

        c = ngx_tolower(c);

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return NGX_DECLINED;
        }

        dst[i] = c;
    }

    return NGX_OK;
}
