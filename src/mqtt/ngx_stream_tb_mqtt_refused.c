
/*
 * Refused filters and the answers to them.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_map.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_refused.h"


/* SUBSCRIBEs and UNSUBSCRIBEs that the broker has not answered */

#define NGX_STREAM_TB_MQTT_REFUSED  64


struct ngx_stream_tb_mqtt_refused_s {
    ngx_stream_tb_mqtt_refused_t  *next;
    ngx_uint_t                     type;      /* of the answer */
    ngx_uint_t                     version;
    ngx_uint_t                     id;
    ngx_uint_t                     n;
    u_char                         refused[1];
};


static ngx_uint_t ngx_stream_tb_mqtt_refused_codes(
    ngx_stream_tb_mqtt_refused_t *refused);


ngx_stream_tb_mqtt_refused_t *
ngx_stream_tb_mqtt_refused(ngx_stream_tb_mqtt_map_t *map,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_log_t *log)
{
    u_char                        *p;
    ngx_str_t                      filter;
    ngx_uint_t                     options, n;
    ngx_stream_tb_mqtt_topic_t     topic;
    ngx_stream_tb_mqtt_refused_t  *refused;

    n = 0;
    p = packet->list.data;

    while (ngx_stream_tb_mqtt_list_next(packet, &p, &filter, &options)
           == NGX_OK)
    {
        n++;
    }

    refused = ngx_alloc(sizeof(ngx_stream_tb_mqtt_refused_t) + n, log);
    if (refused == NULL) {
        return NULL;
    }

    refused->next = NULL;
    refused->type = packet->type + 1;
    refused->version = packet->version;
    refused->id = packet->id;
    refused->n = n;

    n = 0;
    p = packet->list.data;

    while (ngx_stream_tb_mqtt_list_next(packet, &p, &filter, &options)
           == NGX_OK)
    {
        refused->refused[n++] =
            (ngx_stream_tb_mqtt_map_filter(map, &filter, &topic) != NGX_OK);
    }

    return refused;
}


ngx_int_t
ngx_stream_tb_mqtt_refused_add(ngx_stream_tb_mqtt_refused_t **list,
    ngx_stream_tb_mqtt_refused_t *refused, ngx_uint_t max)
{
    ngx_uint_t  n, filters;

    filters = refused->n;

    for (n = 0; *list; list = &(*list)->next) {
        filters += (*list)->n;

        if (++n == NGX_STREAM_TB_MQTT_REFUSED || filters > max) {
            return NGX_DECLINED;
        }
    }

    *list = refused;

    return NGX_OK;
}


ngx_stream_tb_mqtt_refused_t *
ngx_stream_tb_mqtt_refused_take(ngx_stream_tb_mqtt_refused_t **list,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_stream_tb_mqtt_refused_t  *refused;

    for ( /* void */ ; *list; list = &(*list)->next) {
        refused = *list;

        if (refused->id == packet->id && refused->type == packet->type) {
            *list = refused->next;
            return refused;
        }
    }

    return NULL;
}


/* before MQTT 5 an UNSUBACK has no codes */

static ngx_uint_t
ngx_stream_tb_mqtt_refused_codes(ngx_stream_tb_mqtt_refused_t *refused)
{
    return refused->type == NGX_STREAM_TB_MQTT_SUBACK
           || refused->version == NGX_STREAM_TB_MQTT_5;
}


size_t
ngx_stream_tb_mqtt_refused_answer(ngx_stream_tb_mqtt_refused_t *refused,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p)
{
    u_char      *code, *last, answer;
    size_t       props, len;
    ngx_uint_t   i, n;

    n = ngx_stream_tb_mqtt_refused_codes(refused) ? refused->n : 0;

    if (packet) {
        code = packet->list.data;
        last = packet->end;
        props = code - packet->body - 2;

    } else {
        code = NULL;
        last = NULL;
        props = refused->version == NGX_STREAM_TB_MQTT_5 ? 1 : 0;
    }

    len = 2 + props + n;

    if (p == NULL) {
        return 1 + ngx_stream_tb_mqtt_varint_len(len) + len;
    }

    *p++ = (u_char) (refused->type << 4);
    p = ngx_stream_tb_mqtt_varint(p, len);
    *p++ = (u_char) (refused->id >> 8);
    *p++ = (u_char) refused->id;

    if (packet) {
        p = ngx_cpymem(p, packet->body + 2, props);

    } else if (props) {
        *p++ = 0;
    }

    /* not authorized; failure; no subscription existed */

    answer = refused->type == NGX_STREAM_TB_MQTT_UNSUBACK ? 0x11
             : refused->version == NGX_STREAM_TB_MQTT_5 ? 0x87 : 0x80;

    for (i = 0; i < n; i++) {
        if (!refused->refused[i] && code < last) {
            *p++ = *code++;

        } else {
            *p++ = answer;
        }
    }

    return 1 + ngx_stream_tb_mqtt_varint_len(len) + len;
}


void
ngx_stream_tb_mqtt_refused_free(ngx_stream_tb_mqtt_refused_t **list)
{
    ngx_stream_tb_mqtt_refused_t  *refused;

    while (*list) {
        refused = *list;
        *list = refused->next;

        ngx_free(refused);
    }
}
