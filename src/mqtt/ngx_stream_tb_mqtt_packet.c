
/*
 * From bytes to packets' heads.
 *
 * What is needed of a packet is found step by step from its beginning, which
 * is looked at again with each step: there are five at most, and nothing has
 * to be remembered but the bytes.  They are copied only when a head comes in
 * pieces.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_body.h"
#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_packet.h"


#define NGX_STREAM_TB_MQTT_KEEP     128     /* first, and by how much more */

#define NGX_STREAM_TB_MQTT_CLIENT   1
#define NGX_STREAM_TB_MQTT_BROKER   2


typedef struct {
    u_char      sides;
    u_char      flags;
    u_char      min;              /* remaining length before MQTT 5 */
    u_char      max;              /* the same, 0xff: any */
    u_char      min5;
} ngx_stream_tb_mqtt_type_t;


static ngx_int_t ngx_stream_tb_mqtt_head(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p, size_t len);
static ngx_int_t ngx_stream_tb_mqtt_fixed(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p, size_t len);
static ngx_int_t ngx_stream_tb_mqtt_check_type(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet);
static ngx_int_t ngx_stream_tb_mqtt_publish_need(
    ngx_stream_tb_mqtt_parser_t *parser, ngx_stream_tb_mqtt_packet_t *packet,
    size_t len, size_t *head);
static size_t ngx_stream_tb_mqtt_large(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, size_t head);
static ngx_int_t ngx_stream_tb_mqtt_keep(ngx_stream_tb_mqtt_parser_t *parser,
    u_char *p, size_t n);


static ngx_stream_tb_mqtt_type_t  ngx_stream_tb_mqtt_types[] = {
    { 0, 0, 0, 0, 0 },
    { NGX_STREAM_TB_MQTT_CLIENT, 0, 10, 0xff, 10 },           /* CONNECT */
    { NGX_STREAM_TB_MQTT_BROKER, 0, 2, 2, 2 },                /* CONNACK */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      0, 2, 0xff, 3 },                                        /* PUBLISH */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      0, 2, 2, 2 },                                           /* PUBACK */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      0, 2, 2, 2 },                                           /* PUBREC */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      2, 2, 2, 2 },                                           /* PUBREL */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      0, 2, 2, 2 },                                           /* PUBCOMP */
    { NGX_STREAM_TB_MQTT_CLIENT, 2, 6, 0xff, 7 },             /* SUBSCRIBE */
    { NGX_STREAM_TB_MQTT_BROKER, 0, 3, 0xff, 4 },             /* SUBACK */
    { NGX_STREAM_TB_MQTT_CLIENT, 2, 5, 0xff, 6 },             /* UNSUBSCRIBE */
    { NGX_STREAM_TB_MQTT_BROKER, 0, 2, 2, 4 },                /* UNSUBACK */
    { NGX_STREAM_TB_MQTT_CLIENT, 0, 0, 0, 0 },                /* PINGREQ */
    { NGX_STREAM_TB_MQTT_BROKER, 0, 0, 0, 0 },                /* PINGRESP */
    { NGX_STREAM_TB_MQTT_CLIENT|NGX_STREAM_TB_MQTT_BROKER,
      0, 0, 0, 0 },                                           /* DISCONNECT */
    { 0, 0, 0, 0, 0 }                                         /* AUTH */
};


