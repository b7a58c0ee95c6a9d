
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Who is online, and under which session.
 */


#ifndef _TB_PRESENCE_H_INCLUDED_
#define _TB_PRESENCE_H_INCLUDED_


#include "private.h"


tb_presence_t *tb_presence_create(void);
void tb_presence_free(tb_presence_t *p);

void tb_presence_message(tb_bridge_t *b, tb_message_t *msg,
    tb_str_t *values);
/* gateway and name are NULL unless the device is behind a gateway */
void tb_presence_set(tb_bridge_t *b, const char *id, int online,
    const char *session, int live, const char *gateway, const char *name);
/* of a device behind a gateway: 1, its gateway, and its name there */
int tb_presence_gateway(tb_bridge_t *b, const char *id,
    const char **gateway, const char **name);
/* 1, or 0 and the session that it had here, NULL if that is not known */
int tb_presence_here(tb_bridge_t *b, const char *id, const char **session);
/* the broker has said who is there, as far as it does so at once */
int tb_presence_ready(tb_bridge_t *b);
void tb_presence_run(tb_bridge_t *b);
/* Redis may have forgotten: says again who is here, takes nobody */
void tb_presence_redis_up(tb_bridge_t *b);
int64_t tb_presence_timer(tb_bridge_t *b);


#endif /* _TB_PRESENCE_H_INCLUDED_ */
