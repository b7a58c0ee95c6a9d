
/*
 * Presence: a device is attached to its bridge while it is connected.
 */


#ifndef _NGX_STREAM_TB_MQTT_SESSION_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_SESSION_H_INCLUDED_


#include "ngx_stream_tb_mqtt_worker.h"


/* of a worker that begins; NGX_ERROR: no memory */
ngx_int_t ngx_stream_tb_mqtt_sessions_init(ngx_stream_tb_mqtt_worker_t *w);

/* the worker's last words: all that are attached are detached */
void ngx_stream_tb_mqtt_sessions_exit(ngx_stream_tb_mqtt_worker_t *w);

/* and when the client is closed */
void ngx_stream_tb_mqtt_sessions_close(ngx_stream_tb_mqtt_worker_t *w);

/* the connection ends; what is left of it is the worker's */
void ngx_stream_tb_mqtt_leave(ngx_stream_tb_mqtt_ctx_t *ctx);


#endif /* _NGX_STREAM_TB_MQTT_SESSION_H_INCLUDED_ */
