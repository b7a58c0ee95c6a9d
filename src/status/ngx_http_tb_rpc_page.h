
/*
 * A page on its way: what is shown, and its text.
 */


#ifndef _NGX_HTTP_TB_RPC_PAGE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_PAGE_H_INCLUDED_


#include "../share/ngx_tb_mqtt_counts.h"
#include "ngx_http_tb_rpc_queues.h"
#include "ngx_http_tb_rpc_status.h"


/* the most that is printed at once */

#define NGX_HTTP_TB_RPC_PAGE_LINE       1024


typedef struct {
    ngx_pool_t                   *pool;
    u_char                       *start;
    u_char                       *last;
    u_char                       *end;
    unsigned                      failed:1;     /* without memory */

    /* a copy: others go on writing */

    ngx_http_tb_rpc_worker_t     *worker;
    ngx_http_tb_rpc_zone_t       *zone;
    ngx_http_tb_rpc_counts_t      counts;
    ngx_http_tb_rpc_queues_t     *queues;       /* NULL: not known */
    ngx_tb_mqtt_counts_t         *mqtt;         /* NULL: no tb_mqtt here */
    ngx_uint_t                    devices;      /* connected there */
    ngx_http_tb_rpc_process_t    *processes;
    ngx_uint_t                    nprocesses;
    ngx_uint_t                    noperations;  /* that are shown */
    ngx_uint_t                    logins;       /* tb_rpc_login is in use */

    ngx_uint_t                    running;
    ngx_uint_t                    exiting;
    ngx_uint_t                    held;
    ngx_uint_t                    polls;
    ngx_uint_t                    computing;    /* passwords */
    ngx_uint_t                    lined_up;
    ngx_uint_t                    waiting;      /* commands */
} ngx_http_tb_rpc_page_t;


/* NGX_ERROR without memory */
ngx_int_t ngx_http_tb_rpc_page_init(ngx_http_tb_rpc_page_t *page,
    ngx_pool_t *pool, ngx_http_tb_rpc_worker_t *w);

/* as ngx_sprintf(), at most NGX_HTTP_TB_RPC_PAGE_LINE bytes */
void ngx_cdecl ngx_http_tb_rpc_print(ngx_http_tb_rpc_page_t *page,
    const char *fmt, ...);

/* the name of a result, and commands that wait at a process */
void ngx_http_tb_rpc_print_result(ngx_http_tb_rpc_page_t *page, ngx_uint_t n);
ngx_uint_t ngx_http_tb_rpc_process_waiting(ngx_http_tb_rpc_process_t *p);

ngx_atomic_uint_t ngx_http_tb_rpc_histogram_count(
    ngx_http_tb_rpc_histogram_t *h);


/* ..._status_json.c, ..._status_html.c, ..._status_prometheus.c: the text */

void ngx_http_tb_rpc_status_json(ngx_http_tb_rpc_page_t *page);
void ngx_http_tb_rpc_status_html(ngx_http_tb_rpc_page_t *page);
void ngx_http_tb_rpc_status_prometheus(ngx_http_tb_rpc_page_t *page);

/* of Prometheus' text: what comes before the values of a metric */

#define NGX_HTTP_TB_RPC_HEAD(name, type, help)                                \
    "# HELP tb_rpc_" name " " help ".\n# TYPE tb_rpc_" name " " type "\n"

/* ngx_http_tb_rpc_status_mqtt.c: nothing where there is no tb_mqtt */

void ngx_http_tb_rpc_status_mqtt_json(ngx_http_tb_rpc_page_t *page);
void ngx_http_tb_rpc_status_mqtt_html(ngx_http_tb_rpc_page_t *page);
void ngx_http_tb_rpc_status_mqtt_prometheus(ngx_http_tb_rpc_page_t *page);

/* ngx_http_tb_rpc_plot.c: for the page in HTML */

void ngx_http_tb_rpc_plots_print(ngx_http_tb_rpc_page_t *page);

/* ngx_http_tb_rpc_status_health.c: sends it; for the end of the request */

ngx_int_t ngx_http_tb_rpc_status_health(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w);

/* ngx_http_tb_rpc_watch.c: what this process has, now */

void ngx_http_tb_rpc_watch_update(ngx_http_tb_rpc_worker_t *w);

/* NULL: the worker is being closed */
ngx_http_tb_rpc_asking_t *ngx_http_tb_rpc_watch_asking(
    ngx_http_tb_rpc_worker_t *w);


#endif /* _NGX_HTTP_TB_RPC_PAGE_H_INCLUDED_ */
