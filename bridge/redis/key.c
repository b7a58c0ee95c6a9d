
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Keys of Redis.
 */


#include "../../common/tb_rpc_shard.h"
#include "key.h"


static char *
tb_key_add(char *p, const char *last, const char *data, size_t len)
{
    if (len > (size_t) (last - p)) {
        len = (size_t) (last - p);
    }

    memcpy(p, data, len);

    return p + len;
}


/* each command has one: not by snprintf() */

void
tb_key(const tb_redis_conf_t *conf, int shard, const char *what,
    const char *of, char *out, size_t size)
{
    char        *p, tag[TB_RPC_SHARD_TAG];
    const char  *last;

    last = out + size - 1;
    (void) tb_rpc_shard_tag(tag, (unsigned) shard);

    p = tb_key_add(out, last, conf->prefix, strlen(conf->prefix));
    p = tb_key_add(p, last, tag, TB_RPC_SHARD_TAG);
    p = tb_key_add(p, last, what, strlen(what));

    if (of) {
        p = tb_key_add(p, last, ":", 1);
        p = tb_key_add(p, last, of, strlen(of));
    }

    *p = '\0';
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
