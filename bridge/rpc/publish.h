
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Topic, payload and properties of a call.
 */


#ifndef _TB_PUBLISH_H_INCLUDED_
#define _TB_PUBLISH_H_INCLUDED_


#include "call.h"
#include "private.h"


/* the name of its device is needed */
int tb_publish_named(tb_bridge_t *b);
/* NULL, or why the call can never be sent */
const char *tb_publish_call(tb_bridge_t *b, tb_call_t *call);


#endif /* _TB_PUBLISH_H_INCLUDED_ */
