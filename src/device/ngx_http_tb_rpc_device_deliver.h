
/*
 * A call on its way to its device, and what Redis is told of it.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_DELIVER_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_DELIVER_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/* how long a report that Redis does not take is worth a try, ms */

#define NGX_HTTP_TB_RPC_REPORT  10000


/* a call on its way to a device */

typedef struct {
    u_char                        device_id[NGX_HTTP_TB_RPC_UUID_LEN];
    int64_t                       request_id;
    int64_t                       attempt;
} ngx_http_tb_rpc_handed_t;


/* 0 if the client has closed its connection, seen or not */
ngx_uint_t ngx_http_tb_rpc_device_listens(ngx_http_request_t *r);

/*
 * Answers a poll by an envelope; the call is reported as delivered when
 * all was sent, else it is given back.  For ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_device_send(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w, ngx_http_tb_rpc_handed_t *handed,
    ngx_str_t *envelope);

/*
 * A hand-over came for a poll that is over: the call is given back, unless
 * that poll got it by another way and is being answered.
 */
void ngx_http_tb_rpc_give_back_late(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_handed_t *handed);

/* the call did not reach the device */
void ngx_http_tb_rpc_give_back(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_handed_t *handed);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_DELIVER_H_INCLUDED_ */
