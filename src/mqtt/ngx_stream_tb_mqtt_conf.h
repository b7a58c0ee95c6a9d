
/*
 * The configuration, what nginx calls, and what a worker keeps.
 */


#ifndef _NGX_STREAM_TB_MQTT_CONF_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_rpc_block.h"
#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_map.h"


/* tb_mqtt_login, a bit each */

#define NGX_STREAM_TB_MQTT_BY_TOKEN        0x02
#define NGX_STREAM_TB_MQTT_BY_BASIC        0x04
#define NGX_STREAM_TB_MQTT_BY_CERTIFICATE  0x08


typedef struct ngx_stream_tb_mqtt_worker_s  ngx_stream_tb_mqtt_worker_t;


typedef struct {
    ngx_tb_rpc_block_t             block;        /* tb_rpc_redis { } */
    ngx_msec_t                     session_ttl;
    ngx_uint_t                     used;         /* a server has tb_mqtt */
    ngx_shm_zone_t                *zone;         /* ngx_tb_mqtt_counts_t */

    /* as they were when the configuration was taken; NULL: not yet */

    ngx_stream_filter_pt           top_filter;
    ngx_stream_filter_pt           next_filter;

    ngx_stream_tb_mqtt_worker_t   *worker;       /* set in the worker only */
} ngx_stream_tb_mqtt_main_conf_t;


typedef struct {
    ngx_str_t                      bridge;       /* "": not for devices */
    ngx_uint_t                     login;        /* bits, as above */

    ngx_array_t                   *maps;         /* of prefixes; NULL: those
                                                    that are the default */

    /* of maps, the longest local prefix first */

    ngx_stream_tb_mqtt_prefix_t   *prefixes;
    ngx_stream_complex_value_t    *remotes;
    ngx_uint_t                     nprefixes;

    ngx_stream_complex_value_t    *username;
    ngx_str_t                      password;

    size_t                         max_packet;
    size_t                         head_size;
    ngx_msec_t                     cache;        /* of credentials */
    ngx_msec_t                     delay;        /* of a refusal */

    u_char                        *file;         /* of tb_mqtt */
    ngx_uint_t                     line;
} ngx_stream_tb_mqtt_srv_conf_t;


/* ngx_stream_tb_mqtt_conf.c */

void *ngx_stream_tb_mqtt_create_main_conf(ngx_conf_t *cf);
char *ngx_stream_tb_mqtt_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_stream_tb_mqtt_create_srv_conf(ngx_conf_t *cf);
char *ngx_stream_tb_mqtt_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);

/* when all servers are known: no one of devices listens for datagrams */
ngx_int_t ngx_stream_tb_mqtt_check_listen(ngx_conf_t *cf);

char *ngx_stream_tb_mqtt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_stream_tb_mqtt_map(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_stream_tb_mqtt_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* post handlers */
char *ngx_stream_tb_mqtt_check_ttl(ngx_conf_t *cf, void *post, void *data);
char *ngx_stream_tb_mqtt_check_head(ngx_conf_t *cf, void *post, void *data);
char *ngx_stream_tb_mqtt_check_packet(ngx_conf_t *cf, void *post, void *data);


/* ngx_stream_tb_mqtt_preread.c */

ngx_int_t ngx_stream_tb_mqtt_preread_handler(ngx_stream_session_t *s);
ngx_int_t ngx_stream_tb_mqtt_log_handler(ngx_stream_session_t *s);

/* the first of a connection counts; NULL: the broker has accepted it */
void ngx_stream_tb_mqtt_count_login(ngx_stream_tb_mqtt_ctx_t *ctx,
    const char *refused);


/* ngx_stream_tb_mqtt_vars.c */

ngx_int_t ngx_stream_tb_mqtt_add_variables(ngx_conf_t *cf);


#endif /* _NGX_STREAM_TB_MQTT_CONF_H_INCLUDED_ */
