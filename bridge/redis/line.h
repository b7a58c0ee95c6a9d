
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The commands of a shard that no node has.
 */


#ifndef _TB_LINE_H_INCLUDED_
#define _TB_LINE_H_INCLUDED_


#include "node.h"


typedef struct {
    tb_node_t           *node;             /* which has the others, or NULL */
    tb_cmd_t            *head;             /* in the order of their making */
    tb_cmd_t            *last;             /* or NULL: to be looked for */
    int                  out;              /* of those of the node: written */
    int64_t              until;            /* when held */
    unsigned             held:1;           /* all wait here */
    unsigned             refused:1;        /* one of them was, and none done */
    unsigned             tried:1;          /* one of them is on its way */
    unsigned             fresh:1;          /* its node is new, or is back */
} tb_line_t;


/* to the node, or here while the line is held */
void tb_line_push(tb_line_t *line, tb_cmd_t *cmd);
/* one that was refused: all of them wait, until then at least */
void tb_line_hold(tb_line_t *line, tb_cmd_t *cmd, int64_t until);
/* those that are left at a node which has the line no more */
void tb_line_fetch(tb_line_t *line, tb_node_t *node, int shard);
/* their node is another one from now on; NULL: nobody's */
void tb_line_move(tb_line_t *line, tb_node_t *node, int shard);
/*
 * One of them goes, or all when none was refused lately.  TB_OK: held no more;
 * TB_AGAIN: that has to wait
 */
int tb_line_release(tb_line_t *line, int64_t now);
/* one of them was done; 1: that is news */
int tb_line_works(tb_line_t *line);
/* when to release it */
int64_t tb_line_timer(const tb_line_t *line);
void tb_line_clear(tb_line_t *line);


#endif /* _TB_LINE_H_INCLUDED_ */
