
/*
 * Copyright (C) tb-rpc contributors.
 *
 * UUIDs as text.
 */


#include "tb_rpc_uuid.h"

#include <string.h>


int
tb_rpc_uuid(void *dst, const void *text, size_t len)
{
    size_t                i;
    unsigned char         c, out[TB_RPC_UUID_LEN];
    const unsigned char  *in;

    if (len != TB_RPC_UUID_LEN) {
        return -1;
    }

    in = text;

    for (i = 0; i < TB_RPC_UUID_LEN; i++) {

        c = in[i];

        if (i == 8 || i == 13 || i == 18 || i == 23) {

            if (c != '-') {
                return -1;
            }

        } else if (c >= 'A' && c <= 'F') {
            c |= 0x20;

        } else if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return -1;
        }

        out[i] = c;
    }

    memcpy(dst, out, TB_RPC_UUID_LEN);

    return 0;
}
