
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The header "traceparent" of W3C Trace Context.
 */


#include "tb_rpc_trace.h"

#include <string.h>


#define TB_RPC_TRACE_ID    3
#define TB_RPC_PARENT_ID   36
#define TB_RPC_TRACE_FLAGS 53


/* 1: lower-case hex digits, 0: all of them zeros, -1: none */

static int
tb_rpc_trace_hex(const unsigned char *p, size_t len)
{
    int            rc;
    unsigned char  c;

    for (rc = 0; len; len--) {
        c = *p++;

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return -1;
        }

        if (c != '0') {
            rc = 1;
        }
    }

    return rc;
}


int
tb_rpc_traceparent(void *dst, const void *text, size_t len)
{
    int                   version;
    unsigned char        *out;
    const unsigned char  *in;

    in = text;

    if (len < TB_RPC_TRACEPARENT_LEN
        || in[TB_RPC_TRACE_ID - 1] != '-'
        || in[TB_RPC_PARENT_ID - 1] != '-'
        || in[TB_RPC_TRACE_FLAGS - 1] != '-')
    {
        return -1;
    }

    version = tb_rpc_trace_hex(in, 2);

    if (version == -1
        || memcmp(in, "ff", 2) == 0
        || tb_rpc_trace_hex(in + TB_RPC_TRACE_ID, 32) != 1
        || tb_rpc_trace_hex(in + TB_RPC_PARENT_ID, 16) != 1
        || tb_rpc_trace_hex(in + TB_RPC_TRACE_FLAGS, 2) == -1)
    {
        return -1;
    }

    /* later versions may go on */

    if (len > TB_RPC_TRACEPARENT_LEN
        && (version == 0 || in[TB_RPC_TRACEPARENT_LEN] != '-'))
    {
        return -1;
    }

    memcpy(dst, text, TB_RPC_TRACEPARENT_LEN);

    if (version != 0) {
        out = dst;

        /* of its flags "sampled" alone means what it meant */

        memcpy(out, "00", 2);
        memcpy(out + TB_RPC_TRACE_FLAGS,
               strchr("13579bdf", out[TB_RPC_TRACE_FLAGS + 1]) ? "01" : "00",
               2);
    }

    return 0;
}
