
/*
 * What goes through texts of any origin: words, UUIDs, JSON strings.
 */


#ifndef _NGX_HTTP_TB_RPC_TEXT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_TEXT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "../../common/tb_rpc_uuid.h"


#define NGX_HTTP_TB_RPC_UUID_LEN        TB_RPC_UUID_LEN

/* what ThingsBoard says instead of none */
#define NGX_HTTP_TB_RPC_NULL_UUID       "13814000-1dd2-11b2-8080-808080808080"


/* 1 if a word is this literal */

#define ngx_http_tb_rpc_word(s, w)                                            \
    ((s)->len == sizeof(w) - 1                                                \
     && ngx_memcmp((s)->data, w, sizeof(w) - 1) == 0)


/* 36 characters, 8-4-4-4-12 hex; dst gets them in lower case */
ngx_int_t ngx_http_tb_rpc_parse_uuid(u_char *dst, ngx_str_t *text);


/* the inside of a JSON string, invalid UTF-8 as U+FFFD */

size_t ngx_http_tb_rpc_escape_len(ngx_str_t *text);
u_char *ngx_http_tb_rpc_escape(u_char *dst, ngx_str_t *text);


#endif /* _NGX_HTTP_TB_RPC_TEXT_H_INCLUDED_ */
