
/*
 * Credentials, as Redis knows them: by their SHA-256.
 */


#ifndef _NGX_STREAM_TB_MQTT_CREDENTIAL_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_CREDENTIAL_H_INCLUDED_


#include "ngx_stream_tb_mqtt_login.h"


/* a certificate, five kinds of MQTT Basic, an access token */

#define NGX_STREAM_TB_MQTT_CREDENTIALS  7


typedef struct {
    ngx_uint_t                     kind;
    u_char                         digest[NGX_TB_RPC_SHA256_LEN];
} ngx_stream_tb_mqtt_credential_t;


/*
 * All that a CONNECT may mean of what "login" allows, what counts first at the
 * beginning; their number, 0: there are none, or NGX_ERROR.
 */
ngx_int_t ngx_stream_tb_mqtt_credentials(ngx_connection_t *c,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t login,
    ngx_stream_tb_mqtt_credential_t *credentials);

/* its key, of NGX_TB_RPC_KEY_LEN bytes */
void ngx_stream_tb_mqtt_credential_key(
    ngx_stream_tb_mqtt_credential_t *credential,
    ngx_stream_tb_mqtt_worker_t *w, ngx_str_t *key, u_char *buf);


#endif /* _NGX_STREAM_TB_MQTT_CREDENTIAL_H_INCLUDED_ */
