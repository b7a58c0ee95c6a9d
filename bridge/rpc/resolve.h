
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The device that a message is of.
 */


#ifndef _TB_RESOLVE_H_INCLUDED_
#define _TB_RESOLVE_H_INCLUDED_


#include "private.h"


typedef void (*tb_message_pt)(tb_bridge_t *b, tb_message_t *msg,
    const char *id);


/* the handler is called, now or later, when the device is known */
void tb_message_named(tb_bridge_t *b, tb_message_t *msg, const char *tenant,
    tb_str_t *name, tb_message_pt handler);
/* the device that the topic's variables name; TB_ERROR if they cannot */
int tb_message_device(tb_bridge_t *b, tb_message_t *msg, tb_str_t *values,
    tb_message_pt handler);
/* one block, free() frees it; of a large payload not more than is of use */
tb_message_t *tb_message_copy(tb_bridge_t *b, const tb_message_t *msg);
size_t tb_message_size(tb_bridge_t *b, const tb_message_t *msg);
/* it is lost: the master that it would wait for is away */
void tb_message_no_room(tb_bridge_t *b, const tb_message_t *msg);
/* of a message that waits for its device: it is forgotten, see names.h */
void tb_message_release(void *data);


#endif /* _TB_RESOLVE_H_INCLUDED_ */
