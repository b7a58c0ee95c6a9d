
/*
 * JSON by the rules of this module: what is passed on travels as the
 * sender's bytes, so a text is only walked and judged.
 */


#ifndef _NGX_HTTP_TB_RPC_JSON_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


#define NGX_HTTP_TB_RPC_MAX_DEPTH       64
#define NGX_HTTP_TB_RPC_JSON_ERROR      128
#define NGX_HTTP_TB_RPC_JSON_NAMES      8


typedef struct {
    /* set by the caller */
    u_char                *start;
    u_char                *last;
    ngx_uint_t             lenient;    /* duplicates and a tail are allowed */

    /* of the present member */
    json_t                *name;
    json_t                *value;
    ngx_str_t              text;       /* of the value, as it was sent */

    /* after NGX_DECLINED; the text quotes nothing of the input */
    size_t                 offset;
    u_char                 error[NGX_HTTP_TB_RPC_JSON_ERROR];

    /* private */
    u_char                *pos;
    u_char                *tamed;      /* the text without huge numbers */
    json_t                *names[NGX_HTTP_TB_RPC_JSON_NAMES];
    ngx_uint_t             nnames;
    json_t                *seen;       /* what does not go into names */
    unsigned               begun:1;
} ngx_http_tb_rpc_json_t;


/* NGX_OK, NGX_DECLINED: not an object, or too deep; NGX_ERROR: no memory */
ngx_int_t ngx_http_tb_rpc_json_open(ngx_http_tb_rpc_json_t *json);

/* NGX_OK: the next member, NGX_DONE: there are no more, NGX_DECLINED */
ngx_int_t ngx_http_tb_rpc_json_next(ngx_http_tb_rpc_json_t *json);

void ngx_http_tb_rpc_json_close(ngx_http_tb_rpc_json_t *json);


/*
 * The rules for a value of a call, for one JSON text: an answer, a text of a
 * record.  NGX_OK or NGX_DECLINED.
 */
ngx_int_t ngx_http_tb_rpc_check_json(u_char *p, size_t len,
    ngx_uint_t lenient);


#endif /* _NGX_HTTP_TB_RPC_JSON_H_INCLUDED_ */
