
/*
 * The page for Prometheus, in its text format 0.0.4.  No label has a value that
 * callers or devices choose.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../ngx_http_tb_rpc_version.h"
#include "ngx_http_tb_rpc_page.h"


static void ngx_http_tb_rpc_prometheus_workers(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_gauge(ngx_http_tb_rpc_page_t *page,
    const char *name,
    ngx_uint_t (*value)(ngx_http_tb_rpc_process_t *p));
static ngx_uint_t ngx_http_tb_rpc_prometheus_held(
    ngx_http_tb_rpc_process_t *p);
static ngx_uint_t ngx_http_tb_rpc_prometheus_polls(
    ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_prometheus_passwords(
    ngx_http_tb_rpc_page_t *page);
static ngx_uint_t ngx_http_tb_rpc_prometheus_computing(
    ngx_http_tb_rpc_process_t *p);
static ngx_uint_t ngx_http_tb_rpc_prometheus_lined_up(
    ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_prometheus_shards(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_nodes(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_requests(ngx_http_tb_rpc_page_t *page);
static ngx_uint_t ngx_http_tb_rpc_prometheus_always(ngx_uint_t op,
    ngx_uint_t result);
static void ngx_http_tb_rpc_prometheus_durations(
    ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_histogram(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_str_t *op, ngx_http_tb_rpc_histogram_t *h);
static void ngx_http_tb_rpc_prometheus_auth(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_redis(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_queues(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_prometheus_connections(
    ngx_http_tb_rpc_page_t *page, const char *name, ngx_atomic_t *n);


void
ngx_http_tb_rpc_status_prometheus(ngx_http_tb_rpc_page_t *page)
{
    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("build_info", "gauge",
                                               "The version of the module")
                          "tb_rpc_build_info{version=\"%s\"} 1\n"
                          NGX_HTTP_TB_RPC_HEAD("start_time_seconds", "gauge",
                                               "Since when is counted")
                          "tb_rpc_start_time_seconds %T\n",
                          NGX_HTTP_TB_RPC_VERSION, page->zone->since);

    ngx_http_tb_rpc_prometheus_workers(page);
    ngx_http_tb_rpc_prometheus_passwords(page);
    ngx_http_tb_rpc_prometheus_shards(page);
    ngx_http_tb_rpc_prometheus_nodes(page);
    ngx_http_tb_rpc_prometheus_requests(page);
    ngx_http_tb_rpc_prometheus_durations(page);
    ngx_http_tb_rpc_prometheus_auth(page);
    ngx_http_tb_rpc_prometheus_redis(page);
    ngx_http_tb_rpc_prometheus_queues(page);
    ngx_http_tb_rpc_status_mqtt_prometheus(page);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("ticks_total", "counter",
                                               "Calls of tb_rpc_tick")
                          "tb_rpc_ticks_total %uA\n"
                          NGX_HTTP_TB_RPC_HEAD("ticked_calls_total", "counter",
                                               "What they have touched")
                          "tb_rpc_ticked_calls_total %uA\n",
                          page->counts.ticks, page->counts.ticked);
}


static void
ngx_http_tb_rpc_prometheus_workers(ngx_http_tb_rpc_page_t *page)
{
    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("workers", "gauge",
                                               "Worker processes")
                          "tb_rpc_workers{state=\"running\"} %ui\n"
                          "tb_rpc_workers{state=\"exiting\"} %ui\n"
                          NGX_HTTP_TB_RPC_HEAD("workers_lost_total", "counter",
                                               "Worker processes that were "
                                               "killed")
                          "tb_rpc_workers_lost_total %uA\n",
                          page->running, page->exiting, page->zone->lost);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("held_calls", "gauge",
                                               "Calls whose callers wait"));
    ngx_http_tb_rpc_prometheus_gauge(page, "held_calls",
                                     ngx_http_tb_rpc_prometheus_held);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("open_polls", "gauge",
                                               "Polls of devices that wait "
                                               "for a call"));
    ngx_http_tb_rpc_prometheus_gauge(page, "open_polls",
                                     ngx_http_tb_rpc_prometheus_polls);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("redis_waiting_commands",
                                               "gauge", "Commands that wait "
                                               "for a connection"));
    ngx_http_tb_rpc_prometheus_gauge(page, "redis_waiting_commands",
                                     ngx_http_tb_rpc_process_waiting);
}


/* of workers that exit there may be several with the same number */

