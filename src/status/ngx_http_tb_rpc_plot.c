
/*
 * Small plots of the last 15 minutes, as SVG in the page: the samples are in
 * the zone, what is missing leaves a gap.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_page.h"


#define NGX_HTTP_TB_RPC_PLOT_WIDTH   ((NGX_HTTP_TB_RPC_SAMPLES - 1) * 2)
#define NGX_HTTP_TB_RPC_PLOT_HEIGHT  60


/* all values in hundredths */

typedef ngx_uint_t (*ngx_http_tb_rpc_plot_pt)(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);


/* what a plot is of; those of what is not in use are not drawn */

typedef enum {
    NGX_HTTP_TB_RPC_PLOT_CALLS = 0,
    NGX_HTTP_TB_RPC_PLOT_LOGINS,
    NGX_HTTP_TB_RPC_PLOT_MQTT
} ngx_http_tb_rpc_plot_e;


typedef struct {
    const char                *title;
    const char                *unit;
    ngx_http_tb_rpc_plot_e     of;
    ngx_http_tb_rpc_plot_pt    value;
} ngx_http_tb_rpc_plot_t;


static ngx_uint_t ngx_http_tb_rpc_plot_rate(ngx_uint_t now,
    ngx_uint_t before);
static ngx_uint_t ngx_http_tb_rpc_plot_requests(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_failed(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_call(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_commands(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_held(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_polls(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_logins(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_refused(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_devices(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before);
static ngx_uint_t ngx_http_tb_rpc_plot_is_used(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot);
static void ngx_http_tb_rpc_plot(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot, ngx_http_tb_rpc_sample_t *samples);
static void ngx_http_tb_rpc_plot_number(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot, ngx_uint_t value);
static void ngx_http_tb_rpc_plot_line(ngx_http_tb_rpc_page_t *page,
    ngx_int_t *values, ngx_uint_t max);


static ngx_http_tb_rpc_plot_t  ngx_http_tb_rpc_plots[] = {

    { "requests", "/s", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_requests },

    { "failed", "/s", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_failed },

    { "a call takes, mean", " ms", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_call },

    { "Redis commands", "/s", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_commands },

    { "calls held", "", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_held },

    { "open polls", "", NGX_HTTP_TB_RPC_PLOT_CALLS,
      ngx_http_tb_rpc_plot_polls },

    { "MQTT devices", "", NGX_HTTP_TB_RPC_PLOT_MQTT,
      ngx_http_tb_rpc_plot_devices },

    { "logins", "/s", NGX_HTTP_TB_RPC_PLOT_LOGINS,
      ngx_http_tb_rpc_plot_logins },

    { "logins refused", "/s", NGX_HTTP_TB_RPC_PLOT_LOGINS,
      ngx_http_tb_rpc_plot_refused },

    { NULL, NULL, NGX_HTTP_TB_RPC_PLOT_CALLS, NULL }
};


void
ngx_http_tb_rpc_plots_print(ngx_http_tb_rpc_page_t *page)
{
    time_t                    now, time;
    ngx_uint_t                i;
    ngx_http_tb_rpc_sample_t  samples[NGX_HTTP_TB_RPC_SAMPLES];

    /* in their order, the newest last; what is older has no time */

    now = ngx_time() / NGX_HTTP_TB_RPC_SAMPLE_TIME;

    for (i = 0; i < NGX_HTTP_TB_RPC_SAMPLES; i++) {
        time = now - (NGX_HTTP_TB_RPC_SAMPLES - 1) + i;

        samples[i] = page->zone->samples[time % NGX_HTTP_TB_RPC_SAMPLES];

        if (samples[i].time != time * NGX_HTTP_TB_RPC_SAMPLE_TIME) {
            samples[i].time = 0;
        }
    }

    ngx_http_tb_rpc_print(page, "<section>\n");

    for (i = 0; ngx_http_tb_rpc_plots[i].title; i++) {

        if (ngx_http_tb_rpc_plot_is_used(page, &ngx_http_tb_rpc_plots[i])) {
            ngx_http_tb_rpc_plot(page, &ngx_http_tb_rpc_plots[i], samples);
        }
    }

    ngx_http_tb_rpc_print(page, "</section>\n");
}


static ngx_uint_t
ngx_http_tb_rpc_plot_is_used(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot)
{
    switch (plot->of) {

    case NGX_HTTP_TB_RPC_PLOT_LOGINS:
        return page->logins;

    case NGX_HTTP_TB_RPC_PLOT_MQTT:
        return page->mqtt != NULL;

    default:
        return 1;
    }
}


static void
ngx_http_tb_rpc_plot(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot, ngx_http_tb_rpc_sample_t *samples)
{
    ngx_int_t   values[NGX_HTTP_TB_RPC_SAMPLES];
    ngx_uint_t  i, max, last;

    max = 0;
    last = 0;

    for (i = 0; i < NGX_HTTP_TB_RPC_SAMPLES; i++) {
        values[i] = -1;

        if (i == 0 || samples[i].time == 0 || samples[i - 1].time == 0) {
            continue;
        }

        last = plot->value(&samples[i], &samples[i - 1]);

        values[i] = last;
        max = ngx_max(max, last);
    }

    ngx_http_tb_rpc_print(page, "<figure><figcaption>%s <b>", plot->title);
    ngx_http_tb_rpc_plot_number(page, plot, last);
    ngx_http_tb_rpc_print(page, "%s</b></figcaption>\n", plot->unit);

    ngx_http_tb_rpc_print(page, "<svg viewBox=\"0 0 %d %d\" "
                          "preserveAspectRatio=\"none\" role=\"img\" "
                          "aria-label=\"%s, the last 15 minutes\"><path d=\"",
                          NGX_HTTP_TB_RPC_PLOT_WIDTH,
                          NGX_HTTP_TB_RPC_PLOT_HEIGHT, plot->title);

    ngx_http_tb_rpc_plot_line(page, values, ngx_max(max, 1));

    ngx_http_tb_rpc_print(page, "\"/></svg><div><small>-15 min</small> "
                          "<small>max ");
    ngx_http_tb_rpc_plot_number(page, plot, max);
    ngx_http_tb_rpc_print(page, "</small> <small>now</small></div>"
                          "</figure>\n");
}


/* what is counted now is whole */

static void
ngx_http_tb_rpc_plot_number(ngx_http_tb_rpc_page_t *page,
    ngx_http_tb_rpc_plot_t *plot, ngx_uint_t value)
{
    if (plot->unit[0] == '\0') {
        ngx_http_tb_rpc_print(page, "%ui", value / 100);

    } else {
        ngx_http_tb_rpc_print(page, "%ui.%ui", value / 100,
                              value % 100 / 10);
    }
}


static void
ngx_http_tb_rpc_plot_line(ngx_http_tb_rpc_page_t *page, ngx_int_t *values,
    ngx_uint_t max)
{
    ngx_uint_t  i, y;

    /* a point of its own is a line of no length, with round ends */

    for (i = 0; i < NGX_HTTP_TB_RPC_SAMPLES; i++) {

        if (values[i] < 0) {
            continue;
        }

        y = NGX_HTTP_TB_RPC_PLOT_HEIGHT - 2
            - (ngx_uint_t) ((uint64_t) values[i]
                            * (NGX_HTTP_TB_RPC_PLOT_HEIGHT - 4) / max);

        if (i == 0 || values[i - 1] < 0) {
            ngx_http_tb_rpc_print(page, "M%ui %ui", 2 * i, y);
        }

        ngx_http_tb_rpc_print(page, "L%ui %ui", 2 * i, y);
    }
}


static ngx_uint_t
ngx_http_tb_rpc_plot_rate(ngx_uint_t now, ngx_uint_t before)
{
    return (now > before) ? (now - before) * 100 / NGX_HTTP_TB_RPC_SAMPLE_TIME
                          : 0;
}


static ngx_uint_t
ngx_http_tb_rpc_plot_requests(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return ngx_http_tb_rpc_plot_rate(now->requests, before->requests);
}


static ngx_uint_t
ngx_http_tb_rpc_plot_failed(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return ngx_http_tb_rpc_plot_rate(now->failed, before->failed);
}


static ngx_uint_t
ngx_http_tb_rpc_plot_call(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    if (now->calls <= before->calls || now->call_time < before->call_time) {
        return 0;
    }

    return (now->call_time - before->call_time) * 100
           / (now->calls - before->calls);
}


static ngx_uint_t
ngx_http_tb_rpc_plot_commands(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return ngx_http_tb_rpc_plot_rate(now->commands, before->commands);
}


static ngx_uint_t
ngx_http_tb_rpc_plot_held(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return now->held * 100;
}


static ngx_uint_t
ngx_http_tb_rpc_plot_polls(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return now->polls * 100;
}


static ngx_uint_t
ngx_http_tb_rpc_plot_devices(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return now->devices * 100;
}


static ngx_uint_t
ngx_http_tb_rpc_plot_logins(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return ngx_http_tb_rpc_plot_rate(now->logins, before->logins);
}


static ngx_uint_t
ngx_http_tb_rpc_plot_refused(ngx_http_tb_rpc_sample_t *now,
    ngx_http_tb_rpc_sample_t *before)
{
    return ngx_http_tb_rpc_plot_rate(now->refused, before->refused);
}
