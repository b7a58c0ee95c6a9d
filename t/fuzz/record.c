
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Records as Redis has them, taken for hostile: whatever they are, what goes
 * out is JSON, and they are as many as were told.
 *
 * fuzz: http, at most 512 bytes
 */


#include "lib/http.h"

#include <jansson.h>

#include "../../src/json/ngx_http_tb_rpc_text.h"
#include "../../src/record/ngx_http_tb_rpc_list.h"
#include "../../src/record/ngx_http_tb_rpc_view.h"


#define FUZZ_REPLIES  128


static void        **fuzz_locations[2];
static redisReply    fuzz_replies[FUZZ_REPLIES];
static redisReply   *fuzz_elements[FUZZ_REPLIES];

static const char    fuzz_server[] =
    "location /v2/ { tb_rpc v2; tb_rpc_auth off;"
    " tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN; }\n"
    "location /tb/ { tb_rpc v1; tb_rpc_profile thingsboard; tb_rpc_auth off;"
    " tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_http_init("", fuzz_server);

    fuzz_locations[0] = fuzz_location("/v2/");
    fuzz_locations[1] = fuzz_location("/tb/");

    return 0;
}


/*
 * Replies, each to the next 0xff: "i" and digits, "n", "e" and a text, "a",
 * anything else is a string, of which "s" is no part if it is the first.
 */

static size_t
fuzz_reply(uint8_t *p, size_t size)
{
    size_t       n;
    uint8_t     *last, *end;
    redisReply  *reply;

    last = p + size;

    for (n = 0; n < FUZZ_REPLIES && p < last; n++) {

        end = memchr(p, 0xff, last - p);
        if (end == NULL) {
            end = last;
        }

        reply = &fuzz_replies[n];
        ngx_memzero(reply, sizeof(redisReply));
        fuzz_elements[n] = reply;

        reply->type = REDIS_REPLY_STRING;
        reply->str = (char *) p;
        reply->len = end - p;

        switch (p < end ? *p : 0) {

        case 'i':
            reply->type = REDIS_REPLY_INTEGER;
            reply->integer = ngx_atoi(p + 1, end - p - 1);
            break;

        case 'n':
            reply->type = REDIS_REPLY_NIL;
            reply->str = NULL;
            break;

        case 'a':
            reply->type = REDIS_REPLY_ARRAY;
            reply->str = NULL;
            break;

        case 'e':
            reply->type = REDIS_REPLY_ERROR;
            /* fall through */

        case 's':
            reply->str++;
            reply->len--;
        }

        p = end + 1;
    }

    return n;
}


static void
fuzz_id(json_t *record, const char *name, const char *type)
{
    json_t  *value;

    value = json_object_get(record, name);

    CHECK(strcmp(json_string_value(json_object_get(value, "entityType")),
                 type) == 0);
    CHECK(json_string_length(json_object_get(value, "id")) == 36);
}


static void
fuzz_check(json_t *record)
{
    CHECK(json_is_object(record) && json_object_size(record) == 9);

    fuzz_id(record, "id", "RPC");
    fuzz_id(record, "tenantId", "TENANT");
    fuzz_id(record, "deviceId", "DEVICE");

    CHECK(json_is_string(json_object_get(record, "status")));
    CHECK(json_is_number(json_object_get(record, "createdTime")));
    CHECK(json_is_object(json_object_get(record, "request")));
}


/*
 * Of the texts in it those of a lenient location may have members twice, and
 * numbers that jansson has no room for.
 */

static json_t *
fuzz_json(const u_char *p, size_t len)
{
    json_t        *json;
    json_error_t   err;

    json = json_loadb((char *) p, len, JSON_ALLOW_NUL
                                       |JSON_DECODE_INT_AS_REAL, &err);

    if (json == NULL && json_error_code(&err) != json_error_numeric_overflow) {
        fprintf(stderr, "%s in: %.*s\n", err.text, (int) len, p);
        abort();
    }

    return json;
}


static void
fuzz_one(ngx_http_request_t *r, size_t n)
{
    json_t     *json;
    ngx_int_t   rc;
    ngx_str_t   text, id = ngx_string("13814000-1dd2-11b2-8080-808080808082");

    rc = ngx_http_tb_rpc_record_json(r, r->pool, &id, fuzz_elements, n,
                                     &text);

    CHECK(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_OK) {
        json = fuzz_json(text.data, text.len);

        if (json) {
            fuzz_check(json);
            json_decref(json);
        }
    }
}


static void
fuzz_page(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx, size_t n,
    int64_t total, int64_t returned)
{
    size_t                   len, i;
    u_char                  *p, *text;
    json_t                  *json, *data, *record;
    ngx_int_t                rc;
    redisReply               reply;
    ngx_chain_t             *cl;
    ngx_http_tb_rpc_page_t   page;
    ngx_http_tb_rpc_query_t  q;

    ngx_memzero(&reply, sizeof(redisReply));
    ngx_memzero(&page, sizeof(ngx_http_tb_rpc_page_t));
    ngx_memzero(&q, sizeof(ngx_http_tb_rpc_query_t));

    reply.type = REDIS_REPLY_ARRAY;
    reply.elements = n;
    reply.element = fuzz_elements;

    page.page_size = returned + 1;
    page.total = total;
    page.left = returned;

    q.request = r;
    q.ctx = ctx;
    q.data = &page;

    rc = ngx_http_tb_rpc_list_chunk(&q, &reply, returned);

    if (rc != NGX_OK) {
        CHECK(rc == NGX_ERROR);
        goto done;
    }

    CHECK(page.left == 0);

    text = ngx_pnalloc(r->pool, page.len);
    CHECK(text != NULL);

    for (cl = page.out, p = text, len = 0; cl; cl = cl->next) {
        len += cl->buf->last - cl->buf->pos;
        CHECK(len <= (size_t) page.len);
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    CHECK(len == (size_t) page.len);
    CHECK(page.last && page.last->last_buf);

    json = fuzz_json(text, len);

    if (json) {
        data = json_object_get(json, "data");

        CHECK(json_is_array(data));
        CHECK(json_array_size(data) <= (size_t) returned);
        CHECK(json_number_value(json_object_get(json, "totalElements"))
              == total);

        json_array_foreach(data, i, record) {
            fuzz_check(record);
        }

        json_decref(json);
    }

done:

    if (page.chunk) {
        ngx_destroy_pool(page.chunk);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                  n;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (size < 2) {
        return 0;
    }

    r = fuzz_request(fuzz_locations[data[0] & 1]);
    ctx = ngx_http_tb_rpc_get_ctx(r);
    CHECK(ctx != NULL);

    ngx_str_set(&ctx->device_id, "13814000-1dd2-11b2-8080-808080808083");

    n = fuzz_reply(fuzz_copy(data + 2, size - 2), size - 2);

    if (data[0] & 2) {
        fuzz_one(r, n);

    } else {
        fuzz_page(r, ctx, n, data[1], ngx_min(data[1], 5));
    }

    fuzz_request_free(r);

    return 0;
}
