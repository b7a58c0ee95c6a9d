
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


int
tb_key_shard(const tb_redis_conf_t *conf, const char *key, size_t len)
{
    int     i, n;
    size_t  prefix;

    prefix = strlen(conf->prefix);

    if (len < prefix + TB_RPC_SHARD_TAG
        || memcmp(key, conf->prefix, prefix) != 0
        || key[prefix] != '{' || key[prefix + 1] != 's'
        || key[prefix + 5] != '}' || key[prefix + 6] != ':')
    {
        return TB_ERROR;
    }

    n = 0;

    for (i = 2; i < 5; i++) {
        if (key[prefix + i] < '0' || key[prefix + i] > '7') {
            return TB_ERROR;
        }

        n = 8 * n + key[prefix + i] - '0';
    }

    return n;
}
