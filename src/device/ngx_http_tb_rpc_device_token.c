
/*
 * Whose token it is.  Redis knows tokens by their SHA-256; a worker remembers
 * some of them for seconds.
 *
 * Devices come back all at once, after a restart of nginx or of a network,
 * so polls queue up here, rather than in front of Redis: calls are not behind
 * a hundred thousand of them, and no device is refused for being too late.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../share/ngx_tb_rpc_cache.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_request.h"


/* large enough to be apart from what comes and goes with requests */

#define NGX_HTTP_TB_RPC_TOKENS_POOL  (512 * 1024)


/* the length is 0 for a token that is nobody's */

typedef struct {
    size_t                        len;
    u_char                        id[NGX_HTTP_TB_RPC_UUID_LEN];
} ngx_http_tb_rpc_token_t;


static void ngx_http_tb_rpc_tokens_cleanup(void *data);
static void ngx_http_tb_rpc_lookup_answer(ngx_http_request_t *r);
static void ngx_http_tb_rpc_device_token_key(ngx_http_tb_rpc_device_req_t *dr,
    ngx_str_t *key, u_char *buf);
static void ngx_http_tb_rpc_lookup_enqueue(ngx_http_tb_rpc_device_req_t *dr);
static ngx_tb_redis_node_t *ngx_http_tb_rpc_lookup_node(
    ngx_http_tb_rpc_device_req_t *dr);
static ngx_int_t ngx_http_tb_rpc_lookups_pump(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane);
static void ngx_http_tb_rpc_lookup_refuse(ngx_http_tb_rpc_device_req_t *dr);
static ngx_int_t ngx_http_tb_rpc_device_get(ngx_http_tb_rpc_device_req_t *dr,
    ngx_uint_t flags);
