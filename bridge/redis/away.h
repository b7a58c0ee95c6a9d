
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Shards whose master is away while others are there.
 */


#ifndef _TB_AWAY_H_INCLUDED_
#define _TB_AWAY_H_INCLUDED_


#include "command.h"


/* the sum of n[shard] over those that are away */
int tb_shards_away(const tb_commands_t *c, const int *n);
/* one of them is not away */
int tb_shards_any(const tb_commands_t *c);


#endif /* _TB_AWAY_H_INCLUDED_ */
