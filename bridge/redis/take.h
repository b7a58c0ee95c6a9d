
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Takes of calls from the queues.
 */


#ifndef _TB_TAKE_H_INCLUDED_
#define _TB_TAKE_H_INCLUDED_


#include "fcall.h"


typedef struct tb_takes_s  tb_takes_t;


/* it asks events->room(), and gives calls to events->taken() */
tb_takes_t *tb_take_create(const tb_redis_conf_t *conf,
    const tb_redis_events_t *events, tb_bridge_t *b, tb_commands_t *c);
void tb_take_free(tb_takes_t *t);

/* the queue of that shard may have something */
void tb_take_ring(tb_takes_t *t, int n);
void tb_take_run(tb_takes_t *t);
/* nothing more is taken */
void tb_take_stop(tb_takes_t *t);
int64_t tb_take_timer(tb_takes_t *t);


#endif /* _TB_TAKE_H_INCLUDED_ */
