
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The shard of a device, and the tag of its keys: docs/redis-schema.md. The
 * functions in Redis have the same rule, src/functions/shard.lua.
 */


#ifndef _TB_RPC_SHARD_H_INCLUDED_
#define _TB_RPC_SHARD_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* what "tb:meta" says of all that is in a Redis */
#define TB_RPC_SCHEMA        2             /* of keys and functions */
#define TB_RPC_SHARDS        512           /* at most */
#define TB_RPC_SHARD_TAG     7             /* "{s000}:", three octal digits */


uint32_t tb_rpc_crc32(const void *data, size_t len);

/* of a device id in lower case */
unsigned tb_rpc_shard(const void *device_id, size_t len, unsigned shards);

/* writes TB_RPC_SHARD_TAG bytes, returns their end */
char *tb_rpc_shard_tag(char *dst, unsigned shard);


#endif /* _TB_RPC_SHARD_H_INCLUDED_ */
