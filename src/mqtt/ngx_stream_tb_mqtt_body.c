
/*
 * What is in a head, once all of it is there.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_body.h"
#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_packet.h"


static ngx_int_t ngx_stream_tb_mqtt_publish(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_connack_body(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_disconnect_body(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_list(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_filters(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_props(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char **pos);


ngx_int_t
ngx_stream_tb_mqtt_wrong(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_uint_t reason, const char *error)
{
    parser->error = error;
    parser->reason = reason;

    return NGX_ERROR;
}


ngx_int_t
ngx_stream_tb_mqtt_parse_body(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    const char                    *error;
    ngx_uint_t                     reason;
    ngx_stream_tb_mqtt_connect_t   connect;

    switch (packet->type) {

    case NGX_STREAM_TB_MQTT_CONNECT:
        error = ngx_stream_tb_mqtt_parse_connect(packet, &connect, &reason);

        /* of an unknown level: the form of an answer */

        parser->version = connect.level == NGX_STREAM_TB_MQTT_31
                              ? NGX_STREAM_TB_MQTT_31
                          : connect.level < NGX_STREAM_TB_MQTT_5
                            || connect.level > 0x7f
                              ? NGX_STREAM_TB_MQTT_311
                              : NGX_STREAM_TB_MQTT_5;

        return error ? ngx_stream_tb_mqtt_wrong(parser, reason, error)
                     : NGX_OK;

    case NGX_STREAM_TB_MQTT_CONNACK:
        return ngx_stream_tb_mqtt_connack_body(parser, packet);

    case NGX_STREAM_TB_MQTT_PUBLISH:
        return ngx_stream_tb_mqtt_publish(parser, packet);

    case NGX_STREAM_TB_MQTT_SUBSCRIBE:
    case NGX_STREAM_TB_MQTT_UNSUBSCRIBE:
        return ngx_stream_tb_mqtt_list(parser, packet);

    case NGX_STREAM_TB_MQTT_SUBACK:
    case NGX_STREAM_TB_MQTT_UNSUBACK:
        return parser->acks ? ngx_stream_tb_mqtt_list(parser, packet)
                            : NGX_OK;

    case NGX_STREAM_TB_MQTT_DISCONNECT:
        return parser->broker
                   ? ngx_stream_tb_mqtt_disconnect_body(parser, packet)
                   : NGX_OK;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_connack_body(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char  *p;

    p = packet->body;

    if (*p > 1) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                        "CONNACK with reserved flags");
    }

    packet->present = *p++;
    packet->code = *p++;

    /* a broker without MQTT 5 refuses it in this way */

    if (p == packet->end && packet->code) {
        packet->props.data = p;
        return NGX_OK;
    }

    return ngx_stream_tb_mqtt_props(parser, packet, &p);
}


/* of MQTT 5; it may end behind its code, or before it */

static ngx_int_t
ngx_stream_tb_mqtt_disconnect_body(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char  *p;

    p = packet->body;

    if (p < packet->end) {
        packet->code = *p++;
    }

    if (p == packet->end) {
        packet->props.data = p;
        return NGX_OK;
    }

    return ngx_stream_tb_mqtt_props(parser, packet, &p);
}


static ngx_int_t
ngx_stream_tb_mqtt_publish(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char                         *p;
    ngx_stream_tb_mqtt_property_t   property;

    p = packet->body;

    (void) ngx_stream_tb_mqtt_take_string(&p, packet->end, &packet->topic);

    if (ngx_stream_tb_mqtt_qos(packet->flags)) {
        (void) ngx_stream_tb_mqtt_take_number(&p, packet->end, 2,
                                              &packet->id);
        if (packet->id == 0) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x82, "a packet id of 0");
        }
    }

    if (packet->large) {
        packet->props.data = p;
        return NGX_OK;
    }

    if (ngx_stream_tb_mqtt_props(parser, packet, &p) != NGX_OK) {
        return NGX_ERROR;
    }

    p = packet->props.data;

    while (ngx_stream_tb_mqtt_property(&p, packet->end, &property) == NGX_OK) {
        if (property.id == 0x23) {
            packet->alias = property.number;
        }
    }

    if (packet->topic.len == 0 && packet->alias) {
        return NGX_OK;
    }

    if (!ngx_stream_tb_mqtt_topic_valid(&packet->topic)) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x90, "an invalid topic");
    }

    return NGX_OK;
}


/* properties end the head, before the list if there is one */

static ngx_int_t
ngx_stream_tb_mqtt_props(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char **pos)
{
    const char  *error;

    packet->props.data = *pos;

    if (parser->version == NGX_STREAM_TB_MQTT_5) {
        if (ngx_stream_tb_mqtt_take_props(pos, packet->end, &packet->props)
            != NGX_OK)
        {
            return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                              "a packet that ends within its properties");
        }

        error = ngx_stream_tb_mqtt_check_props(&packet->props, packet->type,
                                               parser->broker);
        if (error) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x82, error);
        }
    }

    packet->list.data = *pos;
    packet->list.len = packet->end - *pos;

    if (packet->list.len && (packet->type == NGX_STREAM_TB_MQTT_CONNACK
                             || packet->type == NGX_STREAM_TB_MQTT_PUBLISH
                             || packet->type
                                == NGX_STREAM_TB_MQTT_DISCONNECT))
    {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                        "a packet with more than its fields");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_list(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char  *p;

    p = packet->body;

    (void) ngx_stream_tb_mqtt_take_number(&p, packet->end, 2, &packet->id);

    if (packet->id == 0) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x82, "a packet id of 0");
    }

    if (ngx_stream_tb_mqtt_props(parser, packet, &p) != NGX_OK) {
        return NGX_ERROR;
    }

    return packet->type == NGX_STREAM_TB_MQTT_SUBSCRIBE
           || packet->type == NGX_STREAM_TB_MQTT_UNSUBSCRIBE
               ? ngx_stream_tb_mqtt_filters(parser, packet) : NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_filters(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char      *p;
    ngx_int_t    rc;
    ngx_str_t    filter;
    ngx_uint_t   options, invalid;

    if (packet->list.len == 0) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x82, "no filter");
    }

    /* QoS 3; reserved bits; retain handling 3 */

    p = packet->list.data;

    while ((rc = ngx_stream_tb_mqtt_list_next(packet, &p, &filter, &options))
           == NGX_OK)
    {
        invalid = packet->version == NGX_STREAM_TB_MQTT_5
                      ? (options & 0xc0) || (options & 0x30) == 0x30
                      : options & 0xfc;

        if (invalid || (options & 3) == 3) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                            "invalid options of a filter");
        }

        if (!ngx_stream_tb_mqtt_filter_valid(&filter)) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x8f, "an invalid filter");
        }
    }

    if (rc == NGX_ERROR) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                        "a packet that ends within a filter");
    }

    return NGX_OK;
}


ngx_int_t
ngx_stream_tb_mqtt_list_next(ngx_stream_tb_mqtt_packet_t *packet,
    u_char **pos, ngx_str_t *filter, ngx_uint_t *options)
{
    u_char  *last;

    last = packet->end;
    *options = 0;

    if (*pos == last) {
        return NGX_DONE;
    }

    if (ngx_stream_tb_mqtt_take_string(pos, last, filter) != NGX_OK) {
        return NGX_ERROR;
    }

    if (packet->type == NGX_STREAM_TB_MQTT_UNSUBSCRIBE) {
        return NGX_OK;
    }

    return ngx_stream_tb_mqtt_take_number(pos, last, 1, options);
}
