
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
    return tb_rpc_uuid(dst, text->data, text->len) == 0 ? NGX_OK
                                                        : NGX_DECLINED;
}
