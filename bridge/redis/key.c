
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Keys of Redis.
 */


#include "../../common/tb_rpc_shard.h"
#include "key.h"


void
tb_key(const tb_redis_conf_t *conf, int shard, const char *what,
    const char *of, char *out, size_t size)
{
    char  tag[TB_RPC_SHARD_TAG + 1];

    *tb_rpc_shard_tag(tag, (unsigned) shard) = '\0';

    snprintf(out, size, "%s%s%s%s%s", conf->prefix, tag, what,
             of ? ":" : "", of ? of : "");
}
