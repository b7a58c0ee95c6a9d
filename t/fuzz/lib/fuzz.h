
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What all harnesses share.
 */


#ifndef _TB_FUZZ_H_INCLUDED_
#define _TB_FUZZ_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* what must hold; if it does not, that is a finding */

#define CHECK(x)                                                              \
    do {                                                                      \
        if (!(x)) {                                                           \
            fprintf(stderr, "%s:%d: this does not hold: %s\n", __FILE__,      \
                    __LINE__, #x);                                            \
            abort();                                                          \
        }                                                                     \
    } while (0)


/*
 * The bytes, with nothing of ours behind them: to read one too many is seen.
 * They stay until the next call.
 */

static inline uint8_t *
fuzz_copy(const uint8_t *data, size_t size)
{
    static uint8_t  *copy;

    free(copy);
    copy = malloc(size ? size : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, size);

    return copy;
}


#endif /* _TB_FUZZ_H_INCLUDED_ */
