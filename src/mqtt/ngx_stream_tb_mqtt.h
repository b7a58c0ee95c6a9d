
/*
 * What is known of a device's connection, from its CONNECT on.
 *
 * The filter and what it uses read it; what they write themselves is theirs
 * alone, or said so here.  All of it lives in the connection's pool.
 */


#ifndef _NGX_STREAM_TB_MQTT_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>


#define NGX_STREAM_TB_MQTT_UUID_LEN  36

/* protocol levels */

#define NGX_STREAM_TB_MQTT_31        3
#define NGX_STREAM_TB_MQTT_311       4
#define NGX_STREAM_TB_MQTT_5         5


typedef struct ngx_stream_tb_mqtt_ctx_s      ngx_stream_tb_mqtt_ctx_t;

/* ngx_stream_tb_mqtt_map.h: of one connection, without variables */
typedef struct ngx_stream_tb_mqtt_map_s      ngx_stream_tb_mqtt_map_t;

/* ngx_stream_tb_mqtt_filter.c: where it is in both directions */
typedef struct ngx_stream_tb_mqtt_filter_s   ngx_stream_tb_mqtt_filter_t;

/* ngx_stream_tb_mqtt_login.c: whose credentials they are */
typedef struct ngx_stream_tb_mqtt_login_s    ngx_stream_tb_mqtt_login_t;

/* ngx_stream_tb_mqtt_session.h: attached to the device or about to be */
typedef struct ngx_stream_tb_mqtt_session_s  ngx_stream_tb_mqtt_session_t;


struct ngx_stream_tb_mqtt_ctx_s {
    ngx_stream_session_t          *session;

    /* of the device */

    ngx_str_t                      device_id;    /* its client id at the
                                                    broker */
    ngx_str_t                      tenant_id;
    ngx_str_t                      client_id;    /* its own, may be empty */
    ngx_uint_t                     version;      /* 0: no CONNECT yet */

    /* towards the broker */

    ngx_stream_tb_mqtt_map_t      *map;
    ngx_str_t                      username;     /* "": none */
    ngx_str_t                      password;     /* "": none */

    size_t                         max_packet;   /* of the client, whole;
                                                    0: no limit */
    size_t                         head_size;    /* of what must be there in
                                                    one piece */

    ngx_stream_tb_mqtt_filter_t   *filter;       /* NULL until first used */

    /* of the login: not for the filter */

    ngx_stream_tb_mqtt_login_t    *login;        /* while it is under way */
    ngx_stream_tb_mqtt_session_t  *presence;
    size_t                         connect;      /* size of the CONNECT */
    ngx_event_t                    delay;        /* of a refusal */
    ngx_uint_t                     reason;       /* and what it says */

    const char                    *refused;      /* why, one word; NULL */

    unsigned                       nameless:1;   /* no user name was sent */
    unsigned                       accepted:1;   /* logged in: the filter has
                                                    to do with it */
    unsigned                       connack:1;    /* set by the filter: one of
                                                    the broker has gone to the
                                                    client, whole or not */
    unsigned                       counted:1;    /* what it has come to */
};


extern ngx_module_t  ngx_stream_tb_mqtt_module;


/* ngx_stream_tb_mqtt_filter.c: the stream filter, both directions */

ngx_int_t ngx_stream_tb_mqtt_filter(ngx_stream_session_t *s,
    ngx_chain_t *chain, ngx_uint_t from_upstream);

/* the filter after it, set at configuration */
extern ngx_stream_filter_pt  ngx_stream_tb_mqtt_next_filter;


/*
 * ngx_stream_tb_mqtt_session.c: the filter tells what the broker has said to
 * the client.  They send nothing to either of them and end nothing.
 */

/* CONNACK with code 0, present: the broker has kept its session */
void ngx_stream_tb_mqtt_connected(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t present);

/* SUBACK, at least one filter was granted */
void ngx_stream_tb_mqtt_subscribed(ngx_stream_tb_mqtt_ctx_t *ctx);


#endif /* _NGX_STREAM_TB_MQTT_H_INCLUDED_ */
