
/*
 * A request that waits: for the reply to tb_rpc_create, for the device, or
 * for the reply to tb_rpc_cancel.  Shared by call.c, which creates the call,
 * and held.c, which keeps the worker's table.
 */


#ifndef _NGX_HTTP_TB_RPC_HELD_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_HELD_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


/*
 * Lives in the request's pool.  Whichever comes first (answer, reply, timer,
 * the client's leaving) calls ngx_http_tb_rpc_release(), after which neither
 * the table, nor the timer, nor the Redis client knows of it.
 */

struct ngx_http_tb_rpc_held_s {
    ngx_str_node_t               sn;          /* in worker->held, by rpcId */

    ngx_http_request_t          *request;
    ngx_http_tb_rpc_ctx_t       *ctx;
    ngx_http_tb_rpc_worker_t    *worker;

    ngx_tb_redis_command_t      *command;     /* create, then cancel */
    ngx_tb_redis_command_t      *fetch;       /* GET of the answer */

    ngx_event_t                  timer;       /* not cancelable */
    ngx_http_cleanup_pt         *cleanup;

    ngx_uint_t                   shard;
    int64_t                      request_id;  /* 0: not known yet */

    unsigned                     listed:1;    /* in the worker's table */
    unsigned                     withdrawn:1; /* cancel was sent */
    unsigned                     lost:1;      /* no reply to create */
    unsigned                     refetch:1;   /* GET may have been too early */
};


/*
 * Gives the call its id and, if it is lightweight, puts it into the table.
 * NULL without memory.
 */
ngx_http_tb_rpc_held_t *ngx_http_tb_rpc_hold(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_worker_t *w);

/*
 * ngx_http_tb_rpc_create.c: sends tb_rpc_create, whose reply is for handler.
 * NGX_OK, or NGX_DECLINED: not taken by the client
 */
ngx_int_t ngx_http_tb_rpc_create(ngx_http_tb_rpc_held_t *held,
    ngx_tb_redis_reply_pt handler);

/* the call is created: it may take that many ms from now */
void ngx_http_tb_rpc_wait(ngx_http_tb_rpc_held_t *held, int64_t msec);

/*
 * Sends tb_rpc_cancel; its reply ends the request.  NGX_AGAIN, or if it
 * could not be sent what an error answer returned.
 */
ngx_int_t ngx_http_tb_rpc_withdraw(ngx_http_tb_rpc_held_t *held);

void ngx_http_tb_rpc_release(ngx_http_tb_rpc_held_t *held);

/* releases, finalizes with rc and runs posted requests */
void ngx_http_tb_rpc_finish(ngx_http_tb_rpc_held_t *held, ngx_int_t rc);


/* ngx_http_tb_rpc_answer.c */

/* of the worker's part */
void ngx_http_tb_rpc_call_message(ngx_http_tb_rpc_worker_t *w, u_char *p,
    size_t len);
void ngx_http_tb_rpc_call_subscribed(ngx_http_tb_rpc_worker_t *w);

/* kind and payload; NGX_AGAIN: this does not end the request */
ngx_int_t ngx_http_tb_rpc_answer(ngx_http_tb_rpc_held_t *held, u_char *p,
    size_t len);

/* word: where the call was when it ended without an answer */
ngx_int_t ngx_http_tb_rpc_ended(ngx_http_tb_rpc_held_t *held,
    ngx_str_t *word);


#endif /* _NGX_HTTP_TB_RPC_HELD_H_INCLUDED_ */
