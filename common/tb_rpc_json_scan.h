
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What is judged of a JSON text by its bytes, before jansson sees it.
 */


#ifndef _TB_RPC_JSON_SCAN_H_INCLUDED_
#define _TB_RPC_JSON_SCAN_H_INCLUDED_


#include <stddef.h>


typedef struct {
    /* set by the caller */
    unsigned              depth;       /* of nesting, at most; 0: any */
    unsigned              first:1;     /* what follows an object is not seen */

    /* of what was found */
    unsigned              huge:1;      /* a number is beyond a double */
    const char           *error;

    /* private */
    const unsigned char  *text;
    unsigned char        *copy;
} tb_rpc_json_scan_t;


/* NULL, or the byte that is wrong, and why */
const unsigned char *tb_rpc_json_scan(tb_rpc_json_scan_t *scan,
    const unsigned char *p, const unsigned char *last);

/*
 * A copy of the same length where 1e99 is in the place of all huge numbers,
 * which jansson refuses, and which are as far beyond all limits; for free().
 * NULL: there is no memory.
 */
unsigned char *tb_rpc_json_tame(tb_rpc_json_scan_t *scan,
    const unsigned char *text, size_t len);


#endif /* _TB_RPC_JSON_SCAN_H_INCLUDED_ */
