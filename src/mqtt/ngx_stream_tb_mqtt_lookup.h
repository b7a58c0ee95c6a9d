
/*
 * A login under way, shared by login.c and lookup.c.
 */


#ifndef _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_


#include "ngx_stream_tb_mqtt_credential.h"


/* one credential, looked up; at last its device, too */

typedef struct {
    ngx_queue_t                       queue;     /* in its lane */
    ngx_stream_tb_mqtt_lane_t        *lane;
    ngx_msec_t                        since;     /* it is there */
    ngx_stream_tb_mqtt_login_t       *login;
    ngx_tb_redis_command_t           *command;   /* NULL: none is out */
    ngx_stream_tb_mqtt_credential_t   credential;
    ngx_stream_tb_mqtt_known_t        known;
    ngx_int_t                         rc;        /* NGX_AGAIN, NGX_OK,
                                                    NGX_DECLINED, NGX_BUSY */
    unsigned                          queued:1;
    unsigned                          counted:1; /* in lane->looking */
} ngx_stream_tb_mqtt_lookup_t;


struct ngx_stream_tb_mqtt_login_s {
    ngx_stream_tb_mqtt_ctx_t         *ctx;
    ngx_stream_tb_mqtt_worker_t      *worker;
    ngx_msec_t                        cache;
    void                            (*done)(ngx_stream_tb_mqtt_ctx_t *ctx,
                                          ngx_int_t rc);

    ngx_uint_t                        n;
    ngx_stream_tb_mqtt_lookup_t      *found;     /* its tenant is asked for */

    ngx_stream_tb_mqtt_lookup_t       lookup[1];
};


/*
 * All credentials at once: in a cluster they are of different nodes.
 * NGX_BUSY: a node that is away has what counts; NGX_AGAIN: they are looked up
 */
ngx_int_t ngx_stream_tb_mqtt_lookup(ngx_stream_tb_mqtt_login_t *login);

/* what it asks for next; NGX_ERROR: it can't be sent */
ngx_int_t ngx_stream_tb_mqtt_lookup_send(ngx_stream_tb_mqtt_lookup_t *lookup);

/* the key of that, of NGX_TB_RPC_KEY_LEN bytes */
void ngx_stream_tb_mqtt_lookup_key(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_str_t *key, u_char *buf);

/* one that has waited in vain; its login may be over behind this */
void ngx_stream_tb_mqtt_lookup_refused(ngx_stream_tb_mqtt_lookup_t *lookup);

/* sets what is known in ctx; NGX_OK or NGX_ERROR */
ngx_int_t ngx_stream_tb_mqtt_known(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_known_t *known);


/* ngx_stream_tb_mqtt_line.c */

/*
 * It is sent, or waits for its turn.  NGX_BUSY: its node is away for so long
 * that there is nothing to wait for, or it can't be sent.
 */
ngx_int_t ngx_stream_tb_mqtt_line(ngx_stream_tb_mqtt_lookup_t *lookup);

/* it has its reply, or failed */
void ngx_stream_tb_mqtt_line_answered(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_uint_t failed);

/* nobody wants to know it any more, wherever it is */
void ngx_stream_tb_mqtt_line_leave(ngx_stream_tb_mqtt_lookup_t *lookup);


/* ngx_stream_tb_mqtt_login.c: it is over, and done is told */
void ngx_stream_tb_mqtt_login_end(ngx_stream_tb_mqtt_login_t *login,
    ngx_int_t rc);


#endif /* _NGX_STREAM_TB_MQTT_LOOKUP_H_INCLUDED_ */
