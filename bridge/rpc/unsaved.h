
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Messages that Redis has not taken yet: how many, and how large.
 */


#ifndef _TB_UNSAVED_H_INCLUDED_
#define _TB_UNSAVED_H_INCLUDED_


#include "private.h"


/* bytes of a gateway's message beside the answer in it: name, id */
#define TB_AROUND_ANSWER     4096


tb_unsaved_t *tb_unsaved_create(void);
void tb_unsaved_free(tb_unsaved_t *u);

/* a message that this shard is to take: its connection, for the other one */
unsigned tb_answer_unsaved(tb_bridge_t *b, int shard, size_t cost);
void tb_answer_saved(tb_bridge_t *b, int shard, size_t cost, unsigned epoch);
/* how many bytes of a message are of use: --max-response, and what is around */
size_t tb_answer_kept(tb_bridge_t *b, const tb_str_t *payload);
/* see tb_mqtt_events_t */
int tb_answers_full(tb_bridge_t *b);
int tb_answers_unsaved(tb_bridge_t *b, int all);
/*
 * The master of this shard has so many to take that not one more is kept, not
 * even of those that are on their way.
 */
int tb_answers_overfull(tb_bridge_t *b, int shard);
int tb_answers_count(const tb_bridge_t *b);


#endif /* _TB_UNSAVED_H_INCLUDED_ */
