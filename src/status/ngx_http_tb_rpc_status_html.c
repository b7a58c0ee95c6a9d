
/*
 * The page for people: one file, no script, nothing from elsewhere.  It comes
 * again every five seconds.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../ngx_http_tb_rpc_version.h"
#include "ngx_http_tb_rpc_page.h"


static void ngx_http_tb_rpc_html_head(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_html_summary(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_html_requests(ngx_http_tb_rpc_page_t *page,
    ngx_uint_t first, ngx_uint_t end);
static void ngx_http_tb_rpc_html_results(ngx_http_tb_rpc_page_t *page,
    ngx_uint_t op);
static void ngx_http_tb_rpc_html_percentile(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_histogram_t *h, ngx_atomic_uint_t count,
    ngx_uint_t percent);
static void ngx_http_tb_rpc_html_logins(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_html_queues(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_html_workers(ngx_http_tb_rpc_page_t *page);
static void ngx_http_tb_rpc_html_nodes(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_process_t *p);
static void ngx_http_tb_rpc_html_refused(ngx_http_tb_rpc_page_t *page);


void
ngx_http_tb_rpc_status_html(ngx_http_tb_rpc_page_t *page)
{
    ngx_http_tb_rpc_html_head(page);
    ngx_http_tb_rpc_html_summary(page);
    ngx_http_tb_rpc_plots_print(page);

    ngx_http_tb_rpc_print(page, "<h2>Requests</h2>\n");
    ngx_http_tb_rpc_html_requests(page, 0, NGX_HTTP_TB_RPC_COUNT_LOGIN);

    ngx_http_tb_rpc_html_logins(page);
    ngx_http_tb_rpc_status_mqtt_html(page);
    ngx_http_tb_rpc_html_queues(page);
    ngx_http_tb_rpc_html_workers(page);
    ngx_http_tb_rpc_html_refused(page);

    ngx_http_tb_rpc_print(page, "</body></html>\n");
}


static void
ngx_http_tb_rpc_html_head(ngx_http_tb_rpc_page_t *page)
{
    ngx_http_tb_rpc_print(page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<meta http-equiv=\"refresh\" content=\"5\">\n"
        "<meta http-equiv=\"content-security-policy\" content=\"default-src "
        "'none';style-src 'unsafe-inline';img-src data:\">\n"
        "<link rel=\"icon\" href=\"data:,\">\n"
        "<title>tb-rpc</title>\n<style>\n"
        ":root{color-scheme:light dark;--b:#fff;--t:#1b1f24;--g:#656d76;"
        "--l:#d0d7de;--p:#0969da;--e:#cf222e;--o:#1a7f37}\n"
        "@media(prefers-color-scheme:dark){:root{--b:#0d1117;--t:#e6edf3;"
        "--g:#8b949e;--l:#30363d;--p:#58a6ff;--e:#ff7b72;--o:#3fb950}}\n");

    ngx_http_tb_rpc_print(page,
        "body{font:14px/1.5 system-ui,sans-serif;margin:1.5em auto;"
        "max-width:70em;padding:0 1em;background:var(--b);color:var(--t)}\n"
        "h1,h2{font-size:1.2em;margin:1.5em 0 .3em}h1{margin:0}p{margin:.5em 0}"
        "small{color:var(--g)}\n"
        ".bad{color:var(--e)}.ok{color:var(--o)}"
        "p>.bad::before,p>.ok::before{content:\"\\25cf  \"}\n"
        "section{display:grid;gap:.8em;margin:1em 0;"
        "grid-template-columns:repeat(auto-fill,minmax(11em,1fr))}\n"
        "@media(min-width:60em){section{"
        "grid-template-columns:repeat(3,1fr)}}\n");

    ngx_http_tb_rpc_print(page,
        "figure{margin:0;border:1px solid var(--l);border-radius:6px;"
        "padding:.6em}figcaption>b{font-size:1.5em;display:block;"
        "line-height:1.2}\n"
        "div{display:flex;justify-content:space-between}\n"
        "svg{display:block;width:100%%;height:60px;margin-top:.4em;"
        "border-bottom:1px solid var(--l)}\n"
        "path{fill:none;stroke:var(--p);stroke-width:2;"
        "stroke-linecap:round;vector-effect:non-scaling-stroke}\n");

    ngx_http_tb_rpc_print(page,
        "table{border-collapse:collapse;width:100%%;"
        "font-variant-numeric:tabular-nums}\n"
        "th,td{text-align:left;padding:.2em .8em .2em 0;"
        "border-bottom:1px solid var(--l);vertical-align:top}\n"
        "th{color:var(--g);font-weight:normal}"
        "span,td:nth-child(5){overflow-wrap:anywhere}\n");

    /* the fifth column is the long one: a phone has it below the others */

    ngx_http_tb_rpc_print(page,
        "@media(max-width:40em){table{font-size:.9em}"
        "th,td{padding-right:.5em}.w,.w tbody{display:block}"
        ".w tr{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));"
        "border-bottom:1px solid var(--l)}.w th,.w td{border:0}"
        ".w tr>:nth-child(5){grid-column:1/-1}}\n"
        "</style></head><body>\n");
}


