
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Messages that Redis has not taken yet.  Their number and size is bounded:
 * when the bound is reached the MQTT socket is not read, so the broker keeps
 * the rest.
 */


#include "../base/str.h"
#include "unsaved.h"


/* at most so many come by one read: libmosquitto 2.1 has a buffer of 4 KB */
#define TB_ANSWER_AHEAD  256


struct tb_unsaved_s {
    int                      n;
    size_t                   bytes;
};


tb_unsaved_t *
tb_unsaved_create(void)
{
    return tb_alloc(sizeof(tb_unsaved_t));
}


void
tb_unsaved_free(tb_unsaved_t *u)
{
    free(u);
}


int
tb_answers_count(const tb_bridge_t *b)
{
    return b->unsaved->n;
}


size_t
tb_answer_kept(tb_bridge_t *b, const tb_str_t *payload)
{
    size_t  max;

    max = (size_t) b->conf->max_response + TB_AROUND_ANSWER;

    return payload->len < max ? payload->len : max;
}


int
tb_answers_full(tb_bridge_t *b)
{
    return b->unsaved->n >= b->conf->max_answers
           || b->unsaved->bytes >= TB_MAX_ANSWER_BYTES;
}


int
tb_answers_overfull(tb_bridge_t *b)
{
    return b->unsaved->n >= 2 * b->conf->max_answers + TB_ANSWER_AHEAD
           || b->unsaved->bytes >= 2 * TB_MAX_ANSWER_BYTES;
}


unsigned
tb_answer_unsaved(tb_bridge_t *b, size_t cost)
{
    b->unsaved->n++;
    b->unsaved->bytes += cost;

    return tb_mqtt_unsaved(b->mqtt);
}


void
tb_answer_saved(tb_bridge_t *b, size_t cost, unsigned epoch)
{
    b->unsaved->n--;
    b->unsaved->bytes -= cost;
    tb_mqtt_saved(b->mqtt, epoch);
}
