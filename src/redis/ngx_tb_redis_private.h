
/*
 * What a client has beside its nodes.
 *
 * Each entry from the event loop is enclosed in ngx_tb_redis_enter() and
 * ngx_tb_redis_leave(), so that a handler may close the client, and even
 * destroy its pool, below us.
 */


#ifndef _NGX_TB_REDIS_PRIVATE_H_INCLUDED_
#define _NGX_TB_REDIS_PRIVATE_H_INCLUDED_


#include "ngx_tb_redis_node.h"


typedef struct ngx_tb_redis_cluster_s  ngx_tb_redis_cluster_t;


struct ngx_tb_redis_channel_s {
    ngx_str_node_t               sn;        /* in state->tree */
    ngx_str_t                   *name;

    ngx_int_t                    slot;      /* -1: there is no cluster */
    ngx_tb_redis_node_t         *node;      /* where it is published, or NULL */
    ngx_queue_t                  queue;     /* in node->channels */

    unsigned                     asked:1;
    unsigned                     confirmed:1;
    unsigned                     fresh:1;   /* since "subscribed" was told */
};


struct ngx_tb_redis_state_s {
    ngx_tb_redis_client_t       *client;
    ngx_log_t                   *log;
    ngx_log_t                    quiet;     /* for what is tried repeatedly */
    ngx_tb_redis_counts_t       *counts;    /* may be NULL */

    ngx_uint_t                   busy;
    unsigned                     closed:1;  /* free it, client is gone */
    unsigned                     stopped:1; /* no new command or connection */

    ngx_queue_t                  nodes;     /* ngx_tb_redis_node_t */
    ngx_queue_t                  gone;      /* those that left the cluster */
    ngx_queue_t                  ended;     /* commands to be notified */

    ngx_tb_redis_cluster_t      *cluster;   /* NULL: one node has it all */

    ngx_uint_t                   nchannels;
    ngx_rbtree_t                 tree;      /* ngx_tb_redis_channel_t */
    ngx_rbtree_node_t            sentinel;
    ngx_tb_redis_channel_t       channels[1];
};


#define ngx_tb_redis_enter(st)       (st)->busy++

#define ngx_tb_redis_count(st, member)                                        \
    if ((st)->counts) {                                                       \
        (void) ngx_atomic_fetch_add(&(st)->counts->member, 1);                \
    }

void ngx_tb_redis_leave(ngx_tb_redis_state_t *state);

/* the timer, which may be set already, is not later than that */
void ngx_tb_redis_timer_sooner(ngx_event_t *ev, ngx_msec_t delay);

/* ends everything, as ngx_tb_redis_client_close(), but keeps the memory */
void ngx_tb_redis_stop(ngx_tb_redis_state_t *state);

/* the slot of a key; -1: there is no cluster */
ngx_int_t ngx_tb_redis_slot(ngx_tb_redis_state_t *state, ngx_str_t *key);

/* the node of a slot, NULL: it has none; a standalone Redis has but one */
ngx_tb_redis_node_t *ngx_tb_redis_route(ngx_tb_redis_state_t *state,
    ngx_int_t slot);


/* channels.c */

/* the channel comes to that node from the one it is of, or nobody's (NULL) */
void ngx_tb_redis_channel_move(ngx_tb_redis_channel_t *channel,
    ngx_tb_redis_node_t *node);

/* what the server says of a channel; NULL: there is none of that name */
ngx_tb_redis_channel_t *ngx_tb_redis_channel_find(ngx_tb_redis_node_t *node,
    redisReply *name);
void ngx_tb_redis_channel_confirmed(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel);
void ngx_tb_redis_channel_dropped(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_channel_t *channel);

/* not ready, for so long as confirmations may take */
void ngx_tb_redis_channels_await(ngx_tb_redis_conn_t *conn);

/* whatever is not confirmed is asked for once more, soon */
void ngx_tb_redis_channels_again(ngx_tb_redis_conn_t *conn);
void ngx_tb_redis_resubscribe_handler(ngx_event_t *ev);


#endif /* _NGX_TB_REDIS_PRIVATE_H_INCLUDED_ */
