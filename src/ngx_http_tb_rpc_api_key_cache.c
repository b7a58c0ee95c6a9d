
/*
 * The worker's memory of API keys.  Good and refused keys are bounded apart
 * from each other, so that guessing does not push the good ones out.
 */


#include "ngx_http_tb_rpc_api_key.h"

#include <openssl/crypto.h>


#define NGX_HTTP_TB_RPC_API_KEYS_GOOD     0
#define NGX_HTTP_TB_RPC_API_KEYS_REFUSED  1


typedef struct {
    ngx_rbtree_node_t          node;        /* key: start of the digest */
    ngx_queue_t                queue;
    ngx_msec_t                 time;
    u_char                     digest[NGX_HTTP_TB_RPC_SHA256_LEN];
    ngx_http_tb_rpc_api_key_t  key;
} ngx_http_tb_rpc_api_keys_node_t;


struct ngx_http_tb_rpc_api_keys_s {
    ngx_pool_t                *pool;
    ngx_rbtree_t               rbtree;
    ngx_rbtree_node_t          sentinel;
    ngx_queue_t                queue[2];    /* last used first */
    ngx_uint_t                 n[2];
    ngx_queue_t                free;
};


static ngx_http_tb_rpc_api_keys_node_t *ngx_http_tb_rpc_api_keys_find(
    ngx_http_tb_rpc_api_keys_t *keys, u_char *digest);
static void ngx_http_tb_rpc_api_keys_remove(ngx_http_tb_rpc_api_keys_t *keys,
    ngx_http_tb_rpc_api_keys_node_t *node);
static ngx_rbtree_key_t ngx_http_tb_rpc_api_keys_hash(u_char *digest);
static void ngx_http_tb_rpc_api_keys_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);


static ngx_uint_t  ngx_http_tb_rpc_api_keys_max[] = { 4096, 1024 };


ngx_http_tb_rpc_api_keys_t *
ngx_http_tb_rpc_api_keys_create(ngx_pool_t *pool)
{
    ngx_http_tb_rpc_api_keys_t  *keys;

    keys = ngx_pcalloc(pool, sizeof(ngx_http_tb_rpc_api_keys_t));
    if (keys == NULL) {
        return NULL;
    }

    /* set by ngx_pcalloc(): keys->n */

    keys->pool = pool;

    ngx_rbtree_init(&keys->rbtree, &keys->sentinel,
                    ngx_http_tb_rpc_api_keys_insert_value);

    ngx_queue_init(&keys->queue[NGX_HTTP_TB_RPC_API_KEYS_GOOD]);
    ngx_queue_init(&keys->queue[NGX_HTTP_TB_RPC_API_KEYS_REFUSED]);
    ngx_queue_init(&keys->free);

    return keys;
}


ngx_http_tb_rpc_api_key_t *
ngx_http_tb_rpc_api_keys_get(ngx_http_tb_rpc_api_keys_t *keys,
    u_char *digest, ngx_msec_t valid)
{
    ngx_uint_t                        kind;
    ngx_http_tb_rpc_api_keys_node_t  *node;

    if (keys == NULL) {
        return NULL;
    }

    node = ngx_http_tb_rpc_api_keys_find(keys, digest);

    if (node == NULL || ngx_current_msec - node->time >= valid) {

        /* an old one stays: locations may differ in what old is */

        return NULL;
    }

    kind = node->key.error ? NGX_HTTP_TB_RPC_API_KEYS_REFUSED
                           : NGX_HTTP_TB_RPC_API_KEYS_GOOD;

    ngx_queue_remove(&node->queue);
    ngx_queue_insert_head(&keys->queue[kind], &node->queue);

    return &node->key;
}


