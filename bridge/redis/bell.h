
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection that listens to the bells of our queues.
 */


#ifndef _TB_BELL_H_INCLUDED_
#define _TB_BELL_H_INCLUDED_


#include "take.h"


typedef struct tb_bell_s  tb_bell_t;


tb_bell_t *tb_bell_create(const tb_redis_conf_t *conf, tb_commands_t *c,
    tb_takes_t *t);
void tb_bell_free(tb_bell_t *bell);

void tb_bell_poll(tb_bell_t *bell, tb_poll_t *p);
void tb_bell_run(tb_bell_t *bell, const tb_poll_t *p);
int64_t tb_bell_timer(tb_bell_t *bell);


#endif /* _TB_BELL_H_INCLUDED_ */
