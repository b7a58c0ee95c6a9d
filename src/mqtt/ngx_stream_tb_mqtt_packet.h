
/*
 * MQTT 3.1, 3.1.1 and 5 as bytes: a parser that knows no session.  It is fed
 * any pieces and gives the head of one packet after another, checked: the
 * fixed header and what has to be known before a byte of it can go on.  What
 * follows the head, payload in most cases, is counted only.
 *
 * Heads: PUBLISH to the end of the packet id, in MQTT 5 of the properties;
 * CONNECT, CONNACK, SUBSCRIBE, UNSUBSCRIBE and a broker's DISCONNECT whole,
 * SUBACK and UNSUBACK if asked for; of all others the fixed header.
 */


#ifndef _NGX_STREAM_TB_MQTT_PACKET_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_PACKET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* types, as in the upper half of a packet's first byte */

#define NGX_STREAM_TB_MQTT_CONNECT      1
#define NGX_STREAM_TB_MQTT_CONNACK      2
#define NGX_STREAM_TB_MQTT_PUBLISH      3
#define NGX_STREAM_TB_MQTT_PUBACK       4
#define NGX_STREAM_TB_MQTT_PUBREC       5
#define NGX_STREAM_TB_MQTT_PUBREL       6
#define NGX_STREAM_TB_MQTT_PUBCOMP      7
#define NGX_STREAM_TB_MQTT_SUBSCRIBE    8
#define NGX_STREAM_TB_MQTT_SUBACK       9
#define NGX_STREAM_TB_MQTT_UNSUBSCRIBE  10
#define NGX_STREAM_TB_MQTT_UNSUBACK     11
#define NGX_STREAM_TB_MQTT_PINGREQ      12
#define NGX_STREAM_TB_MQTT_PINGRESP     13
#define NGX_STREAM_TB_MQTT_DISCONNECT   14
#define NGX_STREAM_TB_MQTT_AUTH         15

/* flags of a CONNECT */

#define NGX_STREAM_TB_MQTT_CLEAN        0x02
#define NGX_STREAM_TB_MQTT_WILL         0x04
#define NGX_STREAM_TB_MQTT_WILL_QOS     0x18
#define NGX_STREAM_TB_MQTT_WILL_RETAIN  0x20
#define NGX_STREAM_TB_MQTT_PASSWORD     0x40
#define NGX_STREAM_TB_MQTT_USERNAME     0x80

/* the largest remaining length, and the longest fixed header */

#define NGX_STREAM_TB_MQTT_MAX_LEN      268435455
#define NGX_STREAM_TB_MQTT_MAX_FIXED    5

/* of a string */

#define NGX_STREAM_TB_MQTT_MAX_STRING   65535

#define ngx_stream_tb_mqtt_qos(flags)   (((flags) >> 1) & 3)


typedef struct {
    ngx_uint_t     type;
    ngx_uint_t     flags;         /* lower half of the first byte */
    ngx_uint_t     version;       /* protocol level; of a CONNECT its own */

    u_char        *start;         /* the fixed header */
    u_char        *body;          /* what follows it */
    u_char        *end;           /* of the head */
    size_t         rest;          /* bytes of the packet that follow */

    ngx_uint_t     id;            /* packet id, 0 if there is none */
    ngx_str_t      topic;         /* PUBLISH */
    ngx_uint_t     alias;         /* PUBLISH, 0 if there is none */
    ngx_str_t      props;         /* without their length */
    ngx_str_t      list;          /* filters or reason codes */
    ngx_uint_t     code;          /* CONNACK, a broker's DISCONNECT */
    ngx_uint_t     present;       /* CONNACK: Session Present */
    unsigned       large:1;       /* PUBLISH of a broker: its properties are
                                     more than head_size, so they are in rest
                                     and it can't go on */
} ngx_stream_tb_mqtt_packet_t;