static void
ngx_http_tb_rpc_prometheus_gauge(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_uint_t (*value)(ngx_http_tb_rpc_process_t *p))
{
    ngx_uint_t                  i, exiting;
    ngx_http_tb_rpc_process_t  *p;

    exiting = 0;

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        if (p->exiting) {
            exiting += value(p);
            continue;
        }

        ngx_http_tb_rpc_print(page, "tb_rpc_%s{worker=\"%ui\"} %ui\n", name,
                              p->worker, value(p));
    }

    ngx_http_tb_rpc_print(page, "tb_rpc_%s{worker=\"exiting\"} %ui\n", name,
                          exiting);
}


static ngx_uint_t
ngx_http_tb_rpc_prometheus_held(ngx_http_tb_rpc_process_t *p)
{
    return p->held;
}


static ngx_uint_t
ngx_http_tb_rpc_prometheus_polls(ngx_http_tb_rpc_process_t *p)
{
    return p->polls;
}


static void
ngx_http_tb_rpc_prometheus_passwords(ngx_http_tb_rpc_page_t *page)
{
    if (!page->logins) {
        return;
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("passwords_computing", "gauge",
                                               "Passwords that threads "
                                               "compute"));
    ngx_http_tb_rpc_prometheus_gauge(page, "passwords_computing",
                                     ngx_http_tb_rpc_prometheus_computing);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("passwords_lined_up", "gauge",
                                               "Passwords that wait for a "
                                               "thread"));
    ngx_http_tb_rpc_prometheus_gauge(page, "passwords_lined_up",
                                     ngx_http_tb_rpc_prometheus_lined_up);
}


static ngx_uint_t
ngx_http_tb_rpc_prometheus_computing(ngx_http_tb_rpc_process_t *p)
{
    return p->computing;
}


static ngx_uint_t
ngx_http_tb_rpc_prometheus_lined_up(ngx_http_tb_rpc_process_t *p)
{
    return p->lined_up;
}


static void
ngx_http_tb_rpc_prometheus_shards(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i;
    ngx_http_tb_rpc_process_t  *p;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("shards", "gauge",
                                               "Shards that there are")
                          "tb_rpc_shards %ui\n"
                          NGX_HTTP_TB_RPC_HEAD("shards_ready", "gauge",
                                               "Shards whose Redis is ready, "
                                               "as a worker sees it"),
                          page->worker->conf->shards);

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        if (!p->exiting) {
            ngx_http_tb_rpc_print(page, "tb_rpc_shards_ready{worker=\"%ui\"} "
                                  "%ui\n", p->worker, p->shards);
        }
    }
}


static void
ngx_http_tb_rpc_prometheus_nodes(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                    i, k;
    ngx_http_tb_rpc_process_t    *p;
    ngx_http_tb_rpc_node_seen_t  *node;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("redis_node_up", "gauge",
                                               "Whether a worker has a "
                                               "connection to a Redis"));

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        for (k = 0; !p->exiting && k < p->nnodes; k++) {
            node = &p->nodes[k];

            ngx_http_tb_rpc_print(page,
                                  "tb_rpc_redis_node_up{worker=\"%ui\","
                                  "node=\"%*s\",connection=\"command\"} %ui\n"
                                  "tb_rpc_redis_node_up{worker=\"%ui\","
                                  "node=\"%*s\",connection=\"subscription\"} "
                                  "%ui\n",
                                  p->worker, (size_t) node->len, node->name,
                                  node->writable, p->worker,
                                  (size_t) node->len, node->name, node->ready);
        }
    }
}


static void
ngx_http_tb_rpc_prometheus_requests(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t         op, n;
    ngx_atomic_uint_t  count;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("requests_total", "counter",
                                               "Requests that have ended"));

    for (op = 0; op < page->noperations; op++) {
        for (n = 0; n < NGX_HTTP_TB_RPC_NRESULTS; n++) {

            count = page->counts.requests[op][n];

            /* most of them can't happen */

            if (count == 0 && !ngx_http_tb_rpc_prometheus_always(op, n)) {
                continue;
            }

            ngx_http_tb_rpc_print(page, "tb_rpc_requests_total{operation="
                                  "\"%V\",result=\"",
                                  &ngx_http_tb_rpc_operation_names[op]);
            ngx_http_tb_rpc_print_result(page, n);
            ngx_http_tb_rpc_print(page, "\"} %uA\n", count);
        }
    }
}


/*
 * What somebody wants to be told of: of a series that begins with what has
 * happened first Prometheus sees no increase
 */

