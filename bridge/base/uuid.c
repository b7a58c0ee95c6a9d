
/*
 * Copyright (C) tb-rpc contributors.
 *
 * UUIDs as text.
 */


#include "uuid.h"


int
tb_uuid(const char *data, size_t len, char *out)
{
    if (tb_rpc_uuid(out, data, len) != 0) {
        return TB_ERROR;
    }

    out[TB_UUID_LEN] = '\0';

    return TB_OK;
}