/* what is wrong comes first */

static void
ngx_http_tb_rpc_html_summary(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i, shards, ready;
    ngx_http_tb_rpc_process_t  *p;

    shards = page->worker->conf->shards;
    ready = shards;

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        if (!p->exiting) {
            ready = ngx_min(ready, p->shards);
        }
    }

    ngx_http_tb_rpc_print(page, "<h1>tb-rpc <small>%s</small></h1>\n<p>",
                          NGX_HTTP_TB_RPC_VERSION);

    if (ready == shards) {
        ngx_http_tb_rpc_print(page, "<b class=\"ok\">Redis is ready.</b>");

    } else {
        ngx_http_tb_rpc_print(page, "<b class=\"bad\">Redis is ready for %ui "
                              "of %ui shards.</b>", ready, shards);
    }

    ngx_http_tb_rpc_print(page, "</p>\n<p>Workers: %ui", page->running);

    if (page->exiting) {
        ngx_http_tb_rpc_print(page, ", %ui exiting", page->exiting);
    }

    if (page->zone->lost) {
        ngx_http_tb_rpc_print(page, ", <b class=\"bad\">%uA killed</b>",
                              page->zone->lost);
    }

    ngx_http_tb_rpc_print(page, ". Calls held: %ui. Open polls: %ui. Commands "
                          "that wait for Redis: %ui.",
                          page->held, page->polls, page->waiting);

    if (page->mqtt) {
        ngx_http_tb_rpc_print(page, " MQTT devices: %ui.", page->devices);
    }

    if (page->logins) {
        ngx_http_tb_rpc_print(page, " Passwords being computed: %ui, "
                              "lined up: %ui.",
                              page->computing, page->lined_up);
    }

    ngx_http_tb_rpc_print(page, "</p>\n");
}


static void
ngx_http_tb_rpc_html_requests(ngx_http_tb_rpc_page_t *page, ngx_uint_t first,
    ngx_uint_t end)
{
    ngx_uint_t                    op;
    ngx_atomic_uint_t             count;
    ngx_http_tb_rpc_histogram_t  *h;

    ngx_http_tb_rpc_print(page, "<table class=\"w\"><tr><th>operation"
                          "<th>requests<th>half within<th>99 %% within"
                          "<th>results</tr>\n");

    for (op = first; op < end; op++) {
        h = &page->counts.total[op];
        count = ngx_http_tb_rpc_histogram_count(h);

        if (count == 0) {
            continue;
        }

        ngx_http_tb_rpc_print(page, "<tr><td>%V<td>%uA<td>",
                              &ngx_http_tb_rpc_operation_names[op], count);
        ngx_http_tb_rpc_html_percentile(page, h, count, 50);
        ngx_http_tb_rpc_print(page, "<td>");
        ngx_http_tb_rpc_html_percentile(page, h, count, 99);
        ngx_http_tb_rpc_print(page, "<td>");
        ngx_http_tb_rpc_html_results(page, op);
        ngx_http_tb_rpc_print(page, "</tr>\n");
    }

    ngx_http_tb_rpc_print(page, "</table>\n");
}


static void
ngx_http_tb_rpc_html_results(ngx_http_tb_rpc_page_t *page, ngx_uint_t op)
{
    ngx_uint_t         i, n;
    ngx_atomic_uint_t  count;

    for (n = 0, i = 0; n < NGX_HTTP_TB_RPC_NRESULTS; n++) {
        count = page->counts.requests[op][n];

        if (count) {
            ngx_http_tb_rpc_print(page, i++ ? ", " : "");
            ngx_http_tb_rpc_print_result(page, n);
            ngx_http_tb_rpc_print(page, " %uA", count);
        }
    }
}


/* the bound of the bucket that it is in */

static void
ngx_http_tb_rpc_html_percentile(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_histogram_t *h, ngx_atomic_uint_t count,
    ngx_uint_t percent)
{
    ngx_uint_t         i;
    ngx_msec_t         bound;
    ngx_atomic_uint_t  n;

    for (i = 0, n = 0; ngx_http_tb_rpc_bounds[i]; i++) {
        n += h->buckets[i];

        if (n * 100 < count * percent) {
            continue;
        }

        bound = ngx_http_tb_rpc_bounds[i];

        if (bound < 1000) {
            ngx_http_tb_rpc_print(page, "%M&nbsp;ms", bound);

        } else {
            ngx_http_tb_rpc_print(page, "%M.%M&nbsp;s", bound / 1000,
                                  bound % 1000 / 100);
        }

        return;
    }

    ngx_http_tb_rpc_print(page, "longer");
}


