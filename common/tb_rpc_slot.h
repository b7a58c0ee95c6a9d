
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The slot of a key in a Redis Cluster: CRC-16 (XMODEM) of its tag, or of all
 * of it without one.
 */


#ifndef _TB_RPC_SLOT_H_INCLUDED_
#define _TB_RPC_SLOT_H_INCLUDED_


#include <stddef.h>


#define TB_RPC_SLOTS         16384


unsigned tb_rpc_slot(const void *key, size_t len);


#endif /* _TB_RPC_SLOT_H_INCLUDED_ */
