
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The bridge, for the loop that drives it.
 */


#ifndef _TB_BRIDGE_H_INCLUDED_
#define _TB_BRIDGE_H_INCLUDED_


#include "../base/count.h"
#include "../base/poll.h"
#include "conf.h"


/* what there is at the moment */

typedef struct {
    int                      calls;
    int                      devices;
    int                      answers;      /* not taken by Redis yet */
    int                      broker_up;
    int                      redis_up;
} tb_gauges_t;


/* NULL, and that was logged: --devices or files for TLS cannot be read */
tb_bridge_t *tb_bridge_create(const tb_rpc_conf_t *conf,
    tb_counters_t *count);
/* at the end: it exits where a host is still being looked up */
void tb_bridge_free(tb_bridge_t *b);

/* a turn: what poll() has said of the descriptors, and all that is due */
void tb_bridge_run(tb_bridge_t *b, const tb_poll_t *p);
/* writes what the turn has gathered; the descriptors for poll() */
void tb_bridge_poll(tb_bridge_t *b, tb_poll_t *p);
/* when the next turn is due, whatever happens */
int64_t tb_bridge_timer(tb_bridge_t *b);

/* --devices and files for TLS are read again */
void tb_bridge_reload(tb_bridge_t *b);
/* nothing more is taken */
void tb_bridge_stop(tb_bridge_t *b);
/* after that: nothing that was begun is open, nor comes anything new */
int tb_bridge_idle(tb_bridge_t *b);

void tb_bridge_gauges(tb_bridge_t *b, tb_gauges_t *g);


#endif /* _TB_BRIDGE_H_INCLUDED_ */