ngx_int_t
ngx_stream_tb_mqtt_parse(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char **pos, u_char *last)
{
    size_t     n;
    ngx_int_t  rc;

    if (parser->len == 0) {
        if (*pos == last) {
            return NGX_AGAIN;
        }

        rc = ngx_stream_tb_mqtt_head(parser, packet, *pos, last - *pos);

        if (rc == NGX_OK) {
            *pos = packet->end;
        }

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    for ( ;; ) {
        n = ngx_min((size_t) (last - *pos), parser->need - parser->len);

        if (ngx_stream_tb_mqtt_keep(parser, *pos, n) != NGX_OK) {
            parser->error = NULL;
            return NGX_ERROR;
        }

        *pos += n;

        if (parser->len < parser->need) {
            return NGX_AGAIN;
        }

        rc = ngx_stream_tb_mqtt_head(parser, packet, parser->data,
                                     parser->len);

        if (rc != NGX_AGAIN) {
            parser->len = 0;
            return rc;
        }
    }
}


void
ngx_stream_tb_mqtt_parser_free(ngx_stream_tb_mqtt_parser_t *parser)
{
    if (parser->data) {
        ngx_free(parser->data);

        parser->data = NULL;
        parser->size = 0;
        parser->len = 0;
    }
}


/* grows with what has come, not with what a length promises */

static ngx_int_t
ngx_stream_tb_mqtt_keep(ngx_stream_tb_mqtt_parser_t *parser, u_char *p,
    size_t n)
{
    u_char  *data;
    size_t   size;

    if (parser->len + n > parser->size) {
        size = ngx_max(2 * parser->size, NGX_STREAM_TB_MQTT_KEEP);
        size = ngx_max(size, parser->len + n);

        data = ngx_alloc(size, parser->log);
        if (data == NULL) {
            return NGX_ERROR;
        }

        if (parser->data) {
            ngx_memcpy(data, parser->data, parser->len);
            ngx_free(parser->data);
        }

        parser->data = data;
        parser->size = size;
    }

    ngx_memcpy(parser->data + parser->len, p, n);
    parser->len += n;

    return NGX_OK;
}


/* NGX_AGAIN: not before there are parser->need bytes, which is more than len */

static ngx_int_t
ngx_stream_tb_mqtt_head(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p, size_t len)
{
    size_t     head;
    ngx_int_t  rc;

    rc = ngx_stream_tb_mqtt_fixed(parser, packet, p, len);
    if (rc != NGX_OK) {
        return rc;
    }

    head = 0;

    switch (packet->type) {

    case NGX_STREAM_TB_MQTT_PUBLISH:
        rc = ngx_stream_tb_mqtt_publish_need(parser, packet,
                                             len - (packet->body - p), &head);
        break;

    case NGX_STREAM_TB_MQTT_SUBACK:
    case NGX_STREAM_TB_MQTT_UNSUBACK:
        head = parser->acks ? packet->rest : 0;
        break;

    case NGX_STREAM_TB_MQTT_DISCONNECT:
        head = parser->broker ? packet->rest : 0;
        break;

    case NGX_STREAM_TB_MQTT_CONNECT:
    case NGX_STREAM_TB_MQTT_CONNACK:
    case NGX_STREAM_TB_MQTT_SUBSCRIBE:
    case NGX_STREAM_TB_MQTT_UNSUBSCRIBE:
        head = packet->rest;
        break;
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    head = ngx_stream_tb_mqtt_large(parser, packet, head);

    parser->need = packet->body - p + head;

    if (parser->need > parser->head_size) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x95,
                                        "a head that is too large");
    }

    if (len < parser->need) {
        return NGX_AGAIN;
    }

    packet->end = packet->body + head;
    packet->rest -= head;

    rc = ngx_stream_tb_mqtt_parse_body(parser, packet);

    if (rc == NGX_OK) {
        parser->started = 1;
    }

    return rc;
}


/*
 * A message that the broker has taken would come again after an end: so what
 * it needs to be acknowledged is enough of it.
 */

static size_t
ngx_stream_tb_mqtt_large(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, size_t head)
{
    size_t  ids;

    if (!parser->broker || packet->type != NGX_STREAM_TB_MQTT_PUBLISH
        || packet->body - packet->start + head <= parser->head_size)
    {
        return head;
    }

    ids = 2 + ngx_stream_tb_mqtt_uint16(packet->body);

    if (ngx_stream_tb_mqtt_qos(packet->flags)) {
        ids += 2;
    }

    packet->large = (ids < head);

    return ids;
}


/* type and length; packet->rest is what follows packet->body */

