
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Flags, and the configuration file with the same names.
 */


#include "../base/log.h"
#include "options.h"
#include "optval.h"

#include <ctype.h>
#include <stddef.h>


#define TB_OFF(field)   offsetof(tb_options_t, field)

#define TB_TOPIC_VARS   (TB_VAR(DEVICE_ID) | TB_VAR(NAME)                    \
                         | TB_VAR(TENANT_ID))
#define TB_CALL_VARS    (TB_TOPIC_VARS | TB_VAR(REQUEST_ID) | TB_VAR(METHOD))
#define TB_WHO_VARS     (TB_VAR(DEVICE_ID) | TB_VAR(NAME))


static const tb_option_t  tb_table[] = {

    { NULL, NULL, 0, 0, 0, "Bridge", NULL, NULL },

    { "name", tb_set_name, TB_OFF(redis.name), 0, 0, "NAME", NULL,
      "bridge name: letters, digits, . _ : @ -" },

    { "config", tb_set_text, TB_OFF(config), 1, 0, "FILE", NULL,
      "\"option value\" lines, without the dashes;\n"
      "# begins a comment. Flags override it" },

    { NULL, NULL, 0, 0, 0, "Redis", NULL, NULL },

    { "redis", tb_set_redis, 0, 0, 0, "URL", "redis://127.0.0.1:6379",
      "redis://host[:port][/db] or unix:/path" },

    { "redis-user", tb_set_text, TB_OFF(redis.user), 1, 0, "USER", NULL,
      "ACL user" },

    { "redis-password-file", tb_set_redis_secret, 0, 0, 0,
      "FILE", NULL, "its password, the first line of FILE" },

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

#define TB_NOPTIONS  (sizeof(tb_table) / sizeof(tb_table[0]))


static void
tb_usage(const char *where, const char *option, const char *why)
{
    fprintf(stderr, "tb-rpc-mqtt-bridge: %s%s %s\n"
            "tb-rpc-mqtt-bridge --help shows the options\n", where, option,
            why);
    exit(2);
}


static void
tb_help_option(const tb_option_t *o)
{
    int          n;
    size_t       len;
    char         left[80];
    const char  *p;

    snprintf(left, sizeof(left), "--%s %s", o->name, o->arg ? o->arg : "");
    n = printf("  %-27s ", left);

    if (n > 30) {
        printf("\n%30s", "");
    }

    for (p = o->help, len = 0; *p; p += len + (p[len] == '\n')) {
        len = strcspn(p, "\n");
        printf("%s%.*s", p == o->help ? "" : "\n                              ",
               (int) len, p);
    }

    if (o->value && o->arg) {
        printf(len + strlen(o->value) > 45 ? "\n%30s(%s)" : "%.0s (%s)", "",
               o->value);
    }

    putchar('\n');
}


static void
tb_help(void)
{
    size_t  i;

    puts("Usage: tb-rpc-mqtt-bridge --name NAME [options]\n"
         "\n"
         "Delivers the RPC calls queued in Redis for bridge NAME to MQTT"
         " devices.\n"
         "Defaults are in brackets.");

    for (i = 0; i < TB_NOPTIONS; i++) {
        if (tb_table[i].name == NULL) {
            printf("\n%s\n", tb_table[i].arg);
        } else {
            tb_help_option(&tb_table[i]);
        }
    }

    puts("\n"
         "  --help, --version\n"
         "\n"
         "SIGTERM, SIGINT: finish what is open and exit. SIGUSR1: log the"
         " counters.\n"
         "SIGHUP: read --devices and passwords again.");
}


static void
tb_option(tb_options_t *opt, const char *where, const char *dashes,
    const char *name, size_t len, const char *value)
{
    char         full[80];
    size_t       i;
    const char  *why;

    snprintf(full, sizeof(full), "%s%.*s", dashes, len > 60 ? 60 : (int) len,
             name);

    for (i = 0; i < TB_NOPTIONS; i++) {
        if (tb_table[i].name == NULL || strlen(tb_table[i].name) != len
            || memcmp(tb_table[i].name, name, len) != 0)
        {
            continue;
        }

        if (value == NULL && tb_table[i].arg != NULL) {
            tb_usage(where, full, "needs a value");
        }

        why = tb_table[i].set(opt, &tb_table[i], value ? value : "on");

        if (why) {
            tb_usage(where, full, why);
        }

        return;
    }

    tb_usage(where, full, "is not an option");
}


static int
tb_is_switch(const char *name)
{
    size_t  i;

    for (i = 0; i < TB_NOPTIONS; i++) {
        if (tb_table[i].name && strcmp(tb_table[i].name, name) == 0) {
            return tb_table[i].arg == NULL;
        }
    }

    return 0;
}


static void
tb_config_line(tb_options_t *opt, const char *where, char *line)
{
    char    *value, *end;
    size_t   len;

    line += strspn(line, " \t");
    end = line + strlen(line);

    while (end > line && isspace((unsigned char) end[-1])) {
        *--end = '\0';
    }

    if (*line == '\0' || *line == '#') {
        return;
    }

    len = strcspn(line, " \t");
    value = line + len;
    value += strspn(value, " \t");

    if (len == 6 && memcmp(line, "config", 6) == 0) {
        tb_usage(where, "config", "cannot be in a configuration file");
    }

    tb_option(opt, where, "", line, len, *value ? value : NULL);
}


static void
tb_config(tb_options_t *opt, const char *path)
{
    int    n;
    char   line[2048], where[512];
    FILE  *f;

    f = fopen(path, "r");
    if (f == NULL) {
        snprintf(line, sizeof(line), "cannot be read: %s", strerror(errno));
        tb_usage(path, "", line);
    }

    for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
        snprintf(where, sizeof(where), "%s:%d: ", path, n);

        if (strlen(line) == sizeof(line) - 1) {
            tb_usage(where, "the line", "is too long");
        }

        tb_config_line(opt, where, line);
    }

    if (ferror(f)) {
        snprintf(line, sizeof(line), ": cannot be read: %s",
                 strerror(errno));
        tb_usage(path, "", line);
    }

    fclose(f);
}


