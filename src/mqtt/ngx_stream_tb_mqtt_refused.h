
/*
 * Filters that are refused are left out of a SUBSCRIBE or UNSUBSCRIBE, and
 * come back in what the broker answers to the rest of it.
 */


#ifndef _NGX_STREAM_TB_MQTT_REFUSED_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_REFUSED_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt_map.h"
#include "ngx_stream_tb_mqtt_packet.h"


typedef struct ngx_stream_tb_mqtt_refused_s  ngx_stream_tb_mqtt_refused_t;


/*
 * Which filters of a packet are refused; NULL: no memory.  Freed by
 * ngx_free().
 */
ngx_stream_tb_mqtt_refused_t *ngx_stream_tb_mqtt_refused(
    ngx_stream_tb_mqtt_map_t *map, ngx_stream_tb_mqtt_packet_t *packet,
    ngx_log_t *log);

/*
 * Remembers it until its answer.  NGX_DECLINED: too many are remembered, or
 * they have more than max filters.
 */
ngx_int_t ngx_stream_tb_mqtt_refused_add(ngx_stream_tb_mqtt_refused_t **list,
    ngx_stream_tb_mqtt_refused_t *refused, ngx_uint_t max);

/* what a SUBACK or UNSUBACK answers to, taken from the list; or NULL */
ngx_stream_tb_mqtt_refused_t *ngx_stream_tb_mqtt_refused_take(
    ngx_stream_tb_mqtt_refused_t **list, ngx_stream_tb_mqtt_packet_t *packet);

/*
 * The whole answer: of the broker's packet, or with NULL to what was refused
 * as a whole.  p is NULL: its size only.
 */
size_t ngx_stream_tb_mqtt_refused_answer(
    ngx_stream_tb_mqtt_refused_t *refused, ngx_stream_tb_mqtt_packet_t *packet,
    u_char *p);

void ngx_stream_tb_mqtt_refused_free(ngx_stream_tb_mqtt_refused_t **list);


#endif /* _NGX_STREAM_TB_MQTT_REFUSED_H_INCLUDED_ */
