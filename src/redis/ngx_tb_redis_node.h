
/*
 * A node: one Redis of a client.  A connection for commands, one for
 * subscriptions that follows it, and what waits for the two.  It knows
 * nothing of other nodes.
 */


#ifndef _NGX_TB_REDIS_NODE_H_INCLUDED_
#define _NGX_TB_REDIS_NODE_H_INCLUDED_


#include "ngx_tb_redis_conn.h"


typedef struct ngx_tb_redis_channel_s  ngx_tb_redis_channel_t;


struct ngx_tb_redis_node_s {
    ngx_queue_t                  queue;     /* in state->nodes */
    ngx_tb_redis_state_t        *state;
    ngx_tb_redis_conf_t         *conf;
    ngx_log_t                   *log;

    ngx_tb_redis_conn_t          command;
    ngx_tb_redis_conn_t          pubsub;
    ngx_tb_redis_conn_t          sentinel;  /* idle without conf->sentinel */

    ngx_queue_t                  waiting;
    ngx_queue_t                  again;     /* to be sent after the setup */
    ngx_uint_t                   nwaiting;  /* in waiting and again */

    /* the server in use and which of its addresses */
    ngx_uint_t                   server;
    ngx_uint_t                   addr;
    ngx_resolver_ctx_t          *resolving;
    ngx_addr_t                  *addrs;     /* resolved in the worker */
    ngx_uint_t                   naddrs;

    /* the server in use as others name it, and what sentinel to ask next */
    ngx_tb_redis_server_t        master;
    ngx_addr_t                   master_addr;
    ngx_sockaddr_t               master_sockaddr;
    u_char                       master_host[NGX_TB_REDIS_MASTER];
    ngx_uint_t                   asked;
#if (NGX_SSL)
    ngx_ssl_session_t           *ssl_session;   /* to be resumed, or NULL */
#endif

    ngx_queue_t                  channels;  /* ngx_tb_redis_channel_t */
    ngx_uint_t                   nchannels;
    ngx_uint_t                   nconfirmed;
    ngx_event_t                  resubscribe;

    /* the command connection that the subscription has followed */
    ngx_atomic_uint_t            followed;

    /* of a cluster: refused for now, to be sent again */
    ngx_queue_t                  later;
    ngx_uint_t                   nlater;
    ngx_msec_t                   pause;     /* until then, grows */

    uint64_t                     epoch;     /* of its CLUSTER INFO */
    ngx_uint_t                   nslots;
    ngx_msec_t                   questioned;    /* for its slots, when */

    unsigned                     rotate:1;  /* not this address again */
    unsigned                     named:1;   /* by others: it is master */
    unsigned                     gone:1;    /* from the cluster */
    unsigned                     asking:1;  /* for its slots, no reply yet */
    unsigned                     old:1;     /* epoch is known */
    unsigned                     told:1;    /* its slots can't be used */
};


/* node.c */

/* one more of state->nodes, not connected yet; NULL: no memory */
ngx_tb_redis_node_t *ngx_tb_redis_node_create(ngx_tb_redis_state_t *state);

/* moves all commands of a queue to state->ended */
void ngx_tb_redis_node_end(ngx_queue_t *queue);

/* closes both connections and moves all commands to state->ended */
void ngx_tb_redis_node_stop(ngx_tb_redis_node_t *node);

/* 1 if a command would wait for a connection, and too many do */
ngx_uint_t ngx_tb_redis_node_is_full(ngx_tb_redis_node_t *node,
    ngx_uint_t flags);

/* sent if that is possible now, else it waits */
void ngx_tb_redis_node_send(ngx_tb_redis_node_t *node,
    ngx_tb_redis_command_t *cmd);

/* moves all of front to the beginning of what waits */
void ngx_tb_redis_node_requeue(ngx_tb_redis_node_t *node, ngx_queue_t *front);

/* whatever can be sent now is */
void ngx_tb_redis_node_pump(ngx_tb_redis_node_t *node);

/* a command connection that was drained has its last reply, or never will */
void ngx_tb_redis_node_drained(ngx_tb_redis_node_t *node);


/* pipeline.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_command_role;

/* takes the oldest command that a reply is due for; NULL: connection gone */
ngx_tb_redis_command_t *ngx_tb_redis_next_sent(ngx_tb_redis_conn_t *conn,
    redisReply *reply);

/* takes back what was not written yet */
void ngx_tb_redis_unsend(ngx_tb_redis_conn_t *conn);

/* where the master is is known: goes there */
void ngx_tb_redis_command_resolve(ngx_tb_redis_node_t *node);


/* wait.c */

/* queues a WAIT if there is something to wait for */
void ngx_tb_redis_wait_send(ngx_tb_redis_conn_t *conn);

/* NGX_OK: cmd has taken conn->reply, it is told later; NGX_DECLINED: now */
ngx_int_t ngx_tb_redis_wait_keep(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_command_t *cmd);

/* takes back a WAIT that was not written yet; another one comes later */
void ngx_tb_redis_wait_unsend(ngx_tb_redis_conn_t *conn);

/* moves to conn->sent what waits, as if it had no reply */
void ngx_tb_redis_wait_down(ngx_tb_redis_conn_t *conn);


/* sentinel.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_sentinel_role;

/* a command connection that is RESOLVING is opened when it has answered */
void ngx_tb_redis_sentinel_ask(ngx_tb_redis_node_t *node);


/* pubsub.c */

extern ngx_tb_redis_role_t  ngx_tb_redis_pubsub_role;

void ngx_tb_redis_pubsub_init(ngx_tb_redis_node_t *node);

/* the command connection is ready: subscribe on the same server */
void ngx_tb_redis_pubsub_follow(ngx_tb_redis_node_t *node);

/* asks for all channels of the node that are not asked for yet */
void ngx_tb_redis_pubsub_ask(ngx_tb_redis_conn_t *conn);


/* addr.c */

/*
 * Its server is that one, as others name it; without an address (socklen 0)
 * it is to be looked up.
 */
void ngx_tb_redis_node_name(ngx_tb_redis_node_t *node, ngx_str_t *host,
    in_port_t port, ngx_uint_t ssl, ngx_sockaddr_t *sockaddr,
    socklen_t socklen);

/* NGX_DECLINED: it is no address but a name */
ngx_int_t ngx_tb_redis_parse_ip(ngx_str_t *host, in_port_t port,
    ngx_sockaddr_t *sockaddr, socklen_t *socklen);

/* NGX_OK if it may be looked up and logged */
ngx_int_t ngx_tb_redis_check_host(ngx_str_t *host);

/* the one in use; NULL if none is configured */
ngx_tb_redis_server_t *ngx_tb_redis_server(ngx_tb_redis_node_t *node);

/* NGX_AGAIN: goes on, or went on, in ngx_tb_redis_addr_open() */
ngx_int_t ngx_tb_redis_resolve(ngx_tb_redis_node_t *node);
void ngx_tb_redis_resolve_cancel(ngx_tb_redis_node_t *node);

/* opens the command connection to the address in use */
void ngx_tb_redis_addr_open(ngx_tb_redis_node_t *node);

/* NGX_DECLINED: there is but one */
ngx_int_t ngx_tb_redis_addr_next(ngx_tb_redis_node_t *node);


#endif /* _NGX_TB_REDIS_NODE_H_INCLUDED_ */