/* only --config and what needs no other option, or all the rest */

static void
tb_flags(tb_options_t *opt, int argc, char **argv, int first)
{
    int          i;
    char        *value;
    size_t       len;
    const char  *name;

    for (i = 1; i < argc; i++) {
        name = argv[i] + 2;

        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            tb_help();
            exit(0);
        }

        if (strcmp(argv[i], "--version") == 0) {
            puts("tb-rpc-mqtt-bridge " TB_VERSION);
            exit(0);
        }

        if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == '\0') {
            tb_usage("", argv[i], "is not an option");
        }

        len = strcspn(name, "=");
        value = NULL;

        if (name[len] == '=') {
            value = argv[i] + 2 + len + 1;

        } else if (!tb_is_switch(name) && i + 1 < argc) {
            value = argv[++i];
        }

        if (first == (len == 6 && memcmp(name, "config", 6) == 0)) {
            tb_option(opt, "", "--", name, len, value);
        }
    }
}


/* options that need each other */

static void
tb_check(tb_options_t *opt)
{
    unsigned  names;

    names = opt->rpc.response.vars;

    if (!opt->rpc.fixed) {
        names &= opt->rpc.presence.vars;
    }

    if (opt->redis.name == NULL) {
        tb_usage("", "--name", "is missing");
    }

    if (opt->redis.user && !opt->redis.password) {
        tb_usage("", "--redis-user", "needs --redis-password-file");
    }

    if (opt->mqtt.password && !opt->mqtt.user) {
        tb_usage("", "--mqtt-password-file", "needs --mqtt-user");
    }

    if (!opt->mqtt.cert != !opt->mqtt.key) {
        tb_usage("", "--cert and --key", "need each other");
    }

    if (!opt->mqtt.tls
        && (opt->mqtt.cafile || opt->mqtt.capath || opt->mqtt.cert))
    {
        tb_usage("", "--cafile, --capath, --cert and --key",
                 "need an mqtts:// --broker");
    }

    if (!opt->rpc.tenant && !opt->rpc.devices
        && (opt->rpc.gateway || !(names & TB_VAR(DEVICE_ID))))
    {
        tb_usage("", opt->rpc.gateway ? "--gateway"
                                      : "{name} without {deviceId}",
                 "needs --tenant or --devices, to know devices by name");
    }
}


