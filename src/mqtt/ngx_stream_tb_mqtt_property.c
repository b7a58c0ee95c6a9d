
/*
 * Properties of MQTT 5.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_packet.h"


#define NGX_STREAM_TB_MQTT_NONE    0
#define NGX_STREAM_TB_MQTT_FLAG    1      /* a byte, 0 or 1 */
#define NGX_STREAM_TB_MQTT_TWO     2
#define NGX_STREAM_TB_MQTT_FOUR    4
#define NGX_STREAM_TB_MQTT_VARY    5
#define NGX_STREAM_TB_MQTT_STRING  6
#define NGX_STREAM_TB_MQTT_PAIR    7

/* packets that may have it */

#define NGX_STREAM_TB_MQTT_IN(type)  (1 << (type))
#define NGX_STREAM_TB_MQTT_IN_WILL   NGX_STREAM_TB_MQTT_IN(0)
#define NGX_STREAM_TB_MQTT_IN_MSG    (NGX_STREAM_TB_MQTT_IN_WILL | 0x0008)
#define NGX_STREAM_TB_MQTT_IN_BOTH   0x0006         /* CONNECT, CONNACK */
#define NGX_STREAM_TB_MQTT_IN_AUTH   0x8006
#define NGX_STREAM_TB_MQTT_IN_ACK    0xcaf4         /* reason string */
#define NGX_STREAM_TB_MQTT_IN_ANY    0xffff

#define NGX_STREAM_TB_MQTT_PROPERTIES  43


typedef struct {
    u_char      type;
    u_char      nonzero;
    uint16_t    in;
} ngx_stream_tb_mqtt_property_type_t;


static ngx_stream_tb_mqtt_property_type_t
    ngx_stream_tb_mqtt_properties[NGX_STREAM_TB_MQTT_PROPERTIES] =
{
    /* 00 */ { 0, 0, 0 },
    /* 01 */ { NGX_STREAM_TB_MQTT_FLAG, 0, NGX_STREAM_TB_MQTT_IN_MSG },
    /* 02 */ { NGX_STREAM_TB_MQTT_FOUR, 0, NGX_STREAM_TB_MQTT_IN_MSG },
    /* 03 */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_MSG },
    /* 04 */ { 0, 0, 0 },
    /* 05 */ { 0, 0, 0 },
    /* 06 */ { 0, 0, 0 },
    /* 07 */ { 0, 0, 0 },
    /* 08 */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_MSG },
    /* 09 */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_MSG },
    /* 0a */ { 0, 0, 0 },
    /* 0b */ { NGX_STREAM_TB_MQTT_VARY, 1, 0x0108 },
    /* 0c */ { 0, 0, 0 },
    /* 0d */ { 0, 0, 0 },
    /* 0e */ { 0, 0, 0 },
    /* 0f */ { 0, 0, 0 },
    /* 10 */ { 0, 0, 0 },
    /* 11 */ { NGX_STREAM_TB_MQTT_FOUR, 0, 0x4006 },
    /* 12 */ { NGX_STREAM_TB_MQTT_STRING, 0, 0x0004 },
    /* 13 */ { NGX_STREAM_TB_MQTT_TWO, 0, 0x0004 },
    /* 14 */ { 0, 0, 0 },
    /* 15 */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_AUTH },
    /* 16 */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_AUTH },
    /* 17 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0002 },
    /* 18 */ { NGX_STREAM_TB_MQTT_FOUR, 0, NGX_STREAM_TB_MQTT_IN_WILL },
    /* 19 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0002 },
    /* 1a */ { NGX_STREAM_TB_MQTT_STRING, 0, 0x0004 },
    /* 1b */ { 0, 0, 0 },
    /* 1c */ { NGX_STREAM_TB_MQTT_STRING, 0, 0x4004 },
    /* 1d */ { 0, 0, 0 },
    /* 1e */ { 0, 0, 0 },
    /* 1f */ { NGX_STREAM_TB_MQTT_STRING, 0, NGX_STREAM_TB_MQTT_IN_ACK },
    /* 20 */ { 0, 0, 0 },
    /* 21 */ { NGX_STREAM_TB_MQTT_TWO, 1, NGX_STREAM_TB_MQTT_IN_BOTH },
    /* 22 */ { NGX_STREAM_TB_MQTT_TWO, 0, NGX_STREAM_TB_MQTT_IN_BOTH },
    /* 23 */ { NGX_STREAM_TB_MQTT_TWO, 1, 0x0008 },
    /* 24 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0004 },
    /* 25 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0004 },
    /* 26 */ { NGX_STREAM_TB_MQTT_PAIR, 0, NGX_STREAM_TB_MQTT_IN_ANY },
    /* 27 */ { NGX_STREAM_TB_MQTT_FOUR, 1, NGX_STREAM_TB_MQTT_IN_BOTH },
    /* 28 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0004 },
    /* 29 */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0004 },
    /* 2a */ { NGX_STREAM_TB_MQTT_FLAG, 0, 0x0004 }
};


