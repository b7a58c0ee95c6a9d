
/*
 * A Redis client for nginx's event loop.
 *
 * hiredis decodes, nginx owns sockets and timers.  A client has nodes, each
 * with one pipelined connection for commands and one for sharded
 * subscriptions, reconnects both by itself, and knows nothing of HTTP.
 */


#ifndef _NGX_TB_REDIS_H_INCLUDED_
#define _NGX_TB_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include <hiredis/hiredis.h>

#include "ngx_tb_redis_conf.h"
#include "ngx_tb_redis_counts.h"
#include "ngx_tb_redis_reply.h"


/* how a command ended, as told to its handler */

#define NGX_TB_REDIS_REPLY       0  /* a reply is there, maybe an error reply */
#define NGX_TB_REDIS_UNSENT      1  /* not one byte of it was written */
#define NGX_TB_REDIS_LOST        2  /* written, no reply, or repeated and then
                                       an error reply: outcome unknown */


/* command flags */

#define NGX_TB_REDIS_BACKGROUND  0x01  /* does not keep an exiting worker */
#define NGX_TB_REDIS_REPEAT      0x02  /* idempotent: written once more after
                                          a reconnect, within its deadline */
#define NGX_TB_REDIS_SUBSCRIBED  0x04  /* waits until all channels are
                                          confirmed */
#define NGX_TB_REDIS_SETUP       0x08  /* part of the handshake, only from
                                          within client->setup and replies
                                          to it, by _node_command() */
#define NGX_TB_REDIS_UNBOUNDED   0x10  /* not refused by a full queue */
#define NGX_TB_REDIS_REPLICATED  0x20  /* told when conf->wait_replicas have
                                          what it wrote, else it is LOST */


typedef struct ngx_tb_redis_client_s   ngx_tb_redis_client_t;
typedef struct ngx_tb_redis_node_s     ngx_tb_redis_node_t;
typedef struct ngx_tb_redis_command_s  ngx_tb_redis_command_t;


/*
 * The reply belongs to the client and is freed after the handler returns;
 * it is NULL unless status is NGX_TB_REDIS_REPLY.  A handler may issue and
 * detach commands and may finalize requests.
 */

typedef void (*ngx_tb_redis_reply_pt)(void *data, ngx_uint_t status,
    redisReply *reply);


struct ngx_tb_redis_client_s {
    /* set by the caller before ngx_tb_redis_client_init() */

    ngx_tb_redis_conf_t      *conf;
    ngx_pool_t               *pool;       /* outlives the client */
    ngx_log_t                *log;
    ngx_str_t                 name;       /* CLIENT SETNAME, no spaces */
    ngx_array_t               channels;   /* ngx_str_t, may be empty */
    void                     *data;       /* given to the handlers below */

    /*
     * sets up one of the client's Redis; runs after AUTH, SELECT and SETNAME,
     * and once more when a function is missing; issues NGX_TB_REDIS_SETUP
     * commands by ngx_tb_redis_node_command() and at last calls
     * ngx_tb_redis_node_ready() or ngx_tb_redis_node_refuse(); the node is
     * there until the last of these commands has ended
     */
    void                    (*setup)(void *data, ngx_tb_redis_node_t *node);

    /* a message on one of the channels; bytes are valid during the call */
    void                    (*message)(void *data, ngx_str_t *channel,
                                u_char *p, size_t len);

    /*
     * all channels of a node are confirmed, for the first time or again: on
     * those that are new messages may have been lost
     */
    void                    (*subscribed)(void *data);

    /* the node is about to be freed, it was one of a cluster */
    void                    (*gone)(void *data, ngx_tb_redis_node_t *node);

    /* 1: the reply to a REPLICATED command that wrote nothing; may be NULL */
    ngx_uint_t              (*unchanged)(redisReply *reply);

    ngx_tb_redis_counts_t    *counts;     /* NULL: nobody counts */

    /* 1: worker_shutdown_timeout does not close it, its owner does */
    ngx_uint_t                stays;

    /* set by ngx_tb_redis_client_init() */

