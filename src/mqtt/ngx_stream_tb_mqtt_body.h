
/*
 * The second half of the parser: a head that is whole.
 */


#ifndef _NGX_STREAM_TB_MQTT_BODY_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_BODY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt_packet.h"


/* checks and fills in the fields between packet->body and packet->end */
ngx_int_t ngx_stream_tb_mqtt_parse_body(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_stream_tb_mqtt_packet_t *packet);

/* NGX_ERROR, with a reason code of MQTT 5 and what to log */
ngx_int_t ngx_stream_tb_mqtt_wrong(ngx_stream_tb_mqtt_parser_t *parser,
    ngx_uint_t reason, const char *error);


#endif /* _NGX_STREAM_TB_MQTT_BODY_H_INCLUDED_ */
