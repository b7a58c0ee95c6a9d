
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The message that a call becomes: its topic, its payload, and with MQTT 5
 * how long it lives, where to answer, and the trace that it is part of.
 * Devices behind a gateway have a topic and a form of their own.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "presence.h"
#include "publish.h"
#include "waiting.h"

#include <jansson.h>


int
tb_publish_named(tb_bridge_t *b)
{
    unsigned  vars;

    vars = b->conf->request.vars;

    if (b->conf->mqtt->version == MQTT_PROTOCOL_V5) {
        vars |= b->conf->response.vars;
    }

    return (vars & TB_VAR(NAME)) || (b->conf->gateway && b->conf->fixed);
}


static const char *
tb_publish_topic(tb_call_t *call, const tb_template_t *t, char *out,
    size_t size)
{
    int       i;
    char      id[TB_DECIMAL + 1];
    tb_str_t  values[TB_VAR_MAX];

    tb_decimal(id, call->request_id);

    memset(values, 0, sizeof(values));
    values[TB_VAR_DEVICE_ID].data = call->device_id;
    values[TB_VAR_REQUEST_ID].data = id;
    values[TB_VAR_TENANT_ID].data = call->tenant_id;
    values[TB_VAR_METHOD].data = call->method_name;
    values[TB_VAR_NAME].data = call->name;

    for (i = 1; i < TB_VAR_MAX; i++) {
        if (values[i].data != NULL) {
            values[i].len = strlen(values[i].data);
        }
    }

    return tb_template_expand(t, values, out, size);
}


/* all pieces in one block; NULL ends the list */

static void
tb_publish_join(tb_str_t *out, const tb_str_t *pieces, int n)
{
    int     i;
    char   *p;

    for (i = 0, out->len = 0; i < n; i++) {
        out->len += pieces[i].len;
    }

    out->data = p = tb_alloc(out->len + 1);

    for (i = 0; i < n; i++) {
        memcpy(p, pieces[i].data, pieces[i].len);
        p += pieces[i].len;
    }
}


#define tb_text(s)  { s, sizeof(s) - 1 }


static void
tb_publish_json(tb_call_t *call, tb_str_t *out)
{
    tb_str_t  pieces[] = {
        tb_text("{\"method\":"), call->method, tb_text(",\"params\":"),
        call->params, tb_text("}")
    };

    tb_publish_join(out, pieces, 5);
}


/* a string without its quotes; null is nothing */

static void
tb_publish_value(tb_call_t *call, tb_str_t *out)
{
    json_t    *json;
    tb_str_t   text;

    text = call->params;

    json = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL
                      | JSON_DECODE_INT_AS_REAL, NULL);

    if (json_is_string(json)) {
        text.data = json_string_value(json);
        text.len = json_string_length(json);

    } else if (json_is_null(json)
               || (json_is_object(json) && json_object_size(json) == 0))
    {
        text.len = 0;
    }

    tb_publish_join(out, &text, 1);
    json_decref(json);
}


static void
tb_publish_payload(tb_bridge_t *b, tb_call_t *call, tb_str_t *out)
{
    switch (b->conf->payload) {

    case TB_PAYLOAD_PARAMS:
        tb_publish_join(out, &call->params, 1);
        return;

    case TB_PAYLOAD_VALUE:
        tb_publish_value(call, out);
        return;

    default:
        tb_publish_json(call, out);
    }
}


static const char *
tb_publish_gateway(tb_bridge_t *b, tb_call_t *call, const char *gateway,
    const char *name, char *topic, size_t size, tb_str_t *out)
{
    char        *quoted, id[TB_DECIMAL + 1];
    json_t      *json;
    tb_str_t     values[TB_VAR_MAX];
    const char  *error;

    memset(values, 0, sizeof(values));
    values[TB_VAR_GATEWAY].data = gateway;
    values[TB_VAR_GATEWAY].len = strlen(gateway);

    error = tb_template_expand(&b->conf->gateway_rpc, values, topic, size);
    if (error) {
        return error;
    }

    json = json_string(name);
    quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    json_decref(json);

    if (quoted == NULL) {
        return "the name of the device is not UTF-8";
    }

    tb_str_t  pieces[] = {
        tb_text("{\"device\":"), { quoted, strlen(quoted) },
        tb_text(",\"data\":{\"id\":"), { id, 0 }, tb_text(",\"method\":"),
        call->method, tb_text(",\"params\":"), call->params, tb_text("}}")
    };

    pieces[3].len = tb_decimal(id, call->request_id);

    tb_publish_join(out, pieces, 9);
    free(quoted);

    return NULL;
}


