
/*
 * What a worker remembers of credentials.  Good and refused ones are bounded
 * apart from each other, so that guessing does not push the good ones out.
 */


#include "ngx_tb_rpc_cache.h"

#include <openssl/crypto.h>


typedef struct {
    ngx_rbtree_node_t          node;        /* key: start of the digest */
    ngx_queue_t                queue;
    ngx_msec_t                 time;
    ngx_uint_t                 refused;     /* 0 or 1 */
    u_char                     digest[NGX_TB_RPC_SHA256_LEN];
    uint64_t                   value[1];    /* as long as cache->size */
} ngx_tb_rpc_cache_node_t;


struct ngx_tb_rpc_cache_s {
    ngx_pool_t                *pool;
    size_t                     size;
    ngx_rbtree_t               rbtree;
    ngx_rbtree_node_t          sentinel;
    ngx_queue_t                queue[2];    /* last used first */
    ngx_uint_t                 n[2];
    ngx_uint_t                 max[2];
    ngx_queue_t                free;
};


static ngx_tb_rpc_cache_node_t *ngx_tb_rpc_cache_find(
    ngx_tb_rpc_cache_t *cache, u_char *digest);
static void ngx_tb_rpc_cache_remove(ngx_tb_rpc_cache_t *cache,
    ngx_tb_rpc_cache_node_t *node);
static ngx_rbtree_key_t ngx_tb_rpc_cache_hash(u_char *digest);
static void ngx_tb_rpc_cache_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);


ngx_tb_rpc_cache_t *
ngx_tb_rpc_cache_create(ngx_pool_t *pool, size_t size, ngx_uint_t good,
    ngx_uint_t refused)
{
    ngx_tb_rpc_cache_t  *cache;

    cache = ngx_pcalloc(pool, sizeof(ngx_tb_rpc_cache_t));
    if (cache == NULL) {
        return NULL;
    }

    /* set by ngx_pcalloc(): cache->n */

    cache->pool = pool;
    cache->size = size;
    cache->max[0] = good;
    cache->max[1] = refused;

    ngx_rbtree_init(&cache->rbtree, &cache->sentinel,
                    ngx_tb_rpc_cache_insert_value);

    ngx_queue_init(&cache->queue[0]);
    ngx_queue_init(&cache->queue[1]);
    ngx_queue_init(&cache->free);

    return cache;
}


void *
ngx_tb_rpc_cache_get(ngx_tb_rpc_cache_t *cache, u_char *digest,
    ngx_msec_t valid)
{
    ngx_tb_rpc_cache_node_t  *node;

    if (cache == NULL) {
        return NULL;
    }

    node = ngx_tb_rpc_cache_find(cache, digest);

    if (node == NULL || ngx_current_msec - node->time >= valid) {

        /* an old one stays: locations may differ in what old is */

        return NULL;
    }

    ngx_queue_remove(&node->queue);
    ngx_queue_insert_head(&cache->queue[node->refused], &node->queue);

    return node->value;
}


void
ngx_tb_rpc_cache_put(ngx_tb_rpc_cache_t *cache, u_char *digest,
    void *value, ngx_uint_t refused)
{
    ngx_queue_t              *q;
    ngx_tb_rpc_cache_node_t  *node;

    if (cache == NULL) {
        return;
    }

    node = ngx_tb_rpc_cache_find(cache, digest);
    if (node) {
        ngx_tb_rpc_cache_remove(cache, node);
    }

    if (cache->n[refused] >= cache->max[refused]) {
        q = ngx_queue_last(&cache->queue[refused]);
        node = ngx_queue_data(q, ngx_tb_rpc_cache_node_t, queue);
        ngx_tb_rpc_cache_remove(cache, node);
    }

    if (!ngx_queue_empty(&cache->free)) {
        q = ngx_queue_head(&cache->free);
        ngx_queue_remove(q);
        node = ngx_queue_data(q, ngx_tb_rpc_cache_node_t, queue);

    } else {
        node = ngx_palloc(cache->pool,
                          offsetof(ngx_tb_rpc_cache_node_t, value)
                          + cache->size);
        if (node == NULL) {
            return;
        }
    }

    node->node.key = ngx_tb_rpc_cache_hash(digest);
    node->time = ngx_current_msec;
    node->refused = refused;
    ngx_memcpy(node->value, value, cache->size);
    ngx_memcpy(node->digest, digest, NGX_TB_RPC_SHA256_LEN);

    ngx_rbtree_insert(&cache->rbtree, &node->node);
    ngx_queue_insert_head(&cache->queue[refused], &node->queue);
    cache->n[refused]++;
}


static ngx_tb_rpc_cache_node_t *
ngx_tb_rpc_cache_find(ngx_tb_rpc_cache_t *cache, u_char *digest)
{
    ngx_rbtree_key_t          hash;
    ngx_rbtree_node_t        *n;
    ngx_tb_rpc_cache_node_t  *node;

    hash = ngx_tb_rpc_cache_hash(digest);

    n = cache->rbtree.root;

    while (n != &cache->sentinel) {

        if (hash != n->key) {
            n = (hash < n->key) ? n->left : n->right;
            continue;
        }

        node = ngx_rbtree_data(n, ngx_tb_rpc_cache_node_t, node);

        if (CRYPTO_memcmp(digest, node->digest, NGX_TB_RPC_SHA256_LEN)
            == 0)
        {
            return node;
        }

        n = (ngx_memcmp(digest, node->digest, NGX_TB_RPC_SHA256_LEN) < 0)
            ? n->left : n->right;
    }

    return NULL;
}


static void
ngx_tb_rpc_cache_remove(ngx_tb_rpc_cache_t *cache,
    ngx_tb_rpc_cache_node_t *node)
{
    ngx_rbtree_delete(&cache->rbtree, &node->node);
    ngx_queue_remove(&node->queue);
    ngx_queue_insert_head(&cache->free, &node->queue);
    cache->n[node->refused]--;
}


static ngx_rbtree_key_t
ngx_tb_rpc_cache_hash(u_char *digest)
{
    ngx_rbtree_key_t  hash;

    ngx_memcpy(&hash, digest, sizeof(ngx_rbtree_key_t));

    return hash;
}


static void
ngx_tb_rpc_cache_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t        **p;
    ngx_tb_rpc_cache_node_t   *n, *t;

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            n = ngx_rbtree_data(node, ngx_tb_rpc_cache_node_t, node);
            t = ngx_rbtree_data(temp, ngx_tb_rpc_cache_node_t, node);

            p = (ngx_memcmp(n->digest, t->digest, NGX_TB_RPC_SHA256_LEN)
                 < 0)
                ? &temp->left : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}
