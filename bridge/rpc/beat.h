
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Heartbeats.
 */


#ifndef _TB_BEAT_H_INCLUDED_
#define _TB_BEAT_H_INCLUDED_


#include "private.h"


tb_beats_t *tb_beats_create(void);
void tb_beats_free(tb_beats_t *beats);

void tb_beats_run(tb_bridge_t *b);
/* all of them at once, when Redis is back */
void tb_beats_now(tb_bridge_t *b);
/* when that is due; INT64_MAX: with the next reply */
int64_t tb_beats_timer(const tb_bridge_t *b);


#endif /* _TB_BEAT_H_INCLUDED_ */
