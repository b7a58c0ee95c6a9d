
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Which of two nodes of a cluster knows something newer: the one of the higher
 * epoch.  One that was cut off says what was so before.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "epoch.h"
#include "slots.h"


/* an epoch that nobody has had for so long was another cluster's */
#define TB_EPOCH_TRUST       10000


uint64_t
tb_epoch_reply(tb_epoch_t *e, const tb_redis_t *r, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR && !e->told) {
        e->told = 1;
        tb_log(TB_LOG_WARN, "redis %s: CLUSTER INFO refused, so a node that"
               " was cut off is believed: allow +cluster|info on every node:"
               " %s", r->where, tb_redis_error(reply));
    }

    return tb_slots_epoch(reply);
}


int
tb_epoch_stale(tb_epoch_t *e, uint64_t epoch)
{
    int64_t  now;

    now = tb_now();

    if (epoch == 0) {
        /* it may not be asked for: then each is believed */
        return 0;
    }

    if (epoch < e->seen && now - e->seen_at < TB_EPOCH_TRUST) {
        return 1;
    }

    e->seen = epoch;
    e->seen_at = now;

    return 0;
}