ngx_int_t
ngx_stream_tb_mqtt_property(u_char **pos, u_char *last,
    ngx_stream_tb_mqtt_property_t *property)
{
    u_char      *p;
    ngx_int_t    rc;
    ngx_str_t    value;
    ngx_uint_t   type;

    p = *pos;

    if (p == last) {
        return NGX_DONE;
    }

    property->start = p;

    /* an id is a varying integer, too, but there is none above 0x2a */

    property->id = *p++;
    property->value = p;
    property->number = 0;
    ngx_str_null(&property->string);

    type = property->id < NGX_STREAM_TB_MQTT_PROPERTIES
               ? ngx_stream_tb_mqtt_properties[property->id].type
               : NGX_STREAM_TB_MQTT_NONE;

    switch (type) {

    case NGX_STREAM_TB_MQTT_FLAG:
    case NGX_STREAM_TB_MQTT_TWO:
    case NGX_STREAM_TB_MQTT_FOUR:
        rc = ngx_stream_tb_mqtt_take_number(&p, last, type,
                                            &property->number);
        break;

    case NGX_STREAM_TB_MQTT_VARY:
        rc = ngx_stream_tb_mqtt_take_varint(&p, last, &property->number);
        break;

    case NGX_STREAM_TB_MQTT_STRING:
        rc = ngx_stream_tb_mqtt_take_string(&p, last, &property->string);
        break;

    case NGX_STREAM_TB_MQTT_PAIR:
        rc = ngx_stream_tb_mqtt_take_string(&p, last, &property->string);

        if (rc == NGX_OK) {
            rc = ngx_stream_tb_mqtt_take_string(&p, last, &value);
        }

        break;

    default:
        rc = NGX_ERROR;
    }

    if (rc == NGX_OK) {
        property->end = p;
        *pos = p;
    }

    return rc;
}


const char *
ngx_stream_tb_mqtt_check_props(ngx_str_t *props, ngx_uint_t type,
    ngx_uint_t broker)
{
    u_char                              *p, *last;
    uint64_t                             seen;
    ngx_int_t                            rc;
    ngx_uint_t                           id;
    ngx_stream_tb_mqtt_property_t        property;
    ngx_stream_tb_mqtt_property_type_t  *known;

    seen = 0;
    p = props->data;
    last = p + props->len;

    for ( ;; ) {
        rc = ngx_stream_tb_mqtt_property(&p, last, &property);

        if (rc == NGX_DONE) {
            return NULL;
        }

        if (rc != NGX_OK) {
            return "an unknown or cut property";
        }

        id = property.id;
        known = &ngx_stream_tb_mqtt_properties[id];

        if (!(known->in & NGX_STREAM_TB_MQTT_IN(type))) {
            return "a property that the packet can't have";
        }

        if ((known->type == NGX_STREAM_TB_MQTT_FLAG && property.number > 1)
            || (known->nonzero && property.number == 0))
        {
            return "a property with an invalid value";
        }

        if (id == 0x08 && !ngx_stream_tb_mqtt_topic_valid(&property.string)) {
            return "an invalid response topic";
        }

        if (id == 0x0b && type == NGX_STREAM_TB_MQTT_PUBLISH) {
            if (!broker) {
                return "a subscription identifier of a client";
            }

            continue;
        }

        if (id != 0x26 && (seen & (uint64_t) 1 << id)) {
            return "a property twice";
        }

        seen |= (uint64_t) 1 << id;
    }
}
