
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What <prefix>meta says of all that is in a Redis.
 */


#ifndef _TB_META_H_INCLUDED_
#define _TB_META_H_INCLUDED_


#include "conf.h"

#include <hiredis/hiredis.h>


#define TB_META_ARGS         4


/* the command that asks for it; key has room for TB_META_KEY */
#define TB_META_KEY          80

void tb_meta_command(const tb_redis_conf_t *conf, char *key,
    const char **argv);
/* TB_OK with the number of shards, or TB_ERROR with why, of size bytes */
int tb_meta_reply(const tb_redis_conf_t *conf, const redisReply *reply,
    int *shards, char *why, size_t size);


#endif /* _TB_META_H_INCLUDED_ */
