
/*
 * A worker's part: once a second it writes down what it has, and one of them
 * every five seconds what all have counted.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_page.h"


#define NGX_HTTP_TB_RPC_WATCH_TIME  1000


struct ngx_http_tb_rpc_watch_s {
    ngx_http_tb_rpc_worker_t   *worker;
    ngx_http_tb_rpc_process_t  *process;        /* NULL: there is no place */
    ngx_http_tb_rpc_asking_t   *asking;
    ngx_event_t                 timer;
};


static ngx_int_t ngx_http_tb_rpc_watch_create(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_watch_close(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_watch_handler(ngx_event_t *ev);
static void ngx_http_tb_rpc_watch_nodes(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_watch_name(ngx_http_tb_rpc_node_seen_t *node,
    ngx_str_t *addr);
static void ngx_http_tb_rpc_watch_sample(ngx_http_tb_rpc_zone_t *zone);
static void ngx_http_tb_rpc_watch_counted(ngx_http_tb_rpc_sample_t *sample,
    ngx_http_tb_rpc_counts_t *sum);


ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_status_part = {
    ngx_string(""),
    ngx_http_tb_rpc_watch_create,
    NULL,
    NULL,
    ngx_http_tb_rpc_watch_close
};


static ngx_int_t
ngx_http_tb_rpc_watch_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_watch_t  *watch;

    if (w->conf->zone == NULL) {
        return NGX_OK;
    }

    watch = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_watch_t));
    if (watch == NULL) {
        return NGX_ERROR;
    }

    watch->worker = w;

    watch->asking = ngx_http_tb_rpc_asking_create(w);
    if (watch->asking == NULL) {
        return NGX_ERROR;
    }

    watch->timer.handler = ngx_http_tb_rpc_watch_handler;
    watch->timer.data = &w->dummy;
    watch->timer.log = w->log;
    watch->timer.cancelable = 1;

    w->watch = watch;

    /* the Redis client comes later: there is nothing to be seen yet */

    ngx_add_timer(&watch->timer, 1);

    return NGX_OK;
}


static void
ngx_http_tb_rpc_watch_close(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_watch_t  *watch;

    watch = w->watch;

    if (watch == NULL) {
        return;
    }

    w->watch = NULL;

    if (watch->timer.timer_set) {
        ngx_del_timer(&watch->timer);
    }

    if (watch->process) {
        ngx_http_tb_rpc_zone_leave(watch->process);
    }
}


static void
ngx_http_tb_rpc_watch_handler(ngx_event_t *ev)
{
    ngx_http_tb_rpc_watch_t  *watch;

    watch = (ngx_http_tb_rpc_watch_t *)
                ((u_char *) ev - offsetof(ngx_http_tb_rpc_watch_t, timer));

    ngx_http_tb_rpc_watch_update(watch->worker);

    ngx_http_tb_rpc_watch_sample(watch->worker->conf->zone->data);

    ngx_add_timer(&watch->timer, NGX_HTTP_TB_RPC_WATCH_TIME);
}


ngx_http_tb_rpc_asking_t *
ngx_http_tb_rpc_watch_asking(ngx_http_tb_rpc_worker_t *w)
{
    return w->watch ? w->watch->asking : NULL;
}


void
ngx_http_tb_rpc_watch_update(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_watch_t    *watch;
    ngx_http_tb_rpc_process_t  *p;

    watch = w->watch;

    if (watch == NULL) {

        /* the worker is being closed */

        return;
    }

    p = watch->process;

    /* who was stopped for long has lost its place */

    if (p == NULL || p->pid != (ngx_atomic_uint_t) ngx_pid) {
        p = ngx_http_tb_rpc_zone_enter(w->conf->zone->data);
        watch->process = p;

        if (p == NULL) {
            return;
        }
    }

    p->exiting = ngx_exiting;
    p->held = w->nheld;
    p->polls = w->npolls;
    p->computing = w->ncomputing;
    p->lined_up = w->nlined_up;

    ngx_http_tb_rpc_watch_nodes(w, p);

    /* 0 means that nothing was written yet */

    p->updated = ngx_current_msec ? ngx_current_msec : 1;
}


static void
ngx_http_tb_rpc_watch_nodes(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t                    i, n;
    ngx_tb_redis_node_t          *node;
    ngx_tb_redis_node_info_t      info[NGX_HTTP_TB_RPC_NODES];
    ngx_http_tb_rpc_node_seen_t  *seen;

    n = ngx_tb_redis_client_nodes(&w->redis, info, NGX_HTTP_TB_RPC_NODES);

    for (i = 0; i < ngx_min(n, NGX_HTTP_TB_RPC_NODES); i++) {
        seen = &p->nodes[i];

        ngx_http_tb_rpc_watch_name(seen, &info[i].addr);

        seen->command = info[i].command;
        seen->subscription = info[i].subscription;
        seen->writable = info[i].writable;
        seen->ready = info[i].ready;
        seen->waiting = info[i].waiting;
        seen->shards = info[i].channels;
        seen->reconnects = info[i].reconnects;
    }

    p->nnodes = n;

    for (i = 0, n = 0; i < w->conf->shards; i++) {
        node = ngx_tb_redis_channel_node(&w->redis, i);

        n += node && ngx_tb_redis_node_is_ready(node, NGX_TB_REDIS_SUBSCRIBED);
    }

    p->shards = n;
}