void
ngx_http_tb_rpc_api_keys_put(ngx_http_tb_rpc_api_keys_t *keys,
    u_char *digest, ngx_http_tb_rpc_api_key_t *key)
{
    ngx_uint_t                        kind;
    ngx_queue_t                      *q;
    ngx_http_tb_rpc_api_keys_node_t  *node;

    if (keys == NULL) {
        return;
    }

    node = ngx_http_tb_rpc_api_keys_find(keys, digest);
    if (node) {
        ngx_http_tb_rpc_api_keys_remove(keys, node);
    }

    kind = key->error ? NGX_HTTP_TB_RPC_API_KEYS_REFUSED
                      : NGX_HTTP_TB_RPC_API_KEYS_GOOD;

    if (keys->n[kind] >= ngx_http_tb_rpc_api_keys_max[kind]) {
        q = ngx_queue_last(&keys->queue[kind]);
        node = ngx_queue_data(q, ngx_http_tb_rpc_api_keys_node_t, queue);
        ngx_http_tb_rpc_api_keys_remove(keys, node);
    }

    if (!ngx_queue_empty(&keys->free)) {
        q = ngx_queue_head(&keys->free);
        ngx_queue_remove(q);
        node = ngx_queue_data(q, ngx_http_tb_rpc_api_keys_node_t, queue);

    } else {
        node = ngx_palloc(keys->pool,
                          sizeof(ngx_http_tb_rpc_api_keys_node_t));
        if (node == NULL) {
            return;
        }
    }

    node->node.key = ngx_http_tb_rpc_api_keys_hash(digest);
    node->time = ngx_current_msec;
    node->key = *key;
    ngx_memcpy(node->digest, digest, NGX_HTTP_TB_RPC_SHA256_LEN);

    ngx_rbtree_insert(&keys->rbtree, &node->node);
    ngx_queue_insert_head(&keys->queue[kind], &node->queue);
    keys->n[kind]++;
}


static ngx_http_tb_rpc_api_keys_node_t *
ngx_http_tb_rpc_api_keys_find(ngx_http_tb_rpc_api_keys_t *keys,
    u_char *digest)
{
    ngx_rbtree_key_t                  hash;
    ngx_rbtree_node_t                *n;
    ngx_http_tb_rpc_api_keys_node_t  *node;

    hash = ngx_http_tb_rpc_api_keys_hash(digest);

    n = keys->rbtree.root;

    while (n != &keys->sentinel) {

        if (hash != n->key) {
            n = (hash < n->key) ? n->left : n->right;
            continue;
        }

        node = ngx_rbtree_data(n, ngx_http_tb_rpc_api_keys_node_t, node);

        if (CRYPTO_memcmp(digest, node->digest, NGX_HTTP_TB_RPC_SHA256_LEN)
            == 0)
        {
            return node;
        }

        n = (ngx_memcmp(digest, node->digest, NGX_HTTP_TB_RPC_SHA256_LEN) < 0)
            ? n->left : n->right;
    }

    return NULL;
}


static void
ngx_http_tb_rpc_api_keys_remove(ngx_http_tb_rpc_api_keys_t *keys,
    ngx_http_tb_rpc_api_keys_node_t *node)
{
    ngx_uint_t  kind;

    kind = node->key.error ? NGX_HTTP_TB_RPC_API_KEYS_REFUSED
                           : NGX_HTTP_TB_RPC_API_KEYS_GOOD;

    ngx_rbtree_delete(&keys->rbtree, &node->node);
    ngx_queue_remove(&node->queue);
    ngx_queue_insert_head(&keys->free, &node->queue);
    keys->n[kind]--;
}


static ngx_rbtree_key_t
ngx_http_tb_rpc_api_keys_hash(u_char *digest)
{
    ngx_rbtree_key_t  hash;

    ngx_memcpy(&hash, digest, sizeof(ngx_rbtree_key_t));

    return hash;
}


static void
ngx_http_tb_rpc_api_keys_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t                **p;
    ngx_http_tb_rpc_api_keys_node_t   *n, *t;

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            n = ngx_rbtree_data(node, ngx_http_tb_rpc_api_keys_node_t, node);
            t = ngx_rbtree_data(temp, ngx_http_tb_rpc_api_keys_node_t, node);

            p = (ngx_memcmp(n->digest, t->digest, NGX_HTTP_TB_RPC_SHA256_LEN)
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
