
/*
 * Whose credentials a CONNECT has.
 */


#ifndef _NGX_STREAM_TB_MQTT_LOGIN_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_LOGIN_H_INCLUDED_


#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_worker.h"


/* what a worker remembers; the length is 0 where it is nobody's */

typedef struct {
    size_t                         len;
    u_char                         id[NGX_STREAM_TB_MQTT_UUID_LEN];
    u_char                         tenant[NGX_STREAM_TB_MQTT_UUID_LEN];
} ngx_stream_tb_mqtt_known_t;


/*
 * NGX_OK: ctx->device_id and ctx->tenant_id are known; NGX_DECLINED: it is
 * nobody's; NGX_ABORT: there are none; NGX_BUSY: Redis does not say;
 * NGX_ERROR: no memory.  NGX_AGAIN: done is called with one of these, unless
 * ngx_stream_tb_mqtt_login_stop() is.
 */
ngx_int_t ngx_stream_tb_mqtt_login(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_connect_t *connect,
    void (*done)(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_int_t rc));

/* ngx_stream_tb_mqtt_line.c: of a client that is closed: who waits is told */
void ngx_stream_tb_mqtt_lines_close(ngx_stream_tb_mqtt_worker_t *w);

/* the connection ends */
void ngx_stream_tb_mqtt_login_stop(ngx_stream_tb_mqtt_ctx_t *ctx);


#endif /* _NGX_STREAM_TB_MQTT_LOGIN_H_INCLUDED_ */
