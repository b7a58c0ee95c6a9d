
/*
 * A poll.  Redis knows it by the worker's name and a number, the session,
 * and gives it at most one call: by the reply to tb_rpc_poll, or later by a
 * message.  A message may get lost; so whenever the worker was deaf for a
 * while, it tells of the polls of such shards again, which brings the calls,
 * too.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "../store/ngx_http_tb_rpc_unknown.h"
#include "ngx_http_tb_rpc_device_polls.h"


static void ngx_http_tb_rpc_poll_answered(ngx_http_tb_rpc_poll_t *poll,
    redisReply *reply);
static void ngx_http_tb_rpc_poll_refused(ngx_http_tb_rpc_poll_t *poll,
    redisReply *reply);
static void ngx_http_tb_rpc_poll_late(ngx_http_tb_rpc_poll_t *poll,
    ngx_uint_t status, redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_poll_call(ngx_http_tb_rpc_poll_t *poll,
    redisReply *reply, ngx_http_tb_rpc_handed_t *handed);
static void ngx_http_tb_rpc_poll_timer(ngx_event_t *ev);
static void ngx_http_tb_rpc_poll_cleanup(void *data);
static void ngx_http_tb_rpc_poll_release(ngx_http_tb_rpc_poll_t *poll);


ngx_int_t
ngx_http_tb_rpc_poll(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_http_tb_rpc_worker_t *w, ngx_msec_t timeout)
{
    ngx_int_t                 rc;
    ngx_http_cleanup_t       *cln;
    ngx_http_tb_rpc_poll_t   *poll;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = w->polls;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    cln = ngx_http_cleanup_add(r, 0);

    if (cln == NULL || ngx_http_tb_rpc_watch(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    poll = ngx_calloc(sizeof(ngx_http_tb_rpc_poll_t), r->connection->log);
    if (poll == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    poll->polls = polls;
    poll->request = r;
    poll->end = ngx_current_msec + timeout;
    ngx_memcpy(poll->device_id, ctx->device_id.data,
               NGX_HTTP_TB_RPC_UUID_LEN);

    cln->handler = ngx_http_tb_rpc_poll_cleanup;
    cln->data = poll;
    poll->cleanup = &cln->handler;

    poll->timer.handler = ngx_http_tb_rpc_poll_timer;
    poll->timer.data = &w->dummy;
    poll->timer.log = w->log;
    poll->timer.cancelable = 1;

    ngx_add_timer(&poll->timer, timeout);

    poll->session = ++polls->session;
    poll->node.key = poll->session;
    ngx_rbtree_insert(&polls->tree, &poll->node);
    w->npolls++;

    ngx_http_tb_rpc_polls_guard(polls);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: poll %ui of device %V, for %M ms",
                   poll->session, &ctx->device_id, timeout);

    r->connection->log->action = "waiting for a call to the device";

    r->main->count++;

    ngx_http_tb_rpc_poll_tell(poll);

    return NGX_DONE;
}


void
ngx_http_tb_rpc_poll_reply(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_poll_t *poll = data;

    ngx_http_tb_rpc_lane_t   *lane;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = poll->polls;
    lane = poll->lane;

    poll->asked = 0;
    lane->asked--;

    if (poll->request == NULL) {
        ngx_http_tb_rpc_poll_late(poll, status, reply);

    } else if (status != NGX_TB_REDIS_REPLY) {

        /* told again by the next reply, the subscription, or the watch */

        ngx_http_tb_rpc_poll_enqueue(poll);
        return;

    } else {
        ngx_http_set_log_request(poll->request->connection->log,
                                 poll->request);

        ngx_http_tb_rpc_poll_answered(poll, reply);
    }

    (void) ngx_http_tb_rpc_polls_pump(polls, lane);
}


static void
ngx_http_tb_rpc_poll_answered(ngx_http_tb_rpc_poll_t *poll,
    redisReply *reply)
{
    ngx_str_t                 word, envelope;
    ngx_http_tb_rpc_ctx_t    *ctx;
    ngx_http_tb_rpc_handed_t  handed;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
        != NGX_OK)
    {
        ngx_str_null(&word);
    }

    if (ngx_http_tb_rpc_word(&word, "wait")) {

        if (poll->again) {
            ngx_http_tb_rpc_poll_tell(poll);
        }

        return;
    }

    if (ngx_http_tb_rpc_poll_call(poll, reply, &handed) == NGX_OK
        && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 3),
                                  &envelope)
           == NGX_OK)
    {
        ngx_http_tb_rpc_poll_serve(poll, &handed, &envelope);
        return;
    }

    if (ngx_http_tb_rpc_word(&word, "unknown")) {

        /* it was deleted, its token was not */

        ctx = ngx_http_tb_rpc_get_ctx(poll->request);

        if (ctx) {
            ctx->result = NGX_HTTP_TB_RPC_UNKNOWN_DEVICE;
            ngx_http_tb_rpc_log_unknown_device(poll->request, ctx);
        }

        ngx_http_tb_rpc_poll_end(poll, NGX_HTTP_UNAUTHORIZED);
        return;
    }

    ngx_http_tb_rpc_poll_refused(poll, reply);
}


