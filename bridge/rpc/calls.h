
/*
 * Copyright (C) tb-rpc contributors.
 *
 * All calls in hand, in the order of their takes.
 */


#ifndef _TB_CALLS_H_INCLUDED_
#define _TB_CALLS_H_INCLUDED_


#include "call.h"
#include "private.h"


tb_calls_t *tb_calls_create(void);
void tb_calls_free(tb_calls_t *calls);

/* an envelope that a take has brought */
void tb_call_add(tb_bridge_t *b, const char *data, size_t len);
void tb_call_to(tb_bridge_t *b, tb_call_t *call, tb_call_state_e state);
/* it is not published (again), and not reported: Redis knows what to do */
void tb_call_given_up(tb_bridge_t *b, tb_call_t *call, const char *why);
/* it is freed */
void tb_call_end(tb_bridge_t *b, tb_call_t *call);

tb_call_t *tb_calls_first(const tb_bridge_t *b);
int tb_calls_count(const tb_bridge_t *b);
/* without those that wait for a master that is away */
int tb_calls_here(const tb_bridge_t *b);
/* those without a report */
int tb_calls_open(const tb_bridge_t *b);
/* those that are asked about, or published */
int tb_calls_sent(const tb_bridge_t *b);


#endif /* _TB_CALLS_H_INCLUDED_ */
