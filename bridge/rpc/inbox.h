
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What devices publish.
 */


#ifndef _TB_INBOX_H_INCLUDED_
#define _TB_INBOX_H_INCLUDED_


#include "private.h"


/* to all that is understood here, with the connection that has just begun */
int tb_inbox_subscribe(tb_bridge_t *b);
/* tells answers, presence and gateways apart */
void tb_message(tb_bridge_t *b, tb_message_t *msg);


#endif /* _TB_INBOX_H_INCLUDED_ */
