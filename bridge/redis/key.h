
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Keys of Redis, see docs/redis-schema.md.
 */


#ifndef _TB_KEY_H_INCLUDED_
#define _TB_KEY_H_INCLUDED_


#include "conf.h"


#define TB_MAX_KEY           512


/* the shard of such a key, or TB_ERROR */
int tb_key_shard(const tb_redis_conf_t *conf, const char *key, size_t len);
/* <prefix>{s<shard>}:<what>, and :<of> unless that is NULL */
void tb_key(const tb_redis_conf_t *conf, int shard, const char *what,
    const char *of, char *out, size_t size);


#endif /* _TB_KEY_H_INCLUDED_ */
