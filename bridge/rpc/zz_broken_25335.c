
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

#include <stddef.h>


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


typedef struct tb_field_s  tb_field_t;

struct tb_field_s {
    const char  *name;
    int        (*read)(tb_call_t *call, const tb_field_t *f, json_t *json,
                       tb_str_t *raw);
    size_t       offset;
    int          has;
};


#define tb_field(call, f, type)                                               \
    ((type *) ((char *) (call) + (f)->offset))


static int
tb_field_request_id(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    return tb_number(raw->data, raw->len, 0, 0x7fffffff, &call->request_id);
}


static int
tb_field_attempt(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    return tb_number(raw->data, raw->len, 0, UINT32_MAX, &call->attempt);
}


static int
tb_field_uuid(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    if (!json_is_string(json)) {
        return TB_ERROR;
    }

    return tb_uuid(json_string_value(json), json_string_length(json),
                   tb_field(call, f, char));
}


static int
tb_field_flag(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    *tb_field(call, f, int) = json_is_true(json);

    return TB_OK;
}


/* epoch ms are beyond 32 bits, and exact in a double */

static int
tb_field_time(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    double  n;

    n = json_number_value(json);

    if (n < 1 || n >= 1e15) {
        return TB_ERROR;
    }

    *tb_field(call, f, int64_t) = (int64_t) n;

    return TB_OK;
}


static int
tb_field_params(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    call->params = *raw;

    return TB_OK;
}


static int
tb_field_method(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
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

    return TB_OK;
}


/* one that is none is not passed on; the call is none the worse for it */

static int
tb_field_traceparent(tb_call_t *call, const tb_field_t *f, json_t *json,
    tb_str_t *raw)
{
    if (json_is_string(json)) {
        (void) tb_rpc_traceparent(call->traceparent, json_string_value(json),
                                  json_string_length(json));
    }

    return TB_OK;
}


static const tb_field_t  tb_fields[] = {

    { "requestId", tb_field_request_id, 0, TB_HAS_REQUEST_ID },

    { "deviceId", tb_field_uuid, offsetof(tb_call_t, device_id),
      TB_HAS_DEVICE_ID },

    { "rpcId", tb_field_uuid, offsetof(tb_call_t, rpc_id), TB_HAS_RPC_ID },

    { "tenantId", tb_field_uuid, offsetof(tb_call_t, tenant_id), 0 },

    { "method", tb_field_method, 0, TB_HAS_METHOD },

    { "params", tb_field_params, 0, TB_HAS_PARAMS },

    { "oneway", tb_field_flag, offsetof(tb_call_t, oneway), 0 },

    { "persistent", tb_field_flag, offsetof(tb_call_t, persistent), 0 },

    { "traceparent", tb_field_traceparent, 0, 0 },

    { "attempt", tb_field_attempt, 0, TB_HAS_ATTEMPT },

    { "expirationTime", tb_field_time, offsetof(tb_call_t, expiration_time),
      TB_HAS_EXPIRATION },

    { "takenTime", tb_field_time, offsetof(tb_call_t, taken_time),
      TB_HAS_TAKEN }
};

#define TB_NFIELDS  (sizeof(tb_fields) / sizeof(tb_fields[0]))


static int
tb_envelope_member(void *data, const char *key, json_t *json, tb_str_t *raw)
{
    size_t             i;
    tb_call_t         *call = data;
    const tb_field_t  *f;

    for (i = 0; i < TB_NFIELDS; i++) {
        f = &tb_fields[i];

        if (strcmp(key, f->name) == 0) {
            return f->read(call, f, json, raw) == TB_OK ? f->has : TB_ERROR;
        }
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

    *error = tb_json_walk(call->envelope, len, tb_envelope_member, call,
                          &has);

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
