
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A node: one Redis, and the commands on their way to it, answered in order.
 */


#ifndef _TB_NODE_H_INCLUDED_
#define _TB_NODE_H_INCLUDED_


#include "conn.h"


typedef struct tb_cmd_s      tb_cmd_t;
typedef struct tb_cluster_s  tb_cluster_t;
typedef struct tb_node_s     tb_node_t;

typedef void (*tb_reply_pt)(tb_bridge_t *b, void *data, redisReply *reply);
/* of a question to the node; NULL: its connection has ended */
typedef void (*tb_node_reply_pt)(tb_node_t *node, redisReply *reply);


struct tb_cmd_s {
    tb_cmd_t            *next;
    tb_reply_pt          handler;
    void                *data;
    tb_node_reply_pt     own;              /* a node's, lost with it, or NULL */
    char                *buf;              /* behind it */
    size_t               len;
    uint64_t             number;           /* in the order of their making */
    int                  shard;            /* of its key; TB_OWN */
    int                 *out;              /* those written of that shard */
    int64_t              at;               /* written */
    int                  refusals;         /* in a row */
    int                  slow;             /* the last one: no hurry */
    int                  patient;          /* OOM and NOPERM are waited out */
};


#define TB_OWN              -1

/* ms: who has said nothing for so long hangs, for all that we know */
#define TB_NODE_SILENT       500


typedef enum {
    TB_VERDICT_DONE = 0,                   /* its handler is to have it */
    TB_VERDICT_AGAIN,                      /* nothing was done */
    TB_VERDICT_FAILED                      /* and so the connection is closed */
} tb_verdict_e;


typedef struct {
    /* greeted, before anything is written; or it had been silent */
    void          (*ready)(void *owner, tb_node_t *node);
    tb_verdict_e  (*judge)(void *owner, tb_node_t *node, tb_cmd_t *cmd,
                           redisReply *reply);
    /* the command is the owner's again */
    void          (*done)(void *owner, tb_cmd_t *cmd, redisReply *reply);
    void          (*again)(void *owner, tb_node_t *node, tb_cmd_t *cmd);
    /* what was written has no reply: it is with the node still */
    void          (*lost)(void *owner, tb_node_t *node);
} tb_node_events_t;


struct tb_node_s {
    tb_node_t               *next;
    tb_server_t              server;
    tb_redis_t               redis;
    const tb_node_events_t  *events;
    void                    *owner;

    tb_cmd_t                *head;
    tb_cmd_t               **tail;
    tb_cmd_t                *unsent;
    unsigned                 nwritten;
    unsigned                 nown;         /* questions among them */

    /* of a cluster */

    tb_cluster_t            *cluster;
    unsigned                 number;       /* no two have the same, ever */
    int64_t                  added_at;
    uint64_t                 epoch;        /* as it has said last */
    unsigned                 asked:1;      /* for what it knows */
    unsigned                 wanted:1;     /* has slots of ours */
    unsigned                 known:1;      /* has had some, ever */
    unsigned                 silent:1;     /* owes replies for TB_NODE_SILENT */
};


/* node->redis is to be initialized by its owner */
void tb_node_init(tb_node_t *node, const tb_node_events_t *events,
    void *owner);
/* with all that is on its way to it; no handler is called */
void tb_node_clear(tb_node_t *node);

void tb_node_run(tb_node_t *node, const tb_poll_t *p);
/* writes what the turn has gathered */
void tb_node_poll(tb_node_t *node, tb_poll_t *p);

int tb_node_up(const tb_node_t *node);
/* when tb_node_run() is due */
int64_t tb_node_timer(tb_node_t *node);

/* what has no reply is sent again after a reconnect, in the same order */
void tb_node_push(tb_node_t *node, tb_cmd_t *cmd);
/* takes back what was not written of a shard, in its order, or NULL */
tb_cmd_t *tb_node_pull(tb_node_t *node, int shard);
/* a question to this very node, which is forgotten if its connection ends */
void tb_node_ask(tb_node_t *node, tb_node_reply_pt handler, int argc,
    const char **argv);
/* whatever it was doing, it is left: nothing counts as written any more */
void tb_node_leave(tb_node_t *node, const char *why);

tb_cmd_t *tb_cmd_create(int argc, const char **argv, const size_t *lens);
void tb_cmd_free(tb_cmd_t *cmd);


#endif /* _TB_NODE_H_INCLUDED_ */
