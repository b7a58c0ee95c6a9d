
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What a take brings for a call: its members are those of jansson, and its
 * texts lie inside of what came.  And the message that it becomes, with its
 * topic.
 *
 * fuzz: bridge, at most 640 bytes
 */


#include <mosquitto.h>

#include "../../bridge/base/log.h"
#include "../../bridge/base/str.h"
#include "../../bridge/rpc/device.h"
#include "../../bridge/rpc/envelope.h"
#include "../../bridge/rpc/publish.h"
#include "../../bridge/rpc/waiting.h"
#include "../../common/tb_rpc_json.h"
#include "lib/fuzz.h"


static tb_bridge_t     bridge;
static tb_rpc_conf_t   conf;
static tb_mqtt_conf_t  mqtt;
static unsigned        published;


static void
topic(tb_template_t *t, const char *source)
{
    const char  *error;

    CHECK(tb_template_parse(t, source, ~0u, &error) == TB_OK);
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    tb_log_level = TB_LOG_ERROR;

    mqtt.version = MQTT_PROTOCOL_V5;
    mqtt.qos = 1;

    conf.mqtt = &mqtt;
    topic(&conf.request, "d/{deviceId}/{method}/{requestId}");
    topic(&conf.response, "r/{deviceId}/{requestId}");
    topic(&conf.gateway_rpc, "gateway/rpc");

    bridge.conf = &conf;
    bridge.waits = tb_waits_create();
    bridge.devices = tb_devices_create();

    return 0;
}


/* in the place of the real one: what would be sent */

int
tb_mqtt_publish(tb_mqtt_t *m, void *data, int *mid, const char *topic,
    const tb_str_t *payload, int qos, const mosquitto_property *properties)
{
    tb_call_t *call = data;

    json_t        *all, *inner;
    json_error_t   err;

    published++;

    CHECK(mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS);
    CHECK(qos == 0 || qos == 1);

    if (conf.payload != TB_PAYLOAD_JSON && !conf.gateway) {
        return MOSQ_ERR_SUCCESS;
    }

    all = json_loadb(payload->data, payload->len,
                     JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL, &err);

    if (all == NULL) {
        CHECK(json_error_code(&err) == json_error_numeric_overflow);
        return MOSQ_ERR_SUCCESS;
    }

    inner = conf.gateway ? json_object_get(all, "data") : all;

    CHECK(json_object_size(all) == 2);
    CHECK(json_is_string(json_object_get(inner, "method")));
    CHECK(json_object_get(inner, "params") != NULL);

    if (conf.gateway) {
        CHECK(json_object_size(inner) == 3);
        CHECK(json_number_value(json_object_get(inner, "id"))
              == call->request_id);
        CHECK(strcmp(json_string_value(json_object_get(all, "device")),
                     call->name) == 0);
    }

    json_decref(all);

    return MOSQ_ERR_SUCCESS;
}


static void
publish(tb_call_t *call)
{
    const char  *error;

    conf.payload = call->attempt % 3;
    conf.gateway = (call->attempt & 8) != 0;
    conf.fixed = conf.gateway;

    if (conf.gateway) {
        call->name = tb_strndup(call->method_name, strlen(call->method_name));
    }

    published = 0;
    error = tb_publish_call(&bridge, call);

    CHECK((error == NULL) == (published == 1));
}


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

    publish(call);
    tb_call_free(call);

    return 0;
}
