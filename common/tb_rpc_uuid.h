
/*
 * Copyright (C) tb-rpc contributors.
 *
 * UUIDs as text.
 */


#ifndef _TB_RPC_UUID_H_INCLUDED_
#define _TB_RPC_UUID_H_INCLUDED_


#include <stddef.h>


#define TB_RPC_UUID_LEN      36


/*
 * 0, and dst gets 36 bytes in lower case; -1: not 8-4-4-4-12 hex, and dst is
 * as it was
 */
int tb_rpc_uuid(void *dst, const void *text, size_t len);


#endif /* _TB_RPC_UUID_H_INCLUDED_ */
