
/*
 * What becomes of the members of a call's body: body.c reads them, member.c
 * judges them.
 */


#ifndef _NGX_HTTP_TB_RPC_BODY_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_BODY_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_json.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "ngx_http_tb_rpc_call.h"


/* the largest integer up to which a double has them all */

#define NGX_HTTP_TB_RPC_MAX_INTEGER  9007199254740992LL


typedef struct {
    ngx_http_tb_rpc_json_t        json;
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_loc_conf_t   *conf;
    ngx_http_tb_rpc_call_t       *call;
    const char                   *must;         /* why a member is refused */
    unsigned                      method:1;     /* members seen */
    unsigned                      params:1;
    unsigned                      timeout:1;
} ngx_http_tb_rpc_body_t;


/*
 * Takes the present member of body->json into body->call.  NGX_OK, also for
 * a member that is not ours, NGX_DECLINED: body->must says what it has to
 * be, NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_tb_rpc_body_member(ngx_http_tb_rpc_body_t *body);


#endif /* _NGX_HTTP_TB_RPC_BODY_H_INCLUDED_ */
