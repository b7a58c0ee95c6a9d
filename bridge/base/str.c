
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Memory, and checked numbers.
 */


#include "log.h"
#include "str.h"


int
tb_number(const char *data, size_t len, uint32_t min, uint32_t max,
    uint32_t *out)
{
    size_t    i;
    uint64_t  n;

    if (len == 0 || len > 10) {
        return TB_ERROR;
    }

    for (i = 0, n = 0; i < len; i++) {
        if (data[i] < '0' || data[i] > '9') {
            return TB_ERROR;
        }

        n = n * 10 + (data[i] - '0');
    }

    if (n < min || n > max) {
        return TB_ERROR;
    }

    *out = (uint32_t) n;

    return TB_OK;
}


size_t
tb_decimal(char *out, uint64_t n)
{
    char    *p, buf[TB_DECIMAL];
    size_t   len;

    p = buf + TB_DECIMAL;

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    len = (size_t) (buf + TB_DECIMAL - p);
    memcpy(out, p, len);
    out[len] = '\0';

    return len;
}


void *
tb_alloc(size_t size)
{
    void  *p;

    p = calloc(1, size);
    if (p == NULL) {
        tb_log(TB_LOG_ERROR, "no memory for %zu bytes, giving up", size);
        exit(1);
    }

    return p;
}


char *
tb_strndup(const char *data, size_t len)
{
    char  *p;

    p = tb_alloc(len + 1);
    memcpy(p, data, len);

    return p;
}
