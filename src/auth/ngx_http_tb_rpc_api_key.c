
/*
 * API keys: looked up in Redis by their SHA-256.
 */


#include "../http/ngx_http_tb_rpc_respond.h"
#include "../share/ngx_tb_rpc_cache.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_api_key.h"

#include <openssl/evp.h>


#define NGX_HTTP_TB_RPC_API_KEY_MAX_LEN  1024
#define NGX_HTTP_TB_RPC_API_KEY_FIELDS   6


typedef struct {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_identity_t   *identity;
    ngx_http_cleanup_pt          *cleanup;
    u_char                        digest[NGX_TB_RPC_SHA256_LEN];
} ngx_http_tb_rpc_lookup_t;


static ngx_int_t ngx_http_tb_rpc_api_key_ask(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w, ngx_http_tb_rpc_lookup_t *lookup);
static void ngx_http_tb_rpc_api_key_cleanup(void *data);
static void ngx_http_tb_rpc_api_key_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_api_key_result(
    ngx_http_tb_rpc_lookup_t *lookup, ngx_uint_t status, redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_api_key_parse(
    ngx_http_tb_rpc_lookup_t *lookup, redisReply *reply,
    ngx_http_tb_rpc_api_key_t *key);
static ngx_int_t ngx_http_tb_rpc_api_key_fields(redisReply *reply,
    ngx_str_t *value, int64_t *expiration);
static void ngx_http_tb_rpc_api_key_keep(u_char *dst, u_char *len,
    ngx_str_t *src);
static ngx_int_t ngx_http_tb_rpc_api_key_use(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_http_tb_rpc_api_key_t *key);
static ngx_int_t ngx_http_tb_rpc_api_key_copy(ngx_pool_t *pool,
    ngx_str_t *dst, u_char *src, size_t len);


ngx_tb_rpc_cache_t *
ngx_http_tb_rpc_api_keys_create(ngx_pool_t *pool)
{
    return ngx_tb_rpc_cache_create(pool,
                                   sizeof(ngx_http_tb_rpc_api_key_t),
                                   4096, 1024);
}


ngx_int_t
ngx_http_tb_rpc_api_key_verify(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_str_t *key)
{
    u_char                        digest[EVP_MAX_MD_SIZE];
    ngx_http_tb_rpc_lookup_t     *lookup;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_api_key_t    *known;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    if (key->len == 0 || key->len > NGX_HTTP_TB_RPC_API_KEY_MAX_LEN) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_CAUSE_API_KEY_UNKNOWN,
                                          NGX_HTTP_TB_RPC_API_KEY_UNKNOWN);
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    w = ngx_http_tb_rpc_worker(mcf);

    if (w == NULL
        || EVP_Digest(key->data, key->len, digest, NULL, EVP_sha256(), NULL)
           != 1)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (lcf->api_key_cache) {
        known = ngx_tb_rpc_cache_get(w->api_keys, digest,
                                     lcf->api_key_cache);
        if (known) {
            ngx_http_tb_rpc_count(w, hits[NGX_HTTP_TB_RPC_CACHE_API_KEY]);

            return ngx_http_tb_rpc_api_key_use(r, ctx, id, known);
        }
    }

    ngx_http_tb_rpc_count(w, misses[NGX_HTTP_TB_RPC_CACHE_API_KEY]);

    lookup = ngx_palloc(r->pool, sizeof(ngx_http_tb_rpc_lookup_t));
    if (lookup == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    lookup->request = r;
    lookup->ctx = ctx;
    lookup->identity = id;
    ngx_memcpy(lookup->digest, digest, NGX_TB_RPC_SHA256_LEN);

    return ngx_http_tb_rpc_api_key_ask(r, w, lookup);
}


static ngx_int_t
ngx_http_tb_rpc_api_key_ask(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w, ngx_http_tb_rpc_lookup_t *lookup)
{
    u_char               key[NGX_HTTP_TB_RPC_KEY_LEN];
    u_char               hex[2 * NGX_TB_RPC_SHA256_LEN];
    ngx_str_t            argv[2 + NGX_HTTP_TB_RPC_API_KEY_FIELDS], id;
    ngx_http_cleanup_t  *cln;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    id.data = hex;
    id.len = ngx_hex_dump(hex, lookup->digest, NGX_TB_RPC_SHA256_LEN)
             - hex;

    ngx_str_set(&argv[0], "HMGET");
    ngx_http_tb_rpc_key(&argv[1], key, w->conf, NGX_HTTP_TB_RPC_NO_SHARD,
                        "apikey:", &id);
    ngx_str_set(&argv[2], "tenantId");
    ngx_str_set(&argv[3], "customerId");
    ngx_str_set(&argv[4], "userId");
    ngx_str_set(&argv[5], "authority");
    ngx_str_set(&argv[6], "enabled");
    ngx_str_set(&argv[7], "expirationTime");

    lookup->ctx->lookup = ngx_tb_redis_command(&w->redis, argv,
                                       2 + NGX_HTTP_TB_RPC_API_KEY_FIELDS,
                                       w->conf->redis->command_timeout,
                                       NGX_TB_REDIS_REPEAT,
                                       ngx_http_tb_rpc_api_key_reply, lookup);

    if (lookup->ctx->lookup == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    cln->handler = ngx_http_tb_rpc_api_key_cleanup;
    cln->data = lookup;
    lookup->cleanup = &cln->handler;

    if (r != r->main) {
        return NGX_AGAIN;
    }

    /* a client that goes away meanwhile is noticed */

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        cln->handler = NULL;
        ngx_http_tb_rpc_api_key_cleanup(lookup);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    return NGX_AGAIN;
}


static void
ngx_http_tb_rpc_api_key_cleanup(void *data)
{
    ngx_http_tb_rpc_lookup_t *lookup = data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, lookup->request->connection->log, 0,
                   "tb_rpc api key lookup dropped");

    (void) ngx_tb_redis_detach(lookup->ctx->lookup);
    lookup->ctx->lookup = NULL;
}


static void
ngx_http_tb_rpc_api_key_reply(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_lookup_t *lookup = data;

    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    r = lookup->request;
    c = r->connection;
    ctx = lookup->ctx;

    ngx_http_set_log_request(c->log, r);

    ctx->lookup = NULL;
    *lookup->cleanup = NULL;

    rc = ngx_http_tb_rpc_api_key_result(lookup, status, reply);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "tb_rpc api key lookup: status %ui, rc %i", status, rc);

    if (r == r->main) {
        r->read_event_handler = ngx_http_block_reading;

        if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
            rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (rc == NGX_OK) {
        ctx->identity = lookup->identity;
        ctx->identity_conf = ngx_http_get_module_loc_conf(r,
                                                      ngx_http_tb_rpc_module);
    }

    ctx->lookup_done(r, rc);

    /* the request may be gone, its connection's memory is still there */

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_tb_rpc_api_key_result(ngx_http_tb_rpc_lookup_t *lookup,
    ngx_uint_t status, redisReply *reply)
{
    u_char                        buf[NGX_TB_REDIS_TEXT];
    ngx_int_t                     rc;
    ngx_str_t                     text;
    ngx_http_request_t           *r;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_api_key_t     key;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    r = lookup->request;

    if (status != NGX_TB_REDIS_REPLY || reply == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != NGX_HTTP_TB_RPC_API_KEY_FIELDS)
    {
        ngx_str_set(&text, "not an array of the fields asked for");

        if (reply->type == REDIS_REPLY_ERROR) {
            ngx_tb_redis_reply_text(reply, buf, &text);
        }

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: Redis could not look up an API key by HMGET: "
                      "\"%V\"", &text);

        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    rc = ngx_http_tb_rpc_api_key_parse(lookup, reply, &key);
    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    w = ngx_http_tb_rpc_worker(mcf);

    if (w && lcf->api_key_cache) {
        ngx_tb_rpc_cache_put(w->api_keys, lookup->digest, &key,
                             key.error ? 1 : 0);
    }

    return ngx_http_tb_rpc_api_key_use(r, lookup->ctx, lookup->identity,
                                       &key);
}


/* NGX_OK and key, be it valid or not; NGX_ERROR without memory */

static ngx_int_t
ngx_http_tb_rpc_api_key_parse(ngx_http_tb_rpc_lookup_t *lookup,
    redisReply *reply, ngx_http_tb_rpc_api_key_t *key)
{
    u_char                      hex[16];
    ngx_int_t                   rc;
    ngx_str_t                   value[NGX_HTTP_TB_RPC_API_KEY_FIELDS];
    ngx_http_tb_rpc_identity_t  id;

    ngx_memzero(key, sizeof(ngx_http_tb_rpc_api_key_t));

    rc = ngx_http_tb_rpc_api_key_fields(reply, value, &key->expiration);

    if (rc == NGX_DONE) {
        key->error = NGX_HTTP_TB_RPC_API_KEY_UNKNOWN;
        key->cause = NGX_HTTP_TB_RPC_CAUSE_API_KEY_UNKNOWN;
        return NGX_OK;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_set_identity(lookup->request, &id, &value[0],
                                          &value[1], &value[2], &value[3]);
    }

    if (rc == NGX_DECLINED) {
        ngx_hex_dump(hex, lookup->digest, 8);

        ngx_log_error(NGX_LOG_ERR, lookup->request->connection->log, 0,
                      "tb_rpc: the record of the API key \"%*s...\" in Redis "
                      "is not valid; put it again with tb_rpc_api_key_put",
                      (size_t) 16, hex);

        key->error = NGX_HTTP_TB_RPC_API_KEY_UNKNOWN;
        key->cause = NGX_HTTP_TB_RPC_CAUSE_API_KEY_UNKNOWN;
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (value[4].len != 1 || value[4].data[0] != '1') {
        key->error = NGX_HTTP_TB_RPC_API_KEY_DISABLED;
        key->cause = NGX_HTTP_TB_RPC_CAUSE_API_KEY_DISABLED;
        return NGX_OK;
    }

    key->authority = id.authority;

    ngx_http_tb_rpc_api_key_keep(key->tenant_id, &key->tenant, &id.tenant_id);
    ngx_http_tb_rpc_api_key_keep(key->customer_id, &key->customer,
                                 &id.customer_id);
    ngx_http_tb_rpc_api_key_keep(key->user_id, &key->user, &id.user_id);

    return NGX_OK;
}


/* NGX_DONE: there is no such key, NGX_DECLINED: not what was put there */

static ngx_int_t
ngx_http_tb_rpc_api_key_fields(redisReply *reply, ngx_str_t *value,
    int64_t *expiration)
{
    ngx_uint_t   i, missing, strange;
    redisReply  *element;

    missing = 0;
    strange = 0;

    for (i = 0; i < NGX_HTTP_TB_RPC_API_KEY_FIELDS; i++) {
        element = ngx_tb_redis_reply_element(reply, i);

        if (element && element->type == REDIS_REPLY_NIL) {
            missing++;

        } else if (ngx_tb_redis_reply_str(element, &value[i]) != NGX_OK) {
            strange++;
        }
    }

    if (missing == NGX_HTTP_TB_RPC_API_KEY_FIELDS) {
        return NGX_DONE;
    }

    if (missing || strange
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 5),
                                  expiration)
           != NGX_OK
        || *expiration < 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* the length is bounded by ngx_http_tb_rpc_set_identity() */

static void
ngx_http_tb_rpc_api_key_keep(u_char *dst, u_char *len, ngx_str_t *src)
{
    *len = (u_char) src->len;

    if (src->len) {
        ngx_memcpy(dst, src->data, src->len);
    }
}


static ngx_int_t
ngx_http_tb_rpc_api_key_use(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_http_tb_rpc_api_key_t *key)
{
    int64_t      now;
    ngx_time_t  *tp;

    if (key->error) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          key->cause, key->error);
    }

    /* a cached answer does not outlive the key */

    tp = ngx_timeofday();
    now = (int64_t) tp->sec * 1000 + tp->msec;

    if (key->expiration && key->expiration <= now) {
        return ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_CAUSE_API_KEY_EXPIRED,
                                          "API key is expired");
    }

    id->authority = key->authority;

    if (ngx_http_tb_rpc_api_key_copy(r->pool, &id->tenant_id, key->tenant_id,
                                     key->tenant)
            != NGX_OK
        || ngx_http_tb_rpc_api_key_copy(r->pool, &id->customer_id,
                                        key->customer_id, key->customer)
           != NGX_OK
        || ngx_http_tb_rpc_api_key_copy(r->pool, &id->user_id, key->user_id,
                                        key->user)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_api_key_copy(ngx_pool_t *pool, ngx_str_t *dst, u_char *src,
    size_t len)
{
    ngx_str_null(dst);

    if (len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src, len);
    dst->len = len;

    return NGX_OK;
}
