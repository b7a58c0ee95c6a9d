
/*
 * Packets that neither side has sent.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_rewrite.h"


#define NGX_STREAM_TB_MQTT_NOT_AUTHORIZED  0x87


u_char *
ngx_stream_tb_mqtt_connack(u_char *p, ngx_uint_t version, ngx_uint_t reason)
{
    ngx_uint_t  code;

    if (version != NGX_STREAM_TB_MQTT_5) {

        switch (reason) {

        case 0x84:
            code = 1;
            break;

        case 0x85:
            code = 2;
            break;

        case 0x86:
            code = 4;
            break;

        case 0x87:
        case 0x8a:
        case 0x8c:
            code = 5;
            break;

        case 0x81:
        case 0x82:
        case 0x90:
        case 0x95:
            return p;

        default:
            code = 3;
        }

        *p++ = NGX_STREAM_TB_MQTT_CONNACK << 4;
        *p++ = 2;
        *p++ = 0;
        *p++ = (u_char) code;

        return p;
    }

    *p++ = NGX_STREAM_TB_MQTT_CONNACK << 4;
    *p++ = 3;
    *p++ = 0;
    *p++ = (u_char) reason;
    *p++ = 0;

    return p;
}


u_char *
ngx_stream_tb_mqtt_disconnect(u_char *p, ngx_uint_t version,
    ngx_uint_t reason)
{
    if (version != NGX_STREAM_TB_MQTT_5) {
        return p;
    }

    *p++ = NGX_STREAM_TB_MQTT_DISCONNECT << 4;
    *p++ = 2;
    *p++ = (u_char) reason;
    *p++ = 0;

    return p;
}


/* older clients know no refusal: theirs is taken and goes nowhere */

u_char *
ngx_stream_tb_mqtt_ack(u_char *p, ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_uint_t  qos;

    qos = ngx_stream_tb_mqtt_qos(packet->flags);

    if (packet->type != NGX_STREAM_TB_MQTT_PUBLISH || qos == 0) {
        return p;
    }

    *p++ = (u_char) ((qos == 1 ? NGX_STREAM_TB_MQTT_PUBACK
                               : NGX_STREAM_TB_MQTT_PUBREC) << 4);
    *p++ = packet->version == NGX_STREAM_TB_MQTT_5 ? 3 : 2;
    *p++ = (u_char) (packet->id >> 8);
    *p++ = (u_char) packet->id;

    if (packet->version == NGX_STREAM_TB_MQTT_5) {
        *p++ = NGX_STREAM_TB_MQTT_NOT_AUTHORIZED;
    }

    return p;
}
