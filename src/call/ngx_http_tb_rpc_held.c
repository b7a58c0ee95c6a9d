
/*
 * The worker's table of held requests, and the ways one of them ends without
 * the device: its time, the client's leaving.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "../store/ngx_http_tb_rpc_id.h"
#include "ngx_http_tb_rpc_call.h"
#include "ngx_http_tb_rpc_held.h"


/* how long a call whose caller left is worth a try to withdraw it, ms */

#define NGX_HTTP_TB_RPC_ABANDONED  10000


/* an open call, without its request */

typedef struct {
    ngx_http_tb_rpc_worker_t    *worker;
    int64_t                      request_id;  /* 0: not known */
    u_char                       rpc_id[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                       device_id[NGX_HTTP_TB_RPC_UUID_LEN];
} ngx_http_tb_rpc_left_t;


static ngx_int_t ngx_http_tb_rpc_held_create(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_held_cleanup(void *data);
static ngx_int_t ngx_http_tb_rpc_leave(ngx_http_tb_rpc_held_t *held);
static void ngx_http_tb_rpc_left_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_left_from(ngx_http_tb_rpc_left_t *left,
    ngx_http_tb_rpc_held_t *held);
static void ngx_http_tb_rpc_abandon(ngx_http_tb_rpc_left_t *left);
static ngx_tb_redis_command_t *ngx_http_tb_rpc_cancel(
    ngx_http_tb_rpc_left_t *left, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);
static void ngx_http_tb_rpc_timer_handler(ngx_event_t *ev);
static void ngx_http_tb_rpc_cancel_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_cancel_reply(ngx_http_tb_rpc_held_t *held,
    redisReply *reply);


/* the kinds are those of ngx_http_tb_rpc_answer(), and 'G': fetch it */

ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_call_part = {
    ngx_string("ASFDLXG"),
    ngx_http_tb_rpc_held_create,
    ngx_http_tb_rpc_call_message,
    ngx_http_tb_rpc_call_subscribed,
    NULL
};


static ngx_int_t
ngx_http_tb_rpc_held_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_rbtree_init(&w->held, &w->sentinel, ngx_str_rbtree_insert_value);

    return NGX_OK;
}


ngx_http_tb_rpc_held_t *
ngx_http_tb_rpc_hold(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_cleanup_t      *cln;
    ngx_http_tb_rpc_held_t  *held;

    held = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_held_t));
    if (held == NULL) {
        return NULL;
    }

    ctx->rpc_id.data = ngx_pnalloc(r->pool, NGX_HTTP_TB_RPC_UUID_LEN);
    if (ctx->rpc_id.data == NULL) {
        return NULL;
    }

    if (ngx_http_tb_rpc_watch_client(r) != NGX_OK) {
        return NULL;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    /* from here on nothing fails */

    held->request = r;
    held->ctx = ctx;
    held->worker = w;
    held->shard = ngx_http_tb_rpc_shard(w->conf, &ctx->device_id);

    ctx->rpc_id.len = NGX_HTTP_TB_RPC_UUID_LEN;
    ngx_http_tb_rpc_new_id(w, held->shard, ctx->rpc_id.data);

    cln->handler = ngx_http_tb_rpc_held_cleanup;
    cln->data = held;
    held->cleanup = &cln->handler;

    held->timer.handler = ngx_http_tb_rpc_timer_handler;
    held->timer.data = &w->dummy;
    held->timer.log = r->connection->log;

    if (!ctx->call->persistent) {
        held->sn.str = ctx->rpc_id;
        held->sn.node.key = ngx_crc32_short(ctx->rpc_id.data,
                                            ctx->rpc_id.len);
        ngx_rbtree_insert(&w->held, &held->sn.node);
        held->listed = 1;
        w->nheld++;
    }

    ctx->held = held;

    r->connection->log->action = "waiting for rpc reply";

    return held;
}


void
ngx_http_tb_rpc_wait(ngx_http_tb_rpc_held_t *held, int64_t msec)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    /* the limit was part of the command; a timer does not rely on that */

    lcf = ngx_http_get_module_loc_conf(held->request, ngx_http_tb_rpc_module);

    msec = ngx_min(msec, (int64_t) lcf->call.max_timeout);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, held->request->connection->log, 0,
                   "tb_rpc: call %V is held for %L ms", &held->ctx->rpc_id,
                   msec);

    ngx_add_timer(&held->timer, (ngx_msec_t) msec);
}


