
/*
 * Copyright (C) tb-rpc contributors.
 *
 * UUIDs as text.
 */


#include "uuid.h"

#include <ctype.h>


int
tb_uuid(const char *data, size_t len, char *out)
{
    size_t  i;

    if (len != TB_UUID_LEN) {
        return TB_ERROR;
    }

    for (i = 0; i < len; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (data[i] != '-') {
                return TB_ERROR;
            }

        } else if (!isxdigit((unsigned char) data[i])) {
            return TB_ERROR;
        }

        out[i] = (char) tolower((unsigned char) data[i]);
    }

    out[i] = '\0';

    return TB_OK;
}
