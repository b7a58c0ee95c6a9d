
/*
 * JWTs that a worker has verified lately.  Only good ones come in, so nobody
 * without a key can fill it; what was used last goes last.  It ends with its
 * worker, so with the configuration: another key set finds it empty.
 */


#include "ngx_http_tb_rpc_jwt_cache.h"

#include <openssl/crypto.h>


#define NGX_HTTP_TB_RPC_JWT_CACHE_SIZE     1048576      /* bytes */
#define NGX_HTTP_TB_RPC_JWT_CACHE_BUCKETS  1024


typedef struct ngx_http_tb_rpc_jwt_node_s  ngx_http_tb_rpc_jwt_node_t;

struct ngx_http_tb_rpc_jwt_node_s {
    ngx_http_tb_rpc_jwt_node_t   *next;         /* in its bucket */
    ngx_queue_t                   queue;
    size_t                        size;         /* of all of it */
    uint32_t                      hash;
    void                         *conf;
    ngx_str_t                     token;
    ngx_http_tb_rpc_jwt_known_t   known;
};


struct ngx_http_tb_rpc_jwt_cache_s {
    ngx_queue_t                   queue;        /* last used first */
    size_t                        size;
    ngx_log_t                    *log;
    ngx_http_tb_rpc_jwt_node_t   *buckets[NGX_HTTP_TB_RPC_JWT_CACHE_BUCKETS];
};


static void ngx_http_tb_rpc_jwt_cache_cleanup(void *data);
static void ngx_http_tb_rpc_jwt_cache_drop(ngx_http_tb_rpc_jwt_cache_t *cache);


ngx_http_tb_rpc_jwt_cache_t *
ngx_http_tb_rpc_jwt_cache_create(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_tb_rpc_jwt_cache_t  *cache;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cache = ngx_pcalloc(pool, sizeof(ngx_http_tb_rpc_jwt_cache_t));
    if (cache == NULL) {
        return NULL;
    }

    ngx_queue_init(&cache->queue);
    cache->log = pool->log;

    cln->handler = ngx_http_tb_rpc_jwt_cache_cleanup;
    cln->data = cache;

    return cache;
}


static void
ngx_http_tb_rpc_jwt_cache_cleanup(void *data)
{
    ngx_http_tb_rpc_jwt_cache_t *cache = data;

    while (!ngx_queue_empty(&cache->queue)) {
        ngx_http_tb_rpc_jwt_cache_drop(cache);
    }
}


ngx_http_tb_rpc_jwt_known_t *
ngx_http_tb_rpc_jwt_cache_get(ngx_http_tb_rpc_jwt_cache_t *cache, void *conf,
    ngx_str_t *token)
{
    uint32_t                     hash;
    ngx_http_tb_rpc_jwt_node_t  *node;

    hash = ngx_murmur_hash2(token->data, token->len);

    node = cache->buckets[hash % NGX_HTTP_TB_RPC_JWT_CACHE_BUCKETS];

    for ( /* void */ ; node; node = node->next) {

        if (node->hash != hash
            || node->conf != conf
            || node->token.len != token->len
            || CRYPTO_memcmp(node->token.data, token->data, token->len) != 0)
        {
            continue;
        }

        ngx_queue_remove(&node->queue);
        ngx_queue_insert_head(&cache->queue, &node->queue);

        return &node->known;
    }

    return NULL;
}


void
ngx_http_tb_rpc_jwt_cache_put(ngx_http_tb_rpc_jwt_cache_t *cache, void *conf,
    ngx_str_t *token, ngx_http_tb_rpc_jwt_known_t *known)
{
    u_char                       *p;
    size_t                        size;
    ngx_http_tb_rpc_jwt_node_t   *node, **bucket;
    ngx_http_tb_rpc_identity_t   *id;

    id = &known->identity;

    size = sizeof(ngx_http_tb_rpc_jwt_node_t) + token->len
           + ngx_http_tb_rpc_identity_len(id);

    while (cache->size + size > NGX_HTTP_TB_RPC_JWT_CACHE_SIZE
           && !ngx_queue_empty(&cache->queue))
    {
        ngx_http_tb_rpc_jwt_cache_drop(cache);
    }

    node = ngx_alloc(size, cache->log);
    if (node == NULL) {
        return;
    }

    node->size = size;
    node->conf = conf;
    node->known = *known;
    node->hash = ngx_murmur_hash2(token->data, token->len);

    p = (u_char *) node + sizeof(ngx_http_tb_rpc_jwt_node_t);

    node->token.len = token->len;
    node->token.data = p;
    p = ngx_cpymem(p, token->data, token->len);

    (void) ngx_http_tb_rpc_copy_identity(p, &node->known.identity, id);

    bucket = &cache->buckets[node->hash % NGX_HTTP_TB_RPC_JWT_CACHE_BUCKETS];

    node->next = *bucket;
    *bucket = node;

    ngx_queue_insert_head(&cache->queue, &node->queue);
    cache->size += size;
}


/* the one that was not used for the longest time */

static void
ngx_http_tb_rpc_jwt_cache_drop(ngx_http_tb_rpc_jwt_cache_t *cache)
{
    ngx_queue_t                  *q;
    ngx_http_tb_rpc_jwt_node_t   *node, **next;

    q = ngx_queue_last(&cache->queue);
    node = ngx_queue_data(q, ngx_http_tb_rpc_jwt_node_t, queue);

    next = &cache->buckets[node->hash % NGX_HTTP_TB_RPC_JWT_CACHE_BUCKETS];

    while (*next != node) {
        next = &(*next)->next;
    }

    *next = node->next;

    ngx_queue_remove(q);
    cache->size -= node->size;

    /* a token is as good as a password while it lasts */

    ngx_explicit_memzero(node->token.data, node->token.len);
    ngx_free(node);
}
