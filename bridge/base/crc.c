
/*
 * Copyright (C) tb-rpc contributors.
 *
 * CRC-32, as the shards of devices are counted by.
 */


#include "crc.h"


uint32_t
tb_crc32(const char *data, size_t len)
{
    int       i;
    size_t    n;
    uint32_t  crc;

    crc = 0xffffffff;

    for (n = 0; n < len; n++) {
        crc ^= (unsigned char) data[n];

        for (i = 0; i < 8; i++) {
            crc = (crc >> 1) ^ (0xedb88320 & (0 - (crc & 1)));
        }
    }

    return ~crc;
}
