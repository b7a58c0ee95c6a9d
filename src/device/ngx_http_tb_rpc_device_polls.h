
/*
 * Open polls: poll.c has the life of one, tell.c tells Redis of them, in the
 * lanes of lane.c, polls.c has all of a worker.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_


#include "../share/ngx_tb_rpc_lane.h"
#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_device_deliver.h"


/*
 * polls that a node is told of at once, and that are answered at once; tokens
 * that are looked up at once
 */

#define NGX_HTTP_TB_RPC_POLL_BATCH  512


/* what waits for a node of Redis */

typedef struct {
    ngx_tb_rpc_lane_t             lane;         /* in polls->lanes */
    ngx_queue_t                   polls;        /* it is to be told */
    ngx_uint_t                    asked;        /* it is being told */
    ngx_queue_t                   lookups;      /* whose token is it */
    ngx_uint_t                    looking;      /* it is being asked */
} ngx_http_tb_rpc_lane_t;


struct ngx_http_tb_rpc_polls_s {
    ngx_http_tb_rpc_worker_t     *worker;

    ngx_rbtree_t                  tree;         /* by session */
    ngx_rbtree_node_t             sentinel;
    ngx_tb_rpc_lanes_t            lanes;
    ngx_http_tb_rpc_lane_t        nobody;
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
    ngx_queue_t                   queue;        /* in lane->polls */
    ngx_http_tb_rpc_lane_t       *lane;         /* if queued or asked */
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

/* the same, now, if it is its turn; a poll that is over may be freed */
void ngx_http_tb_rpc_poll_tell(ngx_http_tb_rpc_poll_t *poll);

/* tells of as many as may be; NGX_DECLINED: it rests, its node is away */
ngx_int_t ngx_http_tb_rpc_polls_pump(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane);

/* of a lane that rests: some that have left its node go to their lane */
void ngx_http_tb_rpc_polls_sort(ngx_http_tb_rpc_lane_t *lane);


/* ngx_http_tb_rpc_device_lane.c */

void ngx_http_tb_rpc_lanes_init(ngx_http_tb_rpc_polls_t *polls);

/* the lane of a node, or of nobody (NULL); without memory that one, too */
ngx_http_tb_rpc_lane_t *ngx_http_tb_rpc_lane(ngx_http_tb_rpc_polls_t *polls,
    ngx_tb_redis_node_t *node);

/*
 * The head of a lane went to another one, by now the n-th: NGX_AGAIN; NGX_OK:
 * enough for one turn, or there is no memory and it is still here.
 */
ngx_int_t ngx_http_tb_rpc_lane_left(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane, ngx_http_tb_rpc_lane_t *other,
    ngx_uint_t *n);

/* the next of all lanes, the first one after NULL; NULL: no more */
ngx_http_tb_rpc_lane_t *ngx_http_tb_rpc_lane_next(
    ngx_http_tb_rpc_polls_t *polls, ngx_http_tb_rpc_lane_t *lane);


/* ngx_http_tb_rpc_device_polls.c */

/* sees to it that an exiting worker answers, and that nobody waits forever */
void ngx_http_tb_rpc_polls_guard(ngx_http_tb_rpc_polls_t *polls);

/* pumps all lanes soon */
void ngx_http_tb_rpc_polls_soon(ngx_http_tb_rpc_polls_t *polls);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_POLLS_H_INCLUDED_ */
