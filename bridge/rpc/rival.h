
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A device that is behind one gateway, and another one connects it.
 */


#ifndef _TB_RIVAL_H_INCLUDED_
#define _TB_RIVAL_H_INCLUDED_


#include "resolve.h"


tb_rivals_t *tb_rivals_create(void);
void tb_rivals_free(tb_rivals_t *rivals);

/*
 * Calls, now or later, the one handler if the gateway that the device is
 * behind is not attached, and the other one if it is.  A gateway is named by
 * its device id; what is none is attached to nothing.
 */
void tb_rival(tb_bridge_t *b, tb_message_t *msg, const char *id,
    const char *gateway, tb_message_pt gone,
    void (*there)(tb_bridge_t *b, tb_message_t *msg, const char *why));


#endif /* _TB_RIVAL_H_INCLUDED_ */
