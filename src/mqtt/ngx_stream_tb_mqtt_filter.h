
/*
 * The filter's own: nobody else looks into it.
 */


#ifndef _NGX_STREAM_TB_MQTT_FILTER_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_FILTER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_output.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_refused.h"
#include "ngx_stream_tb_mqtt_rewrite.h"


/* of a broker's packet: topics and properties of all kinds fit, at 65,535 */

#define NGX_STREAM_TB_MQTT_BROKER_HEAD  (1024 * 1024)


typedef struct {
    size_t                         len;
    size_t                         size;
    u_char                         data[1];
} ngx_stream_tb_mqtt_own_t;


typedef struct {
    ngx_stream_tb_mqtt_parser_t    parser;
    ngx_stream_tb_mqtt_output_t    out;       /* to the other side */

    size_t                         rest;      /* of a packet under way */
    unsigned                       drop:1;    /* of that one */

    /* of ours, that can't go out before a packet ends; or NULL */

    ngx_stream_tb_mqtt_own_t      *own;
} ngx_stream_tb_mqtt_side_t;


struct ngx_stream_tb_mqtt_filter_s {
    ngx_stream_tb_mqtt_rewrite_t   rewrite;
    ngx_stream_tb_mqtt_refused_t  *refused;
    ngx_stream_tb_mqtt_side_t      side[2];   /* client, broker */

    ngx_msec_t                     heard;     /* when the broker got something
                                                 of the client */
    unsigned                       pinged:1;  /* it owes us a PINGRESP */
};


/*
 * from: the side whose packet it is, or among whose packets it is put.
 * NGX_ERROR: the connection must end.
 */

/* what a packet is beside what is rewritten; NGX_DECLINED: it goes on */
ngx_int_t ngx_stream_tb_mqtt_filter_seen(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet);

/* what that side's parser has found wrong is logged, and a client told */
void ngx_stream_tb_mqtt_filter_malformed(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from);

/* a packet that does not go on; its sender is answered */
ngx_int_t ngx_stream_tb_mqtt_filter_drop(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from, ngx_stream_tb_mqtt_packet_t *packet);

/* a SUBSCRIBE or UNSUBSCRIBE that goes on without some of its filters */
ngx_int_t ngx_stream_tb_mqtt_filter_refuse(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet);

/* the broker's answer to one; NGX_DECLINED: it goes on as it is */
ngx_int_t ngx_stream_tb_mqtt_filter_ack(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet);

/* n bytes of packets of our own, as soon as no packet is under way */
ngx_int_t ngx_stream_tb_mqtt_filter_inject(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from, u_char *p, size_t n);

/* ngx_stream_tb_mqtt_plain.c: 1 if it goes on as it is, and was counted */
ngx_uint_t ngx_stream_tb_mqtt_as_it_is(ngx_stream_tb_mqtt_filter_t *f,
    ngx_stream_tb_mqtt_side_t *side, ngx_buf_t *buf);

/* none is under way now */
ngx_int_t ngx_stream_tb_mqtt_filter_boundary(
    ngx_stream_tb_mqtt_side_t *side, ngx_log_t *log);


#endif /* _NGX_STREAM_TB_MQTT_FILTER_H_INCLUDED_ */
