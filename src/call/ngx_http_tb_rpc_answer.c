
/*
 * Answers to held requests: published on the worker's channels, fetched from
 * their keys where they were too large for that or nobody listened, and what
 * each kind of them makes of the request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_call.h"
#include "ngx_http_tb_rpc_held.h"


static void ngx_http_tb_rpc_fetch(ngx_http_tb_rpc_held_t *held);
static void ngx_http_tb_rpc_fetch_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_fetch_held(ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel);
static void ngx_http_tb_rpc_answer_key(ngx_http_tb_rpc_held_t *held,
    ngx_str_t *key, u_char *buf);
static void ngx_http_tb_rpc_answered(ngx_http_tb_rpc_held_t *held);


/* a message is "<rpcId><kind><payload>" */

void
ngx_http_tb_rpc_call_message(ngx_http_tb_rpc_worker_t *w, u_char *p,
    size_t len)
{
    uint32_t                 hash;
    ngx_int_t                rc;
    ngx_str_t                id;
    ngx_http_tb_rpc_held_t  *held;

    id.data = p;
    id.len = NGX_HTTP_TB_RPC_UUID_LEN;

    hash = ngx_crc32_short(id.data, id.len);

    held = (ngx_http_tb_rpc_held_t *)
               ngx_str_rbtree_lookup(&w->held, &id, hash);

    if (held == NULL) {

        /* late, a duplicate, or its caller left: the key expires */

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, w->log, 0,
                       "tb_rpc: nobody waits for the answer to %V", &id);
        return;
    }

    p += NGX_HTTP_TB_RPC_UUID_LEN;
    len -= NGX_HTTP_TB_RPC_UUID_LEN;

    if (*p == 'G') {
        ngx_http_tb_rpc_fetch(held);
        return;
    }

    ngx_http_set_log_request(held->request->connection->log, held->request);

    rc = ngx_http_tb_rpc_answer(held, p, len);

    if (rc != NGX_AGAIN) {
        ngx_http_tb_rpc_answered(held);
        ngx_http_tb_rpc_finish(held, rc);
    }
}


/* what was published while nobody listened is kept under answer keys */

void
ngx_http_tb_rpc_call_subscribed(ngx_http_tb_rpc_worker_t *w)
{
    if (w->held.root != w->held.sentinel) {
        ngx_http_tb_rpc_fetch_held(w->held.root, w->held.sentinel);
    }
}


static void
ngx_http_tb_rpc_fetch_held(ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_http_tb_rpc_held_t  *held;

    for ( ;; ) {
        held = (ngx_http_tb_rpc_held_t *) node;

        if (ngx_tb_redis_channel_is_new(&held->worker->redis, held->shard)) {
            ngx_http_tb_rpc_fetch(held);
        }

        if (node->left != sentinel) {
            ngx_http_tb_rpc_fetch_held(node->left, sentinel);
        }

        if (node->right == sentinel) {
            return;
        }

        node = node->right;
    }
}


static void
ngx_http_tb_rpc_fetch(ngx_http_tb_rpc_held_t *held)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[2];
    ngx_http_tb_rpc_worker_t  *w;

    if (held->fetch) {

        /* it may have been executed before the answer was there */

        held->refetch = 1;
        return;
    }

    held->refetch = 0;

    w = held->worker;

    ngx_str_set(&argv[0], "GET");
    ngx_http_tb_rpc_answer_key(held, &argv[1], key);

    held->fetch = ngx_tb_redis_command(&w->redis, argv, 2,
                                       w->conf->redis->command_timeout,
                                       NGX_TB_REDIS_REPEAT
                                       |NGX_TB_REDIS_UNBOUNDED,
                                       ngx_http_tb_rpc_fetch_done, held);
}


static void
ngx_http_tb_rpc_fetch_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_held_t *held = data;

    ngx_int_t  rc;
    ngx_str_t  answer;

    held->fetch = NULL;

    /* no answer yet, or no Redis: the next subscription or the timer */

    if (status != NGX_TB_REDIS_REPLY
        || ngx_tb_redis_reply_str(reply, &answer) != NGX_OK)
    {
        if (status == NGX_TB_REDIS_REPLY && held->refetch) {
            ngx_http_tb_rpc_fetch(held);
        }

        return;
    }

    ngx_http_set_log_request(held->request->connection->log, held->request);

    rc = ngx_http_tb_rpc_answer(held, answer.data, answer.len);

    if (rc != NGX_AGAIN) {
        ngx_http_tb_rpc_answered(held);
        ngx_http_tb_rpc_finish(held, rc);
    }
}


