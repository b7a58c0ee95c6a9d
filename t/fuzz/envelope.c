
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What a take brings for a call: its members are those of jansson, and its
 * texts lie inside of what came.
 *
 * fuzz: bridge, at most 640 bytes
 */


#include "../../bridge/rpc/envelope.h"
#include "../../common/tb_rpc_json.h"
#include "lib/fuzz.h"


static void
inside(tb_call_t *call, tb_str_t *text)
{
    CHECK(text->data >= call->envelope && text->len > 0);
    CHECK(text->data + text->len <= call->envelope + call->len);
    CHECK(tb_rpc_json_valid(text->data, text->len, 0,
                            TB_RPC_JSON_DUPLICATES));
}


static void
id(const char *text, json_t *all, const char *name)
{
    json_t  *value;

    value = json_object_get(all, name);

    CHECK(json_is_string(value) && json_string_length(value) == TB_UUID_LEN);
    CHECK(strlen(text) == TB_UUID_LEN);
    CHECK(strcasecmp(text, json_string_value(value)) == 0);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t      *all;
    tb_call_t   *call;
    const char  *error;

    error = NULL;
    call = tb_envelope_parse((const char *) fuzz_copy(data, size), size,
                             &error);

    if (call == NULL) {
        CHECK(error != NULL);
        return 0;
    }

    CHECK(error == NULL);
    CHECK(call->request_id >= 1 && call->request_id <= 0x7fffffff);
    CHECK(call->expiration_time >= 1 && call->taken_time >= 1);
    CHECK(call->method_name != NULL);

    inside(call, &call->method);
    inside(call, &call->params);

    /* of twins each takes another one, and it has no room for all numbers */

    all = json_loadb((const char *) data, size,
                     JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL
                     |JSON_REJECT_DUPLICATES, NULL);

    if (all) {
        id(call->rpc_id, all, "rpcId");
        id(call->device_id, all, "deviceId");

        CHECK(json_number_value(json_object_get(all, "requestId"))
              == call->request_id);
        CHECK(json_number_value(json_object_get(all, "attempt"))
              == call->attempt);
        CHECK(json_is_true(json_object_get(all, "oneway")) == call->oneway);
        CHECK(json_is_true(json_object_get(all, "persistent"))
              == call->persistent);
        json_decref(all);
    }

    tb_call_free(call);

    return 0;
}
