
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What a take brings for each call: one JSON object.  method and params reach
 * the device as the bytes that were sent.  A call owns the envelope its texts
 * point into.
 */


#include "../base/json.h"
#include "../base/str.h"
#include "envelope.h"


#define TB_MAX_ENVELOPE    (4 * 1024 * 1024)

#define TB_HAS_REQUEST_ID  0x01
#define TB_HAS_DEVICE_ID   0x02
#define TB_HAS_METHOD      0x04
#define TB_HAS_PARAMS      0x08
#define TB_HAS_ATTEMPT     0x10
#define TB_HAS_RPC_ID      0x20
#define TB_HAS_EXPIRATION  0x40
#define TB_HAS_TAKEN       0x80
#define TB_HAS_ALL         0xff


static int
tb_member_uuid(json_t *json, char *out)
{
    if (!json_is_string(json)) {
        return TB_ERROR;
    }

    return tb_uuid(json_string_value(json), json_string_length(json), out);
}


/* epoch ms are beyond 32 bits, and exact in a double */

static int64_t
tb_member_time(json_t *json)
{
    double  n;

    n = json_number_value(json);

    return n > 0 && n < 1e15 ? (int64_t) n : 0;
}


static int
tb_member(void *data, const char *key, json_t *json, tb_str_t *raw)
{
    tb_call_t  *call = data;

    if (strcmp(key, "requestId") == 0) {
        return tb_number(raw->data, raw->len, 1, 0x7fffffff,
                         &call->request_id) == TB_OK
               ? TB_HAS_REQUEST_ID : TB_ERROR;
    }

    if (strcmp(key, "attempt") == 0) {
        return tb_number(raw->data, raw->len, 0, UINT32_MAX, &call->attempt)
               == TB_OK ? TB_HAS_ATTEMPT : TB_ERROR;
    }

    if (strcmp(key, "deviceId") == 0) {
        return tb_member_uuid(json, call->device_id) == TB_OK
               ? TB_HAS_DEVICE_ID : TB_ERROR;
    }

    if (strcmp(key, "rpcId") == 0) {
        return tb_member_uuid(json, call->rpc_id) == TB_OK
               ? TB_HAS_RPC_ID : TB_ERROR;
    }

    if (strcmp(key, "tenantId") == 0) {
        return tb_member_uuid(json, call->tenant_id);
    }

    if (strcmp(key, "params") == 0) {
        call->params = *raw;
        return TB_HAS_PARAMS;
    }

    if (strcmp(key, "oneway") == 0) {
        call->oneway = json_is_true(json);
        return 0;
    }

    if (strcmp(key, "persistent") == 0) {
        call->persistent = json_is_true(json);
        return 0;
    }

    if (strcmp(key, "expirationTime") == 0) {
        call->expiration_time = tb_member_time(json);
        return call->expiration_time ? TB_HAS_EXPIRATION : TB_ERROR;
    }

    if (strcmp(key, "takenTime") == 0) {
        call->taken_time = tb_member_time(json);
        return call->taken_time ? TB_HAS_TAKEN : TB_ERROR;
    }

    if (strcmp(key, "method") == 0) {
        if (!json_is_string(json)) {
            return TB_ERROR;
        }

        free(call->method_name);
        call->method = *raw;
        call->method_name = tb_strndup(json_string_value(json),
                                       json_string_length(json));

        /* a NUL makes it unfit for a topic, not for a payload */
        if (strlen(call->method_name) != json_string_length(json)) {
            call->method_name[0] = '\0';
        }

        return TB_HAS_METHOD;
    }

    return 0;
}


tb_call_t *
tb_envelope_parse(const char *data, size_t len, const char **error)
{
    int         has;
    tb_call_t  *call;

    if (len > TB_MAX_ENVELOPE) {
        *error = "it is too large";
        return NULL;
    }

    call = tb_alloc(sizeof(tb_call_t));
    call->envelope = tb_strndup(data, len);
    call->len = len;

    *error = tb_json_walk(call->envelope, len, tb_member, call, &has);

    if (*error == NULL && has != TB_HAS_ALL) {
        *error = "a member is missing";
    }

    if (*error != NULL) {
        tb_call_free(call);
        return NULL;
    }

    return call;
}


void
tb_call_free(tb_call_t *call)
{
    free(call->method_name);
    free(call->name);
    free(call->envelope);
    free(call);
}
