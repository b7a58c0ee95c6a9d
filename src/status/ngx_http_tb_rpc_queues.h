
/*
 * What waits for which bridge: Redis is asked, at most once a second.
 */


#ifndef _NGX_HTTP_TB_RPC_QUEUES_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_QUEUES_H_INCLUDED_


#include "ngx_http_tb_rpc_status.h"


#define NGX_HTTP_TB_RPC_BRIDGES         64      /* that are shown */
#define NGX_HTTP_TB_RPC_BRIDGE_NAME     64


typedef struct {
    ngx_uint_t                    len;
    u_char                        name[NGX_HTTP_TB_RPC_BRIDGE_NAME];
    int64_t                       calls;
    int64_t                       oldest;       /* ms, -1: not known */
} ngx_http_tb_rpc_bridge_t;


typedef struct {
    ngx_uint_t                    shards;       /* that have replied */
    ngx_uint_t                    nbridges;
    ngx_http_tb_rpc_bridge_t      bridges[NGX_HTTP_TB_RPC_BRIDGES];
} ngx_http_tb_rpc_queues_t;


typedef struct ngx_http_tb_rpc_asking_s  ngx_http_tb_rpc_asking_t;

typedef ngx_int_t (*ngx_http_tb_rpc_queues_pt)(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w);


/* NULL without memory */
ngx_http_tb_rpc_asking_t *ngx_http_tb_rpc_asking_create(
    ngx_http_tb_rpc_worker_t *w);

/*
 * NGX_OK: the queues are known, or will not be; NGX_AGAIN: the request has got
 * a reference, handler is called for it within two seconds, and it is finalized
 * with what that returns; NGX_ERROR without memory
 */
ngx_int_t ngx_http_tb_rpc_queues_ask(ngx_http_tb_rpc_asking_t *asking,
    ngx_http_request_t *r, ngx_http_tb_rpc_queues_pt handler);

/* valid until the event loop goes on */
ngx_http_tb_rpc_queues_t *ngx_http_tb_rpc_queues(
    ngx_http_tb_rpc_asking_t *asking);


#endif /* _NGX_HTTP_TB_RPC_QUEUES_H_INCLUDED_ */
