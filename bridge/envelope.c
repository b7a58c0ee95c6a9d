
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The list item a bridge pops: one JSON object.  It is walked member by
 * member so that method and params reach the device as the bytes that were
 * sent: 1.10 stays 1.10.  A call owns the envelope its texts point into.
 */


#include "bridge.h"

#include <jansson.h>


#define TB_HAS_REQUEST_ID  0x01
#define TB_HAS_DEVICE_ID   0x02
#define TB_HAS_METHOD      0x04
#define TB_HAS_PARAMS      0x08
#define TB_HAS_ATTEMPT     0x10
#define TB_HAS_ALL         0x1f


static const char *
tb_skip(const char *p, const char *end)
{
    while (p < end
           && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
    {
        p++;
    }

    return p;
}


/* one JSON value at *p; leaves *p behind it */

static json_t *
tb_value(const char **p, const char *end, tb_str_t *raw)
{
    json_t        *json;
    json_error_t   error;

    *p = tb_skip(*p, end);

    json = json_loadb(*p, end - *p,
                      JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK
                      | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL
                      | JSON_ALLOW_NUL, &error);
    if (json == NULL) {
        return NULL;
    }

    if (error.position <= 0 || error.position > end - *p) {
        json_decref(json);
        return NULL;
    }

    raw->data = *p;
    raw->len = error.position;
    *p += error.position;

    return json;
}


static int
tb_member_uuid(json_t *json, char *out)
{
    if (!json_is_string(json)) {
        return TB_ERROR;
    }

    return tb_uuid(json_string_value(json), json_string_length(json), out);
}


static int
tb_member(tb_call_t *call, const char *key, json_t *json, tb_str_t *raw)
{
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

    if (strcmp(key, "tenantId") == 0) {
        return tb_member_uuid(json, call->tenant_id);
    }

    if (strcmp(key, "params") == 0) {
        call->params = *raw;
        return TB_HAS_PARAMS;
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


static const char *
tb_envelope_walk(tb_call_t *call)
{
    int          rc, has;
    char         c;
    json_t      *key, *json;
    tb_str_t     raw;
    const char  *p, *end;

    end = call->envelope + call->len;
    p = tb_skip(call->envelope, end);
    has = 0;

    if (p == end || *p++ != '{') {
        return "it is not a JSON object";
    }

    do {
        key = tb_value(&p, end, &raw);
        if (key == NULL || !json_is_string(key)) {
            json_decref(key);
            return "a member has no name";
        }

        p = tb_skip(p, end);
        json = NULL;

        if (p < end && *p++ == ':') {
            json = tb_value(&p, end, &raw);
        }

        if (json == NULL) {
            json_decref(key);
            return "a member has no value";
        }

        rc = tb_member(call, json_string_value(key), json, &raw);

        json_decref(key);
        json_decref(json);

        if (rc == TB_ERROR) {
            return "a member has a wrong value";
        }

        has |= rc;
        p = tb_skip(p, end);
        c = (p < end) ? *p++ : '\0';

    } while (c == ',');

    if (c != '}' || tb_skip(p, end) != end) {
        return "it does not end as a JSON object";
    }

    return has == TB_HAS_ALL ? NULL : "a member is missing";
}


tb_call_t *
tb_envelope_parse(const char *data, size_t len, const char **error)
{
    tb_call_t  *call;

    if (len > TB_MAX_ENVELOPE) {
        *error = "it is too large";
        return NULL;
    }

    call = tb_alloc(sizeof(tb_call_t));
    call->envelope = tb_strndup(data, len);
    call->len = len;

    *error = tb_envelope_walk(call);

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
