
/*
 * What is shown on a page, taken from the zone at one moment, and a text that
 * grows.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_page.h"


#define NGX_HTTP_TB_RPC_PAGE_SIZE  16384


static ngx_int_t ngx_http_tb_rpc_page_processes(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_page_process(ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_page_add_up(ngx_http_tb_rpc_page_t *page);
static ngx_int_t ngx_libc_cdecl ngx_http_tb_rpc_page_order(const void *one,
    const void *two);
static ngx_uint_t ngx_http_tb_rpc_page_superseded(
    ngx_http_tb_rpc_page_t *page, ngx_http_tb_rpc_process_t *p);
static ngx_int_t ngx_http_tb_rpc_page_grow(ngx_http_tb_rpc_page_t *page);


ngx_int_t
ngx_http_tb_rpc_page_init(ngx_http_tb_rpc_page_t *page, ngx_pool_t *pool,
    ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_asking_t  *asking;

    ngx_memzero(page, sizeof(ngx_http_tb_rpc_page_t));

    page->pool = pool;
    page->worker = w;
    page->zone = w->conf->zone->data;

    page->start = ngx_palloc(pool, NGX_HTTP_TB_RPC_PAGE_SIZE);
    if (page->start == NULL) {
        return NGX_ERROR;
    }

    /* there are threads for passwords where somebody may log in */

    page->logins = (w->conf->login_threads.tp != NULL);
    page->noperations = page->logins ? NGX_HTTP_TB_RPC_NOPERATIONS
                                     : NGX_HTTP_TB_RPC_COUNT_LOGIN;

    page->mqtt = ngx_tb_mqtt_counts_find((ngx_cycle_t *) ngx_cycle);

    if (page->mqtt) {
        page->devices = ngx_tb_mqtt_counts_devices(page->mqtt);
    }

    page->last = page->start;
    page->end = page->start + NGX_HTTP_TB_RPC_PAGE_SIZE;

    asking = ngx_http_tb_rpc_watch_asking(w);

    if (asking) {
        page->queues = ngx_http_tb_rpc_queues(asking);

        if (page->queues->shards == 0) {
            page->queues = NULL;
        }
    }

    ngx_http_tb_rpc_watch_update(w);
    ngx_http_tb_rpc_zone_sweep(page->zone);
    ngx_http_tb_rpc_zone_sum(page->zone, &page->counts);

    if (ngx_http_tb_rpc_page_processes(page) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_tb_rpc_page_add_up(page);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_page_processes(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i, n;
    ngx_http_tb_rpc_process_t  *p;

    for (i = 0, n = 0; i < NGX_HTTP_TB_RPC_PROCESSES; i++) {
        n += (page->zone->processes[i].updated != 0);
    }

    page->processes = ngx_palloc(page->pool,
                                 (n + 1) * sizeof(ngx_http_tb_rpc_process_t));
    if (page->processes == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_HTTP_TB_RPC_PROCESSES && page->nprocesses < n; i++) {

        if (page->zone->processes[i].updated == 0) {
            continue;
        }

        p = &page->processes[page->nprocesses++];

        *p = page->zone->processes[i];

        ngx_http_tb_rpc_page_process(p);
    }

    return NGX_OK;
}


/* it may have been copied while it was written */

static void
ngx_http_tb_rpc_page_process(ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t                    i, k, n;
    ngx_http_tb_rpc_node_seen_t  *node;

    n = ngx_min(p->nnodes, NGX_HTTP_TB_RPC_NODES);

    p->nnodes = 0;

    for (i = 0; i < n; i++) {
        node = &p->nodes[i];

        node->len = ngx_min(node->len, NGX_HTTP_TB_RPC_NODE_NAME);

        /* a server that is named twice is shown once */

        for (k = 0; k < p->nnodes; k++) {
            if (p->nodes[k].len == node->len
                && ngx_memcmp(p->nodes[k].name, node->name, node->len) == 0)
            {
                break;
            }
        }

        if (k == p->nnodes) {
            p->nodes[p->nnodes++] = *node;
        }
    }
}


static void
ngx_http_tb_rpc_page_add_up(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i;
    ngx_http_tb_rpc_process_t  *p;

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        /* it has not noticed yet that it is to exit */

        if (ngx_http_tb_rpc_page_superseded(page, p)) {
            p->exiting = 1;
        }

        if (p->exiting) {
            page->exiting++;

        } else {
            page->running++;
        }

        page->held += p->held;
        page->polls += p->polls;
        page->computing += p->computing;
        page->lined_up += p->lined_up;
        page->waiting += ngx_http_tb_rpc_process_waiting(p);
    }

    /* their places tell nothing: who came first has the first free one */

    ngx_sort(page->processes, page->nprocesses,
             sizeof(ngx_http_tb_rpc_process_t), ngx_http_tb_rpc_page_order);
}


static ngx_int_t ngx_libc_cdecl
ngx_http_tb_rpc_page_order(const void *one, const void *two)
{
    const ngx_http_tb_rpc_process_t  *a = one, *b = two;

    if (a->exiting != b->exiting) {
        return a->exiting ? 1 : -1;
    }

    if (a->worker != b->worker) {
        return (a->worker > b->worker) ? 1 : -1;
    }

    return (a->born > b->born) ? 1 : -1;
}


static ngx_uint_t
ngx_http_tb_rpc_page_superseded(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t                  i;
    ngx_http_tb_rpc_process_t  *other;

    for (i = 0; i < page->nprocesses; i++) {
        other = &page->processes[i];

        if (other->worker == p->worker && other->born > p->born) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_tb_rpc_process_waiting(ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t  i, n;

    for (i = 0, n = 0; i < p->nnodes; i++) {
        n += p->nodes[i].waiting;
    }

    return n;
}


ngx_atomic_uint_t
ngx_http_tb_rpc_histogram_count(ngx_http_tb_rpc_histogram_t *h)
{
    ngx_uint_t         i;
    ngx_atomic_uint_t  n;

    for (i = 0, n = 0; i < NGX_HTTP_TB_RPC_NBUCKETS; i++) {
        n += h->buckets[i];
    }

    return n;
}


void ngx_cdecl
ngx_http_tb_rpc_print(ngx_http_tb_rpc_page_t *page, const char *fmt, ...)
{
    va_list  args;

    if (page->failed) {
        return;
    }

    if (page->end - page->last < NGX_HTTP_TB_RPC_PAGE_LINE
        && ngx_http_tb_rpc_page_grow(page) != NGX_OK)
    {
        page->failed = 1;
        return;
    }

    va_start(args, fmt);
    page->last = ngx_vslprintf(page->last,
                               page->last + NGX_HTTP_TB_RPC_PAGE_LINE, fmt,
                               args);
    va_end(args);
}


static ngx_int_t
ngx_http_tb_rpc_page_grow(ngx_http_tb_rpc_page_t *page)
{
    u_char  *p;
    size_t   size, len;

    size = 2 * (page->end - page->start);
    len = page->last - page->start;

    p = ngx_palloc(page->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, page->start, len);

    (void) ngx_pfree(page->pool, page->start);

    page->start = p;
    page->last = p + len;
    page->end = p + size;

    return NGX_OK;
}


void
ngx_http_tb_rpc_print_result(ngx_http_tb_rpc_page_t *page, ngx_uint_t n)
{
    u_char  name[32], *last;

    last = ngx_http_tb_rpc_result_name(name, name + sizeof(name), n);

    ngx_http_tb_rpc_print(page, "%*s", (size_t) (last - name), name);
}