/*
 * How long the broker may keep it for a device that is away: whole seconds of
 * what is left, less one, since a broker that counts in whole seconds of its
 * clock may be late by nearly one.  What has less than two seconds is not to
 * be kept at all, which only QoS 0 says.  Returns the QoS.
 */

static int
tb_publish_life(tb_bridge_t *b, tb_call_t *call, mosquitto_property **list)
{
    int      qos;
    int64_t  life;

    qos = b->conf->mqtt->qos;

    if (b->conf->mqtt->version != MQTT_PROTOCOL_V5) {
        return qos;
    }

    life = (call->dies_at - tb_now()) / 1000 - 1;

    if (life < 1) {
        life = 1;
        qos = 0;

    } else if (life > UINT32_MAX) {
        life = UINT32_MAX;
    }

    /* without memory for it: not to be kept either */

    return mosquitto_property_add_int32(list,
                                        MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
                                        (uint32_t) life)
           == MOSQ_ERR_SUCCESS ? qos : 0;
}


/* where to answer, and what names the call then */

static void
tb_publish_properties(tb_bridge_t *b, tb_call_t *call,
    mosquitto_property **list)
{
    char  *p, topic[TB_MAX_TOPIC], id[TB_UUID_LEN + 1 + TB_DECIMAL + 1];

    if (b->conf->mqtt->version != MQTT_PROTOCOL_V5 || call->oneway
        || tb_publish_topic(call, &b->conf->response, topic, sizeof(topic)))
    {
        return;
    }

    memcpy(id, call->device_id, TB_UUID_LEN);
    p = id + TB_UUID_LEN;
    *p++ = '/';
    p += tb_decimal(p, call->request_id);

    if (mosquitto_property_add_string(list, MQTT_PROP_RESPONSE_TOPIC, topic)
        == MOSQ_ERR_SUCCESS)
    {
        (void) mosquitto_property_add_binary(list, MQTT_PROP_CORRELATION_DATA,
                                             id, (uint16_t) (p - id));
    }
}


/* as W3C's draft for MQTT names it; without memory for it, without it */

static void
tb_publish_trace(tb_bridge_t *b, tb_call_t *call, mosquitto_property **list)
{
    if (b->conf->mqtt->version == MQTT_PROTOCOL_V5 && call->traceparent[0]) {
        (void) mosquitto_property_add_string_pair(list,
                                                  MQTT_PROP_USER_PROPERTY,
                                                  "traceparent",
                                                  call->traceparent);
    }
}


const char *
tb_publish_call(tb_bridge_t *b, tb_call_t *call)
{
    int                  rc, qos;
    char                 topic[TB_MAX_TOPIC];
    tb_str_t             payload;
    const char          *error, *gateway, *name;
    mosquitto_property  *properties;

    properties = NULL;
    gateway = "";
    name = call->name;

    if (b->conf->gateway
        && (b->conf->fixed
            || tb_presence_gateway(b, call->device_id, &gateway, &name)))
    {
        error = name == NULL ? "the device has no name"
                             : tb_publish_gateway(b, call, gateway, name,
                                                  topic, sizeof(topic),
                                                  &payload);

    } else {
        error = tb_publish_topic(call, &b->conf->request, topic,
                                 sizeof(topic));

        if (error == NULL) {
            tb_publish_properties(b, call, &properties);
            tb_publish_payload(b, call, &payload);
            tb_wait_add(b, call);
        }
    }

    if (error) {
        return error;
    }

    tb_log(TB_LOG_DEBUG, "request %u to %s, %zu bytes",
           (unsigned) call->request_id, tb_safe(topic, strlen(topic)),
           payload.len);

    tb_publish_trace(b, call, &properties);
    qos = tb_publish_life(b, call, &properties);

    rc = tb_mqtt_publish(b->mqtt, call, &call->mid, topic, &payload, qos,
                         properties);

    free((char *) payload.data);
    mosquitto_property_free_all(&properties);

    if (rc == MOSQ_ERR_PAYLOAD_SIZE || rc == MOSQ_ERR_OVERSIZE_PACKET
        || rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_MALFORMED_UTF8)
    {
        return "the call cannot be sent as an MQTT message";
    }

    /* any other failure ends in a reconnect, and the call is TAKEN then */

    return NULL;
}
