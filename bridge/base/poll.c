
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What poll() is asked: as many descriptors as there are at the moment.
 */


#include "poll.h"
#include "str.h"


void
tb_poll_clear(tb_poll_t *p)
{
    p->n = 0;
}


int
tb_poll_add(tb_poll_t *p, int fd, short events)
{
    struct pollfd  *fds;

    if (fd == -1) {
        return -1;
    }

    if (p->n == p->size) {
        p->size = 2 * p->size + 8;
        fds = tb_alloc(p->size * sizeof(struct pollfd));

        if (p->n) {
            memcpy(fds, p->fds, p->n * sizeof(struct pollfd));
        }

        free(p->fds);
        p->fds = fds;
    }

    p->fds[p->n].fd = fd;
    p->fds[p->n].events = events;
    p->fds[p->n].revents = 0;

    return p->n++;
}


short
tb_poll_events(const tb_poll_t *p, int place)
{
    return place >= 0 && place < p->n ? p->fds[place].revents : 0;
}


void
tb_poll_free(tb_poll_t *p)
{
    free(p->fds);
    memset(p, 0, sizeof(tb_poll_t));
}
