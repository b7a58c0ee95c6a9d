
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What poll() is asked: as many descriptors as there are at the moment.
 */


#ifndef _TB_POLL_H_INCLUDED_
#define _TB_POLL_H_INCLUDED_


#include "base.h"

#include <poll.h>


typedef struct {
    struct pollfd       *fds;
    int                  n;
    int                  size;
} tb_poll_t;


/* for the next turn: forgets what was added for this one */
void tb_poll_clear(tb_poll_t *p);
/* its place, for tb_poll_events(); -1 for the descriptor -1, which is none */
int tb_poll_add(tb_poll_t *p, int fd, short events);
/* what poll() has said of that place; of -1: nothing */
short tb_poll_events(const tb_poll_t *p, int place);
void tb_poll_free(tb_poll_t *p);


#endif /* _TB_POLL_H_INCLUDED_ */
