
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What nodes of a cluster say of who has which slot.
 */


#ifndef _TB_SLOTS_H_INCLUDED_
#define _TB_SLOTS_H_INCLUDED_


#include "server.h"

#include <hiredis/hiredis.h>


/* of the reply; host is NULL where nobody has the slot */
typedef struct {
    const char          *host;
    size_t               len;
    int                  port;
} tb_master_t;


/*
 * The masters of n slots, from the reply to CLUSTER SLOTS by that server: one
 * that does not say its own host has that by which it was reached.  TB_ERROR:
 * it is no such reply.
 */
int tb_slots_reply(const redisReply *reply, const tb_server_t *from,
    const unsigned *slots, int n, tb_master_t *masters);
/* of an error, "MOVED <slot> <host>:<port>" */
int tb_slots_moved(const redisReply *reply, const tb_server_t *from,
    unsigned *slot, tb_master_t *master);
/* from the reply to CLUSTER INFO; 0: it is not there */
uint64_t tb_slots_epoch(const redisReply *reply);


#endif /* _TB_SLOTS_H_INCLUDED_ */
