
/*
 * Each connection is one state machine:
 *
 *     IDLE -> RESOLVING -> CONNECTING [-> TLS] -> HANDSHAKE -> SETTING_UP
 *          -> READY
 *
 * and from each of them, by ngx_tb_redis_conn_fail(), to BACKOFF and again
 * to RESOLVING.  TLS begins in ngx_tb_redis_connected(), and ends in
 * ngx_tb_redis_established(); otherwise nothing touches the socket but c->recv
 * and c->send_chain.
 */


#ifndef _NGX_TB_REDIS_CONN_H_INCLUDED_
#define _NGX_TB_REDIS_CONN_H_INCLUDED_


#include "ngx_tb_redis_command.h"
#include "ngx_tb_redis_scan.h"
#include "ngx_tb_redis_wait.h"


#define NGX_TB_REDIS_BUFFER         16384       /* one recv() */
#define NGX_TB_REDIS_POOL           512
#define NGX_TB_REDIS_BATCH          64          /* replies per read event */
#define NGX_TB_REDIS_BATCH_BYTES    262144
#define NGX_TB_REDIS_IOVS           64          /* commands per send_chain */

#define NGX_TB_REDIS_BACKOFF_MIN    50
#define NGX_TB_REDIS_BACKOFF_MAX    5000
#define NGX_TB_REDIS_BACKOFF_SHIFT  7
#define NGX_TB_REDIS_READONLY_SHIFT 5           /* the only one there is */
#define NGX_TB_REDIS_SENTINEL_SHIFT 3           /* where sentinels know */
#define NGX_TB_REDIS_PING           5000        /* silence before a PING */
#define NGX_TB_REDIS_RESUBSCRIBE    50

#define NGX_TB_REDIS_REASONS        4

#define NGX_TB_REDIS_RUN_ID         40
#define NGX_TB_REDIS_SSL_REASON     256
#define NGX_TB_REDIS_MASTER         255     /* a host's name, from sentinels */


typedef enum {
    NGX_TB_REDIS_ST_IDLE = 0,
    NGX_TB_REDIS_ST_RESOLVING,
    NGX_TB_REDIS_ST_CONNECTING,
    NGX_TB_REDIS_ST_TLS,
    NGX_TB_REDIS_ST_HANDSHAKE,
    NGX_TB_REDIS_ST_SETTING_UP,
    NGX_TB_REDIS_ST_READY,
    NGX_TB_REDIS_ST_DRAINING,           /* replies are awaited, then closed */
    NGX_TB_REDIS_ST_BACKOFF
} ngx_tb_redis_status_e;


typedef struct ngx_tb_redis_conn_s  ngx_tb_redis_conn_t;


/* what a connection is for */

typedef struct {
    const char                  *name;
    void                       (*login)(ngx_tb_redis_conf_t *conf,
                                    ngx_str_t *username, ngx_str_t *password);
    ngx_int_t                  (*greet)(ngx_tb_redis_conn_t *conn);

    /* finds the address, sooner or later, and goes on in conn_open() */
    void                       (*start)(ngx_tb_redis_conn_t *conn);

    /* the handshake is over */
    void                       (*established)(ngx_tb_redis_conn_t *conn);
    void                       (*reply)(ngx_tb_redis_conn_t *conn,
                                    redisReply *reply);

    /* about to be closed: where to go next, and the shift of the backoff */
    ngx_uint_t                 (*backoff)(ngx_tb_redis_conn_t *conn,
                                    ngx_uint_t shift);

    /* it was closed: what was on its way */
    void                       (*down)(ngx_tb_redis_conn_t *conn);
    void                       (*watch)(ngx_tb_redis_conn_t *conn);

    /* 1: TLS sessions are those of the node's master */
    ngx_uint_t                   sessions;

    ngx_uint_t                   counted;       /* as which one */
} ngx_tb_redis_role_t;


struct ngx_tb_redis_conn_s {
    ngx_tb_redis_node_t         *node;
    ngx_tb_redis_role_t         *role;
    ngx_tb_redis_server_t       *server;        /* that it was opened for */
    ngx_connection_t            *connection;    /* NULL: closed */

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                    ident;