static ngx_int_t
ngx_stream_tb_mqtt_fixed(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p, size_t len)
{
    u_char      *pos;
    ngx_uint_t   rest;

    ngx_memzero(packet, sizeof(ngx_stream_tb_mqtt_packet_t));

    packet->start = p;
    packet->type = *p >> 4;
    packet->flags = *p & 0x0f;
    packet->version = parser->version;

    pos = p + 1;

    if (ngx_stream_tb_mqtt_take_varint(&pos, p + len, &rest) != NGX_OK) {
        if (len >= NGX_STREAM_TB_MQTT_MAX_FIXED) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                   "a remaining length of more than 4 bytes");
        }

        parser->need = len + 1;

        return NGX_AGAIN;
    }

    packet->body = pos;
    packet->rest = rest;

    if (parser->max_packet && pos - p + rest > parser->max_packet) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x95,
                                        "a packet that is too large");
    }

    return ngx_stream_tb_mqtt_check_type(parser, packet);
}


static ngx_int_t
ngx_stream_tb_mqtt_check_type(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_uint_t                  side, first;
    ngx_stream_tb_mqtt_type_t  *type;

    type = &ngx_stream_tb_mqtt_types[packet->type];

    if (parser->broker) {
        side = NGX_STREAM_TB_MQTT_BROKER;
        first = NGX_STREAM_TB_MQTT_CONNACK;

    } else {
        side = NGX_STREAM_TB_MQTT_CLIENT;
        first = NGX_STREAM_TB_MQTT_CONNECT;
    }

    if (!(type->sides & side)) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x82,
                                        "a packet that this side can't send");
    }

    if (parser->started == (packet->type == first)) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x82, parser->started
                                            ? "CONNECT or CONNACK twice"
                                            : "another packet comes first");
    }

    if (packet->type != NGX_STREAM_TB_MQTT_PUBLISH) {
        if (packet->flags != type->flags) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x81, "invalid flags");
        }

    } else if (ngx_stream_tb_mqtt_qos(packet->flags) == 3) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81, "QoS 3");

    } else if ((packet->flags & 0x0e) == 0x08) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81, "DUP with QoS 0");
    }

    if (parser->version == NGX_STREAM_TB_MQTT_5
            ? packet->rest < type->min5
              || (packet->rest && packet->type >= NGX_STREAM_TB_MQTT_PINGREQ
                  && packet->type <= NGX_STREAM_TB_MQTT_PINGRESP)
            : packet->rest < type->min
              || (type->max != 0xff && packet->rest > type->max))
    {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                   "a length that is not that of its type");
    }

    if (packet->type == NGX_STREAM_TB_MQTT_DISCONNECT && parser->broker
        && parser->version != NGX_STREAM_TB_MQTT_5)
    {
        return ngx_stream_tb_mqtt_wrong(parser, 0x82,
                                        "DISCONNECT of a broker");
    }

    return NGX_OK;
}


/* *head: bytes of the body that are needed, of which there are len */

static ngx_int_t
ngx_stream_tb_mqtt_publish_need(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, size_t len, size_t *head)
{
    u_char      *p;
    size_t       need;
    ngx_uint_t   props;

    *head = 2;

    if (len < 2) {
        return NGX_OK;
    }

    need = 2 + ngx_stream_tb_mqtt_uint16(packet->body);

    if (ngx_stream_tb_mqtt_qos(packet->flags)) {
        need += 2;
    }

    if (parser->version == NGX_STREAM_TB_MQTT_5) {
        p = packet->body + need;

        /* one more byte at a time, until the length of the properties ends */

        if (len <= need) {
            need++;

        } else if (ngx_stream_tb_mqtt_take_varint(&p, packet->body + len,
                                                  &props)
                   == NGX_OK)
        {
            need = p - packet->body + props;

        } else if (len - need >= 4) {
            return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                  "a length of properties over 4 bytes");

        } else {
            need = len + 1;
        }
    }

    if (need > packet->rest) {
        return ngx_stream_tb_mqtt_wrong(parser, 0x81,
                                  "PUBLISH that ends before its payload");
    }

    *head = need;

    return NGX_OK;
}
