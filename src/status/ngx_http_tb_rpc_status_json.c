
/*
 * The page for programs: docs/operations.md describes it.  Members are only
 * added.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../ngx_http_tb_rpc_version.h"
#include "ngx_http_tb_rpc_page.h"


static void ngx_http_tb_rpc_json_processes(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_nodes(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_json_requests(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_durations(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_histogram(ngx_http_tb_rpc_page_t *page,
    const char *comma, ngx_str_t *name, ngx_http_tb_rpc_histogram_t *h);
static void ngx_http_tb_rpc_json_auth(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_redis(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_queues(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_json_connections(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_atomic_t *n);


void
ngx_http_tb_rpc_status_json(ngx_http_tb_rpc_page_t *page)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    ngx_http_tb_rpc_print(page, "{\"version\":\"%s\",\"time\":%T%03M,"
                          "\"since\":%T000,",
                          NGX_HTTP_TB_RPC_VERSION, tp->sec, tp->msec,
                          page->zone->since);

    ngx_http_tb_rpc_print(page, "\"workers\":{\"running\":%ui,\"exiting\":%ui,"
                          "\"lost\":%uA},\"held\":%ui,\"polls\":%ui,"
                          "\"waiting\":%ui,\"shards\":%ui,",
                          page->running, page->exiting, page->zone->lost,
                          page->held, page->polls, page->waiting,
                          page->worker->conf->shards);

    if (page->logins) {
        ngx_http_tb_rpc_print(page, "\"passwords\":{\"computing\":%ui,"
                              "\"lined_up\":%ui},",
                              page->computing, page->lined_up);
    }

    ngx_http_tb_rpc_json_processes(page);
    ngx_http_tb_rpc_json_requests(page);
    ngx_http_tb_rpc_json_durations(page);
    ngx_http_tb_rpc_json_auth(page);
    ngx_http_tb_rpc_json_redis(page);
    ngx_http_tb_rpc_json_queues(page);

    ngx_http_tb_rpc_print(page, "\"ticks\":{\"count\":%uA,\"calls\":%uA}",
                          page->counts.ticks, page->counts.ticked);

    ngx_http_tb_rpc_status_mqtt_json(page);

    ngx_http_tb_rpc_print(page, "}\n");
}


static void
ngx_http_tb_rpc_json_processes(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i;
    ngx_msec_int_t              seen;
    ngx_http_tb_rpc_process_t  *p;

    ngx_http_tb_rpc_print(page, "\"processes\":[");

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        seen = (ngx_msec_int_t) (ngx_current_msec - p->updated);

        ngx_http_tb_rpc_print(page, "%s{\"worker\":%ui,\"pid\":%uA,"
                              "\"exiting\":%s,\"seen\":%M,\"held\":%ui,"
                              "\"polls\":%ui,\"computing\":%ui,"
                              "\"lined_up\":%ui,\"shards\":%ui,\"nodes\":[",
                              i ? "," : "", p->worker, p->pid,
                              p->exiting ? "true" : "false",
                              (ngx_msec_t) ngx_max(seen, 0), p->held,
                              p->polls, p->computing, p->lined_up, p->shards);

        ngx_http_tb_rpc_json_nodes(page, p);

        ngx_http_tb_rpc_print(page, "]}");
    }

    ngx_http_tb_rpc_print(page, "],");
}


static void
ngx_http_tb_rpc_json_nodes(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t                    i;
    ngx_http_tb_rpc_node_seen_t  *node;

    for (i = 0; i < p->nnodes; i++) {
        node = &p->nodes[i];

        ngx_http_tb_rpc_print(page, "%s{\"node\":\"%*s\",\"ready\":%s,"
                              "\"command\":\"%s\",\"subscription\":\"%s\","
                              "\"waiting\":%ui,\"shards\":%ui,"
                              "\"reconnects\":%ui}",
                              i ? "," : "", (size_t) node->len, node->name,
                              node->ready ? "true" : "false",
                              ngx_tb_redis_state_name(node->command),
                              ngx_tb_redis_state_name(node->subscription),
                              node->waiting, node->shards, node->reconnects);
    }
}


static void
ngx_http_tb_rpc_json_requests(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t         op, n;
    ngx_atomic_uint_t  count;

    ngx_http_tb_rpc_print(page, "\"requests\":{");

    for (op = 0; op < page->noperations; op++) {

        ngx_http_tb_rpc_print(page, "%s\"%V\":{\"ok\":%uA", op ? "," : "",
                              &ngx_http_tb_rpc_operation_names[op],
                              page->counts.requests[op]
                                                 [NGX_HTTP_TB_RPC_ENDED_OK]);

        for (n = 1; n < NGX_HTTP_TB_RPC_NRESULTS; n++) {
            count = page->counts.requests[op][n];

            if (count) {
                ngx_http_tb_rpc_print(page, ",\"");
                ngx_http_tb_rpc_print_result(page, n);
                ngx_http_tb_rpc_print(page, "\":%uA", count);
            }
        }

        ngx_http_tb_rpc_print(page, "}");
    }

    ngx_http_tb_rpc_print(page, "},");
}


/* in ms, so that all are whole numbers */