void
ngx_http_tb_rpc_release(ngx_http_tb_rpc_held_t *held)
{
    if (held->listed) {
        held->listed = 0;
        held->worker->nheld--;
        ngx_rbtree_delete(&held->worker->held, &held->sn.node);
    }

    if (held->timer.timer_set) {
        ngx_del_timer(&held->timer);
    }

    if (held->command) {
        (void) ngx_tb_redis_detach(held->command);
        held->command = NULL;
    }

    if (held->fetch) {
        (void) ngx_tb_redis_detach(held->fetch);
        held->fetch = NULL;
    }

    if (held->cleanup) {
        *held->cleanup = NULL;
        held->cleanup = NULL;
    }

    held->ctx->held = NULL;
}


void
ngx_http_tb_rpc_finish(ngx_http_tb_rpc_held_t *held, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = held->request;

    ngx_http_tb_rpc_release(held);

    ngx_http_tb_rpc_finalize(r, rc);
}


/* the request goes away with its call still open */

static void
ngx_http_tb_rpc_held_cleanup(void *data)
{
    ngx_http_tb_rpc_held_t *held = data;

    unsigned                unsent;
    ngx_http_tb_rpc_left_t  left;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, held->request->connection->log, 0,
                   "tb_rpc: caller of %V left", &held->ctx->rpc_id);

    held->cleanup = NULL;

    if (ngx_http_tb_rpc_leave(held) == NGX_OK) {
        ngx_http_tb_rpc_release(held);
        return;
    }

    unsent = 0;

    if (held->command) {
        unsent = (ngx_tb_redis_detach(held->command) == NGX_OK);
        held->command = NULL;
    }

    /* a create that was written, or a cancel that was not */

    if (held->listed && unsent == held->withdrawn) {
        ngx_http_tb_rpc_left_from(&left, held);
        ngx_http_tb_rpc_abandon(&left);
    }

    ngx_http_tb_rpc_release(held);
}


/*
 * The call is being created: its requestId is awaited.  To find it without
 * that all open calls of the device had to be read, just when Redis is slow.
 */

static ngx_int_t
ngx_http_tb_rpc_leave(ngx_http_tb_rpc_held_t *held)
{
    ngx_http_tb_rpc_left_t  *left;

    if (held->command == NULL || held->withdrawn || !held->listed) {
        return NGX_DECLINED;
    }

    left = ngx_alloc(sizeof(ngx_http_tb_rpc_left_t), held->worker->log);
    if (left == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_tb_rpc_left_from(left, held);

    if (ngx_tb_redis_redirect(held->command, ngx_http_tb_rpc_left_done, left)
        != NGX_OK)
    {
        ngx_free(left);
        return NGX_DECLINED;
    }

    held->command = NULL;

    return NGX_OK;
}


static void
ngx_http_tb_rpc_left_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_left_t *left = data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, left->worker->log, 0,
                   "tb_rpc: create of %*s, whose caller left, is done",
                   (size_t) NGX_HTTP_TB_RPC_UUID_LEN, left->rpc_id);

    if (status == NGX_TB_REDIS_LOST) {
        ngx_http_tb_rpc_abandon(left);

    } else if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 2),
                                      &left->request_id)
               == NGX_OK
               && left->request_id > 0)
    {
        ngx_http_tb_rpc_abandon(left);
    }

    /* else there is no call: refused, expired, never written */

    ngx_free(left);
}


static void
ngx_http_tb_rpc_left_from(ngx_http_tb_rpc_left_t *left,
    ngx_http_tb_rpc_held_t *held)
{
    left->worker = held->worker;
    left->request_id = held->request_id;

    ngx_memcpy(left->rpc_id, held->ctx->rpc_id.data,
               NGX_HTTP_TB_RPC_UUID_LEN);
    ngx_memcpy(left->device_id, held->ctx->device_id.data,
               NGX_HTTP_TB_RPC_UUID_LEN);
}


/*
 * Nobody waits for the reply, so it may run twice; and there are never more
 * of them than there were held calls.
 */

static void
ngx_http_tb_rpc_abandon(ngx_http_tb_rpc_left_t *left)
{
    (void) ngx_http_tb_rpc_cancel(left, NGX_HTTP_TB_RPC_ABANDONED,
                                  NGX_TB_REDIS_BACKGROUND
                                  |NGX_TB_REDIS_REPEAT
                                  |NGX_TB_REDIS_UNBOUNDED, NULL, NULL);
}


