
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The guard before hiredis, and the helpers that look into replies.  However
 * the bytes are cut, the guard says the same of them, and what it lets through
 * are as many replies as hiredis finds.
 *
 * fuzz: http, at most 256 bytes
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "../../src/redis/ngx_tb_redis_reply.h"
#include "../../src/redis/ngx_tb_redis_scan.h"
#include "lib/fuzz.h"


/* how many bytes were good, and what is complete of them */

static size_t
fuzz_scan(ngx_tb_redis_scan_t *scan, uint8_t *p, size_t size, size_t step,
    ngx_uint_t *whole)
{
    size_t  i, n;

    ngx_memzero(scan, sizeof(ngx_tb_redis_scan_t));
    *whole = 0;

    for (i = 0; i < size; i += n) {
        n = ngx_min(step, size - i);

        if (ngx_tb_redis_scan(scan, p + i, p + i + n) != NGX_OK) {
            CHECK(scan->error != NULL);
            return i;
        }

        CHECK(scan->depth <= NGX_TB_REDIS_MAX_DEPTH);

        if (step == 1 && scan->state == 0 && scan->depth == 0) {
            (*whole)++;
        }
    }

    return size;
}


static void
fuzz_look(redisReply *reply, ngx_uint_t level)
{
    size_t      i;
    u_char      text[NGX_TB_REDIS_TEXT];
    int64_t     n;
    ngx_str_t   str, value;

    CHECK(level <= NGX_TB_REDIS_MAX_DEPTH);

    (void) ngx_tb_redis_reply_error(reply);
    (void) ngx_tb_redis_reply_is_error(reply, "MOVED ");

    if (ngx_tb_redis_reply_int(reply, &n) == NGX_OK
        && reply->type == REDIS_REPLY_STRING)
    {
        CHECK(strtoll(reply->str, NULL, 10) == n);
    }

    ngx_tb_redis_reply_text(reply, text, &str);
    CHECK(str.len <= NGX_TB_REDIS_TEXT);

    for (i = 0; i < str.len; i++) {
        CHECK(str.data[i] >= 0x20 && str.data[i] < 0x7f);
    }

    if (ngx_tb_redis_reply_str(reply, &str) == NGX_OK) {

        if (ngx_tb_redis_info_value(&str, "run_id:", 40, &value) == NGX_OK) {
            CHECK(value.len > 0 && value.len <= 40);
            CHECK(value.data >= str.data
                  && value.data + value.len <= str.data + str.len);
        }
    }

    CHECK(ngx_tb_redis_reply_element(reply, reply->elements) == NULL);

    if (reply->type != REDIS_REPLY_ARRAY) {
        return;
    }

    for (i = 0; i < reply->elements; i++) {
        CHECK(ngx_tb_redis_reply_element(reply, i) != NULL);
        fuzz_look(reply->element[i], level + 1);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void                 *reply;
    size_t                good, other;
    uint8_t              *p;
    ngx_uint_t            whole, none, n;
    redisReader          *reader;
    ngx_tb_redis_scan_t   scan;

    if (size < 1) {
        return 0;
    }

    p = fuzz_copy(data + 1, --size);

    good = fuzz_scan(&scan, p, size, 1, &whole);
    other = fuzz_scan(&scan, p, size, 1 + (data[0] & 31), &none);

    CHECK(other <= good && (good == size) == (other == size));

    reader = redisReaderCreate();
    CHECK(reader != NULL);

    CHECK(redisReaderFeed(reader, (char *) p, good) == REDIS_OK);

    for (n = 0; n <= whole; n++) {
        reply = NULL;

        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            break;
        }

        if (reply == NULL) {
            CHECK(n == whole);
            break;
        }

        CHECK(n < whole);
        fuzz_look(reply, 0);
        freeReplyObject(reply);
    }

    redisReaderFree(reader);

    return 0;
}
