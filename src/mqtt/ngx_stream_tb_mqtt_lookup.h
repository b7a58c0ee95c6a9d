
/*
 * A login under way, shared by login.c and lookup.c.
 */


#ifndef _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_


#include "ngx_stream_tb_mqtt_credential.h"


/* one credential, looked up */

typedef struct {
    ngx_stream_tb_mqtt_login_t       *login;
    ngx_tb_redis_command_t           *command;   /* NULL: none is out */
    ngx_stream_tb_mqtt_credential_t   credential;
    ngx_stream_tb_mqtt_known_t        known;
    ngx_int_t                         rc;        /* NGX_AGAIN, NGX_OK,
                                                    NGX_DECLINED, NGX_BUSY */
} ngx_stream_tb_mqtt_lookup_t;


struct ngx_stream_tb_mqtt_login_s {
    ngx_queue_t                       queue;     /* in w->logins */
    ngx_stream_tb_mqtt_ctx_t         *ctx;
    ngx_stream_tb_mqtt_worker_t      *worker;
    ngx_msec_t                        cache;
    ngx_msec_t                        since;
    void                            (*done)(ngx_stream_tb_mqtt_ctx_t *ctx,
                                          ngx_int_t rc);

    ngx_uint_t                        n;
    ngx_stream_tb_mqtt_lookup_t      *found;     /* its tenant is asked for */

    unsigned                          queued:1;
    unsigned                          counted:1; /* in w->looking */

    ngx_stream_tb_mqtt_lookup_t       lookup[1];
};


/*
 * All credentials at once: in a cluster they are of different nodes.
 * NGX_ERROR: nothing is on its way.
 */
ngx_int_t ngx_stream_tb_mqtt_lookup(ngx_stream_tb_mqtt_login_t *login);

/* sets what is known in ctx; NGX_OK or NGX_ERROR */
ngx_int_t ngx_stream_tb_mqtt_known(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_known_t *known);

/* ngx_stream_tb_mqtt_login.c: it is over, and done is told */
void ngx_stream_tb_mqtt_login_end(ngx_stream_tb_mqtt_login_t *login,
    ngx_int_t rc);


#endif /* _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_ */
