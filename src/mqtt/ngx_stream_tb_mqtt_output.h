
/*
 * What goes to one side: bytes of our own, and parts of buffers of
 * ngx_stream_proxy_module, which that fills again when they are empty.  A
 * buffer is empty when all that was made of it is sent: so as much waits for a
 * slow reader as one buffer of the proxy gives, and the proxy stops reading.
 */


#ifndef _NGX_STREAM_TB_MQTT_OUTPUT_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_OUTPUT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>


typedef struct ngx_stream_tb_mqtt_piece_s  ngx_stream_tb_mqtt_piece_t;

typedef struct {
    ngx_stream_tb_mqtt_piece_t  *first;     /* not sent */
    ngx_stream_tb_mqtt_piece_t  *last;
    ngx_stream_tb_mqtt_piece_t  *fresh;     /* not given to the next filter */
    ngx_stream_tb_mqtt_piece_t  *open;      /* may take more bytes */
    ngx_stream_tb_mqtt_piece_t  *made;      /* the last one, of a buffer */
    size_t                       own;       /* memory of what is of no
                                               buffer, not sent */
} ngx_stream_tb_mqtt_output_t;


/*
 * Room for size bytes, which must be written; more: so many may follow.
 * NULL: no memory.
 */
u_char *ngx_stream_tb_mqtt_output_room(ngx_stream_tb_mqtt_output_t *out,
    size_t size, size_t more, ngx_log_t *log);

/* n bytes at p, which stay where they are */
ngx_int_t ngx_stream_tb_mqtt_output_pass(ngx_stream_tb_mqtt_output_t *out,
    u_char *p, size_t n, ngx_log_t *log);

/* before and after a buffer: what is in between was made of it */
void ngx_stream_tb_mqtt_output_begin(ngx_stream_tb_mqtt_output_t *out);
void ngx_stream_tb_mqtt_output_end(ngx_stream_tb_mqtt_output_t *out,
    ngx_buf_t *buf);

/* n bytes of our own, which are copied */
ngx_int_t ngx_stream_tb_mqtt_output_own(ngx_stream_tb_mqtt_output_t *out,
    u_char *p, size_t n, ngx_log_t *log);

/*
 * Gives on what there is, and what is buffered behind us; returns what the
 * next filter does.
 */
ngx_int_t ngx_stream_tb_mqtt_output_send(ngx_stream_tb_mqtt_output_t *out,
    ngx_stream_session_t *s, ngx_uint_t from_upstream);

/* gives on a chain of the proxy as it is, when there is nothing fresh */
ngx_int_t ngx_stream_tb_mqtt_output_through(ngx_stream_tb_mqtt_output_t *out,
    ngx_stream_session_t *s, ngx_chain_t *chain, ngx_uint_t from_upstream);

/* gives back everything, sent or not */
void ngx_stream_tb_mqtt_output_free(ngx_stream_tb_mqtt_output_t *out);


#endif /* _NGX_STREAM_TB_MQTT_OUTPUT_H_INCLUDED_ */
