
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The clock, and when to try again.
 */


#include "clock.h"

#include <time.h>


int64_t
tb_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int64_t
tb_sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}


int64_t
tb_backoff(int *backoff, int max)
{
    int  wait;

    *backoff = *backoff ? *backoff * 2 : 100;

    if (*backoff > max) {
        *backoff = max;
    }

    /* a quarter of jitter, so that a fleet does not come back at once */
    wait = *backoff - (int) (random() % (*backoff / 4 + 1));

    return tb_now() + wait;
}