static void
ngx_http_tb_rpc_answer_key(ngx_http_tb_rpc_held_t *held, ngx_str_t *key,
    u_char *buf)
{
    ngx_http_tb_rpc_key(key, buf, held->worker->conf, held->shard, "answer:",
                        &held->ctx->rpc_id);
}


/* its worker has used it: pipelined, and the key expires anyway */

static void
ngx_http_tb_rpc_answered(ngx_http_tb_rpc_held_t *held)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[2];
    ngx_http_tb_rpc_ctx_t     *ctx;
    ngx_http_tb_rpc_worker_t  *w;

    w = held->worker;
    ctx = held->ctx;

    /* the answer may overtake the reply to the create */

    ctx->device_time = ngx_current_msec - ctx->redis_start;

    if (ctx->redis_time != (ngx_msec_t) -1) {
        ctx->device_time -= ctx->redis_time;
    }

    ngx_str_set(&argv[0], "DEL");
    ngx_http_tb_rpc_answer_key(held, &argv[1], key);

    (void) ngx_tb_redis_command(&w->redis, argv, 2,
                                w->conf->redis->command_timeout,
                                NGX_TB_REDIS_BACKGROUND, NULL, NULL);
}


/* the kinds are those that the functions write */

ngx_int_t
ngx_http_tb_rpc_answer(ngx_http_tb_rpc_held_t *held, u_char *p, size_t len)
{
    u_char                  kind;
    ngx_str_t               payload;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (len == 0) {
        return NGX_AGAIN;
    }

    r = held->request;
    ctx = held->ctx;

    kind = *p++;

    payload.len = len - 1;
    payload.data = ngx_pnalloc(r->pool, payload.len + 1);
    if (payload.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(payload.data, p, payload.len);

    switch (kind) {

    case 'A':
        if (!ctx->call->oneway) {
            return ngx_http_tb_rpc_send_answer(r, ctx, &payload);
        }

        /* fall through */

    case 'S':
        return ctx->call->oneway
                   ? ngx_http_tb_rpc_send(r, NGX_HTTP_OK, NULL, NULL)
                   : NGX_AGAIN;

    case 'F':
        return ngx_http_tb_rpc_send_result(r, ctx, NGX_HTTP_TB_RPC_FAILED,
                                           &payload);

    case 'D':
        ngx_str_set(&payload, "the device was deleted");
        return ngx_http_tb_rpc_send_result(r, ctx, NGX_HTTP_TB_RPC_FAILED,
                                           &payload);

    case 'L':
        return ngx_http_tb_rpc_send_result(r, ctx,
                                           NGX_HTTP_TB_RPC_RESPONSE_TOO_LARGE,
                                           NULL);

    case 'X':
        return ngx_http_tb_rpc_ended(held, &payload);

    default:
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: an answer of unknown kind %ui to call %V",
                      (ngx_uint_t) kind, &ctx->rpc_id);
        return NGX_AGAIN;
    }
}


ngx_int_t
ngx_http_tb_rpc_ended(ngx_http_tb_rpc_held_t *held, ngx_str_t *word)
{
    ngx_http_tb_rpc_result_e  result;

    if (ngx_http_tb_rpc_word(word, "offline")) {
        result = NGX_HTTP_TB_RPC_NO_ACTIVE_CONNECTION;

    } else if (ngx_http_tb_rpc_word(word, "turn")
               || ngx_http_tb_rpc_word(word, "queued"))
    {
        result = NGX_HTTP_TB_RPC_NOT_CLAIMED;

    } else if (ngx_http_tb_rpc_word(word, "sent")) {
        result = NGX_HTTP_TB_RPC_TIMEOUT;

    } else {
        result = NGX_HTTP_TB_RPC_RESULT_UNKNOWN;
    }

    return ngx_http_tb_rpc_send_result(held->request, held->ctx, result,
                                       NULL);
}
