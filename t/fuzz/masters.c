
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What a Redis tells a bridge of the others: CLUSTER SLOTS, MOVED, CLUSTER
 * INFO, and the settings of all.
 *
 * fuzz: bridge, at most 320 bytes
 */


#include <stdarg.h>

#include <hiredis/hiredis.h>

#include "../../bridge/base/log.h"
#include "../../bridge/redis/conn.h"
#include "../../bridge/redis/meta.h"
#include "../../bridge/redis/slots.h"
#include "../../common/tb_rpc_slot.h"
#include "lib/fuzz.h"


static void
master(const tb_master_t *m, const redisReply *reply, const tb_server_t *from)
{
    size_t  i;

    if (m->host == NULL) {
        return;
    }

    CHECK(m->port >= 1 && m->port <= 65535);

    for (i = 0; i < m->len; i++) {
        CHECK(m->host[i] > 0x20 && m->host[i] < 0x7f);
    }
}


static void
look(const redisReply *reply, const tb_server_t *from)
{
    int              n, shards;
    char             why[64];
    unsigned         slot;
    tb_master_t      masters[4];
    tb_redis_conf_t  conf;

    static const unsigned  slots[] = { 0, 5461, 10923, TB_RPC_SLOTS - 1 };

    memset(masters, 0, sizeof(masters));

    if (tb_slots_reply(reply, from, slots, 4, masters) == TB_OK) {
        for (n = 0; n < 4; n++) {
            master(&masters[n], reply, from);
        }
    }

    if (reply->type == REDIS_REPLY_ERROR
        && tb_slots_moved(reply, from, &slot, masters) == TB_OK)
    {
        CHECK(slot < TB_RPC_SLOTS);
        CHECK(masters[0].host != NULL);
        master(masters, reply, from);
    }

    (void) tb_slots_epoch(reply);

    memset(&conf, 0, sizeof(tb_redis_conf_t));
    conf.prefix = "tb:";

    if (tb_meta_reply(&conf, reply, &shards, why, sizeof(why)) == TB_OK) {
        CHECK(shards >= 1 && shards <= TB_MAX_SHARDS);

    } else {
        CHECK(memchr(why, '\0', sizeof(why)) != NULL);
    }
}


/* a message is made, and goes nowhere */

void
tb_log_write(int level, const char *fmt, ...)
{
    va_list      args;
    static char  text[1024];

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void         *reply;
    tb_server_t   from;
    redisReader  *reader;

    memset(&from, 0, sizeof(tb_server_t));
    from.host = "127.0.0.1";

    reader = tb_redis_reader();
    CHECK(reader != NULL);

    if (redisReaderFeed(reader, (char *) fuzz_copy(data, size), size)
        == REDIS_OK)
    {
        for ( ;; ) {
            reply = NULL;

            if (redisReaderGetReply(reader, &reply) != REDIS_OK
                || reply == NULL)
            {
                break;
            }

            look(reply, &from);
            freeReplyObject(reply);
        }
    }

    redisReaderFree(reader);

    return 0;
}
