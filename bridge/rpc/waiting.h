
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Calls whose answers come without a request id.
 */


#ifndef _TB_WAITING_H_INCLUDED_
#define _TB_WAITING_H_INCLUDED_


#include "call.h"
#include "private.h"


tb_waits_t *tb_waits_create(void);
void tb_waits_free(tb_waits_t *waits);

void tb_wait_add(tb_bridge_t *b, tb_call_t *call);
/* takes the oldest out; 0 if there is none */
uint32_t tb_wait_take(tb_bridge_t *b, const char *device);
void tb_wait_remove(tb_bridge_t *b, const char *device, uint32_t request_id);
/* forgets those whose time is over */
void tb_waits_run(tb_bridge_t *b);


#endif /* _TB_WAITING_H_INCLUDED_ */
