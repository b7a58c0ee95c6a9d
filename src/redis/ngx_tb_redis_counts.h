
/*
 * What a client counts, and how its nodes are, for those who show it.
 */


#ifndef _NGX_TB_REDIS_COUNTS_H_INCLUDED_
#define _NGX_TB_REDIS_COUNTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* of a client, in order of its connections */

enum {
    NGX_TB_REDIS_COMMANDS = 0,
    NGX_TB_REDIS_SUBSCRIPTION,
    NGX_TB_REDIS_SENTINEL,
    NGX_TB_REDIS_NCONNECTIONS
};


/* what happened; may be in shared memory */

typedef struct {
    ngx_atomic_t              commands;
    ngx_atomic_t              errors;     /* error replies */
    ngx_atomic_t              unsent;
    ngx_atomic_t              lost;
    ngx_atomic_t              connected[NGX_TB_REDIS_NCONNECTIONS];
    ngx_atomic_t              failed[NGX_TB_REDIS_NCONNECTIONS];
} ngx_tb_redis_counts_t;


/* what a node is like now */

typedef struct {
    ngx_str_t                 addr;       /* the node's, not copied */
    ngx_uint_t                command;    /* states of its connections, for */
    ngx_uint_t                subscription;   /* ..._state_name() */
    ngx_uint_t                writable;   /* for commands */
    ngx_uint_t                ready;      /* and with all its channels */
    ngx_uint_t                waiting;    /* commands */
    ngx_uint_t                channels;
    ngx_uint_t                reconnects;
} ngx_tb_redis_node_info_t;


struct ngx_tb_redis_client_s;


/* the first n of the client's nodes; how many there are */
ngx_uint_t ngx_tb_redis_client_nodes(struct ngx_tb_redis_client_s *client,
    ngx_tb_redis_node_info_t *info, ngx_uint_t n);

/* "ready", "backoff", ...; "unknown" for what is none */
const char *ngx_tb_redis_state_name(ngx_uint_t status);


#endif /* _NGX_TB_REDIS_COUNTS_H_INCLUDED_ */
