
/*
 * Fields of packets: each is there whole, or it is not taken.
 */


#ifndef _NGX_STREAM_TB_MQTT_FIELD_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_FIELD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt_packet.h"


#define ngx_stream_tb_mqtt_uint16(p)  (((ngx_uint_t) (p)[0] << 8) | (p)[1])


/* move *pos behind the field; NGX_ERROR: it does not end before last */

ngx_int_t ngx_stream_tb_mqtt_take_number(u_char **pos, u_char *last,
    ngx_uint_t bytes, ngx_uint_t *number);
ngx_int_t ngx_stream_tb_mqtt_take_string(u_char **pos, u_char *last,
    ngx_str_t *string);
ngx_int_t ngx_stream_tb_mqtt_take_varint(u_char **pos, u_char *last,
    ngx_uint_t *number);

/* the length of properties and they themselves, not looked at */
ngx_int_t ngx_stream_tb_mqtt_take_props(u_char **pos, u_char *last,
    ngx_str_t *props);

/*
 * What is wrong with properties of a packet of that type (0: of a will), or
 * NULL; broker: it comes from there.
 */
const char *ngx_stream_tb_mqtt_check_props(ngx_str_t *props, ngx_uint_t type,
    ngx_uint_t broker);

/* valid UTF-8 without NUL; 1 or 0 */
ngx_uint_t ngx_stream_tb_mqtt_text_valid(ngx_str_t *text);


#endif /* _NGX_STREAM_TB_MQTT_FIELD_H_INCLUDED_ */
