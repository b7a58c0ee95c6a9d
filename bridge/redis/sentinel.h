
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The Sentinels, who say where the master is.
 */


#ifndef _TB_SENTINEL_H_INCLUDED_
#define _TB_SENTINEL_H_INCLUDED_


#include "conn.h"


typedef struct tb_sentinel_s  tb_sentinel_t;


tb_sentinel_t *tb_sentinel_create(const tb_redis_conf_t *conf, tb_tls_t *tls);
void tb_sentinel_free(tb_sentinel_t *s);

void tb_sentinel_poll(tb_sentinel_t *s, tb_poll_t *p);
void tb_sentinel_run(tb_sentinel_t *s, const tb_poll_t *p);
int64_t tb_sentinel_timer(tb_sentinel_t *s);

/* the master as it was named last: what is there changes, its place does not */
const tb_server_t *tb_sentinel_master(const tb_sentinel_t *s);
/* so often another one was named; 0: none yet */
unsigned tb_sentinel_moves(const tb_sentinel_t *s);

/*
 * 1: a Sentinel has named the master since then.  0: it will be asked, at
 * once, and this is to be called again in the turns to come.
 */
int tb_sentinel_knows(tb_sentinel_t *s, int64_t since);


#endif /* _TB_SENTINEL_H_INCLUDED_ */