static void
ngx_http_tb_rpc_poll_refused(ngx_http_tb_rpc_poll_t *poll, redisReply *reply)
{
    u_char               text[NGX_TB_REDIS_TEXT];
    ngx_int_t            rc;
    ngx_str_t            error;
    ngx_http_request_t  *r;

    r = poll->request;

    ngx_str_set(&error, "not a reply of tb_rpc_poll");

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_reply_text(reply, text, &error);
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "tb_rpc: the poll of device \"%*s\" was refused by Redis: "
                  "\"%V\"", (size_t) NGX_HTTP_TB_RPC_UUID_LEN,
                  poll->device_id, &error);

    ngx_http_tb_rpc_poll_release(poll);

    rc = ngx_http_tb_rpc_send_result(r, ngx_http_tb_rpc_get_ctx(r),
                                     NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE, NULL);

    ngx_http_tb_rpc_finalize(r, rc);
}


/* the reply to a poll that has ended meanwhile */

static void
ngx_http_tb_rpc_poll_late(ngx_http_tb_rpc_poll_t *poll, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_handed_t  handed;

    if (status == NGX_TB_REDIS_REPLY
        && ngx_http_tb_rpc_poll_call(poll, reply, &handed) == NGX_OK)
    {
        ngx_http_tb_rpc_give_back_late(poll->polls->worker, &handed);

    } else if (!poll->served
               && ngx_http_tb_rpc_device_is_ready(poll->polls->worker,
                                                  poll->device_id, 0))
    {
        ngx_http_tb_rpc_poll_tell(poll);
        return;
    }

    ngx_free(poll);
}


/* { "call", requestId, attempt, envelope } */

static ngx_int_t
ngx_http_tb_rpc_poll_call(ngx_http_tb_rpc_poll_t *poll, redisReply *reply,
    ngx_http_tb_rpc_handed_t *handed)
{
    ngx_str_t  word;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
            != NGX_OK
        || !ngx_http_tb_rpc_word(&word, "call")
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1),
                                  &handed->request_id)
           != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 2),
                                  &handed->attempt)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ngx_memcpy(handed->device_id, poll->device_id, NGX_HTTP_TB_RPC_UUID_LEN);

    return NGX_OK;
}


void
ngx_http_tb_rpc_poll_serve(ngx_http_tb_rpc_poll_t *poll,
    ngx_http_tb_rpc_handed_t *handed, ngx_str_t *envelope)
{
    ngx_int_t                  rc;
    ngx_http_request_t        *r;
    ngx_http_tb_rpc_worker_t  *w;

    r = poll->request;
    w = poll->polls->worker;

    poll->served = 1;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: poll %ui gets request %L, attempt %L",
                   poll->session, handed->request_id, handed->attempt);

    ngx_http_tb_rpc_poll_release(poll);

    if (ngx_http_tb_rpc_device_listens(r)) {
        rc = ngx_http_tb_rpc_device_send(r, w, handed, envelope);

    } else {
        ngx_http_tb_rpc_give_back(w, handed);
        rc = NGX_HTTP_CLIENT_CLOSED_REQUEST;
    }

    ngx_http_tb_rpc_finalize(r, rc);
}


static void
ngx_http_tb_rpc_poll_timer(ngx_event_t *ev)
{
    ngx_http_tb_rpc_poll_t  *poll;

    poll = (ngx_http_tb_rpc_poll_t *)
               ((u_char *) ev - offsetof(ngx_http_tb_rpc_poll_t, timer));

    ngx_http_tb_rpc_poll_forget(poll);
    ngx_http_tb_rpc_poll_end(poll, NGX_HTTP_REQUEST_TIME_OUT);
}


/* the client has left */

static void
ngx_http_tb_rpc_poll_cleanup(void *data)
{
    ngx_http_tb_rpc_poll_t *poll = data;

    poll->cleanup = NULL;

    ngx_http_tb_rpc_poll_forget(poll);
    ngx_http_tb_rpc_poll_release(poll);
}


void
ngx_http_tb_rpc_poll_forget(ngx_http_tb_rpc_poll_t *poll)
{
    poll->forget = poll->known;
}


void
ngx_http_tb_rpc_poll_end(ngx_http_tb_rpc_poll_t *poll, ngx_uint_t status)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = poll->request;

    ngx_http_set_log_request(r->connection->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: poll %ui ends: %ui", poll->session, status);

    ngx_http_tb_rpc_poll_release(poll);

    rc = ngx_http_tb_rpc_send_failure(r, status, NULL, NULL);

    ngx_http_tb_rpc_finalize(r, rc);
}


/*
 * The request does not wait any more.  The poll is gone, or its reply's, or
 * is told of for the last time.
 */

static void
ngx_http_tb_rpc_poll_release(ngx_http_tb_rpc_poll_t *poll)
{
    ngx_http_tb_rpc_polls_t  *polls;

    polls = poll->polls;

    ngx_rbtree_delete(&polls->tree, &poll->node);
    polls->worker->npolls--;

    if (poll->queued) {
        poll->queued = 0;
        ngx_queue_remove(&poll->queue);
    }

    if (poll->timer.timer_set) {
        ngx_del_timer(&poll->timer);
    }

    if (poll->cleanup) {
        *poll->cleanup = NULL;
        poll->cleanup = NULL;
    }

    poll->request = NULL;

    if (poll->asked) {
        return;
    }

    if (poll->forget) {
        ngx_http_tb_rpc_poll_tell(poll);
        return;
    }

    ngx_free(poll);
}
