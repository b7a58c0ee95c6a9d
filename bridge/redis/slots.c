
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What nodes of a cluster say of who has which slot.
 */


#include "../../common/tb_rpc_slot.h"
#include "../base/str.h"
#include "slots.h"


#define TB_EPOCH  "cluster_current_epoch:"


/* it goes to the resolver and into the log; it may not know its own */

static int
tb_slots_host(tb_master_t *m, const char *host, size_t len,
    const tb_server_t *from)
{
    size_t  i;

    if (len == 0 || (len == 1 && *host == '?')) {
        host = from->host;
        len = strlen(host);
    }

    if (len > 255) {
        return TB_ERROR;
    }

    for (i = 0; i < len; i++) {
        if (host[i] <= ' ' || host[i] >= 0x7f) {
            return TB_ERROR;
        }
    }

    m->host = host;
    m->len = len;

    return TB_OK;
}


/* [host, port, id, ...]: a later server may say more */

static int
tb_slots_node(const redisReply *node, const tb_server_t *from,
    tb_master_t *m)
{
    size_t       len;
    const char  *host;

    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2
        || node->element[1]->type != REDIS_REPLY_INTEGER
        || node->element[1]->integer < 1
        || node->element[1]->integer > 65535)
    {
        return TB_ERROR;
    }

    m->port = (int) node->element[1]->integer;

    host = "";
    len = 0;

    if (node->element[0]->type == REDIS_REPLY_STRING) {
        host = node->element[0]->str;
        len = node->element[0]->len;

    } else if (node->element[0]->type != REDIS_REPLY_NIL) {
        return TB_ERROR;
    }

    return tb_slots_host(m, host, len, from);
}


int
tb_slots_reply(const redisReply *reply, const tb_server_t *from,
    const unsigned *slots, int n, tb_master_t *masters)
{
    int          k;
    size_t       i;
    long long    first, last;
    redisReply  *range;
    tb_master_t  m;

    memset(masters, 0, n * sizeof(tb_master_t));

    if (reply->type != REDIS_REPLY_ARRAY) {
        return TB_ERROR;
    }

    for (i = 0; i < reply->elements; i++) {
        range = reply->element[i];

        if (range->type != REDIS_REPLY_ARRAY || range->elements < 3
            || range->element[0]->type != REDIS_REPLY_INTEGER
            || range->element[1]->type != REDIS_REPLY_INTEGER
            || tb_slots_node(range->element[2], from, &m) != TB_OK)
        {
            return TB_ERROR;
        }

        first = range->element[0]->integer;
        last = range->element[1]->integer;

        for (k = 0; k < n; k++) {
            if (slots[k] >= first && slots[k] <= last) {
                masters[k] = m;
            }
        }
    }

    return TB_OK;
}


int
tb_slots_moved(const redisReply *reply, const tb_server_t *from,
    unsigned *slot, tb_master_t *master)
{
    uint32_t     n;
    const char  *p, *last, *host, *colon;

    p = reply->str;
    last = p + reply->len;

    if (reply->len < 6 || memcmp(p, "MOVED ", 6) != 0) {
        return TB_ERROR;
    }

    p += 6;
    host = memchr(p, ' ', last - p);

    if (host == NULL
        || tb_number(p, host - p, 0, TB_RPC_SLOTS - 1, &n) != TB_OK)
    {
        return TB_ERROR;
    }

    *slot = n;
    host++;

    /* an address of IPv6 has some, too */

    for (colon = last; colon > host && colon[-1] != ':'; colon--) {
        /* void */
    }

    if (colon == host
        || tb_number(colon, last - colon, 1, 65535, &n) != TB_OK)
    {
        return TB_ERROR;
    }

    master->port = (int) n;

    return tb_slots_host(master, host, colon - 1 - host, from);
}


uint64_t
tb_slots_epoch(const redisReply *reply)
{
    char      *p;
    uint64_t   epoch;

    if (reply->type != REDIS_REPLY_STRING) {
        return 0;
    }

    p = strstr(reply->str, TB_EPOCH);
    if (p == NULL) {
        return 0;
    }

    epoch = 0;

    for (p += sizeof(TB_EPOCH) - 1; *p >= '0' && *p <= '9'; p++) {
        epoch = 10 * epoch + (uint64_t) (*p - '0');
    }

    return epoch;
}
