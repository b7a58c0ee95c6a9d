
/*
 * What the files of the Redis client share among themselves.
 *
 * Everything lives in ngx_tb_redis_state_t.  Each entry from the event loop
 * is enclosed in ngx_tb_redis_enter() and ngx_tb_redis_leave(), so that a
 * handler may close the client, and even destroy its pool, below us.
 */


#ifndef _NGX_TB_REDIS_PRIVATE_H_INCLUDED_
#define _NGX_TB_REDIS_PRIVATE_H_INCLUDED_


#include "ngx_tb_redis_conn.h"


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

/* ends everything, as ngx_tb_redis_client_close(), but keeps the memory */
void ngx_tb_redis_stop(ngx_tb_redis_state_t *state);


/* pipeline.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_command_role;

/* takes the oldest command that a reply is due for; NULL: connection gone */
ngx_tb_redis_command_t *ngx_tb_redis_next_sent(ngx_tb_redis_conn_t *conn,
    redisReply *reply);

/* moves all of front to the beginning of list */
void ngx_tb_redis_prepend(ngx_queue_t *list, ngx_queue_t *front);


/* pubsub.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_pubsub_role;

void ngx_tb_redis_pubsub_init(ngx_tb_redis_state_t *state);

/* the command connection is ready: subscribe on the same server */
void ngx_tb_redis_pubsub_follow(ngx_tb_redis_state_t *state);

/* 1 if all channels are confirmed or there are none */
ngx_uint_t ngx_tb_redis_subscribed(ngx_tb_redis_state_t *state);


/* addr.c */

/* NGX_AGAIN: goes on, or went on, in ngx_tb_redis_addr_open() */
ngx_int_t ngx_tb_redis_resolve(ngx_tb_redis_state_t *state);
void ngx_tb_redis_resolve_cancel(ngx_tb_redis_state_t *state);

/* opens the command connection to the address in use */
void ngx_tb_redis_addr_open(ngx_tb_redis_state_t *state);

/* NGX_DECLINED: there is but one */
ngx_int_t ngx_tb_redis_addr_next(ngx_tb_redis_state_t *state);


#endif /* _NGX_TB_REDIS_PRIVATE_H_INCLUDED_ */
