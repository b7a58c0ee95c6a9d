
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The clock, and when to try again.
 */


#ifndef _TB_CLOCK_H_INCLUDED_
#define _TB_CLOCK_H_INCLUDED_


#include "base.h"


/* ms of a clock that never goes back */
int64_t tb_now(void);
/* of two moments */
int64_t tb_sooner(int64_t a, int64_t b);
/* doubles *backoff up to max, returns when to retry */
int64_t tb_backoff(int *backoff, int max);


#endif /* _TB_CLOCK_H_INCLUDED_ */
