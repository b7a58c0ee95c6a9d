
/*
 * Open polls: poll.c has the life of one, tell.c tells Redis of them, polls.c
 * has all of a worker.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_device_deliver.h"


/*
 * polls that Redis is told of at once, and that are answered at once; tokens
 * that are looked up at once
 */

#define NGX_HTTP_TB_RPC_POLL_BATCH  512


struct ngx_http_tb_rpc_polls_s {
    ngx_http_tb_rpc_worker_t     *worker;

    ngx_rbtree_t                  tree;         /* by session */
    ngx_rbtree_node_t             sentinel;
    ngx_queue_t                   queue;        /* Redis is to be told */
    ngx_queue_t                   parked;       /* its node is away */
    ngx_uint_t                    asked;        /* Redis is being told */
    ngx_queue_t                   lookups;      /* whose token is it */
    ngx_queue_t                   lookups_parked;
    ngx_uint_t                    looking;      /* Redis is being asked */
    ngx_uint_t                    session;      /* of the latest poll */
    ngx_queue_t                   deliveries;   /* responses being sent */

    ngx_event_t                   watch;
};


/*
 * Not in the request's pool: when the client leaves while Redis is asked,
 * the reply may still bring a call, which must be given back; and Redis is
 * told that it has left.
 */

typedef struct {
    ngx_rbtree_node_t             node;         /* key: session */
    ngx_queue_t                   queue;
    ngx_http_tb_rpc_polls_t      *polls;
    ngx_http_request_t           *request;      /* NULL: it is over */
    ngx_http_cleanup_pt          *cleanup;
    ngx_uint_t                    session;      /* outlives node.key */
    ngx_event_t                   timer;
    ngx_msec_t                    end;
    u_char                        device_id[NGX_HTTP_TB_RPC_UUID_LEN];
    unsigned                      queued:1;
    unsigned                      asked:1;
    unsigned                      known:1;      /* Redis was told once */
    unsigned                      again:1;      /* tell it once more */
    unsigned                      forget:1;     /* tell it that it is over */
    unsigned                      served:1;
} ngx_http_tb_rpc_poll_t;


/*
 * ngx_http_tb_rpc_device_poll.c: holds the poll of ctx->device_id.
 * NGX_DONE: with a reference of its own; else for
 * ngx_http_finalize_request()
 */
ngx_int_t ngx_http_tb_rpc_poll(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_worker_t *w,
    ngx_msec_t timeout);

/* Redis has answered that it is open, data is the poll */
void ngx_http_tb_rpc_poll_reply(void *data, ngx_uint_t status,
    redisReply *reply);

/* these end the poll, and its request */
void ngx_http_tb_rpc_poll_serve(ngx_http_tb_rpc_poll_t *poll,
    ngx_http_tb_rpc_handed_t *handed, ngx_str_t *envelope);
void ngx_http_tb_rpc_poll_end(ngx_http_tb_rpc_poll_t *poll,
    ngx_uint_t status);

/* when it ends Redis is to be told; what this misses lapses there */
void ngx_http_tb_rpc_poll_forget(ngx_http_tb_rpc_poll_t *poll);


/* ngx_http_tb_rpc_device_tell.c */

/* Redis is to be told of it, maybe again, or of its end; by ..._pump() */
void ngx_http_tb_rpc_poll_enqueue(ngx_http_tb_rpc_poll_t *poll);
void ngx_http_tb_rpc_polls_pump(ngx_http_tb_rpc_polls_t *polls);

/* back to the head of its queue with all that is parked, in their order */
void ngx_http_tb_rpc_polls_unpark(ngx_queue_t *queue, ngx_queue_t *parked);


/* ngx_http_tb_rpc_device_polls.c: sees to it that an exiting worker answers */

void ngx_http_tb_rpc_polls_guard(ngx_http_tb_rpc_polls_t *polls);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_ */
