
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The commands of a shard keep their order: when one of them is refused, or
 * the shard has another node, those behind it wait as well, until all that
 * were written have come back.  What was refused goes first then, and alone:
 * those behind it follow when it was done.
 */


#include "line.h"


/* both are in order */

static tb_cmd_t *
tb_line_merge(tb_cmd_t *a, tb_cmd_t *b)
{
    tb_cmd_t  *head, **p;

    head = NULL;

    for (p = &head; a != NULL && b != NULL; p = &(*p)->next) {
        if (a->number < b->number) {
            *p = a;
            a = a->next;

        } else {
            *p = b;
            b = b->next;
        }
    }

    *p = a != NULL ? a : b;

    return head;
}


void
tb_line_push(tb_line_t *line, tb_cmd_t *cmd)
{
    tb_cmd_t  **p;

    if (!line->held && line->node != NULL) {
        tb_node_push(line->node, cmd);
        return;
    }

    /* there is nobody yet */

    line->held = 1;

    p = line->last != NULL ? &line->last->next : &line->head;

    while (*p != NULL) {
        p = &(*p)->next;
    }

    cmd->next = NULL;
    *p = cmd;
    line->last = cmd;
}


void
tb_line_hold(tb_line_t *line, tb_cmd_t *cmd, int64_t until)
{
    cmd->next = NULL;
    line->last = NULL;
    line->head = tb_line_merge(line->head, cmd);

    if (!line->held) {
        line->held = 1;
        line->until = until;

        if (line->node != NULL) {
            line->head = tb_line_merge(line->head,
                                       tb_node_pull(line->node, cmd->shard));
        }
    }

    if (line->until < until) {
        line->until = until;
    }

    line->refused = 1;
    line->tried = 0;
}


void
tb_line_fetch(tb_line_t *line, tb_node_t *node, int shard)
{
    tb_cmd_t  *pulled;

    pulled = tb_node_pull(node, shard);
    line->last = NULL;
    line->head = tb_line_merge(line->head, pulled);
    line->held = 1;
}


void
tb_line_move(tb_line_t *line, tb_node_t *node, int shard)
{
    if (line->node != NULL) {
        tb_line_fetch(line, line->node, shard);
    }

    line->node = node;
    line->until = 0;
    line->held = node != NULL || line->head != NULL;
    line->refused = 0;
    line->tried = 0;
}


int
tb_line_works(tb_line_t *line)
{
    int  refused;

    refused = line->refused;

    line->refused = 0;
    line->tried = 0;

    return refused;
}


int64_t
tb_line_timer(const tb_line_t *line)
{
    if (!line->held || line->node == NULL || line->out > 0 || line->tried) {
        return INT64_MAX;
    }

    return line->until;
}


int
tb_line_release(tb_line_t *line, int64_t now)
{
    tb_cmd_t  *cmd;

    if (now < tb_line_timer(line)) {
        return TB_AGAIN;
    }

    line->last = NULL;

    if (line->refused) {
        cmd = line->head;
        line->head = cmd->next;
        line->tried = 1;
        tb_node_push(line->node, cmd);
        return TB_AGAIN;
    }

    line->held = 0;

    while (line->head != NULL) {
        cmd = line->head;
        line->head = cmd->next;
        tb_node_push(line->node, cmd);
    }

    return TB_OK;
}


void
tb_line_clear(tb_line_t *line)
{
    tb_cmd_t  *cmd;

    while (line->head != NULL) {
        cmd = line->head;
        line->head = cmd->next;
        tb_cmd_free(cmd);
    }
}
