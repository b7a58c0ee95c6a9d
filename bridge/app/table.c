
/*
 * Copyright (C) tb-rpc contributors.
 *
 * All options: docs/mqtt-bridge.md has them in words.
 */


#include "optredis.h"
#include "table.h"

#include <stddef.h>


#define TB_OFF(field)   offsetof(tb_options_t, field)

#define TB_TOPIC_VARS   (TB_VAR(DEVICE_ID) | TB_VAR(NAME)                    \
                         | TB_VAR(TENANT_ID))
#define TB_CALL_VARS    (TB_TOPIC_VARS | TB_VAR(REQUEST_ID) | TB_VAR(METHOD))
#define TB_WHO_VARS     (TB_VAR(DEVICE_ID) | TB_VAR(NAME))


const tb_option_t  tb_table[] = {

    { NULL, NULL, 0, 0, 0, "Bridge", NULL, NULL },

    { "name", tb_set_name, TB_OFF(redis.name), 0, 0, "NAME", NULL,
      "bridge name: letters, digits, . _ : @ -" },

    { "config", tb_set_text, TB_OFF(config), 1, 0, "FILE", NULL,
      "\"option value\" lines, without the dashes;\n"
      "# begins a comment. Flags override it" },

    { NULL, NULL, 0, 0, 0, "Redis", NULL, NULL },

    { "redis", tb_set_redis, 0, 0, 0, "URL", "redis://127.0.0.1:6379",
      "redis://host[:port][/db], rediss:// for TLS,\n"
      "or unix:/path; several of Sentinels or a cluster" },

    { "redis-user", tb_set_text, TB_OFF(redis.user), 1, 0, "USER", NULL,
      "ACL user" },

    { "redis-password-file", tb_set_redis_secret, 0, 0, 0,
      "FILE", NULL, "its password, the first line of FILE" },

    { "redis-cluster", tb_set_switch, TB_OFF(redis.cluster), 0, 0, NULL,
      "off", "it is a Redis Cluster" },

    { "redis-sentinel", tb_set_text, TB_OFF(redis.sentinel), 1, 0, "NAME",
      NULL, "the URLs are Sentinels, which know the master\nby this name" },

    { "redis-sentinel-user", tb_set_text, TB_OFF(redis.sentinel_user), 1, 0,
      "USER", NULL, "at the Sentinels" },

    { "redis-sentinel-password-file", tb_set_sentinel_secret, 0, 0, 0,
      "FILE", NULL, "at the Sentinels, the first line of FILE" },

    { "redis-ca", tb_set_text, TB_OFF(redis.ca), 1, 0, "FILE", NULL,
      "PEM: who may sign the certificate of a rediss://\n"
      "(without it: the system's)" },

    { "redis-cert", tb_set_text, TB_OFF(redis.cert), 1, 0, "FILE", NULL,
      "PEM: the bridge's own certificate there" },

    { "redis-key", tb_set_text, TB_OFF(redis.key), 1, 0, "FILE", NULL,
      "PEM: its key, without a passphrase" },

    { "prefix", tb_set_prefix, TB_OFF(redis.prefix), 0, 0, "TEXT", "tb:",
      "of all keys" },

    { "shards", tb_set_int, TB_OFF(redis.shards), 1, TB_MAX_SHARDS, "N", NULL,
      "what PREFIXmeta says, waiting for it" },

    { NULL, NULL, 0, 0, 0, "Broker", NULL, NULL },

    { "broker", tb_set_broker, 0, 0, 0, "URL", "mqtt://127.0.0.1:1883",
      "mqtt://host[:port], or mqtts://host[:port] for TLS" },

    { "cafile", tb_set_text, TB_OFF(mqtt.cafile), 1, 0, "FILE", NULL,
      "PEM: who may sign the broker's certificate\n"
      "(without cafile and capath: the system's)" },

    { "capath", tb_set_text, TB_OFF(mqtt.capath), 1, 0, "DIR", NULL,
      "the same as a folder, see openssl rehash" },

    { "cert", tb_set_text, TB_OFF(mqtt.cert), 1, 0, "FILE", NULL,
      "PEM: the bridge's own certificate" },

    { "key", tb_set_text, TB_OFF(mqtt.key), 1, 0, "FILE", NULL,
      "PEM: its key, without a passphrase" },

    { "client-id", tb_set_text, TB_OFF(mqtt.client_id), 1, 0, "ID", NULL,
      "keeps a session in the broker, so that answers\n"
      "sent while the bridge reconnects are not lost;\n"
      "each process needs its own (a random one,\n"
      "without a session)" },

    { "mqtt-user", tb_set_text, TB_OFF(mqtt.user), 1, 0, "USER", NULL,
      "user name at the broker" },

    { "mqtt-password-file", tb_set_mqtt_secret, 0, 0, 0,
      "FILE", NULL, "its password, the first line of FILE" },

    { "mqtt-version", tb_set_version, 0, 0, 0, "3.1.1|5", "5",
      "towards the broker. With 3.1.1 a device with a\n"
      "session may get a call after its end" },

    { "keepalive", tb_set_int, TB_OFF(mqtt.keepalive), 5, 65535, "SECONDS",
      "60", "between pings" },

    { "share", tb_set_switch, TB_OFF(rpc.share), 0, 0, NULL, "off",
      "answers among the processes of the name (MQTT 5):\n"
      "each is handled once, but one that is killed\n"
      "takes those along that it has" },

    { "qos", tb_set_int, TB_OFF(mqtt.qos), 0, 1, "0|1", "1",
      "of calls and subscriptions" },

    { NULL, NULL, 0, 0, 0, "Topics and payloads", NULL, NULL },

    { "request-topic", tb_set_template, TB_OFF(rpc.request), 0, TB_CALL_VARS,
      "TEMPLATE", "v1/devices/{deviceId}/rpc/request/{requestId}",
      "of {deviceId} {requestId} {tenantId} {name}\n{method}" },

    { "response-topic", tb_set_template, TB_OFF(rpc.response), TB_WHO_VARS,
      TB_CALL_VARS, "TEMPLATE",
      "v1/devices/{deviceId}/rpc/response/{requestId}",
      "without {requestId} an answer is of the oldest\n"
      "two-way call of the device" },

    { "presence-topic", tb_set_template, TB_OFF(rpc.presence), TB_WHO_VARS,
      TB_TOPIC_VARS, "TEMPLATE", "v1/devices/{deviceId}/status",
      "of {deviceId} {tenantId} {name}" },

    { "payload", tb_set_word, TB_OFF(rpc.payload), 0, 0, "json|params|value",
      "json", "of a call: {\"method\":...,\"params\":...}; its\n"
      "params; or params, a string without its quotes" },

    { "online", tb_set_text, TB_OFF(rpc.online), 1, 0, "TEXT", "online",
      "presence payload; 1, true, {\"online\":true},\n"
      "{\"state\":\"online\"} and online:SESSION work too" },

    { "offline", tb_set_text, TB_OFF(rpc.offline), 1, 0, "TEXT", "offline",
      "the same for 0, false and so on" },

    { "static", tb_set_switch, TB_OFF(rpc.fixed), 0, 0, NULL, "off",
      "no presence topic: devices are routed by\n"
      "tb-rpc-admin device add ... --bridge NAME" },

    { "attached", tb_set_switch, TB_OFF(rpc.attached), 0, 0, NULL, "off",
      "no presence topic: somebody else attaches devices,\n"
      "as nginx does those of tb_mqtt; gateways' are ours" },

    { "session-ttl", tb_set_int, TB_OFF(rpc.session_ttl), 300, 86400000, "MS",
      "60000", "a device is offline when not heard of" },

    { "presence-grace", tb_set_int, TB_OFF(rpc.presence_grace), 0, 3600000,
      "MS", "10000", "after a connect, for the broker's retained\n"
      "presence: who is not among it is forgotten" },

    { "ack-timeout", tb_set_int, TB_OFF(mqtt.ack_timeout), 100, 3600000, "MS",
      "10000", "for the broker's PUBACK; a persistent call is\n"
      "then sent again, if it has retries" },

    { NULL, NULL, 0, 0, 0, "Names and gateways", NULL, NULL },

    { "tenant", tb_set_uuid, TB_OFF(rpc.tenant), 0, 0, "UUID", NULL,
      "whose device names are on this broker" },

    { "devices", tb_set_text, TB_OFF(rpc.devices), 1, 0, "FILE", NULL,
      "more names: lines of name,deviceId; read again\nat SIGHUP" },

    { "gateway", tb_set_switch, TB_OFF(rpc.gateway), 0, 0, NULL, "off",
      "serve ThingsBoard gateways" },

    { "gateway-topic", tb_set_text, TB_OFF(rpc.gateway_topic), 1, 0,
      "TEMPLATE", "v1/gateway",
      "before /rpc, /connect, /disconnect and /status;\n"
      "{gateway} if gateways have topics of their own" },

    { NULL, NULL, 0, 0, 0, "Limits", NULL, NULL },

    { "concurrency", tb_set_int, TB_OFF(rpc.concurrency), 1, 10000, "N", "256",
      "calls in hand" },

    { "max-answers", tb_set_int, TB_OFF(rpc.max_answers), 1, 100000, "N",
      "4096", "answers waiting for Redis" },

    { "max-response", tb_set_int, TB_OFF(rpc.max_response), 1,
      TB_MAX_ANSWER_BYTES, "BYTES", "1048576", "of one answer" },

    { "max-devices", tb_set_int, TB_OFF(rpc.max_devices), 1, 10000000, "N",
      "200000", "present at once" },

    { "drain", tb_set_int, TB_OFF(drain), 0, 3600000, "MS", "5000",
      "to finish in at SIGTERM" },

    { NULL, NULL, 0, 0, 0, "Log and metrics", NULL, NULL },

    { "log-level", tb_set_word, TB_OFF(log_level), 0, 0,
      "error|warn|info|debug", "info", "written to the standard error" },

    { "stats-interval", tb_set_int, TB_OFF(stats_interval), 0, 86400,
      "SECONDS", "0", "log the counters so often; 0: only at SIGUSR1" },

    { "metrics-file", tb_set_text, TB_OFF(metrics_file), 1, 0, "FILE", NULL,
      "counters for Prometheus, written every 10 s" }
};

const size_t  tb_ntable = sizeof(tb_table) / sizeof(tb_table[0]);
