
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What Redis is told of a call; the reply ends it.
 */


#ifndef _TB_REPORT_H_INCLUDED_
#define _TB_REPORT_H_INCLUDED_


#include "call.h"
#include "private.h"


/* it can never be delivered */
void tb_call_failed(tb_bridge_t *b, tb_call_t *call, const char *why);
/* tb_rpc_delivered or tb_rpc_timeout */
void tb_call_report(tb_bridge_t *b, tb_call_t *call, const char *function);
/* it is not for us, and what is behind it of its device neither */
void tb_call_return(tb_bridge_t *b, tb_call_t *call, const char *session);


#endif /* _TB_REPORT_H_INCLUDED_ */
