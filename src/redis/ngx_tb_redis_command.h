
/*
 * A command on its way: encoded bytes and bookkeeping.
 */


#ifndef _NGX_TB_REDIS_COMMAND_H_INCLUDED_
#define _NGX_TB_REDIS_COMMAND_H_INCLUDED_


#include "ngx_tb_redis.h"


typedef struct ngx_tb_redis_state_s  ngx_tb_redis_state_t;


/* the list that a command is in */

typedef enum {
    NGX_TB_REDIS_IN_WAITING = 0,        /* node->waiting or node->again */
    NGX_TB_REDIS_IN_SENDING,            /* conn->sending, maybe half written */
    NGX_TB_REDIS_IN_SENT,               /* conn->sent, a reply is due */
    NGX_TB_REDIS_IN_LATER,              /* node->later, or cluster->later
                                           without a node */
    NGX_TB_REDIS_IN_REPLIED,            /* conn->wait.replied, it is kept */
    NGX_TB_REDIS_IN_ENDED,              /* state->ended, to be notified */
    NGX_TB_REDIS_IN_NONE                /* its handler is running */
} ngx_tb_redis_list_e;


struct ngx_tb_redis_command_s {
    ngx_tb_redis_node_t         *node;      /* NULL: its slot has none */
    ngx_tb_redis_reply_pt        handler;
    void                        *data;

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                    ident;

    ngx_tb_redis_state_t        *state;
    ngx_int_t                    slot;      /* -1: of no slot */

    ngx_queue_t                  queue;
    ngx_event_t                  timer;     /* only of callers' commands */
    ngx_msec_t                   deadline;
    ngx_tb_redis_list_e          list;
    ngx_uint_t                   flags;
    ngx_uint_t                   result;    /* in state->ended */
    redisReply                  *reply;     /* in conn->wait.replied */

    unsigned                     written:1;     /* may have been executed */
    unsigned                     repeated:1;
    unsigned                     reloaded:1;
    unsigned                     moved:1;       /* to where MOVED said */
    unsigned                     redirected:1;
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

#endif /* _NGX_TB_REDIS_COMMAND_H_INCLUDED_ */