static ngx_uint_t
ngx_http_tb_rpc_prometheus_always(ngx_uint_t op, ngx_uint_t result)
{
    switch (result) {

    case NGX_HTTP_TB_RPC_ENDED_OK:
    case NGX_HTTP_TB_RPC_ENDED_ERROR:
    case NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE:
    case NGX_HTTP_TB_RPC_RESULT_UNKNOWN:
        return 1;

    case NGX_HTTP_TB_RPC_TOO_MANY_HELD:
        return op < NGX_HTTP_TB_RPC_COUNT_LOGIN;

    case NGX_HTTP_TB_RPC_ENDED_REUSED:
        return op == NGX_HTTP_TB_RPC_COUNT_REFRESH;

    case NGX_HTTP_TB_RPC_ENDED_WRONG:
        return op == NGX_HTTP_TB_RPC_COUNT_LOGIN
               || op == NGX_HTTP_TB_RPC_COUNT_PUBLIC
               || op == NGX_HTTP_TB_RPC_COUNT_REFRESH
               || op == NGX_HTTP_TB_RPC_COUNT_PASSWORD;

    case NGX_HTTP_TB_RPC_ENDED_LOCKED:
        return op == NGX_HTTP_TB_RPC_COUNT_LOGIN
               || op == NGX_HTTP_TB_RPC_COUNT_PUBLIC
               || op == NGX_HTTP_TB_RPC_COUNT_PASSWORD;

    case NGX_HTTP_TB_RPC_ENDED_BUSY:

        /* a public customer has no password to be computed */

        return op == NGX_HTTP_TB_RPC_COUNT_LOGIN
               || op == NGX_HTTP_TB_RPC_COUNT_PASSWORD;

    default:
        return 0;
    }
}


static void
ngx_http_tb_rpc_prometheus_durations(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t  op;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("request_duration_seconds",
                                               "histogram", "How long "
                                               "requests took"));

    for (op = 0; op < page->noperations; op++) {
        ngx_http_tb_rpc_prometheus_histogram(page, "request",
                                         &ngx_http_tb_rpc_operation_names[op],
                                         &page->counts.total[op]);
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("redis_duration_seconds",
                                               "histogram", "How long Redis "
                                               "took to reply to requests"));
    ngx_http_tb_rpc_prometheus_histogram(page, "redis", NULL,
                                         &page->counts.redis_time);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("device_duration_seconds",
                                               "histogram", "How long "
                                               "answers of devices took"));
    ngx_http_tb_rpc_prometheus_histogram(page, "device", NULL,
                                         &page->counts.device_time);

    if (page->logins) {
        ngx_http_tb_rpc_print(page,
                              NGX_HTTP_TB_RPC_HEAD("password_duration_seconds",
                                                   "histogram", "How long "
                                                   "threads took for "
                                                   "passwords"));
        ngx_http_tb_rpc_prometheus_histogram(page, "password", NULL,
                                             &page->counts.password_time);
    }
}


static void
ngx_http_tb_rpc_prometheus_histogram(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_str_t *op, ngx_http_tb_rpc_histogram_t *h)
{
    u_char             label[64], *p;
    size_t             len;
    ngx_uint_t         i;
    ngx_msec_t         bound;
    ngx_atomic_uint_t  n;

    p = label;

    if (op) {
        p = ngx_snprintf(label, sizeof(label), "operation=\"%V\"", op);
    }

    len = p - label;

    for (i = 0, n = 0; i < NGX_HTTP_TB_RPC_NBUCKETS; i++) {

        n += h->buckets[i];
        bound = ngx_http_tb_rpc_bounds[i];

        ngx_http_tb_rpc_print(page, "tb_rpc_%s_duration_seconds_bucket{%*s%s"
                              "le=\"", name, len, label, op ? "," : "");

        if (bound) {
            ngx_http_tb_rpc_print(page, "%M.%03M\"} %uA\n", bound / 1000,
                                  bound % 1000, n);

        } else {
            ngx_http_tb_rpc_print(page, "+Inf\"} %uA\n", n);
        }
    }

    ngx_http_tb_rpc_print(page, "tb_rpc_%s_duration_seconds_sum%s%*s%s "
                          "%uA.%03uA\n", name, op ? "{" : "", len, label,
                          op ? "}" : "", h->sum / 1000, h->sum % 1000);

    ngx_http_tb_rpc_print(page, "tb_rpc_%s_duration_seconds_count%s%*s%s "
                          "%uA\n", name, op ? "{" : "", len, label,
                          op ? "}" : "", n);
}