/* as it may stand in any of the pages, whatever it is */

static void
ngx_http_tb_rpc_watch_name(ngx_http_tb_rpc_node_seen_t *node, ngx_str_t *addr)
{
    u_char      c;
    ngx_uint_t  i, n;

    n = ngx_min(addr->len, NGX_HTTP_TB_RPC_NODE_NAME);

    for (i = 0; i < n; i++) {
        c = addr->data[i];

        if (c <= ' ' || c >= 0x7f || ngx_strchr("\"\\<>&'{}", c)) {
            c = '_';
        }

        /* it hardly ever changes: somebody may be reading it */

        if (node->name[i] != c) {
            node->name[i] = c;
        }
    }

    node->len = n;
}


/* whoever is the first to see that it is time */

static void
ngx_http_tb_rpc_watch_sample(ngx_http_tb_rpc_zone_t *zone)
{
    time_t                      now;
    ngx_uint_t                  i;
    ngx_atomic_uint_t           last;
    ngx_tb_mqtt_counts_t       *mqtt;
    ngx_http_tb_rpc_counts_t    sum;
    ngx_http_tb_rpc_sample_t   *sample;
    ngx_http_tb_rpc_process_t  *p;

    now = ngx_time() / NGX_HTTP_TB_RPC_SAMPLE_TIME;
    last = zone->sampled;

    if (last == (ngx_atomic_uint_t) now
        || !ngx_atomic_cmp_set(&zone->sampled, last, (ngx_atomic_uint_t) now))
    {
        return;
    }

    sample = &zone->samples[now % NGX_HTTP_TB_RPC_SAMPLES];

    sample->time = 0;
    sample->held = 0;
    sample->polls = 0;

    for (i = 0; i < NGX_HTTP_TB_RPC_PROCESSES; i++) {
        p = &zone->processes[i];

        if (p->updated) {
            sample->held += p->held;
            sample->polls += p->polls;
        }
    }

    mqtt = ngx_tb_mqtt_counts_find((ngx_cycle_t *) ngx_cycle);
    sample->devices = mqtt ? ngx_tb_mqtt_counts_devices(mqtt) : 0;

    ngx_http_tb_rpc_zone_sum(zone, &sum);
    ngx_http_tb_rpc_watch_counted(sample, &sum);

    sample->time = now * NGX_HTTP_TB_RPC_SAMPLE_TIME;
}


static void
ngx_http_tb_rpc_watch_counted(ngx_http_tb_rpc_sample_t *sample,
    ngx_http_tb_rpc_counts_t *sum)
{
    ngx_uint_t         op, i;
    ngx_atomic_uint_t  n;

    sample->logins = 0;
    sample->refused = 0;
    sample->requests = 0;
    sample->failed = 0;
    sample->calls = 0;
    sample->call_time = 0;
    sample->commands = sum->redis.commands;

    for (op = 0; op < NGX_HTTP_TB_RPC_NOPERATIONS; op++) {
        for (i = 0; i < NGX_HTTP_TB_RPC_NRESULTS; i++) {
            n = sum->requests[op][i];

            if (op == NGX_HTTP_TB_RPC_COUNT_LOGIN
                || op == NGX_HTTP_TB_RPC_COUNT_PUBLIC)
            {
                sample->logins += n;
                sample->refused += (i == NGX_HTTP_TB_RPC_ENDED_OK) ? 0 : n;
            }

            /* what comes of passwords is not in the plots of calls */

            if (op >= NGX_HTTP_TB_RPC_COUNT_LOGIN) {
                continue;
            }

            sample->requests += n;

            if (i != NGX_HTTP_TB_RPC_ENDED_OK
                && i != NGX_HTTP_TB_RPC_ENDED_EMPTY)
            {
                sample->failed += n;
            }
        }
    }

    for (op = NGX_HTTP_TB_RPC_COUNT_ONEWAY;
         op <= NGX_HTTP_TB_RPC_COUNT_TWOWAY;
         op++)
    {
        for (i = 0; i < NGX_HTTP_TB_RPC_NBUCKETS; i++) {
            sample->calls += sum->total[op].buckets[i];
        }

        sample->call_time += sum->total[op].sum;
    }
}
