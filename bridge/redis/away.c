
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Shards whose master is away while others are there.
 */


#include "away.h"


int
tb_shards_away(const tb_commands_t *c, const int *n)
{
    int  i, sum;

    sum = 0;

    for (i = 0; tb_shards_spread(c) && i < TB_MAX_SHARDS; i++) {
        if (n[i] && tb_shard_away(c, i)) {
            sum += n[i];
        }
    }

    return sum;
}


int
tb_shards_any(const tb_commands_t *c)
{
    int  i;

    for (i = 0; i < tb_shards(c); i++) {
        if (!tb_shard_away(c, i)) {
            return 1;
        }
    }

    return 0;
}