static ngx_tb_redis_command_t *
ngx_http_tb_rpc_cancel(ngx_http_tb_rpc_left_t *left, ngx_msec_t timeout,
    ngx_uint_t flags, ngx_tb_redis_reply_pt handler, void *data)
{
    u_char      id[NGX_INT64_LEN];
    ngx_str_t   argv[NGX_HTTP_TB_RPC_ARGS + 2], *arg;

    /* no allocation: the request's pool may be on its way out */

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = left->rpc_id;
    arg[0].len = NGX_HTTP_TB_RPC_UUID_LEN;
    arg[1].data = id;
    arg[1].len = 0;

    if (left->request_id) {
        arg[1].len = ngx_sprintf(id, "%L", left->request_id) - id;
    }

    return ngx_http_tb_rpc_fcall_device(left->worker, left->device_id,
                                        "tb_rpc_cancel", argv, 2, timeout,
                                        flags, handler, data);
}


static void
ngx_http_tb_rpc_timer_handler(ngx_event_t *ev)
{
    ngx_int_t                rc;
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_held_t  *held;

    held = (ngx_http_tb_rpc_held_t *)
               ((u_char *) ev - offsetof(ngx_http_tb_rpc_held_t, timer));

    r = held->request;

    ngx_http_set_log_request(r->connection->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: time of call %V is over", &held->ctx->rpc_id);

    rc = ngx_http_tb_rpc_withdraw(held);

    if (rc != NGX_AGAIN) {
        ngx_http_tb_rpc_finish(held, rc);
    }
}


ngx_int_t
ngx_http_tb_rpc_withdraw(ngx_http_tb_rpc_held_t *held)
{
    ngx_http_tb_rpc_left_t  left;

    held->lost = (held->request_id == 0);

    ngx_http_tb_rpc_left_from(&left, held);

    /* the call must not run any more: that is worth a place in a full queue */

    held->command = ngx_http_tb_rpc_cancel(&left,
                                  held->worker->conf->redis->command_timeout,
                                           NGX_TB_REDIS_UNBOUNDED,
                                           ngx_http_tb_rpc_cancel_done, held);

    if (held->command == NULL) {
        return ngx_http_tb_rpc_send_result(held->request, held->ctx,
                                           NGX_HTTP_TB_RPC_RESULT_UNKNOWN,
                                           NULL);
    }

    held->withdrawn = 1;

    return NGX_AGAIN;
}


static void
ngx_http_tb_rpc_cancel_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_held_t *held = data;

    u_char                   text[NGX_TB_REDIS_TEXT];
    ngx_int_t                rc;
    ngx_str_t                error;
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_left_t   left;

    held->command = NULL;

    r = held->request;

    ngx_http_set_log_request(r->connection->log, r);

    if (status == NGX_TB_REDIS_REPLY && reply->type != REDIS_REPLY_ERROR) {
        rc = ngx_http_tb_rpc_cancel_reply(held, reply);

    } else {

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_tb_redis_reply_text(reply, text, &error);

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "tb_rpc: call %V can't be withdrawn: \"%V\"",
                          &held->ctx->rpc_id, &error);

        } else {

            /* the command is lost, its effect is wanted all the same */

            ngx_http_tb_rpc_left_from(&left, held);
            ngx_http_tb_rpc_abandon(&left);
        }

        rc = ngx_http_tb_rpc_send_result(r, held->ctx,
                                         NGX_HTTP_TB_RPC_RESULT_UNKNOWN,
                                         NULL);
    }

    ngx_http_tb_rpc_finish(held, rc);
}


static ngx_int_t
ngx_http_tb_rpc_cancel_reply(ngx_http_tb_rpc_held_t *held, redisReply *reply)
{
    ngx_int_t  rc;
    ngx_str_t  word, answer;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
        != NGX_OK)
    {
        ngx_str_null(&word);
    }

    /* the answer came at the last moment */

    if (ngx_http_tb_rpc_word(&word, "answered")
        && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 1),
                                  &answer)
           == NGX_OK)
    {
        rc = ngx_http_tb_rpc_answer(held, answer.data, answer.len);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    if (held->lost) {
        ngx_str_null(&word);
    }

    return ngx_http_tb_rpc_ended(held, &word);
}