static void
ngx_http_tb_rpc_html_logins(ngx_http_tb_rpc_page_t *page)
{
    ngx_atomic_uint_t             count;
    ngx_http_tb_rpc_histogram_t  *h;

    if (!page->logins) {
        return;
    }

    ngx_http_tb_rpc_print(page, "<h2>Logins</h2>\n");

    ngx_http_tb_rpc_html_requests(page, NGX_HTTP_TB_RPC_COUNT_LOGIN,
                                  NGX_HTTP_TB_RPC_NOPERATIONS);

    h = &page->counts.password_time;
    count = ngx_http_tb_rpc_histogram_count(h);

    if (count == 0) {
        return;
    }

    ngx_http_tb_rpc_print(page, "<p>Passwords computed: %uA, half of them "
                          "within ", count);
    ngx_http_tb_rpc_html_percentile(page, h, count, 50);
    ngx_http_tb_rpc_print(page, ", 99 %% within ");
    ngx_http_tb_rpc_html_percentile(page, h, count, 99);
    ngx_http_tb_rpc_print(page, ".</p>\n");
}


static void
ngx_http_tb_rpc_html_queues(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                 i;
    ngx_http_tb_rpc_bridge_t  *bridge;

    ngx_http_tb_rpc_print(page, "<h2>Queues of bridges</h2>\n");

    if (page->queues == NULL) {
        ngx_http_tb_rpc_print(page, "<p class=\"bad\">Not known.</p>\n");
        return;
    }

    ngx_http_tb_rpc_print(page, "<table><tr><th>bridge<th>calls<th>oldest"
                          "</tr>\n");

    for (i = 0; i < page->queues->nbridges; i++) {
        bridge = &page->queues->bridges[i];

        ngx_http_tb_rpc_print(page, "<tr><td><span>%*s</span><td>%L<td>",
                              (size_t) bridge->len, bridge->name,
                              bridge->calls);

        if (bridge->oldest >= 0) {
            ngx_http_tb_rpc_print(page, "%L.%L s", bridge->oldest / 1000,
                                  bridge->oldest % 1000 / 100);
        }

        ngx_http_tb_rpc_print(page, "</tr>\n");
    }

    ngx_http_tb_rpc_print(page, "</table>\n");
}


static void
ngx_http_tb_rpc_html_workers(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t                  i;
    ngx_http_tb_rpc_process_t  *p;

    ngx_http_tb_rpc_print(page, "<h2>Workers</h2>\n<table class=\"w\"><tr>"
                          "<th>worker<th>pid<th>held<th>polls<th>Redis"
                          "</tr>\n");

    for (i = 0; i < page->nprocesses; i++) {
        p = &page->processes[i];

        ngx_http_tb_rpc_print(page, "<tr><td>%ui%s<td>%uA<td>%ui<td>%ui<td>",
                              p->worker, p->exiting ? ", exiting" : "",
                              p->pid, p->held, p->polls);
        ngx_http_tb_rpc_html_nodes(page, p);
        ngx_http_tb_rpc_print(page, "</tr>\n");
    }

    ngx_http_tb_rpc_print(page, "</table>\n");
}


static void
ngx_http_tb_rpc_html_nodes(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_process_t *p)
{
    ngx_uint_t                    i;
    ngx_http_tb_rpc_node_seen_t  *node;

    for (i = 0; i < p->nnodes; i++) {
        node = &p->nodes[i];

        ngx_http_tb_rpc_print(page, "%s<span%s>%*s: %s, subscription %s",
                              i ? "<br>" : "",
                              node->ready ? "" : " class=\"bad\"",
                              (size_t) node->len, node->name,
                              ngx_tb_redis_state_name(node->command),
                              ngx_tb_redis_state_name(node->subscription));

        if (node->reconnects) {
            ngx_http_tb_rpc_print(page, ", %ui reconnects", node->reconnects);
        }

        ngx_http_tb_rpc_print(page, "</span>");
    }
}


static void
ngx_http_tb_rpc_html_refused(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t  i, n;

    ngx_http_tb_rpc_print(page, "<h2>Credentials</h2>\n<p>Refused:");

    for (i = 0, n = 0; i < NGX_HTTP_TB_RPC_NCAUSES; i++) {

        if (page->counts.refused[i]) {
            ngx_http_tb_rpc_print(page, "%s %V %uA", n++ ? "," : "",
                                  &ngx_http_tb_rpc_cause_names[i],
                                  page->counts.refused[i]);
        }
    }

    ngx_http_tb_rpc_print(page, "%s.</p>\n<p>Known before, and not:",
                          n ? "" : " none");

    for (i = 0; i < NGX_HTTP_TB_RPC_NCACHES; i++) {
        ngx_http_tb_rpc_print(page, "%s %V %uA, %uA", i ? ";" : "",
                              &ngx_http_tb_rpc_cache_names[i],
                              page->counts.hits[i], page->counts.misses[i]);
    }

    ngx_http_tb_rpc_print(page, ".</p>\n");
}
