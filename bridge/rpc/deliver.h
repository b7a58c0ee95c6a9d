
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The way of a call from its take to its last report.
 */


#ifndef _TB_DELIVER_H_INCLUDED_
#define _TB_DELIVER_H_INCLUDED_


#include "call.h"
#include "private.h"


tb_delivery_t *tb_delivery_create(void);
void tb_delivery_free(tb_delivery_t *d);

/* how many more can be written now, for takes */
int tb_calls_room(tb_bridge_t *b);
/* publishes what may be published, and reports what was not acknowledged */
void tb_calls_run(tb_bridge_t *b);
/* data is the call; a reason: the broker will not, or could not, pass it on */
void tb_call_acked(tb_bridge_t *b, void *data, int reason);
void tb_calls_connected(tb_bridge_t *b);
void tb_calls_disconnected(tb_bridge_t *b);


#endif /* _TB_DELIVER_H_INCLUDED_ */
