
/*
 * Rewriting.  The same code runs twice for each packet: without a place to
 * write to it finds the length, which stands before all else in the packet.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_map.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_rewrite.h"


/*
 * What longer topics can add to a packet: that of PUBLISH and its response
 * topic, and each of its two lengths may need more bytes.
 */

#define ngx_stream_tb_mqtt_growth(n)  ((n) ? 2 * (n) + 6 : 0)


typedef struct {
    u_char                        *p;         /* NULL: count only */
    size_t                         len;
} ngx_stream_tb_mqtt_writer_t;


static ngx_int_t ngx_stream_tb_mqtt_content(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w);
static ngx_int_t ngx_stream_tb_mqtt_write_publish(
    ngx_stream_tb_mqtt_rewrite_t *rw, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_writer_t *w);
static ngx_int_t ngx_stream_tb_mqtt_write_filters(
    ngx_stream_tb_mqtt_rewrite_t *rw, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_writer_t *w);
static ngx_int_t ngx_stream_tb_mqtt_write_connect(
    ngx_stream_tb_mqtt_rewrite_t *rw, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_writer_t *w);
static void ngx_stream_tb_mqtt_write_will(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_connect_t *connect,
    ngx_stream_tb_mqtt_topic_t *topic, ngx_stream_tb_mqtt_writer_t *w);
static ngx_int_t ngx_stream_tb_mqtt_write_connack(
    ngx_stream_tb_mqtt_rewrite_t *rw, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_writer_t *w);
static ngx_int_t ngx_stream_tb_mqtt_write_disconnect(
    ngx_stream_tb_mqtt_rewrite_t *rw, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_writer_t *w);
static void ngx_stream_tb_mqtt_write_props(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_str_t *props, ngx_uint_t type, ngx_stream_tb_mqtt_writer_t *w);
static void ngx_stream_tb_mqtt_put_props(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_str_t *props, ngx_uint_t type, ngx_stream_tb_mqtt_writer_t *w);
static void ngx_stream_tb_mqtt_put_ours(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_uint_t limited, ngx_stream_tb_mqtt_writer_t *w);
static void ngx_stream_tb_mqtt_put_response_topic(
    ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_property_t *property, ngx_stream_tb_mqtt_writer_t *w);
static size_t ngx_stream_tb_mqtt_size_for_client(
    ngx_stream_tb_mqtt_rewrite_t *rw, size_t size);
static void ngx_stream_tb_mqtt_put(ngx_stream_tb_mqtt_writer_t *w,
    u_char *data, size_t len);
static void ngx_stream_tb_mqtt_put_number(ngx_stream_tb_mqtt_writer_t *w,
    ngx_uint_t bytes, ngx_uint_t number);
static void ngx_stream_tb_mqtt_put_string(ngx_stream_tb_mqtt_writer_t *w,
    ngx_str_t *string);
static void ngx_stream_tb_mqtt_put_topic(ngx_stream_tb_mqtt_writer_t *w,
    ngx_stream_tb_mqtt_topic_t *topic);


