
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A Redis connection: non-blocking hiredis under our own poll().
 */


#ifndef _TB_CONN_H_INCLUDED_
#define _TB_CONN_H_INCLUDED_


#include "../base/job.h"
#include "conf.h"

#include <hiredis/hiredis.h>


#define TB_COMMAND_TIMEOUT   5000


typedef enum {
    TB_REDIS_CLOSED = 0,
    TB_REDIS_LOOKUP,                       /* of the host name, by the job */
    TB_REDIS_CONNECTING,
    TB_REDIS_HANDSHAKE,
    TB_REDIS_READY
} tb_redis_state_e;


typedef struct {
    const tb_redis_conf_t  *conf;
    const char             *label;
    int                    *shards;        /* where to put them, or NULL */
    redisContext           *ctx;
    tb_job_t                job;
    tb_redis_state_e        state;
    int                     steps[5];      /* handshake replies to come */
    int                     nsteps;
    int                     step;
    int                     backoff;       /* ms */
    int                     complained;    /* this failure was logged */
    int                     fresh;         /* just became ready */
    int64_t                 retry_at;
    int64_t                 deadline;      /* 0: none */
} tb_redis_t;


/* writes what waits; the fd and events to poll, -1 when closed */
int tb_redis_poll(tb_redis_t *r, short *events);
/* connects when due, reads, shakes hands */
void tb_redis_io(tb_redis_t *r, short revents);
/* the next reply, NULL if none, or it failed and is closed now */
redisReply *tb_redis_reply(tb_redis_t *r);
/* it works: the next failure is news and is retried soon */
void tb_redis_good(tb_redis_t *r);
void tb_redis_fail(tb_redis_t *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* what is to be done about an error, to be put before it; "" if unknown */
const char *tb_redis_hint(const redisReply *reply);
/* the text of an error for the log: no secret is in it; see tb_safe() */
const char *tb_redis_error(const redisReply *reply);
void tb_redis_close(tb_redis_t *r);
int64_t tb_redis_timer(tb_redis_t *r);


#endif /* _TB_CONN_H_INCLUDED_ */