static void ngx_http_tb_rpc_device_cleanup(void *data);
static void ngx_http_tb_rpc_device_counted(ngx_http_tb_rpc_device_req_t *dr);
static void ngx_http_tb_rpc_device_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_device_token(
    ngx_http_tb_rpc_device_req_t *dr, ngx_uint_t status, redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_device_known(
    ngx_http_tb_rpc_device_req_t *dr, ngx_http_tb_rpc_token_t *token);


ngx_tb_rpc_cache_t *
ngx_http_tb_rpc_tokens_create(ngx_pool_t *pool)
{
    ngx_pool_t          *tokens;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    tokens = ngx_create_pool(NGX_HTTP_TB_RPC_TOKENS_POOL, pool->log);
    if (tokens == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_tb_rpc_tokens_cleanup;
    cln->data = tokens;

    return ngx_tb_rpc_cache_create(tokens,
                                   sizeof(ngx_http_tb_rpc_token_t),
                                   16384, 4096);
}


static void
ngx_http_tb_rpc_tokens_cleanup(void *data)
{
    ngx_destroy_pool(data);
}


ngx_int_t
ngx_http_tb_rpc_device_lookup(ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_int_t                    rc;
    ngx_http_cleanup_t          *cln;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_polls_t     *polls;
    ngx_http_tb_rpc_token_t     *known;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = dr->request;
    polls = dr->worker->polls;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api_key_cache) {
        known = ngx_tb_rpc_cache_get(dr->worker->tokens, dr->digest,
                                     lcf->api_key_cache);
        if (known) {
            ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                           "tb_rpc device: its token was seen before");

            ngx_http_tb_rpc_count(dr->worker,
                                  hits[NGX_HTTP_TB_RPC_CACHE_TOKEN]);

            return ngx_http_tb_rpc_device_known(dr, known);
        }
    }

    ngx_http_tb_rpc_count(dr->worker, misses[NGX_HTTP_TB_RPC_CACHE_TOKEN]);

    if (dr->op == NGX_HTTP_TB_RPC_DO_ANSWER) {

        /* read now: with HTTP/2 it goes when the device does */

        r->request_body_in_single_buf = 1;

        rc = ngx_http_read_client_request_body(r,
                                               ngx_http_tb_rpc_lookup_answer);

        return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
    }

    cln = ngx_http_cleanup_add(r, 0);

    if (cln == NULL || ngx_http_tb_rpc_watch(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_tb_rpc_lookup_enqueue(dr);

    ngx_http_tb_rpc_polls_guard(polls);

    (void) ngx_http_tb_rpc_lookups_pump(polls, dr->lane);

    cln->handler = ngx_http_tb_rpc_device_cleanup;
    cln->data = dr;
    dr->cleanup = &cln->handler;

    r->main->count++;

    return NGX_DONE;
}


/*
 * A caller waits for this, whether the device waits for us or not: it has no
 * queue, and nobody watches the connection.  It has the reference that reading
 * the body took.
 */

static void
ngx_http_tb_rpc_lookup_answer(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_cleanup_t            *cln;
    ngx_http_tb_rpc_ctx_t         *ctx;
    ngx_http_tb_rpc_device_req_t  *dr;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || ctx->device_req == NULL || cln == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    dr = ctx->device_req;

    if (ngx_http_tb_rpc_device_get(dr, NGX_TB_REDIS_REPEAT) != NGX_OK) {
        rc = ngx_http_tb_rpc_send_result(r, ctx,
                                         NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                         NULL);
        ngx_http_finalize_request(r, rc);
        return;
    }

    cln->handler = ngx_http_tb_rpc_device_cleanup;
    cln->data = dr;
    dr->cleanup = &cln->handler;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
}


static void
ngx_http_tb_rpc_lookup_enqueue(ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_http_tb_rpc_lane_t  *lane;

    lane = ngx_http_tb_rpc_lane(dr->worker->polls,
                                ngx_http_tb_rpc_lookup_node(dr));
    if (dr->queued) {
        ngx_queue_remove(&dr->queue);
    }

    dr->queued = 1;
    dr->lane = lane;

    ngx_queue_insert_tail(&lane->lookups, &dr->queue);
}


static ngx_tb_redis_node_t *
ngx_http_tb_rpc_lookup_node(ngx_http_tb_rpc_device_req_t *dr)
{
    u_char     buf[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t  key;

    ngx_http_tb_rpc_device_token_key(dr, &key, buf);

    return ngx_tb_redis_key_node(&dr->worker->redis, &key);
}


/* as with polls; NGX_DECLINED: the lane rests, its node is away */

static ngx_int_t
ngx_http_tb_rpc_lookups_pump(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane)
{
    ngx_uint_t                     n;
    ngx_queue_t                   *q;
    ngx_tb_redis_node_t           *node;
    ngx_http_tb_rpc_device_req_t  *dr;

    for (n = 0;
         !ngx_queue_empty(&lane->lookups)
         && lane->looking < NGX_HTTP_TB_RPC_POLL_BATCH;
         /* void */ )
    {
        q = ngx_queue_head(&lane->lookups);
        dr = ngx_queue_data(q, ngx_http_tb_rpc_device_req_t, queue);

        node = ngx_http_tb_rpc_lookup_node(dr);

        if (node != lane->lane.node) {
            ngx_http_tb_rpc_lookup_enqueue(dr);

            if (ngx_http_tb_rpc_lane_left(polls, lane, dr->lane, &n)
                != NGX_AGAIN)
            {
                return NGX_OK;
            }

            continue;
        }

        if (node == NULL || !ngx_tb_redis_node_is_ready(node, 0)) {
            return NGX_DECLINED;
        }

        if (ngx_http_tb_rpc_device_get(dr, NGX_TB_REDIS_REPEAT
                                           |NGX_TB_REDIS_UNBOUNDED)
            != NGX_OK)
        {
            return NGX_OK;
        }

        ngx_queue_remove(q);

        dr->queued = 0;
        dr->counted = 1;

        lane->looking++;
    }

    return NGX_OK;
}


/*
 * Waiting for others is no reason to be refused, waiting for Redis is.  Some at
 * a time are looked at; behind the first some may be of another node by now.
 */

void
ngx_http_tb_rpc_lookups_watch(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane)
{
    ngx_uint_t                     n;
    ngx_msec_t                     timeout;
    ngx_queue_t                   *q, *stays;
    ngx_http_tb_rpc_device_req_t  *dr;

    if (ngx_http_tb_rpc_lookups_pump(polls, lane) != NGX_DECLINED) {
        return;
    }

    timeout = polls->worker->conf->redis->command_timeout;
    stays = NULL;

    for (n = 0; n < NGX_HTTP_TB_RPC_POLL_BATCH; n++) {

        q = ngx_queue_head(&lane->lookups);

        if (q == stays || q == ngx_queue_sentinel(&lane->lookups)) {
            return;
        }

        dr = ngx_queue_data(q, ngx_http_tb_rpc_device_req_t, queue);

        if (ngx_current_msec - dr->start >= timeout) {
            ngx_http_tb_rpc_lookup_refuse(dr);
            continue;
        }

        ngx_http_tb_rpc_lookup_enqueue(dr);

        if (stays == NULL && dr->lane == lane) {
            stays = q;
        }
    }
}


void
ngx_http_tb_rpc_lookups_close(ngx_http_tb_rpc_lane_t *lane)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&lane->lookups)) {

        q = ngx_queue_head(&lane->lookups);

        ngx_http_tb_rpc_lookup_refuse(
                      ngx_queue_data(q, ngx_http_tb_rpc_device_req_t, queue));
    }
}


