
/*
 * Commands that read and delete persistent records: shared by record.c (one
 * record) and list.c (pages).
 */


#ifndef _NGX_HTTP_TB_RPC_QUERY_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_QUERY_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


typedef struct {
    ngx_http_tb_rpc_query_t     *query;
    ngx_tb_redis_command_t      *command;    /* NULL: done */
} ngx_http_tb_rpc_query_command_t;


/*
 * A request that reads or deletes.  Lives in the request's pool; its
 * commands are detached when the request goes away.
 */

struct ngx_http_tb_rpc_query_s {
    ngx_http_request_t               *request;
    ngx_http_tb_rpc_ctx_t            *ctx;
    ngx_http_tb_rpc_worker_t         *worker;

    ngx_http_tb_rpc_query_command_t  *commands;
    ngx_uint_t                        ncommands;
    ngx_uint_t                        waiting;  /* replies awaited */
    ngx_str_t                         id;       /* of the record in Redis */
    unsigned                          failed:1;
    void                             *data;
};


/* NULL without memory; takes a reference to the request */
ngx_http_tb_rpc_query_t *ngx_http_tb_rpc_query(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_uint_t commands);

/*
 * An FCALL.  NGX_OK, or NGX_DECLINED: not taken by the client.  What the
 * handler gets is for ngx_http_tb_rpc_query_done().
 */
ngx_int_t ngx_http_tb_rpc_query_send(ngx_http_tb_rpc_query_t *q,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);

/* the command is done; its query */
ngx_http_tb_rpc_query_t *ngx_http_tb_rpc_query_done(void *data);

/* no handler is called any more */
void ngx_http_tb_rpc_query_detach(ngx_http_tb_rpc_query_t *q);

void ngx_http_tb_rpc_query_finish(ngx_http_tb_rpc_query_t *q, ngx_int_t rc);

/*
 * NGX_OK and the first word of the reply, or NGX_DECLINED and *rc: what an
 * error answer returned.
 */
ngx_int_t ngx_http_tb_rpc_query_word(ngx_http_tb_rpc_query_t *q,
    ngx_uint_t status, redisReply *reply, ngx_str_t *word, ngx_int_t *rc);

/* the answer when Redis is not there; for ngx_http_finalize_request() */
ngx_int_t ngx_http_tb_rpc_query_unavailable(ngx_http_tb_rpc_query_t *q);

/* whose records may be seen: "*" or a customer's id */
void ngx_http_tb_rpc_query_customer(ngx_http_tb_rpc_ctx_t *ctx,
    ngx_str_t *customer);


#endif /* _NGX_HTTP_TB_RPC_QUERY_H_INCLUDED_ */
