
/*
 * What the files of the Redis client share among themselves.
 *
 * Each connection is one state machine:
 *
 *     IDLE -> RESOLVING -> CONNECTING -> HANDSHAKE -> SETTING_UP -> READY
 *
 * and from each of them, by ngx_tb_redis_conn_fail(), to BACKOFF and again
 * to RESOLVING.  A TLS handshake has its place in ngx_tb_redis_connected(),
 * between CONNECTING and HANDSHAKE; nothing else touches the socket but
 * c->recv and c->send_chain.
 *
 * Everything lives in ngx_tb_redis_state_t.  Each entry from the event loop
 * is enclosed in ngx_tb_redis_enter() and ngx_tb_redis_leave(), so that a
 * handler may close the client, and even destroy its pool, below us.
 */


#ifndef _NGX_TB_REDIS_INT_H_INCLUDED_
#define _NGX_TB_REDIS_INT_H_INCLUDED_


#include "ngx_tb_redis.h"


#define NGX_TB_REDIS_BUFFER         16384       /* one recv() */
#define NGX_TB_REDIS_POOL           512
#define NGX_TB_REDIS_BATCH          64          /* replies per read event */
#define NGX_TB_REDIS_BATCH_BYTES    262144
#define NGX_TB_REDIS_IOVS           64          /* commands per send_chain */

/* what a single reply may be */

#define NGX_TB_REDIS_MAX_REPLY      (64 * 1024 * 1024)
#define NGX_TB_REDIS_MAX_ELEMENTS   (1024 * 1024)
#define NGX_TB_REDIS_MAX_LINE       65536
#define NGX_TB_REDIS_MAX_NUMBER     24
#define NGX_TB_REDIS_MAX_DEPTH      7           /* hiredis 0.14 has no more */

#define NGX_TB_REDIS_BACKOFF_MIN    50
#define NGX_TB_REDIS_BACKOFF_MAX    5000
#define NGX_TB_REDIS_BACKOFF_SHIFT  7
#define NGX_TB_REDIS_READONLY_SHIFT 5           /* the only one there is */
#define NGX_TB_REDIS_PING           5000        /* silence before a PING */
#define NGX_TB_REDIS_RESUBSCRIBE    50

#define NGX_TB_REDIS_REASONS        4

#define NGX_TB_REDIS_RUN_ID         40


typedef enum {
    NGX_TB_REDIS_ST_IDLE = 0,
    NGX_TB_REDIS_ST_RESOLVING,
    NGX_TB_REDIS_ST_CONNECTING,
    NGX_TB_REDIS_ST_HANDSHAKE,
    NGX_TB_REDIS_ST_SETTING_UP,
    NGX_TB_REDIS_ST_READY,
    NGX_TB_REDIS_ST_DRAINING,           /* replies are awaited, then closed */
    NGX_TB_REDIS_ST_BACKOFF
} ngx_tb_redis_status_e;


/* the list that a command is in */

typedef enum {
    NGX_TB_REDIS_IN_WAITING = 0,        /* state->waiting or state->again */
    NGX_TB_REDIS_IN_SENDING,            /* conn->sending, maybe half written */
    NGX_TB_REDIS_IN_SENT,               /* conn->sent, a reply is due */
    NGX_TB_REDIS_IN_ENDED,              /* state->ended, to be notified */
    NGX_TB_REDIS_IN_NONE                /* its handler is running */
} ngx_tb_redis_list_e;


typedef struct ngx_tb_redis_state_s  ngx_tb_redis_state_t;
typedef struct ngx_tb_redis_conn_s   ngx_tb_redis_conn_t;


struct ngx_tb_redis_command_s {
    ngx_tb_redis_state_t        *state;
    ngx_tb_redis_reply_pt        handler;
    void                        *data;

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                    ident;

    ngx_queue_t                  queue;
    ngx_event_t                  timer;     /* only of callers' commands */
    ngx_msec_t                   deadline;
    ngx_tb_redis_list_e          list;
    ngx_uint_t                   flags;
    ngx_uint_t                   result;    /* in state->ended */

