
/*
 * JSON values that need no lexer.
 */


#ifndef _NGX_HTTP_TB_RPC_JSON_PLAIN_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_JSON_PLAIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/*
 * What jansson makes of the value at p, and its end; NULL if it is none of the
 * plain ones, or without memory: jansson is to judge it.  The caller frees.
 */
json_t *ngx_http_tb_rpc_json_plain(u_char *p, u_char *last, u_char **end);


#endif /* _NGX_HTTP_TB_RPC_JSON_PLAIN_H_INCLUDED_ */