ngx_int_t
ngx_stream_tb_mqtt_rewrite(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_uint_t broker)
{
    ngx_int_t                    rc;
    ngx_stream_tb_mqtt_writer_t  w;

    w.p = NULL;
    w.len = 0;

    rw->broker = broker ? 1 : 0;
    rw->refused = 0;

    rc = ngx_stream_tb_mqtt_content(rw, packet, &w);

    if (packet->alias && rc != NGX_ERROR) {
        rc = ngx_stream_tb_mqtt_aliased(rw, packet, rc);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rw->len = w.len + packet->rest;

    if (rw->len > NGX_STREAM_TB_MQTT_MAX_LEN) {
        rw->error = "a packet that is too large with its topic at the broker";
        rw->reason = 0x95;
        return NGX_ERROR;
    }

    rw->size = 1 + ngx_stream_tb_mqtt_varint_len(rw->len) + w.len;

    return NGX_OK;
}


u_char *
ngx_stream_tb_mqtt_rewrite_write(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p)
{
    ngx_stream_tb_mqtt_writer_t  w;

    *p++ = (u_char) (packet->type << 4 | packet->flags);

    w.p = ngx_stream_tb_mqtt_varint(p, rw->len);
    w.len = 0;

    (void) ngx_stream_tb_mqtt_content(rw, packet, &w);

    return w.p;
}


static ngx_int_t
ngx_stream_tb_mqtt_content(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    switch (packet->type) {

    case NGX_STREAM_TB_MQTT_PUBLISH:
        return ngx_stream_tb_mqtt_write_publish(rw, packet, w);

    case NGX_STREAM_TB_MQTT_SUBSCRIBE:
    case NGX_STREAM_TB_MQTT_UNSUBSCRIBE:
        return ngx_stream_tb_mqtt_write_filters(rw, packet, w);

    case NGX_STREAM_TB_MQTT_CONNECT:
        return ngx_stream_tb_mqtt_write_connect(rw, packet, w);

    case NGX_STREAM_TB_MQTT_CONNACK:
        return ngx_stream_tb_mqtt_write_connack(rw, packet, w);

    case NGX_STREAM_TB_MQTT_DISCONNECT:
        if (rw->broker) {
            return ngx_stream_tb_mqtt_write_disconnect(rw, packet, w);
        }

        break;
    }

    ngx_stream_tb_mqtt_put(w, packet->body, packet->end - packet->body);

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_write_publish(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    ngx_int_t                   rc;
    ngx_stream_tb_mqtt_topic_t  topic;

    if (packet->topic.len) {
        rc = rw->broker
                 ? ngx_stream_tb_mqtt_map_back(rw->map, &packet->topic, &topic)
                 : ngx_stream_tb_mqtt_map_topic(rw->map, &packet->topic,
                                                &topic);
        if (rc != NGX_OK) {
            return rc;
        }

        ngx_stream_tb_mqtt_put_topic(w, &topic);

    } else {

        /* an alias: the topic of an earlier packet, as that was rewritten */

        ngx_stream_tb_mqtt_put_string(w, &packet->topic);
    }

    if (packet->id) {
        ngx_stream_tb_mqtt_put_number(w, 2, packet->id);
    }

    if (packet->version == NGX_STREAM_TB_MQTT_5) {
        ngx_stream_tb_mqtt_write_props(rw, &packet->props, packet->type, w);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_write_filters(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    u_char                      *p;
    ngx_str_t                    filter;
    ngx_uint_t                   options, n, refused;
    ngx_stream_tb_mqtt_topic_t   topic;

    n = 0;
    refused = 0;

    /* packet id and properties */

    ngx_stream_tb_mqtt_put(w, packet->body, packet->list.data - packet->body);

    p = packet->list.data;

    while (ngx_stream_tb_mqtt_list_next(packet, &p, &filter, &options)
           == NGX_OK)
    {
        if (ngx_stream_tb_mqtt_map_filter(rw->map, &filter, &topic) != NGX_OK)
        {
            refused++;
            continue;
        }

        ngx_stream_tb_mqtt_put_topic(w, &topic);

        if (packet->type == NGX_STREAM_TB_MQTT_SUBSCRIBE) {
            ngx_stream_tb_mqtt_put_number(w, 1, options);
        }

        n++;
    }

    rw->refused = refused;

    return n ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_stream_tb_mqtt_write_connect(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    ngx_uint_t                     flags;
    ngx_stream_tb_mqtt_topic_t     topic;
    ngx_stream_tb_mqtt_connect_t   connect;

    rw->error = ngx_stream_tb_mqtt_parse_connect(packet, &connect,
                                                 &rw->reason);
    if (rw->error) {
        return NGX_ERROR;
    }

    flags = connect.flags & ~(ngx_uint_t) (NGX_STREAM_TB_MQTT_USERNAME
                                           | NGX_STREAM_TB_MQTT_PASSWORD);

    /* a will with a topic that is refused is none */

    if ((flags & NGX_STREAM_TB_MQTT_WILL)
        && ngx_stream_tb_mqtt_map_topic(rw->map, &connect.will_topic, &topic)
           != NGX_OK)
    {
        flags &= ~(ngx_uint_t) (NGX_STREAM_TB_MQTT_WILL
                                | NGX_STREAM_TB_MQTT_WILL_QOS
                                | NGX_STREAM_TB_MQTT_WILL_RETAIN);
    }

    if (rw->ctx->username.len) {
        flags |= NGX_STREAM_TB_MQTT_USERNAME;

        if (rw->ctx->password.len) {
            flags |= NGX_STREAM_TB_MQTT_PASSWORD;
        }
    }

    ngx_stream_tb_mqtt_put_string(w, &connect.name);
    ngx_stream_tb_mqtt_put_number(w, 1, connect.level);
    ngx_stream_tb_mqtt_put_number(w, 1, flags);
    ngx_stream_tb_mqtt_put_number(w, 2, connect.keepalive);

    if (connect.level == NGX_STREAM_TB_MQTT_5) {
        ngx_stream_tb_mqtt_write_props(rw, &connect.props,
                                       NGX_STREAM_TB_MQTT_CONNECT, w);
    }

    rw->nameless = (connect.client_id.len == 0);
    rw->keepalive = connect.keepalive;

    ngx_stream_tb_mqtt_put_string(w, &rw->ctx->device_id);

    if (flags & NGX_STREAM_TB_MQTT_WILL) {
        ngx_stream_tb_mqtt_write_will(rw, &connect, &topic, w);
    }

    if (flags & NGX_STREAM_TB_MQTT_USERNAME) {
        ngx_stream_tb_mqtt_put_string(w, &rw->ctx->username);
    }

    if (flags & NGX_STREAM_TB_MQTT_PASSWORD) {
        ngx_stream_tb_mqtt_put_string(w, &rw->ctx->password);
    }

    return NGX_OK;
}


static void
ngx_stream_tb_mqtt_write_will(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_connect_t *connect,
    ngx_stream_tb_mqtt_topic_t *topic, ngx_stream_tb_mqtt_writer_t *w)
{
    if (connect->level == NGX_STREAM_TB_MQTT_5) {
        ngx_stream_tb_mqtt_write_props(rw, &connect->will_props,
                                       NGX_STREAM_TB_MQTT_PUBLISH, w);
    }

    ngx_stream_tb_mqtt_put_topic(w, topic);
    ngx_stream_tb_mqtt_put_string(w, &connect->will_payload);
}


/*
 * What the broker says of our user name or of the client id that we gave no
 * device could mend, and of other brokers none knows: to it the server is not
 * available.
 */

static ngx_int_t
ngx_stream_tb_mqtt_write_connack(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    ngx_uint_t  code;

    code = packet->code;

    switch (code) {

    case 2:
    case 4:
    case 5:
        code = 3;
        break;

    case 0x85:
    case 0x86:
    case 0x87:
    case 0x8a:
    case 0x8c:
    case 0x9c:
    case 0x9d:
        code = 0x88;
        break;
    }

    ngx_stream_tb_mqtt_put_number(w, 1, packet->present);
    ngx_stream_tb_mqtt_put_number(w, 1, code);

    rw->failed = (code != 0);
    rw->hidden = (code != packet->code);

    if (packet->version == NGX_STREAM_TB_MQTT_5
        && packet->end - packet->body > 2)
    {
        ngx_stream_tb_mqtt_write_props(rw, &packet->props, packet->type, w);
    }

    return NGX_OK;
}


/*
 * A device that is sent to another broker comes back to us instead, as to a
 * server that is shutting down.
 */

static ngx_int_t
ngx_stream_tb_mqtt_write_disconnect(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_stream_tb_mqtt_writer_t *w)
{
    size_t  len;

    len = packet->end - packet->body;

    /* use another server; server moved */

    rw->hidden = (packet->code == 0x9c || packet->code == 0x9d);

    if (len) {
        ngx_stream_tb_mqtt_put_number(w, 1, rw->hidden ? 0x8b : packet->code);
    }

    if (len > 1) {
        ngx_stream_tb_mqtt_write_props(rw, &packet->props, packet->type, w);
    }

    return NGX_OK;
}


/* with their length */

static void
ngx_stream_tb_mqtt_write_props(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_str_t *props, ngx_uint_t type, ngx_stream_tb_mqtt_writer_t *w)
{
    ngx_stream_tb_mqtt_writer_t  count;

    count.p = NULL;
    count.len = 0;

    ngx_stream_tb_mqtt_put_props(rw, props, type, &count);

    if (w->p) {
        w->p = ngx_stream_tb_mqtt_varint(w->p, count.len);
        ngx_stream_tb_mqtt_put_props(rw, props, type, w);

    } else {
        w->len += ngx_stream_tb_mqtt_varint_len(count.len) + count.len;
    }
}


static void
ngx_stream_tb_mqtt_put_props(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_str_t *props, ngx_uint_t type, ngx_stream_tb_mqtt_writer_t *w)
{
    u_char                         *p, *last;
    size_t                          size;
    ngx_uint_t                      limited, connack;
    ngx_stream_tb_mqtt_property_t   property;

    limited = 0;
    connack = (type == NGX_STREAM_TB_MQTT_CONNACK);

    p = props->data;
    last = p + props->len;

    while (ngx_stream_tb_mqtt_property(&p, last, &property) == NGX_OK) {

        switch (property.id) {

        case 0x08:    /* response topic */
            ngx_stream_tb_mqtt_put_response_topic(rw, &property, w);
            continue;

        case 0x12:    /* assigned client id: ours is written below */
        case 0x1a:    /* response information: a topic of the broker's */
        case 0x1c:    /* server reference: another broker, without us */
            continue;

        case 0x1f:    /* reason string */
        case 0x26:    /* user property */
            if (rw->hidden && type != NGX_STREAM_TB_MQTT_PUBLISH) {
                continue;
            }

            break;

        case 0x13:    /* server keep alive */
            rw->keepalive = property.number;
            break;

        case 0x22:    /* topic alias maximum */
            ngx_stream_tb_mqtt_put_number(w, 1, property.id);
            ngx_stream_tb_mqtt_put_number(w, 2, ngx_min(property.number,
                                                NGX_STREAM_TB_MQTT_ALIASES));
            continue;

        case 0x27:    /* maximum packet size */
            size = property.number;
            limited = 1;

            if (connack) {
                size = ngx_stream_tb_mqtt_size_for_client(rw, size);

            } else {
                size -= ngx_min(size - 1,
                                ngx_stream_tb_mqtt_growth(rw->map->shrinks));
            }

            ngx_stream_tb_mqtt_put_number(w, 1, property.id);
            ngx_stream_tb_mqtt_put_number(w, 4, size);
            continue;
        }

        ngx_stream_tb_mqtt_put(w, property.start,
                               property.end - property.start);
    }

    if (connack && !rw->failed) {
        ngx_stream_tb_mqtt_put_ours(rw, limited, w);
    }
}


/* what a broker does not say; limited: it has a maximum packet size */

static void
ngx_stream_tb_mqtt_put_ours(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_uint_t limited, ngx_stream_tb_mqtt_writer_t *w)
{
    if (rw->nameless) {
        ngx_stream_tb_mqtt_put_number(w, 1, 0x12);
        ngx_stream_tb_mqtt_put_string(w, &rw->ctx->device_id);
    }

    if (!limited && rw->ctx->max_packet) {
        ngx_stream_tb_mqtt_put_number(w, 1, 0x27);
        ngx_stream_tb_mqtt_put_number(w, 4, rw->ctx->max_packet);
    }
}


/* from the largest packet of the broker to that of the client */

static size_t
ngx_stream_tb_mqtt_size_for_client(ngx_stream_tb_mqtt_rewrite_t *rw,
    size_t size)
{
    size -= ngx_min(size - 1, ngx_stream_tb_mqtt_growth(rw->map->grows));

    return rw->ctx->max_packet ? ngx_min(size, rw->ctx->max_packet) : size;
}


/*
 * A device's own one is refused like a topic: then nobody can answer.  One of
 * another side may not be the device's; where it would answer to is found when
 * it does.
 */

static void
ngx_stream_tb_mqtt_put_response_topic(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_property_t *property, ngx_stream_tb_mqtt_writer_t *w)
{
    ngx_int_t                    rc;
    ngx_stream_tb_mqtt_topic_t   topic;

    rc = rw->broker
             ? ngx_stream_tb_mqtt_map_back(rw->map, &property->string, &topic)
             : ngx_stream_tb_mqtt_map_topic(rw->map, &property->string,
                                            &topic);

    if (rc == NGX_OK) {
        ngx_stream_tb_mqtt_put_number(w, 1, property->id);
        ngx_stream_tb_mqtt_put_topic(w, &topic);

    } else if (rw->broker) {
        ngx_stream_tb_mqtt_put(w, property->start,
                               property->end - property->start);
    }
}


static void
ngx_stream_tb_mqtt_put(ngx_stream_tb_mqtt_writer_t *w, u_char *data,
    size_t len)
{
    w->len += len;

    if (w->p && len) {
        w->p = ngx_cpymem(w->p, data, len);
    }
}


static void
ngx_stream_tb_mqtt_put_number(ngx_stream_tb_mqtt_writer_t *w,
    ngx_uint_t bytes, ngx_uint_t number)
{
    w->len += bytes;

    if (w->p) {
        while (bytes--) {
            *w->p++ = (u_char) (number >> 8 * bytes);
        }
    }
}


static void
ngx_stream_tb_mqtt_put_string(ngx_stream_tb_mqtt_writer_t *w,
    ngx_str_t *string)
{
    ngx_stream_tb_mqtt_put_number(w, 2, string->len);
    ngx_stream_tb_mqtt_put(w, string->data, string->len);
}


static void
ngx_stream_tb_mqtt_put_topic(ngx_stream_tb_mqtt_writer_t *w,
    ngx_stream_tb_mqtt_topic_t *topic)
{
    ngx_stream_tb_mqtt_put_number(w, 2, ngx_stream_tb_mqtt_topic_len(topic));
    ngx_stream_tb_mqtt_put(w, topic->share.data, topic->share.len);
    ngx_stream_tb_mqtt_put(w, topic->prefix.data, topic->prefix.len);
    ngx_stream_tb_mqtt_put(w, topic->rest.data, topic->rest.len);
}