    unsigned                     written:1;     /* may have been executed */
    unsigned                     repeated:1;
    unsigned                     reloaded:1;
    unsigned                     overdue:1;     /* a tombstone */
    unsigned                     detached:1;
    unsigned                     internal:1;    /* part of the handshake,
                                                   handler's data is conn */
    unsigned                     silent:1;      /* no reply in the FIFO */
    unsigned                     secret:1;

    u_char                      *pos;
    u_char                      *last;
    u_char                       bytes[1];
};


/*
 * Follows the reply stream before hiredis sees it: bounds lengths, depth
 * and totals, so that no hostile length makes hiredis allocate or abort.
 */

typedef struct {
    ngx_uint_t                   state;
    u_char                       type;
    unsigned                     negative:1;
    size_t                       line;      /* bytes of this line */
    uint64_t                     number;
    size_t                       rest;      /* bytes of the bulk string */
    size_t                       bytes;     /* of this reply */
    size_t                       elements;
    ngx_uint_t                   depth;
    size_t                       left[NGX_TB_REDIS_MAX_DEPTH];
    const char                  *error;
} ngx_tb_redis_scan_t;


typedef struct {
    const char                  *name;
    void                       (*established)(ngx_tb_redis_conn_t *conn);
    void                       (*reply)(ngx_tb_redis_conn_t *conn,
                                    redisReply *reply);
    void                       (*down)(ngx_tb_redis_conn_t *conn);
    void                       (*watch)(ngx_tb_redis_conn_t *conn);
} ngx_tb_redis_role_t;


struct ngx_tb_redis_conn_s {
    ngx_tb_redis_state_t        *state;
    ngx_tb_redis_role_t         *role;
    ngx_connection_t            *connection;    /* NULL: closed */

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                    ident;

    ngx_tb_redis_status_e        status;

    ngx_queue_t                  sending;
    ngx_queue_t                  sent;
    ngx_uint_t                   nsending;
    ngx_uint_t                   noverdue;      /* tombstones in the two */

    redisReader                 *reader;
    ngx_tb_redis_scan_t          scan;
    u_char                      *buffer;

    ngx_event_t                  timer;     /* of the state, or the backoff */
    ngx_event_t                  watch;     /* is the peer alive */
    ngx_event_t                  flush;     /* posted */

    ngx_msec_t                   received;
    ngx_uint_t                   tries;     /* since it was ready */
    uint32_t                     reasons[NGX_TB_REDIS_REASONS];
    ngx_uint_t                   nreasons;

    ngx_sockaddr_t               sockaddr;
    socklen_t                    socklen;
    ngx_str_t                    name;
    u_char                       name_buf[NGX_SOCKADDR_STRLEN];

    /* the server as it names itself, "" if that is not known */
    ngx_str_t                    run_id;
    u_char                       run_id_buf[NGX_TB_REDIS_RUN_ID];

    /* subscription: the command connection that it has followed */
    ngx_atomic_uint_t            followed;

    unsigned                     up:1;      /* as the log knows it */
    unsigned                     refused:1;
    unsigned                     rotate:1;  /* not this address again */
    unsigned                     pinged:1;
};


typedef struct {
    ngx_str_node_t               sn;
    ngx_str_t                   *name;
    unsigned                     asked:1;
    unsigned                     confirmed:1;
} ngx_tb_redis_channel_t;


struct ngx_tb_redis_state_s {
    ngx_tb_redis_client_t       *client;
    ngx_log_t                   *log;
    ngx_log_t                    quiet;     /* for what is tried repeatedly */

    ngx_uint_t                   busy;
    unsigned                     closed:1;  /* free it, client is gone */
    unsigned                     stopped:1; /* no new command or connection */

    ngx_tb_redis_conn_t          command;
    ngx_tb_redis_conn_t          pubsub;

    ngx_queue_t                  waiting;
    ngx_queue_t                  again;     /* to be sent after the setup */
    ngx_queue_t                  ended;
    ngx_uint_t                   nwaiting;  /* in waiting and again */

    /* the server in use and which of its addresses */
    ngx_uint_t                   server;
    ngx_uint_t                   addr;
    ngx_resolver_ctx_t          *resolving;
    ngx_addr_t                  *addrs;     /* resolved in the worker */
    ngx_uint_t                   naddrs;

