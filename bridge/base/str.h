
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Memory, and checked numbers.
 */


#ifndef _TB_STR_H_INCLUDED_
#define _TB_STR_H_INCLUDED_


#include "base.h"


/* zeroed; exits when there is no memory: there is nothing to fall back on */
void *tb_alloc(size_t size);
/* with a NUL behind it; both are for free() */
char *tb_strndup(const char *data, size_t len);
/* digits of n and a NUL, at most TB_DECIMAL + 1 bytes; how many digits */
#define TB_DECIMAL           20
size_t tb_decimal(char *out, uint64_t n);
/* decimal digits only, min..max */
int tb_number(const char *data, size_t len, uint32_t min, uint32_t max,
    uint32_t *out);


#endif /* _TB_STR_H_INCLUDED_ */