static void
ngx_http_tb_rpc_lookup_refuse(ngx_http_tb_rpc_device_req_t *dr)
{
    dr->queued = 0;
    ngx_queue_remove(&dr->queue);

    ngx_http_tb_rpc_device_reply(dr, NGX_TB_REDIS_UNSENT, NULL);
}


static ngx_int_t
ngx_http_tb_rpc_device_get(ngx_http_tb_rpc_device_req_t *dr, ngx_uint_t flags)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[2];
    ngx_http_tb_rpc_worker_t  *w;

    w = dr->worker;

    ngx_str_set(&argv[0], "GET");
    ngx_http_tb_rpc_device_token_key(dr, &argv[1], key);

    dr->command = ngx_tb_redis_command(&w->redis, argv, 2,
                                       w->conf->redis->command_timeout, flags,
                                       ngx_http_tb_rpc_device_reply, dr);

    return dr->command ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_tb_rpc_device_token_key(ngx_http_tb_rpc_device_req_t *dr,
    ngx_str_t *key, u_char *buf)
{
    u_char     hex[2 * NGX_TB_RPC_SHA256_LEN];
    ngx_str_t  id;

    id.data = hex;
    id.len = ngx_hex_dump(hex, dr->digest, NGX_TB_RPC_SHA256_LEN)
             - hex;

    ngx_http_tb_rpc_key(key, buf, dr->worker->conf, NGX_HTTP_TB_RPC_NO_SHARD,
                        "token:", &id);
}


/* the client has left */

static void
ngx_http_tb_rpc_device_cleanup(void *data)
{
    ngx_http_tb_rpc_device_req_t *dr = data;

    if (dr->queued) {
        dr->queued = 0;
        ngx_queue_remove(&dr->queue);
        return;
    }

    (void) ngx_tb_redis_detach(dr->command);
    dr->command = NULL;

    ngx_http_tb_rpc_device_counted(dr);
}


/* the next one's turn */

static void
ngx_http_tb_rpc_device_counted(ngx_http_tb_rpc_device_req_t *dr)
{
    ngx_http_tb_rpc_lane_t  *lane;

    if (dr->counted) {
        dr->counted = 0;

        lane = dr->lane;
        lane->looking--;

        (void) ngx_http_tb_rpc_lookups_pump(dr->worker->polls, lane);
    }
}


static void
ngx_http_tb_rpc_device_reply(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_device_req_t *dr = data;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = dr->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    dr->command = NULL;
    *dr->cleanup = NULL;

    ngx_http_tb_rpc_device_counted(dr);

    r->read_event_handler = ngx_http_block_reading;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else {
        rc = ngx_http_tb_rpc_device_token(dr, status, reply);
    }

    ngx_http_tb_rpc_finalize(r, rc);
}


static ngx_int_t
ngx_http_tb_rpc_device_token(ngx_http_tb_rpc_device_req_t *dr,
    ngx_uint_t status, redisReply *reply)
{
    u_char                       text[NGX_TB_REDIS_TEXT];
    ngx_str_t                    id, error;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_token_t      token;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = dr->request;

    if (status != NGX_TB_REDIS_REPLY || reply->type == REDIS_REPLY_ERROR) {

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_tb_redis_reply_text(reply, text, &error);

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "tb_rpc: Redis could not look up a device's token "
                          "by GET: \"%V\"", &error);
        }

        return ngx_http_tb_rpc_send_result(r, dr->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    ngx_memzero(&token, sizeof(ngx_http_tb_rpc_token_t));

    if (ngx_tb_redis_reply_str(reply, &id) == NGX_OK
        && ngx_http_tb_rpc_parse_uuid(token.id, &id) == NGX_OK)
    {
        token.len = NGX_HTTP_TB_RPC_UUID_LEN;

    } else if (reply->type != REDIS_REPLY_NIL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: what Redis has for the token \"%V...\" is "
                      "not a device id; SET it again",
                      &dr->ctx->key_id);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api_key_cache) {
        ngx_tb_rpc_cache_put(dr->worker->tokens, dr->digest,
                             &token, token.len ? 0 : 1);
    }

    return ngx_http_tb_rpc_device_known(dr, &token);
}


static ngx_int_t
ngx_http_tb_rpc_device_known(ngx_http_tb_rpc_device_req_t *dr,
    ngx_http_tb_rpc_token_t *token)
{
    ngx_str_t  *id;

    id = &dr->ctx->device_id;

    if (token->len) {
        id->data = ngx_pnalloc(dr->request->pool, token->len);
        if (id->data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memcpy(id->data, token->id, token->len);
        id->len = token->len;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, dr->request->connection->log, 0,
                   "tb_rpc: token \"%V...\" is of device \"%V\"",
                   &dr->ctx->key_id, id);

    return ngx_http_tb_rpc_device_process(dr);
}