    ngx_rbtree_t                 tree;      /* ngx_tb_redis_channel_t */
    ngx_rbtree_node_t            sentinel;
    ngx_event_t                  resubscribe;
    ngx_uint_t                   nconfirmed;
    ngx_uint_t                   nchannels;
    ngx_tb_redis_channel_t       channels[1];
};


#define ngx_tb_redis_enter(st)       (st)->busy++

void ngx_tb_redis_leave(ngx_tb_redis_state_t *state);


/* client.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_command_role;

/* takes the oldest command that a reply is due for; NULL: connection gone */
ngx_tb_redis_command_t *ngx_tb_redis_next_sent(ngx_tb_redis_conn_t *conn,
    redisReply *reply);

/* ends everything, as ngx_tb_redis_client_close(), but keeps the memory */
void ngx_tb_redis_stop(ngx_tb_redis_state_t *state);


/* command.c */

ngx_tb_redis_command_t *ngx_tb_redis_encode(ngx_tb_redis_state_t *state,
    ngx_str_t *argv, ngx_uint_t argc);
void ngx_tb_redis_free(ngx_tb_redis_command_t *cmd);

/* takes it from the list that it is in */
void ngx_tb_redis_unlink(ngx_tb_redis_command_t *cmd);

/* moves it to state->ended, its handler is called by notify() */
void ngx_tb_redis_end(ngx_tb_redis_command_t *cmd, ngx_uint_t result);
void ngx_tb_redis_notify(ngx_tb_redis_state_t *state);

/* calls the handler and frees an unlinked command */
void ngx_tb_redis_finish(ngx_tb_redis_command_t *cmd, ngx_uint_t status,
    redisReply *reply);

/* whatever can be sent now is */
void ngx_tb_redis_pump(ngx_tb_redis_state_t *state);


/* conn.c */

void ngx_tb_redis_conn_init(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_state_t *state, ngx_tb_redis_role_t *role);
void ngx_tb_redis_conn_start(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_conn_open(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_conn_status(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_status_e status, ngx_msec_t timeout);
void ngx_tb_redis_conn_ready(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_connected(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_conn_close(ngx_tb_redis_conn_t *conn);

/* closes it, logs why unless that is known, and tries again later */
void ngx_cdecl ngx_tb_redis_conn_fail(ngx_tb_redis_conn_t *conn,
    ngx_err_t err, const char *fmt, ...);
void ngx_tb_redis_conn_fail_reply(ngx_tb_redis_conn_t *conn,
    const char *what, redisReply *reply);


/* handshake.c */

void ngx_tb_redis_handshake(ngx_tb_redis_conn_t *conn);


/* io.c */

void ngx_tb_redis_read_handler(ngx_event_t *rev);
void ngx_tb_redis_write_handler(ngx_event_t *wev);
void ngx_tb_redis_flush_handler(ngx_event_t *ev);

/* written with all others at the end of this event-loop turn */
void ngx_tb_redis_conn_send(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd);
void ngx_tb_redis_conn_post(ngx_tb_redis_conn_t *conn);


/* pubsub.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_pubsub_role;

void ngx_tb_redis_pubsub_init(ngx_tb_redis_state_t *state);

/* the command connection is ready: subscribe on the same server */
void ngx_tb_redis_pubsub_follow(ngx_tb_redis_state_t *state);

/* 1 if all channels are confirmed or there are none */
ngx_uint_t ngx_tb_redis_subscribed(ngx_tb_redis_state_t *state);


/* addr.c */

/* NGX_AGAIN: goes on, or went on, in ngx_tb_redis_conn_open() */
ngx_int_t ngx_tb_redis_resolve(ngx_tb_redis_state_t *state);
void ngx_tb_redis_resolve_cancel(ngx_tb_redis_state_t *state);

/* the address in use, given to the command connection */
ngx_int_t ngx_tb_redis_addr_get(ngx_tb_redis_state_t *state,
    ngx_tb_redis_conn_t *conn);

/* NGX_DECLINED: there is but one */
ngx_int_t ngx_tb_redis_addr_next(ngx_tb_redis_state_t *state);


/* reply.c */

ngx_int_t ngx_tb_redis_scan(ngx_tb_redis_scan_t *scan, u_char *p,
    u_char *last);

#endif /* _NGX_TB_REDIS_INT_H_INCLUDED_ */