typedef struct {
    ngx_str_t      name;          /* of the protocol */
    ngx_uint_t     level;
    ngx_uint_t     flags;
    ngx_uint_t     keepalive;     /* seconds */
    ngx_str_t      props;         /* empty before MQTT 5, as will_props */
    ngx_str_t      client_id;
    ngx_str_t      will_props;
    ngx_str_t      will_topic;
    ngx_str_t      will_payload;
    ngx_str_t      username;      /* data is NULL if there is none */
    ngx_str_t      password;      /* the same */
} ngx_stream_tb_mqtt_connect_t;


typedef struct {
    ngx_uint_t     id;
    u_char        *start;         /* the id */
    u_char        *value;         /* behind it */
    u_char        *end;
    ngx_str_t      string;        /* a string's or binary data's */
    ngx_uint_t     number;        /* of 1, 2, 4 bytes or varying length */
} ngx_stream_tb_mqtt_property_t;


/*
 * One direction.  head_size bounds what is kept of a packet that is not whole,
 * max_packet (0: not at all) each packet with its fixed header.  version is
 * set by the CONNECT that is parsed; for the broker's side by the caller,
 * before the first byte.
 */

typedef struct {
    size_t         head_size;
    size_t         max_packet;
    ngx_log_t     *log;
    ngx_uint_t     version;       /* 0: no CONNECT yet */

    u_char        *data;          /* a head that is not whole, or NULL */
    size_t         size;
    size_t         len;
    size_t         need;

    const char    *error;         /* why NGX_ERROR was returned, for a log */
    ngx_uint_t     reason;        /* the same as a reason code of MQTT 5 */

    unsigned       broker:1;      /* set by the caller: bytes of a broker */
    unsigned       acks:1;        /* SUBACK and UNSUBACK are needed whole */
    unsigned       started:1;     /* CONNECT or CONNACK was seen */
} ngx_stream_tb_mqtt_parser_t;


/*
 * Takes bytes from *pos.  NGX_OK: *packet is the next one, *pos is behind its
 * head; packet->rest bytes belong to it, too, and must be left out before the
 * next call.  It points into the input, or to what the parser keeps until
 * ngx_stream_tb_mqtt_parser_free() or the next call.  NGX_AGAIN: all bytes
 * are taken.  NGX_ERROR: parser->error, or no memory if that is NULL; no call
 * may follow.
 */
ngx_int_t ngx_stream_tb_mqtt_parse(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet, u_char **pos, u_char *last);

/* gives back what the parser keeps; it has nothing else to be freed */
void ngx_stream_tb_mqtt_parser_free(ngx_stream_tb_mqtt_parser_t *parser);

/*
 * The fields of a CONNECT, pointing into it.  NULL, or what is wrong with it
 * and *reason.
 */
const char *ngx_stream_tb_mqtt_parse_connect(
    ngx_stream_tb_mqtt_packet_t *packet,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t *reason);

/*
 * What is next of props, which must have been checked; moves *pos.
 * NGX_DONE: there is no more.
 */
ngx_int_t ngx_stream_tb_mqtt_property(u_char **pos, u_char *last,
    ngx_stream_tb_mqtt_property_t *property);

/*
 * A filter of a packet's list, and its options in SUBSCRIBE; moves *pos.
 * NGX_DONE: there is no more.
 */
ngx_int_t ngx_stream_tb_mqtt_list_next(ngx_stream_tb_mqtt_packet_t *packet,
    u_char **pos, ngx_str_t *filter, ngx_uint_t *options);

/* what a topic and a filter may look like; 1 or 0 */
ngx_uint_t ngx_stream_tb_mqtt_topic_valid(ngx_str_t *topic);
ngx_uint_t ngx_stream_tb_mqtt_filter_valid(ngx_str_t *filter);

/* an integer of varying length: its bytes, and to write it */
size_t ngx_stream_tb_mqtt_varint_len(size_t n);
u_char *ngx_stream_tb_mqtt_varint(u_char *p, size_t n);


#endif /* _NGX_STREAM_TB_MQTT_PACKET_H_INCLUDED_ */
