
/*
 * A Redis Cluster: which node has which slot, and the commands that none of
 * them can take just now.
 *
 * Nodes are asked for CLUSTER SLOTS by their command connections, in turn:
 * when one opens, twice a second, sooner while one is away, and at once when
 * a reply shows that a slot has moved.  What was refused has done nothing and
 * is sent again, to whom the slot belongs by then, until its deadline.
 */


#ifndef _NGX_TB_REDIS_CLUSTER_H_INCLUDED_
#define _NGX_TB_REDIS_CLUSTER_H_INCLUDED_


#include "../../common/tb_rpc_slot.h"
#include "ngx_tb_redis_private.h"


#define NGX_TB_REDIS_REFUSALS       4           /* TRYAGAIN, MOVED, ... */
#define NGX_TB_REDIS_AGAIN_MIN      20          /* ms */


struct ngx_tb_redis_cluster_s {
    ngx_tb_redis_state_t        *state;
    ngx_queue_t                  later;     /* commands without a node */

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                    ident;

    ngx_uint_t                   nlater;
    ngx_event_t                  again;     /* for these, and nodes' own */

    ngx_event_t                  ask;
    ngx_msec_t                   asked;     /* when last */

    ngx_msec_t                   seeded;    /* when the seeds were tried */
    ngx_msec_t                   pause;     /* until they are again, grows */

    uint64_t                     epoch;     /* of the slots */
    ngx_msec_t                   confirmed; /* when somebody had it last */

    ngx_msec_t                   refused[NGX_TB_REDIS_REFUSALS];
                                            /* when that was logged */
    ngx_uint_t                   missing;   /* slots without a master, as
                                               logged */
    ngx_msec_t                   missed;    /* when */

    ngx_tb_redis_node_t         *slots[TB_RPC_SLOTS];   /* NULL: nobody's */
};


/* cluster.c */

/* creates a node for each server of the configuration */
ngx_int_t ngx_tb_redis_cluster_init(ngx_tb_redis_state_t *state);

/* no timer any more; the memory goes with the state */
void ngx_tb_redis_cluster_stop(ngx_tb_redis_cluster_t *cluster);

/* part of the handshake of a command connection */
ngx_int_t ngx_tb_redis_cluster_greet(ngx_tb_redis_conn_t *conn);

/* somebody is asked soon; many wishes are one */
void ngx_tb_redis_cluster_refresh(ngx_tb_redis_cluster_t *cluster);


/* cluster_retry.c */

/* 1: the command was not executed and goes on */
ngx_uint_t ngx_tb_redis_cluster_refused(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd, redisReply *reply);

/* an unlinked command goes to the node of its slot, or waits for one */
void ngx_tb_redis_cluster_send(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd);

/* an unlinked command of a node that has refused it waits, or one of none */
void ngx_tb_redis_cluster_later(ngx_tb_redis_cluster_t *cluster,
    ngx_tb_redis_command_t *cmd);

/* so do all of a queue of a node that they do not belong to */
void ngx_tb_redis_cluster_sort(ngx_tb_redis_node_t *node, ngx_queue_t *queue);

/* whatever was refused is tried again now */
void ngx_tb_redis_cluster_retry(ngx_tb_redis_cluster_t *cluster);
void ngx_tb_redis_cluster_retry_handler(ngx_event_t *ev);


/* cluster_slots.c */

/*
 * The reply to CLUSTER SLOTS becomes what we know: nodes come and go, channels
 * and waiting commands go to where they belong.  Or nothing has changed:
 * NGX_ERROR, it is no such reply; NGX_DECLINED, it names a host and there is no
 * resolver.
 */
ngx_int_t ngx_tb_redis_slots_reply(ngx_tb_redis_conn_t *conn,
    redisReply *reply);

/*
 * NGX_OK if the reply is a MOVED to another node that we know: now the slot
 * is its own.
 */
ngx_int_t ngx_tb_redis_slots_moved(ngx_tb_redis_conn_t *conn,
    redisReply *reply);


/* cluster_node.c */

/* 1 if the node is at that address */
ngx_uint_t ngx_tb_redis_cluster_is_at(ngx_tb_redis_node_t *node,
    ngx_sockaddr_t *sockaddr, socklen_t socklen);

/* a node for that server of the configuration; NULL: no memory */
ngx_tb_redis_node_t *ngx_tb_redis_cluster_seed(ngx_tb_redis_cluster_t *cluster,
    ngx_uint_t server);

/*
 * The node at host:port, as the server at the other end of conn names it, if
 * need be a new one; an empty host is that server's own.  NULL: no memory, or
 * there are too many.
 */
ngx_tb_redis_node_t *ngx_tb_redis_cluster_node(ngx_tb_redis_conn_t *conn,
    ngx_str_t *host, in_port_t port);

/* the same, but NULL if there is none yet */
ngx_tb_redis_node_t *ngx_tb_redis_cluster_find(ngx_tb_redis_conn_t *conn,
    ngx_str_t *host, in_port_t port);

/*
 * It has no slot any more.  What it was sent is waited for if it still talks
 * to us, otherwise lost; the rest goes elsewhere.
 */
void ngx_tb_redis_cluster_leave(ngx_tb_redis_node_t *node);

/* a node that has left: its connections are closed, nothing is left in it */
void ngx_tb_redis_cluster_left(ngx_tb_redis_node_t *node);


#endif /* _NGX_TB_REDIS_CLUSTER_H_INCLUDED_ */