static void
ngx_http_tb_rpc_json_durations(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t  i;

    static ngx_str_t  redis = ngx_string("redis");
    static ngx_str_t  device = ngx_string("device");
    static ngx_str_t  password = ngx_string("password");

    ngx_http_tb_rpc_print(page, "\"durations\":{\"bounds\":[");

    for (i = 0; ngx_http_tb_rpc_bounds[i]; i++) {
        ngx_http_tb_rpc_print(page, "%s%M", i ? "," : "",
                              ngx_http_tb_rpc_bounds[i]);
    }

    ngx_http_tb_rpc_print(page, "],\"requests\":{");

    for (i = 0; i < page->noperations; i++) {
        ngx_http_tb_rpc_json_histogram(page, i ? "," : "",
                                       &ngx_http_tb_rpc_operation_names[i],
                                       &page->counts.total[i]);
    }

    ngx_http_tb_rpc_print(page, "}");

    ngx_http_tb_rpc_json_histogram(page, ",", &redis,
                                   &page->counts.redis_time);
    ngx_http_tb_rpc_json_histogram(page, ",", &device,
                                   &page->counts.device_time);

    if (page->logins) {
        ngx_http_tb_rpc_json_histogram(page, ",", &password,
                                       &page->counts.password_time);
    }

    ngx_http_tb_rpc_print(page, "},");
}


static void
ngx_http_tb_rpc_json_histogram(ngx_http_tb_rpc_page_t *page,
    const char *comma, ngx_str_t *name, ngx_http_tb_rpc_histogram_t *h)
{
    ngx_uint_t  i;

    ngx_http_tb_rpc_print(page, "%s\"%V\":{\"count\":%uA,\"sum\":%uA,"
                          "\"buckets\":[", comma, name,
                          ngx_http_tb_rpc_histogram_count(h), h->sum);

    for (i = 0; i < NGX_HTTP_TB_RPC_NBUCKETS; i++) {
        ngx_http_tb_rpc_print(page, "%s%uA", i ? "," : "", h->buckets[i]);
    }

    ngx_http_tb_rpc_print(page, "]}");
}


static void
ngx_http_tb_rpc_json_auth(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t  i;

    ngx_http_tb_rpc_print(page, "\"refused\":{");

    for (i = 0; i < NGX_HTTP_TB_RPC_NCAUSES; i++) {
        ngx_http_tb_rpc_print(page, "%s\"%V\":%uA", i ? "," : "",
                              &ngx_http_tb_rpc_cause_names[i],
                              page->counts.refused[i]);
    }

    ngx_http_tb_rpc_print(page, "},\"caches\":{");

    for (i = 0; i < NGX_HTTP_TB_RPC_NCACHES; i++) {
        ngx_http_tb_rpc_print(page, "%s\"%V\":{\"hits\":%uA,\"misses\":%uA}",
                              i ? "," : "", &ngx_http_tb_rpc_cache_names[i],
                              page->counts.hits[i], page->counts.misses[i]);
    }

    ngx_http_tb_rpc_print(page, "},");
}


static void
ngx_http_tb_rpc_json_redis(ngx_http_tb_rpc_page_t *page)
{
    ngx_tb_redis_counts_t  *redis;

    redis = &page->counts.redis;

    ngx_http_tb_rpc_print(page, "\"redis\":{\"commands\":%uA,\"errors\":%uA,"
                          "\"unsent\":%uA,\"lost\":%uA,", redis->commands,
                          redis->errors, redis->unsent, redis->lost);

    ngx_http_tb_rpc_json_connections(page, "connected", redis->connected);
    ngx_http_tb_rpc_print(page, ",");
    ngx_http_tb_rpc_json_connections(page, "failed", redis->failed);
    ngx_http_tb_rpc_print(page, "},");
}


static void
ngx_http_tb_rpc_json_queues(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                 i;
    ngx_http_tb_rpc_bridge_t  *bridge;

    if (page->queues == NULL) {
        ngx_http_tb_rpc_print(page, "\"queues\":null,");
        return;
    }

    ngx_http_tb_rpc_print(page, "\"queues\":{\"shards\":%ui,\"bridges\":[",
                          page->queues->shards);

    for (i = 0; i < page->queues->nbridges; i++) {
        bridge = &page->queues->bridges[i];

        ngx_http_tb_rpc_print(page, "%s{\"bridge\":\"%*s\",\"calls\":%L,"
                              "\"oldest\":", i ? "," : "",
                              (size_t) bridge->len, bridge->name,
                              bridge->calls);

        if (bridge->oldest < 0) {
            ngx_http_tb_rpc_print(page, "null}");

        } else {
            ngx_http_tb_rpc_print(page, "%L}", bridge->oldest);
        }
    }

    ngx_http_tb_rpc_print(page, "]},");
}


static void
ngx_http_tb_rpc_json_connections(ngx_http_tb_rpc_page_t *page,
    const char *name, ngx_atomic_t *n)
{
    ngx_http_tb_rpc_print(page, "\"%s\":{\"command\":%uA,"
                          "\"subscription\":%uA,\"sentinel\":%uA}", name,
                          n[NGX_TB_REDIS_COMMANDS],
                          n[NGX_TB_REDIS_SUBSCRIPTION],
                          n[NGX_TB_REDIS_SENTINEL]);
}
