
/*
 * A packet's head as the other side is to see it.
 */


#ifndef _NGX_STREAM_TB_MQTT_REWRITE_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_REWRITE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_map.h"
#include "ngx_stream_tb_mqtt_packet.h"


/* the longest CONNACK, acknowledgement or DISCONNECT of ours */

#define NGX_STREAM_TB_MQTT_MAX_ACK      8

/* topic aliases have to be remembered; so many either side may use */

#define NGX_STREAM_TB_MQTT_ALIASES      255


/* a bit each, from the client and from the broker */

typedef u_char  ngx_stream_tb_mqtt_aliases_t[2]
                                     [NGX_STREAM_TB_MQTT_ALIASES / 8 + 1];


typedef struct {
    ngx_stream_tb_mqtt_ctx_t      *ctx;       /* who it is at the broker */
    ngx_stream_tb_mqtt_map_t      *map;

    const char                    *error;     /* as in the parser */
    ngx_uint_t                     reason;

    size_t                         size;      /* of the new head */
    size_t                         len;       /* its remaining length */
    ngx_uint_t                     refused;   /* filters left out */
    ngx_uint_t                     keepalive; /* seconds, 0: none; the
                                                 broker's, if it has one */

    /* those whose last PUBLISH with a topic did not go on; or NULL */
    ngx_stream_tb_mqtt_aliases_t  *aliases;

    unsigned                       broker:1;  /* sends this packet */
    unsigned                       nameless:1; /* no client id was sent */
    unsigned                       failed:1;  /* the broker has refused it */
    unsigned                       hidden:1;  /* and why is not its matter */
} ngx_stream_tb_mqtt_rewrite_t;


/*
 * NGX_OK: rw->size bytes are needed for the new head.  NGX_DECLINED: the
 * packet must not go on (its topic is not the device's, or all of its filters
 * are refused), the payload neither.  NGX_ERROR: rw->error.
 */
ngx_int_t ngx_stream_tb_mqtt_rewrite(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_uint_t broker);

/* writes it, right after ngx_stream_tb_mqtt_rewrite() of the same packet */
u_char *ngx_stream_tb_mqtt_rewrite_write(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, u_char *p);


/* ngx_stream_tb_mqtt_alias.c */

/*
 * A packet with an alias, of which rewriting made rc: what becomes of it, as
 * ngx_stream_tb_mqtt_rewrite() returns it.
 */
ngx_int_t ngx_stream_tb_mqtt_aliased(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_int_t rc);

/*
 * A PUBLISH of the broker did not go on, and nobody knows its alias: none of
 * them is taken before it comes with a topic again.
 */
ngx_int_t ngx_stream_tb_mqtt_rewrite_forget(ngx_stream_tb_mqtt_rewrite_t *rw);


/* ngx_stream_tb_mqtt_ack.c */

/*
 * Packets of our own; p has NGX_STREAM_TB_MQTT_MAX_ACK bytes.  A reason is one
 * of MQTT 5; to older clients it is the code that is nearest, or nothing where
 * there is none, and then they return p.
 */

/* a refusal: 0x84 version, 0x85 client id, 0x86 no or a wrong user name or
   password, 0x87 not authorized, 0x88 not now, 0x8c AUTH, ... */
u_char *ngx_stream_tb_mqtt_connack(u_char *p, ngx_uint_t version,
    ngx_uint_t reason);

u_char *ngx_stream_tb_mqtt_disconnect(u_char *p, ngx_uint_t version,
    ngx_uint_t reason);

/* what a PUBLISH that does not go on is answered with; p if nothing */
u_char *ngx_stream_tb_mqtt_ack(u_char *p,
    ngx_stream_tb_mqtt_packet_t *packet);


#endif /* _NGX_STREAM_TB_MQTT_REWRITE_H_INCLUDED_ */
