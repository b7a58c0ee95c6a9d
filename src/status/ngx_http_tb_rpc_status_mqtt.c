
/*
 * MQTT devices, which ngx_stream_tb_mqtt_module counts, if there is tb_mqtt in
 * this nginx.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_page.h"


void
ngx_http_tb_rpc_status_mqtt_json(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t             i;
    ngx_tb_mqtt_counts_t  *counts;

    counts = page->mqtt;

    if (counts == NULL) {
        return;
    }

    ngx_http_tb_rpc_print(page, ",\"mqtt\":{\"devices\":%ui,\"logins\":{",
                          page->devices);

    for (i = 0; i < NGX_TB_MQTT_NRESULTS; i++) {
        ngx_http_tb_rpc_print(page, "%s\"%V\":%uA", i ? "," : "",
                              &ngx_tb_mqtt_results[i], counts->logins[i]);
    }

    ngx_http_tb_rpc_print(page, "},\"attached\":%uA,\"superseded\":%uA,"
                          "\"retried\":%uA}", counts->attached,
                          counts->superseded, counts->retried);
}


void
ngx_http_tb_rpc_status_mqtt_html(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t             i, n;
    ngx_tb_mqtt_counts_t  *counts;

    counts = page->mqtt;

    if (counts == NULL) {
        return;
    }

    ngx_http_tb_rpc_print(page, "<h2>MQTT devices</h2>\n"
                          "<table class=\"w\"><tr><th>connected<th>attached"
                          "<th>replaced<th>retried<th>logins</tr>\n"
                          "<tr><td>%ui<td>%uA<td>%uA<td>%uA<td>",
                          page->devices, counts->attached, counts->superseded,
                          counts->retried);

    for (i = 0, n = 0; i < NGX_TB_MQTT_NRESULTS; i++) {

        if (counts->logins[i]) {
            ngx_http_tb_rpc_print(page, "%s%V %uA", n++ ? ", " : "",
                                  &ngx_tb_mqtt_results[i], counts->logins[i]);
        }
    }

    ngx_http_tb_rpc_print(page, "</tr>\n</table>\n");
}


void
ngx_http_tb_rpc_status_mqtt_prometheus(ngx_http_tb_rpc_page_t *page)
{
    ngx_uint_t             i;
    ngx_tb_mqtt_counts_t  *counts;

    counts = page->mqtt;

    if (counts == NULL) {
        return;
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("mqtt_devices", "gauge",
                                               "MQTT devices that are "
                                               "connected")
                          "tb_rpc_mqtt_devices %ui\n"
                          NGX_HTTP_TB_RPC_HEAD("mqtt_logins_total", "counter",
                                               "Logins of MQTT devices, by "
                                               "what they have come to"),
                          page->devices);

    for (i = 0; i < NGX_TB_MQTT_NRESULTS; i++) {
        ngx_http_tb_rpc_print(page, "tb_rpc_mqtt_logins_total{result=\"%V\"} "
                              "%uA\n", &ngx_tb_mqtt_results[i],
                              counts->logins[i]);
    }

    ngx_http_tb_rpc_print(page,
                          NGX_HTTP_TB_RPC_HEAD("mqtt_attached_total",
                                               "counter", "Sessions of MQTT "
                                               "devices that were attached")
                          "tb_rpc_mqtt_attached_total %uA\n"
                          NGX_HTTP_TB_RPC_HEAD("mqtt_superseded_total",
                                               "counter", "Connections that "
                                               "were closed since their "
                                               "device is elsewhere, or "
                                               "deleted")
                          "tb_rpc_mqtt_superseded_total %uA\n"
                          NGX_HTTP_TB_RPC_HEAD("mqtt_attach_failures_total",
                                               "counter", "Attaches that "
                                               "Redis did not take, tried "
                                               "again")
                          "tb_rpc_mqtt_attach_failures_total %uA\n",
                          counts->attached, counts->superseded,
                          counts->retried);
}
