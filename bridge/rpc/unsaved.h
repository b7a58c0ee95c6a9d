
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Messages that Redis has not taken yet: how many, and how large.
 */


#ifndef _TB_UNSAVED_H_INCLUDED_
#define _TB_UNSAVED_H_INCLUDED_


#include "private.h"


tb_unsaved_t *tb_unsaved_create(void);
void tb_unsaved_free(tb_unsaved_t *u);

/* a message that Redis is to take: its connection, for tb_answer_saved() */
unsigned tb_answer_unsaved(tb_bridge_t *b, size_t cost);
void tb_answer_saved(tb_bridge_t *b, size_t cost, unsigned epoch);
int tb_answers_full(tb_bridge_t *b);
/* so full that nothing more is taken, not even what is on its way */
int tb_answers_overfull(tb_bridge_t *b);
int tb_answers_count(const tb_bridge_t *b);


#endif /* _TB_UNSAVED_H_INCLUDED_ */
