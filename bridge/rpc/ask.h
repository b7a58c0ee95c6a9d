
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What must be known before a call is published.
 */


#ifndef _TB_ASK_H_INCLUDED_
#define _TB_ASK_H_INCLUDED_


#include "call.h"
#include "private.h"


tb_ask_t *tb_ask_create(void);
void tb_ask_free(tb_ask_t *ask);

/* 1 when Redis is asked first; then it is ASKING until all is known */
int tb_call_ask(tb_bridge_t *b, tb_call_t *call);
/* NULL, or why it must not be published any more */
const char *tb_call_stale(tb_bridge_t *b, tb_call_t *call, int64_t now);
/* for tb_call_stale(): how long Redis waits for an acknowledgement */
void tb_calls_ask_settings(tb_bridge_t *b);


#endif /* _TB_ASK_H_INCLUDED_ */