static void
tb_gateway_topic(tb_options_t *opt, tb_template_t *t, const char *last)
{
    char         topic[1100];
    const char  *error;

    snprintf(topic, sizeof(topic), "%.1030s/%s", opt->rpc.gateway_topic, last);

    tb_template_free(t);

    if (tb_template_parse(t, topic, TB_VAR(GATEWAY), &error) != TB_OK) {
        tb_usage("", "--gateway-topic", error);
    }
}


void
tb_options(tb_options_t *opt, int argc, char **argv)
{
    size_t  i;

    for (i = 0; i < TB_NOPTIONS; i++) {
        if (tb_table[i].value) {
            tb_option(opt, "", "", tb_table[i].name,
                      strlen(tb_table[i].name), tb_table[i].value);
        }
    }

    tb_flags(opt, argc, argv, 1);

    if (opt->config) {
        tb_config(opt, opt->config);
    }

    tb_flags(opt, argc, argv, 0);
    tb_check(opt);

    tb_gateway_topic(opt, &opt->rpc.gateway_rpc, "rpc");
    tb_gateway_topic(opt, &opt->rpc.gateway_connect, "connect");
    tb_gateway_topic(opt, &opt->rpc.gateway_disconnect, "disconnect");
    tb_gateway_topic(opt, &opt->rpc.gateway_status, "status");

    opt->mqtt.keep_session = opt->mqtt.client_id != NULL;

    /* what is larger than an answer may be, but not by far, is told as such */
    opt->mqtt.max_packet = 2 * (uint32_t) opt->rpc.max_response + 128 * 1024;

    opt->rpc.redis = &opt->redis;
    opt->rpc.mqtt = &opt->mqtt;
    tb_log_level = opt->log_level;
}


void
tb_options_reload(tb_options_t *opt)
{
    const char  *why;

    why = tb_secrets_again(opt);

    if (why) {
        tb_log(TB_LOG_ERROR, "%s; what was read before stays", why);
    }
}


void
tb_options_free(tb_options_t *opt)
{
    size_t  i;

    char          **texts[] = {
        &opt->config, &opt->redis_password_file, &opt->mqtt_password_file,
        &opt->metrics_file,
        &opt->redis.name, &opt->redis.prefix, &opt->redis.host,
        &opt->redis.path, &opt->redis.address, &opt->redis.user,
        &opt->redis.password,
        &opt->mqtt.host, &opt->mqtt.cafile, &opt->mqtt.capath,
        &opt->mqtt.cert, &opt->mqtt.key, &opt->mqtt.client_id,
        &opt->mqtt.user, &opt->mqtt.password,
        &opt->rpc.online, &opt->rpc.offline, &opt->rpc.gateway_topic,
        &opt->rpc.devices, &opt->rpc.tenant
    };

    tb_template_t  *templates[] = {
        &opt->rpc.request, &opt->rpc.response, &opt->rpc.presence,
        &opt->rpc.gateway_rpc, &opt->rpc.gateway_connect,
        &opt->rpc.gateway_disconnect, &opt->rpc.gateway_status
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        free(*texts[i]);
    }

    for (i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        tb_template_free(templates[i]);
    }
}
