
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Keys of Redis.
 */


#include "key.h"


/* the tag of a shard has three octal digits */

#define TB_SHARD             "{s%03o}:"


void
tb_key(const tb_redis_conf_t *conf, int shard, const char *what,
    const char *of, char *out, size_t size)
{
    snprintf(out, size, "%s" TB_SHARD "%s%s%s", conf->prefix,
             (unsigned) shard, what, of ? ":" : "", of ? of : "");
}