    struct ngx_tb_redis_state_s  *state;
};


/*
 * Starts to connect.  NGX_OK or NGX_ERROR (no memory); a Redis that can't
 * be reached is no error, the client goes on trying.
 */
ngx_int_t ngx_tb_redis_client_init(ngx_tb_redis_client_t *client);

/*
 * Closes all connections; pending commands end as UNSENT or LOST.  The
 * client must not be used afterwards.
 */
void ngx_tb_redis_client_close(ngx_tb_redis_client_t *client);

/* the setup is over */
void ngx_tb_redis_node_ready(ngx_tb_redis_node_t *node);

/* closes the connection and tries again after a backoff */
void ngx_tb_redis_node_refuse(ngx_tb_redis_node_t *node);

/* the address, as far as it is known, for messages */
ngx_str_t *ngx_tb_redis_node_addr(ngx_tb_redis_node_t *node);

/* 1 if a command would be written now (flags: NGX_TB_REDIS_SUBSCRIBED) */
ngx_uint_t ngx_tb_redis_node_is_ready(ngx_tb_redis_node_t *node,
    ngx_uint_t flags);

/* 1 if none was written for as long as a command may take */
ngx_uint_t ngx_tb_redis_node_is_away(ngx_tb_redis_node_t *node);

/* 1 if a command with that key is for that node */
ngx_uint_t ngx_tb_redis_node_has(ngx_tb_redis_node_t *node, ngx_str_t *key);

/* the node of client->channels[n]; NULL: nobody's */
ngx_tb_redis_node_t *ngx_tb_redis_channel_node(ngx_tb_redis_client_t *client,
    ngx_uint_t n);

/* 1 if client->channels[n] was confirmed since "subscribed" was called */
ngx_uint_t ngx_tb_redis_channel_is_new(ngx_tb_redis_client_t *client,
    ngx_uint_t n);

/* the node that a command with that key is for; NULL: nobody's */
ngx_tb_redis_node_t *ngx_tb_redis_key_node(ngx_tb_redis_client_t *client,
    ngx_str_t *key);

/*
 * Encodes and queues a command for the node of its key, argv[3] of FCALL and
 * argv[1] of all others; all commands of one event-loop turn leave in one
 * write.  argv is copied.  timeout, in ms, counts from now and
 * covers waiting for a connection, writing and the reply.  The handler is
 * called exactly once and never from within this call, unless the command
 * was detached; handler may be NULL.
 * Returns NULL when the bounded queue is full or there is no memory; then
 * nothing was queued and the handler is not called.  What is returned is
 * valid until the handler is called.
 */
ngx_tb_redis_command_t *ngx_tb_redis_command(ngx_tb_redis_client_t *client,
    ngx_str_t *argv, ngx_uint_t argc, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);

/* the same, to this very node, if it can be sent now */
ngx_tb_redis_command_t *ngx_tb_redis_node_command(ngx_tb_redis_node_t *node,
    ngx_str_t *argv, ngx_uint_t argc, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);

/*
 * The caller goes away: its handler won't be called.  NGX_OK if the command
 * had not been written and was withdrawn, NGX_DECLINED if it is under way.
 */
ngx_int_t ngx_tb_redis_detach(ngx_tb_redis_command_t *cmd);

/*
 * Somebody else gets its reply.  NGX_DECLINED if it is not under way: then
 * nothing has changed.
 */
ngx_int_t ngx_tb_redis_redirect(ngx_tb_redis_command_t *cmd,
    ngx_tb_redis_reply_pt handler, void *data);

/*
 * Writes what is queued now, as far as the socket takes it: for a last word
 * of a worker whose event loop has ended.
 */
void ngx_tb_redis_client_flush(ngx_tb_redis_client_t *client);

/*
 * NGX_OK if the hiredis that is linked decodes as its header says; checked
 * at configuration: another module may bring a hiredis of its own.
 */
ngx_int_t ngx_tb_redis_check_library(ngx_log_t *log);


#endif /* _NGX_TB_REDIS_H_INCLUDED_ */
