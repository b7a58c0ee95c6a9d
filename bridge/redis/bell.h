
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The bells of our queues: who hears them where.
 */


#ifndef _TB_BELL_H_INCLUDED_
#define _TB_BELL_H_INCLUDED_


#include "take.h"


typedef struct tb_bells_s  tb_bells_t;


tb_bells_t *tb_bells_create(const tb_redis_conf_t *conf, tb_commands_t *c,
    tb_takes_t *t);
void tb_bells_free(tb_bells_t *bells);

void tb_bells_run(tb_bells_t *bells, const tb_poll_t *p);
void tb_bells_poll(tb_bells_t *bells, tb_poll_t *p);
int64_t tb_bells_timer(tb_bells_t *bells);


#endif /* _TB_BELL_H_INCLUDED_ */
