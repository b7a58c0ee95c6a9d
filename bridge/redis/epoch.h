
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Which of two nodes of a cluster knows something newer.
 */


#ifndef _TB_EPOCH_H_INCLUDED_
#define _TB_EPOCH_H_INCLUDED_


#include "conn.h"


typedef struct {
    uint64_t                 seen;         /* the highest one */
    int64_t                  seen_at;      /* somebody had it */
    int                      told;         /* of a refusal */
} tb_epoch_t;


/* of the reply to CLUSTER INFO of that node; 0: it says none, see the log */
uint64_t tb_epoch_reply(tb_epoch_t *e, const tb_redis_t *r,
    const redisReply *reply);
/* what a node of that epoch knows was so before what another one has seen */
int tb_epoch_stale(tb_epoch_t *e, uint64_t epoch);


#endif /* _TB_EPOCH_H_INCLUDED_ */
