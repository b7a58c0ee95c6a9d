
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Answers of devices.
 */


#ifndef _TB_ANSWER_H_INCLUDED_
#define _TB_ANSWER_H_INCLUDED_


#include "private.h"


tb_answers_t *tb_answers_create(void);
void tb_answers_free(tb_answers_t *a);

void tb_answer_message(tb_bridge_t *b, tb_message_t *msg);
/* the answer to that request; 0: to the oldest that waits for one */
void tb_answer(tb_bridge_t *b, const char *device, uint32_t request_id,
    tb_str_t *payload);


#endif /* _TB_ANSWER_H_INCLUDED_ */
