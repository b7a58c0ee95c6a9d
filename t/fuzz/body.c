
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The body of a call: what it becomes, or the 400 that is answered.
 *
 * fuzz: http, at most 512 bytes
 */


#include "lib/http.h"

#include "../../src/call/ngx_http_tb_rpc_body.h"


static void  **fuzz_locations[3];

static const char  fuzz_server[] =
    "tb_rpc_auth off;\n"
    "tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN;\n"
    "location /strict/ { tb_rpc v2; tb_rpc_max_payload 400;"
    " tb_rpc_max_expiration 1d; }\n"
    "location /lenient/ { tb_rpc v2; tb_rpc_validation lenient; }\n"
    "location /tb/ { tb_rpc v1; tb_rpc_profile thingsboard; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_http_init("", fuzz_server);

    fuzz_locations[0] = fuzz_location("/strict/");
    fuzz_locations[1] = fuzz_location("/lenient/");
    fuzz_locations[2] = fuzz_location("/tb/");

    return 0;
}


static json_t *
fuzz_json(ngx_str_t *text)
{
    return json_loadb((char *) text->data, text->len,
                      JSON_DECODE_ANY|JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL,
                      NULL);
}


/* what goes on to Redis, and from there to a device */

static void
fuzz_call(ngx_http_tb_rpc_call_t *call)
{
    size_t   i;
    json_t  *method, *params;

    method = fuzz_json(&call->method);
    params = fuzz_json(&call->params);

    /* jansson has no room for each number */

    if (params == NULL) {
        CHECK(ngx_http_tb_rpc_check_json(call->params.data, call->params.len,
                                         1)
              == NGX_OK);
    }

    CHECK(call->method.len >= 2);

    if (method) {
        CHECK(json_is_string(method));
        CHECK(json_string_length(method) == call->method_name.len);
        CHECK(memcmp(json_string_value(method), call->method_name.data,
                     call->method_name.len) == 0);
    }

    CHECK(call->timeout >= 0
          && call->timeout <= NGX_HTTP_TB_RPC_MAX_INTEGER / 2);
    CHECK(call->expiration >= -1);
    CHECK(call->retries >= -1 && call->retries <= 0x7fffffff);
    CHECK(call->request_uuid.len == 0 || call->request_uuid.len == 36);

    for (i = 0; i < call->request_uuid.len; i++) {
        CHECK(strchr("0123456789abcdef-", call->request_uuid.data[i]));
    }

    if (call->additional_info.len) {
        CHECK(ngx_http_tb_rpc_check_json(call->additional_info.data,
                                         call->additional_info.len, 1)
              == NGX_OK);
    }

    json_decref(method);
    json_decref(params);
}


/* a strict one is an object for jansson, too, which has these members */

static void
fuzz_strict(ngx_http_tb_rpc_call_t *call, ngx_str_t *text)
{
    json_t        *all, *value;
    json_error_t   err;

    all = json_loadb((char *) text->data, text->len,
                     JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL
                     |JSON_REJECT_DUPLICATES, &err);

    if (all == NULL) {
        CHECK(json_error_code(&err) == json_error_numeric_overflow);
        return;
    }

    CHECK(json_is_object(all));
    CHECK(json_is_string(json_object_get(all, "method")));

    value = fuzz_json(&call->params);
    CHECK(value != NULL && json_equal(value, json_object_get(all, "params")));
    json_decref(value);

    CHECK(call->persistent == json_is_true(json_object_get(all,
                                                           "persistent")));

    json_decref(all);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t               rc;
    ngx_str_t               text;
    ngx_uint_t              n, status;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (size < 1) {
        return 0;
    }

    n = data[0] % 3;

    r = fuzz_request(fuzz_locations[n]);
    ctx = ngx_http_tb_rpc_get_ctx(r);
    CHECK(ctx != NULL);

    ctx->op = (data[0] & 0x80) ? NGX_HTTP_TB_RPC_OP_ONEWAY
                               : NGX_HTTP_TB_RPC_OP_TWOWAY;

    text = fuzz_str(data + 1, size - 1);
    fuzz_body(r, text.data, text.len, (data[0] >> 3) & 7);

    rc = ngx_http_tb_rpc_parse_body(r, ctx);

    if (ctx->call) {
        CHECK(rc == NGX_OK && fuzz_socket.out_len == 0);
        fuzz_call(ctx->call);

        if (n == 0) {
            fuzz_strict(ctx->call, &text);
        }

    } else {
        status = fuzz_answer(0);
        CHECK(status == 400 || status == 413);
    }

    fuzz_request_free(r);

    return 0;
}