    ngx_tb_redis_status_e        status;

    ngx_queue_t                  sending;
    ngx_queue_t                  sent;
    ngx_uint_t                   nsending;
    ngx_uint_t                   noverdue;      /* tombstones in the two */
    ngx_tb_redis_wait_t          wait;

    redisReader                 *reader;
    redisReply                  *reply;         /* in hand; NULL: kept */
    ngx_tb_redis_scan_t          scan;
    u_char                      *buffer;

    ngx_event_t                  timer;     /* of the state, or the backoff */
    ngx_event_t                  watch;     /* is the peer alive */
    ngx_event_t                  flush;     /* posted */

    ngx_msec_t                   received;
    ngx_msec_t                   silent;    /* since then, a reply is due */
    ngx_msec_t                   left;      /* ready until then, or made */
    ngx_uint_t                   tries;     /* since it was ready */
    ngx_uint_t                   opened;    /* how often it was made ready */
    uint32_t                     reasons[NGX_TB_REDIS_REASONS];
    ngx_uint_t                   nreasons;

    ngx_sockaddr_t               sockaddr;
    socklen_t                    socklen;
    ngx_str_t                    name;
    u_char                       name_buf[NGX_SOCKADDR_STRLEN];

    /* the server as it names itself, "" if that is not known */
    ngx_str_t                    run_id;
    u_char                       run_id_buf[NGX_TB_REDIS_RUN_ID];

#if (NGX_SSL)
    ngx_log_t                    ssl_log;   /* writes into ssl_reason */
    ngx_str_t                    ssl_reason;    /* ": ...", or "" */
    u_char                       ssl_reason_buf[NGX_TB_REDIS_SSL_REASON];
#endif

    unsigned                     up:1;      /* as the log knows it */
    unsigned                     known:1;   /* was ready, if not here */
    unsigned                     refused:1;
    unsigned                     pinged:1;
};


/* conn.c */

void ngx_tb_redis_conn_init(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_node_t *node, ngx_tb_redis_role_t *role);
void ngx_tb_redis_conn_start(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_conn_open(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_conn_status(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_status_e status, ngx_msec_t timeout);
void ngx_tb_redis_conn_ready(ngx_tb_redis_conn_t *conn);

/* TCP is there; and so is TLS, if it was wanted */
void ngx_tb_redis_connected(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_established(ngx_tb_redis_conn_t *conn);

void ngx_tb_redis_conn_close(ngx_tb_redis_conn_t *conn);

/* frees its commands, which are all our own */
void ngx_tb_redis_conn_drop(ngx_tb_redis_conn_t *conn);

/* closes it, logs why unless that is known, and tries again later */
void ngx_cdecl ngx_tb_redis_conn_fail(ngx_tb_redis_conn_t *conn,
    ngx_err_t err, const char *fmt, ...);
void ngx_tb_redis_conn_fail_reply(ngx_tb_redis_conn_t *conn,
    const char *what, redisReply *reply);


/* handshake.c */

void ngx_tb_redis_handshake(ngx_tb_redis_conn_t *conn);

/* login and greet of connections to a Redis that has our keys */
void ngx_tb_redis_login(ngx_tb_redis_conf_t *conf, ngx_str_t *username,
    ngx_str_t *password);
ngx_int_t ngx_tb_redis_greet(ngx_tb_redis_conn_t *conn);


/* io.c */

void ngx_tb_redis_read_handler(ngx_event_t *rev);
void ngx_tb_redis_write_handler(ngx_event_t *wev);
void ngx_tb_redis_flush_handler(ngx_event_t *ev);

/* written with all others at the end of this event-loop turn */
void ngx_tb_redis_conn_send(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd);
void ngx_tb_redis_conn_post(ngx_tb_redis_conn_t *conn);

/* its own command, whose handler gets conn as data; NULL: no memory */
ngx_tb_redis_command_t *ngx_tb_redis_conn_say(ngx_tb_redis_conn_t *conn,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);


#endif /* _NGX_TB_REDIS_CONN_H_INCLUDED_ */
