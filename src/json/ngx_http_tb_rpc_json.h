
/*
 * JSON texts of a request: what ../../common/tb_rpc_json.h says, in terms of
 * nginx.
 */


#ifndef _NGX_HTTP_TB_RPC_JSON_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "../../common/tb_rpc_json.h"


#define NGX_HTTP_TB_RPC_MAX_DEPTH       TB_RPC_JSON_DEPTH


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
    char                  *error;

    /* private */
    tb_rpc_json_t          walk;
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
