
/*
 * tb_rpc_device_api: path.c finds out what is asked for and hides the token,
 * device.c answers, or token.c finds out by which device; poll.c has the life
 * of a poll, polls.c all of a worker, send.c brings a call to the device and
 * reports about it, answer.c takes the device's answer.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_


#include <openssl/evp.h>

#include "../ngx_http_tb_rpc.h"


#define NGX_HTTP_TB_RPC_DO_NOTHING  0
#define NGX_HTTP_TB_RPC_DO_POLL     1
#define NGX_HTTP_TB_RPC_DO_ANSWER   2


/* a request of a device, until it is known whose it is */

struct ngx_http_tb_rpc_device_s {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_worker_t     *worker;

    ngx_msec_t                    start;
    ngx_uint_t                    op;
    ngx_str_t                     id;           /* as it stands in the path */
    int64_t                       value;        /* ms, or a requestId */
    u_char                        digest[EVP_MAX_MD_SIZE];

    ngx_queue_t                   queue;
    ngx_tb_redis_command_t       *command;
    ngx_http_cleanup_pt          *cleanup;
    unsigned                      queued:1;
    unsigned                      counted:1;    /* in polls->looking */
};


/* bytes enough for a device's key */

#define NGX_HTTP_TB_RPC_DEVICE_KEY  128

/* how long a report that Redis does not take is worth a try, ms */

#define NGX_HTTP_TB_RPC_REPORT  10000


/* a call on its way to a device */

typedef struct {
    u_char                        device_id[NGX_HTTP_TB_RPC_UUID_LEN];
    int64_t                       request_id;
    int64_t                       attempt;
} ngx_http_tb_rpc_handed_t;


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
    ngx_uint_t                    asked;        /* Redis is being told */
    ngx_queue_t                   lookups;      /* whose token is it */
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
 * ngx_http_tb_rpc_device_path.c: what the path says, found out once and the
 * token hidden; NULL without memory
 */
ngx_http_tb_rpc_device_t *ngx_http_tb_rpc_device_path(ngx_http_request_t *r);

/* ngx_http_tb_rpc_device.c: ctx->device_id is set, or empty: nobody's token */
ngx_int_t ngx_http_tb_rpc_device_process(ngx_http_tb_rpc_device_t *device);


/*
 * ngx_http_tb_rpc_device_token.c: finds the device and processes the request,
 * now or, after NGX_DONE, with a reference of its own.
 */
ngx_int_t ngx_http_tb_rpc_device_lookup(ngx_http_tb_rpc_device_t *device);

/* the worker's cache; NULL without memory */
ngx_http_tb_rpc_cache_t *ngx_http_tb_rpc_tokens_create(ngx_pool_t *pool);

/* Redis may be back, or away for too long */
void ngx_http_tb_rpc_lookups_watch(ngx_http_tb_rpc_polls_t *polls);

/* refuses all that wait */
void ngx_http_tb_rpc_lookups_close(ngx_http_tb_rpc_polls_t *polls);


/*
 * ngx_http_tb_rpc_device_poll.c: holds the poll of ctx->device_id.
 * NGX_DONE: with a reference of its own; else for
 * ngx_http_finalize_request()
 */
ngx_int_t ngx_http_tb_rpc_poll(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_worker_t *w,
    ngx_msec_t timeout);

/* Redis is to be told of it, maybe again, or of its end; by ..._pump() */
void ngx_http_tb_rpc_poll_enqueue(ngx_http_tb_rpc_poll_t *poll);
void ngx_http_tb_rpc_polls_pump(ngx_http_tb_rpc_polls_t *polls);

/* these end the poll, and its request */
void ngx_http_tb_rpc_poll_serve(ngx_http_tb_rpc_poll_t *poll,
    ngx_http_tb_rpc_handed_t *handed, ngx_str_t *envelope);
void ngx_http_tb_rpc_poll_end(ngx_http_tb_rpc_poll_t *poll,
    ngx_uint_t status);

/* when it ends Redis is to be told; what this misses lapses there */
void ngx_http_tb_rpc_poll_forget(ngx_http_tb_rpc_poll_t *poll);


/* ngx_http_tb_rpc_device_polls.c: sees to it that an exiting worker answers */

void ngx_http_tb_rpc_polls_guard(ngx_http_tb_rpc_polls_t *polls);


/* ngx_http_tb_rpc_device_answer.c: as a content handler */

ngx_int_t ngx_http_tb_rpc_device_answer(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, int64_t request_id);

/* 413 if that is too much for an answer; NGX_DECLINED: it is not */
ngx_int_t ngx_http_tb_rpc_device_too_large(ngx_http_request_t *r, off_t len);


/* ngx_http_tb_rpc_device_send.c */

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

/*
 * FCALL of a function on a device: name, then n arguments from argv[4] on;
 * argv[0..3] are filled in, argv[3].data has NGX_HTTP_TB_RPC_DEVICE_KEY bytes
 * for the key.  As ngx_tb_redis_command().
 */
ngx_tb_redis_command_t *ngx_http_tb_rpc_device_call(
    ngx_http_tb_rpc_worker_t *w, u_char *device_id, const char *name,
    ngx_str_t *argv, ngx_uint_t n, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_H_INCLUDED_ */
