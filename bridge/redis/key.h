
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Keys of Redis, see docs/redis-schema.md.
 */


#ifndef _TB_KEY_H_INCLUDED_
#define _TB_KEY_H_INCLUDED_


#include "conf.h"


#define TB_MAX_KEY           512


/* <prefix>{s<shard>}:<what>, and :<of> unless that is NULL */
void tb_key(const tb_redis_conf_t *conf, int shard, const char *what,
    const char *of, char *out, size_t size);


#endif /* _TB_KEY_H_INCLUDED_ */
