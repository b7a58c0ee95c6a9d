
/*
 * Nodes come and go with their cluster.  What a worker has for one is kept
 * when that goes, for the next one: its pool gives nothing back.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_node.h"


static ngx_http_tb_rpc_node_t *ngx_http_tb_rpc_node_find(
    ngx_http_tb_rpc_worker_t *w, ngx_tb_redis_node_t *node);
static ngx_http_tb_rpc_node_t *ngx_http_tb_rpc_node_create(
    ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_nodes_tick(ngx_http_tb_rpc_worker_t *w,
    void (*end)(ngx_http_tb_rpc_tick_t *tick));


void
ngx_http_tb_rpc_node_setup(void *data, ngx_tb_redis_node_t *node)
{
    ngx_http_tb_rpc_worker_t *w = data;

    ngx_http_tb_rpc_node_t  *n;

    n = ngx_http_tb_rpc_node_find(w, node);

    if (n == NULL) {

        n = ngx_http_tb_rpc_node_find(w, NULL);

        /* replies of the one before may still come */

        if (n && !ngx_http_tb_rpc_tick_is_idle(n->tick)) {
            n = NULL;
        }

        if (n == NULL) {
            n = ngx_http_tb_rpc_node_create(w);
        }

        if (n == NULL) {
            ngx_tb_redis_node_refuse(node);
            return;
        }

        n->node = node;

        ngx_http_tb_rpc_tick_start(n->tick, node);
    }

    ngx_http_tb_rpc_setup(n->library, node);
}


void
ngx_http_tb_rpc_node_gone(void *data, ngx_tb_redis_node_t *node)
{
    ngx_http_tb_rpc_worker_t *w = data;

    ngx_http_tb_rpc_node_t  *n;

    n = ngx_http_tb_rpc_node_find(w, node);

    if (n) {
        n->node = NULL;

        ngx_http_tb_rpc_tick_close(n->tick);
        ngx_http_tb_rpc_library_reset(n->library);
    }
}


/* NULL finds one that is free */

static ngx_http_tb_rpc_node_t *
ngx_http_tb_rpc_node_find(ngx_http_tb_rpc_worker_t *w,
    ngx_tb_redis_node_t *node)
{
    ngx_queue_t             *q;
    ngx_http_tb_rpc_node_t  *n;

    for (q = ngx_queue_head(&w->nodes);
         q != ngx_queue_sentinel(&w->nodes);
         q = ngx_queue_next(q))
    {
        n = ngx_queue_data(q, ngx_http_tb_rpc_node_t, queue);

        if (n->node == node) {
            return n;
        }
    }

    return NULL;
}


static ngx_http_tb_rpc_node_t *
ngx_http_tb_rpc_node_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_node_t  *n;

    n = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_node_t));
    if (n == NULL) {
        return NULL;
    }

    n->library = ngx_http_tb_rpc_library_create(w);
    if (n->library == NULL) {
        return NULL;
    }

    n->tick = ngx_http_tb_rpc_tick_create(w);
    if (n->tick == NULL) {
        return NULL;
    }

    ngx_queue_insert_tail(&w->nodes, &n->queue);

    return n;
}


void
ngx_http_tb_rpc_nodes_stop(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_nodes_tick(w, ngx_http_tb_rpc_tick_stop);

    ngx_tb_redis_client_flush(&w->redis);
}


void
ngx_http_tb_rpc_nodes_close(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_nodes_tick(w, ngx_http_tb_rpc_tick_close);
}


static void
ngx_http_tb_rpc_nodes_tick(ngx_http_tb_rpc_worker_t *w,
    void (*end)(ngx_http_tb_rpc_tick_t *tick))
{
    ngx_queue_t             *q;
    ngx_http_tb_rpc_node_t  *n;

    for (q = ngx_queue_head(&w->nodes);
         q != ngx_queue_sentinel(&w->nodes);
         q = ngx_queue_next(q))
    {
        n = ngx_queue_data(q, ngx_http_tb_rpc_node_t, queue);

        end(n->tick);
    }
}
