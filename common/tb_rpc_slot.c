
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Slots of keys.
 */


#include "tb_rpc_slot.h"

#include <string.h>


/* tags are short: a table for half a byte will do */

static const unsigned short  tb_rpc_crc16_table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef
};


unsigned
tb_rpc_slot(const void *key, size_t len)
{
    unsigned              crc;
    const unsigned char  *p, *last, *open, *end;

    p = key;
    last = p + len;

    open = len ? memchr(p, '{', len) : NULL;

    if (open) {
        end = memchr(open, '}', last - open);

        /* an empty tag is none */

        if (end && end != open + 1) {
            p = open + 1;
            last = end;
        }
    }

    crc = 0;

    while (p < last) {
        crc = tb_rpc_crc16_table[((crc >> 12) ^ (*p >> 4)) & 0x0f]
              ^ (crc << 4);
        crc = tb_rpc_crc16_table[((crc >> 12) ^ *p++) & 0x0f] ^ (crc << 4);
    }

    return crc & (TB_RPC_SLOTS - 1);
}
