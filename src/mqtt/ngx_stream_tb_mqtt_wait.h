
/*
 * A connection that waits, for a device to be looked up or to be refused.
 */


#ifndef _NGX_STREAM_TB_MQTT_WAIT_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_WAIT_H_INCLUDED_


#include "ngx_stream_tb_mqtt.h"


/* until somebody runs the phases again; it ends when the client leaves */
void ngx_stream_tb_mqtt_wait(ngx_stream_tb_mqtt_ctx_t *ctx);

/*
 * CONNACK with a reason as in MQTT 5, at once or, for what could be guessing,
 * after tb_mqtt_refuse_delay; then the session ends.  why is for the log.
 * NGX_DONE, or what the session is to be finalized with.
 */
ngx_int_t ngx_stream_tb_mqtt_refuse(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t reason, const char *why);

/* the CONNACK alone; the caller ends the session */
void ngx_stream_tb_mqtt_send_refusal(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t reason);

/* the session ends */
void ngx_stream_tb_mqtt_wait_end(ngx_stream_tb_mqtt_ctx_t *ctx);


#endif /* _NGX_STREAM_TB_MQTT_WAIT_H_INCLUDED_ */
