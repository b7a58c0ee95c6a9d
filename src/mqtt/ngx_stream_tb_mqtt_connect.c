
/*
 * CONNECT: the one packet whose fields are all needed.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_packet.h"


static const char *ngx_stream_tb_mqtt_connect_head(u_char **pos,
    u_char *last, ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason);
static const char *ngx_stream_tb_mqtt_connect_flags(
    ngx_stream_tb_mqtt_connect_t *connect);
static const char *ngx_stream_tb_mqtt_connect_will(u_char **pos,
    u_char *last, ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason);
static const char *ngx_stream_tb_mqtt_connect_login(u_char **pos,
    u_char *last, ngx_stream_tb_mqtt_connect_t *connect);
static ngx_uint_t ngx_stream_tb_mqtt_connect_auth(ngx_str_t *props);
static ngx_uint_t ngx_stream_tb_mqtt_connect_level(
    ngx_stream_tb_mqtt_connect_t *connect);


const char *
ngx_stream_tb_mqtt_parse_connect(ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason)
{
    u_char      *p, *last;
    const char  *error;

    ngx_memzero(connect, sizeof(ngx_stream_tb_mqtt_connect_t));

    *reason = 0x81;

    p = packet->body;
    last = packet->end;

    error = ngx_stream_tb_mqtt_connect_head(&p, last, connect, reason);
    if (error) {
        return error;
    }

    packet->version = connect->level;

    if (connect->level == NGX_STREAM_TB_MQTT_5) {
        if (ngx_stream_tb_mqtt_take_props(&p, last, &connect->props)
            != NGX_OK)
        {
            return "CONNECT that ends within its properties";
        }

        error = ngx_stream_tb_mqtt_check_props(&connect->props,
                                               NGX_STREAM_TB_MQTT_CONNECT, 0);
        if (error) {
            *reason = 0x82;
            return error;
        }

        if (ngx_stream_tb_mqtt_connect_auth(&connect->props)) {
            *reason = 0x8c;
            return "an authentication method";
        }
    }

    if (ngx_stream_tb_mqtt_take_string(&p, last, &connect->client_id)
        != NGX_OK)
    {
        return "CONNECT that ends within its client id";
    }

    if (!ngx_stream_tb_mqtt_text_valid(&connect->client_id)) {
        *reason = 0x85;
        return "a client id that is no UTF-8";
    }

    error = ngx_stream_tb_mqtt_connect_will(&p, last, connect, reason);

    if (error == NULL) {
        error = ngx_stream_tb_mqtt_connect_login(&p, last, connect);
    }

    if (error == NULL && p != last) {
        error = "CONNECT with more than its fields";
    }

    return error;
}


/* nobody but us logs it in, and we have no method */

static ngx_uint_t
ngx_stream_tb_mqtt_connect_auth(ngx_str_t *props)
{
    u_char                         *p, *last;
    ngx_stream_tb_mqtt_property_t   property;

    p = props->data;
    last = p + props->len;

    while (ngx_stream_tb_mqtt_property(&p, last, &property) == NGX_OK) {
        if (property.id == 0x15 || property.id == 0x16) {
            return 1;
        }
    }

    return 0;
}


/* protocol, flags and keep alive */

static const char *
ngx_stream_tb_mqtt_connect_head(u_char **pos, u_char *last,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason)
{
    if (ngx_stream_tb_mqtt_take_string(pos, last, &connect->name) != NGX_OK
        || ngx_stream_tb_mqtt_take_number(pos, last, 1, &connect->level)
           != NGX_OK)
    {
        return "CONNECT without a protocol";
    }

    if (!ngx_stream_tb_mqtt_connect_level(connect)) {
        *reason = 0x84;
        return "a protocol other than MQTT 3.1, 3.1.1 and 5";
    }

    if (ngx_stream_tb_mqtt_take_number(pos, last, 1, &connect->flags) != NGX_OK
        || ngx_stream_tb_mqtt_take_number(pos, last, 2, &connect->keepalive)
           != NGX_OK)
    {
        return "CONNECT that ends within its flags";
    }

    return ngx_stream_tb_mqtt_connect_flags(connect);
}


/* 1 if it is one of ours; the upper bit is said by bridges of brokers */

static ngx_uint_t
ngx_stream_tb_mqtt_connect_level(ngx_stream_tb_mqtt_connect_t *connect)
{
    if (connect->name.len == 6
        && ngx_memcmp(connect->name.data, "MQIsdp", 6) == 0)
    {
        return connect->level == NGX_STREAM_TB_MQTT_31;
    }

    return connect->name.len == 4
           && ngx_memcmp(connect->name.data, "MQTT", 4) == 0
           && (connect->level == NGX_STREAM_TB_MQTT_311
               || connect->level == NGX_STREAM_TB_MQTT_5);
}


static const char *
ngx_stream_tb_mqtt_connect_flags(ngx_stream_tb_mqtt_connect_t *connect)
{
    ngx_uint_t  flags;

    flags = connect->flags;

    if (flags & 1) {
        return "CONNECT with a reserved flag";
    }

    if ((flags & NGX_STREAM_TB_MQTT_WILL_QOS) == NGX_STREAM_TB_MQTT_WILL_QOS)
    {
        return "a will of QoS 3";
    }

    if (!(flags & NGX_STREAM_TB_MQTT_WILL)
        && (flags & (NGX_STREAM_TB_MQTT_WILL_QOS
                     | NGX_STREAM_TB_MQTT_WILL_RETAIN)))
    {
        return "QoS or retain of no will";
    }

    if (connect->level != NGX_STREAM_TB_MQTT_5
        && (flags & NGX_STREAM_TB_MQTT_PASSWORD)
        && !(flags & NGX_STREAM_TB_MQTT_USERNAME))
    {
        return "a password without a user name";
    }

    return NULL;
}


static const char *
ngx_stream_tb_mqtt_connect_will(u_char **pos, u_char *last,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason)
{
    const char  *error;

    if (!(connect->flags & NGX_STREAM_TB_MQTT_WILL)) {
        return NULL;
    }

    if (connect->level == NGX_STREAM_TB_MQTT_5) {
        if (ngx_stream_tb_mqtt_take_props(pos, last, &connect->will_props)
            != NGX_OK)
        {
            return "CONNECT that ends within the properties of its will";
        }

        error = ngx_stream_tb_mqtt_check_props(&connect->will_props, 0, 0);
        if (error) {
            *reason = 0x82;
            return error;
        }
    }

    if (ngx_stream_tb_mqtt_take_string(pos, last, &connect->will_topic)
        != NGX_OK
        || ngx_stream_tb_mqtt_take_string(pos, last, &connect->will_payload)
           != NGX_OK)
    {
        return "CONNECT that ends within its will";
    }

    if (!ngx_stream_tb_mqtt_topic_valid(&connect->will_topic)) {
        *reason = 0x90;
        return "an invalid topic of a will";
    }

    return NULL;
}


static const char *
ngx_stream_tb_mqtt_connect_login(u_char **pos, u_char *last,
    ngx_stream_tb_mqtt_connect_t *connect)
{
    if ((connect->flags & NGX_STREAM_TB_MQTT_USERNAME)
        && ngx_stream_tb_mqtt_take_string(pos, last, &connect->username)
           != NGX_OK)
    {
        return "CONNECT that ends within its user name";
    }

    if ((connect->flags & NGX_STREAM_TB_MQTT_PASSWORD)
        && ngx_stream_tb_mqtt_take_string(pos, last, &connect->password)
           != NGX_OK)
    {
        return "CONNECT that ends within its password";
    }

    return NULL;
}