static void
ngx_http_tb_rpc_prometheus_auth(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t  i;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("auth_failures_total",
                                               "counter", "Requests whose "
                                               "credentials were refused"));

    for (i = 0; i < NGX_HTTP_TB_RPC_NCAUSES; i++) {
        ngx_http_tb_rpc_print(page, "tb_rpc_auth_failures_total{cause=\"%V\"} "
                              "%uA\n", &ngx_http_tb_rpc_cause_names[i],
                              page->counts.refused[i]);
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("cache_lookups_total",
                                               "counter", "Credentials that "
                                               "were looked for in a cache"));

    for (i = 0; i < NGX_HTTP_TB_RPC_NCACHES; i++) {
        ngx_http_tb_rpc_print(page,
                              "tb_rpc_cache_lookups_total{cache=\"%V\","
                              "result=\"hit\"} %uA\n"
                              "tb_rpc_cache_lookups_total{cache=\"%V\","
                              "result=\"miss\"} %uA\n",
                              &ngx_http_tb_rpc_cache_names[i],
                              page->counts.hits[i],
                              &ngx_http_tb_rpc_cache_names[i],
                              page->counts.misses[i]);
    }
}


static void
ngx_http_tb_rpc_prometheus_redis(ngx_http_tb_rpc_page_t *page)
{
    ngx_tb_redis_counts_t  *redis;

    redis = &page->counts.redis;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("redis_commands_total",
                                               "counter",
                                               "Commands to Redis")
                          "tb_rpc_redis_commands_total %uA\n"
                          NGX_HTTP_TB_RPC_HEAD("redis_command_failures_total",
                                               "counter", "Commands that "
                                               "were refused, never sent, or "
                                               "whose reply was lost")
                          "tb_rpc_redis_command_failures_total"
                          "{reason=\"error\"} %uA\n"
                          "tb_rpc_redis_command_failures_total"
                          "{reason=\"unsent\"} %uA\n"
                          "tb_rpc_redis_command_failures_total"
                          "{reason=\"lost\"} %uA\n",
                          redis->commands, redis->errors, redis->unsent,
                          redis->lost);

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("redis_connections_total",
                                               "counter", "Connections to "
                                               "Redis that became ready"));
    ngx_http_tb_rpc_prometheus_connections(page, "redis_connections_total",
                                           redis->connected);

    ngx_http_tb_rpc_print(page,
                       NGX_HTTP_TB_RPC_HEAD("redis_connection_failures_total",
                                            "counter", "Connections to Redis "
                                            "that failed or were lost"));
    ngx_http_tb_rpc_prometheus_connections(page,
                                           "redis_connection_failures_total",
                                           redis->failed);
}


static void
ngx_http_tb_rpc_prometheus_queues(ngx_http_tb_rpc_page_t *page)
{
    int64_t                    ms;
    ngx_uint_t                 i;
    ngx_http_tb_rpc_bridge_t  *bridge;

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("queue_shards", "gauge",
                                               "Shards that have told what "
                                               "waits for bridges")
                          "tb_rpc_queue_shards %ui\n",
                          page->queues ? page->queues->shards : 0);

    if (page->queues == NULL) {
        return;
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("queue_calls", "gauge",
                                               "Calls that wait for a "
                                               "bridge"));

    for (i = 0; i < page->queues->nbridges; i++) {
        bridge = &page->queues->bridges[i];

        ngx_http_tb_rpc_print(page, "tb_rpc_queue_calls{bridge=\"%*s\"} %L\n",
                              (size_t) bridge->len, bridge->name,
                              bridge->calls);
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("queue_oldest_seconds",
                                               "gauge", "For how long the "
                                               "oldest of them waits"));

    for (i = 0; i < page->queues->nbridges; i++) {
        bridge = &page->queues->bridges[i];
        ms = ngx_max(bridge->oldest, 0);

        ngx_http_tb_rpc_print(page, "tb_rpc_queue_oldest_seconds{bridge="
                              "\"%*s\"} %L.%03L\n", (size_t) bridge->len,
                              bridge->name, ms / 1000, ms % 1000);
    }
}


static void
ngx_http_tb_rpc_prometheus_connections(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_atomic_t *n)
{
    ngx_http_tb_rpc_print(page,
                          "tb_rpc_%s{connection=\"command\"} %uA\n"
                          "tb_rpc_%s{connection=\"subscription\"} %uA\n"
                          "tb_rpc_%s{connection=\"sentinel\"} %uA\n",
                          name, n[NGX_TB_REDIS_COMMANDS],
                          name, n[NGX_TB_REDIS_SUBSCRIPTION],
                          name, n[NGX_TB_REDIS_SENTINEL]);
}
