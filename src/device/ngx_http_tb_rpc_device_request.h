
/*
 * tb_rpc_device_api: path.c finds out what is asked for and hides the token,
 * device.c answers, or token.c finds out by which device; poll.c has the life
 * of a poll, tell.c tells Redis of it, lane.c has what waits for a node,
 * polls.c all of a worker, deliver.c brings a call to the device and reports
 * about it, answer.c takes the device's answer.
 */


#ifndef _NGX_HTTP_TB_RPC_DEVICE_REQUEST_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_DEVICE_REQUEST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>

#include "ngx_http_tb_rpc_device.h"
#include "ngx_http_tb_rpc_device_polls.h"


#define NGX_HTTP_TB_RPC_DO_NOTHING  0
#define NGX_HTTP_TB_RPC_DO_POLL     1
#define NGX_HTTP_TB_RPC_DO_ANSWER   2


/* a request of a device, until it is known whose it is */

struct ngx_http_tb_rpc_device_req_s {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_worker_t     *worker;

    ngx_msec_t                    start;
    ngx_uint_t                    op;
    ngx_str_t                     id;           /* as it stands in the path */
    int64_t                       value;        /* ms, or a requestId */
    u_char                        digest[EVP_MAX_MD_SIZE];

    ngx_queue_t                   queue;        /* in lane->lookups */
    ngx_http_tb_rpc_lane_t       *lane;         /* if queued or counted */
    ngx_tb_redis_command_t       *command;
    ngx_http_cleanup_pt          *cleanup;
    unsigned                      queued:1;
    unsigned                      counted:1;    /* in lane->looking */
};


/*
 * ngx_http_tb_rpc_device_path.c: what the path says, found out once and the
 * token hidden; NULL without memory
 */
ngx_http_tb_rpc_device_req_t *ngx_http_tb_rpc_device_path(
    ngx_http_request_t *r);

/* ngx_http_tb_rpc_device.c: ctx->device_id is set, or empty: nobody's token */
ngx_int_t ngx_http_tb_rpc_device_process(ngx_http_tb_rpc_device_req_t *dr);


/*
 * ngx_http_tb_rpc_device_token.c: finds the device and processes the request,
 * now or, after NGX_DONE, with a reference of its own.
 */
ngx_int_t ngx_http_tb_rpc_device_lookup(ngx_http_tb_rpc_device_req_t *dr);

/* the worker's cache; NULL without memory */
ngx_tb_rpc_cache_t *ngx_http_tb_rpc_tokens_create(ngx_pool_t *pool);

/* its Redis may be back, or away for too long */
void ngx_http_tb_rpc_lookups_watch(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane);

/* refuses all that wait */
void ngx_http_tb_rpc_lookups_close(ngx_http_tb_rpc_lane_t *lane);


/* ngx_http_tb_rpc_device_answer.c: as a content handler */

ngx_int_t ngx_http_tb_rpc_device_answer(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, int64_t request_id);

/* 413 if that is too much for an answer; NGX_DECLINED: it is not */
ngx_int_t ngx_http_tb_rpc_device_too_large(ngx_http_request_t *r, off_t len);


#endif /* _NGX_HTTP_TB_RPC_DEVICE_REQUEST_H_INCLUDED_ */
