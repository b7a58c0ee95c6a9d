
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A Redis connection under our own poll(): hiredis is the codec.
 */


#ifndef _TB_CONN_H_INCLUDED_
#define _TB_CONN_H_INCLUDED_


#include "../base/poll.h"
#include "wire.h"


#define TB_COMMAND_TIMEOUT   5000
#define TB_CONNECT_TIMEOUT   5000

#define TB_TOO_OLD  "Redis 7.0 or newer is needed"


typedef enum {
    TB_REDIS_CLOSED = 0,
    TB_REDIS_LOOKUP,                       /* of the host name, by the job */
    TB_REDIS_CONNECTING,
    TB_REDIS_TLS,
    TB_REDIS_OPEN,                         /* and nothing was said yet */
    TB_REDIS_GREETING,                     /* greet.c */
    TB_REDIS_READY
} tb_redis_state_e;


/* who is at the other end, and so how it is greeted */

typedef enum {
    TB_REDIS_SERVER = 0,
    TB_REDIS_MASTER,                       /* so it must say that it is one */
    TB_REDIS_SENTINEL
} tb_redis_kind_e;


typedef struct {
    const tb_redis_conf_t  *conf;
    tb_tls_t               *tls;           /* or NULL */
    const tb_server_t      *server;
    char                    where[300];    /* of this connection, for the log */
    const char             *label;
    tb_redis_kind_e         kind;
    int                    *shards;        /* where to put them, or NULL */

    tb_wire_t               wire;
    tb_lookup_t             lookup;
    tb_tls_peer_t           peer;
    redisReader            *reader;
    tb_redis_state_e        state;
    int                     place;         /* in what is polled */
    int                     held;          /* not to be opened now */
    int                     left;          /* the server, while looked up */
    int                     steps[5];      /* handshake replies to come */
    int                     nsteps;
    int                     step;
    int                     backoff;       /* ms */
    int                     complained;    /* this failure was logged */
    int                     fresh;         /* just became ready */
    int                     heard;         /* anything, of this connection */
    int                     failed;        /* since its owner has looked */
    int64_t                 closed_at;
    int64_t                 told_at;       /* of a refusal, see below */
    int64_t                 retry_at;
    int64_t                 deadline;      /* 0: none */
} tb_redis_t;


/* one that refuses arrays of absurd sizes; NULL without memory */
redisReader *tb_redis_reader(void);

/* to that server, which stays its owner's; closed, to be opened at once */
void tb_redis_init(tb_redis_t *r, const tb_redis_conf_t *conf, tb_tls_t *tls,
    const tb_server_t *server, const char *label);

/* writes what waits, adds itself to what is polled */
void tb_redis_poll(tb_redis_t *r, tb_poll_t *p);
/* connects when due, reads; up to OPEN */
void tb_redis_io(tb_redis_t *r, const tb_poll_t *p);

/* to be written soon */
void tb_redis_send(tb_redis_t *r, int argc, const char **argv,
    const size_t *lens);
/* the next reply, NULL if none, or it failed and is closed now */
redisReply *tb_redis_reply(tb_redis_t *r);
/* it works: the next failure is news and is retried soon */
void tb_redis_good(tb_redis_t *r);
void tb_redis_fail(tb_redis_t *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* it refuses something, and stays open: said every ten seconds at most */
void tb_redis_refuse(tb_redis_t *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* what is to be done about an error, to be put before it; "" if unknown */
const char *tb_redis_hint(const tb_redis_t *r, const redisReply *reply);
/* the text of an error for the log: no secret is in it; see tb_safe() */
const char *tb_redis_error(const redisReply *reply);
void tb_redis_close(tb_redis_t *r);
/* whatever it was doing, its server is another one now */
void tb_redis_leave(tb_redis_t *r, const char *why);
/* at the end of its owner, or of the program */
void tb_redis_free(tb_redis_t *r);
int64_t tb_redis_timer(tb_redis_t *r);


#endif /* _TB_CONN_H_INCLUDED_ */
