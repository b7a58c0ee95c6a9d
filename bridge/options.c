
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The command line.  Secrets are read from files only: a command line can be
 * read by everyone on the machine.
 */


#include "bridge.h"

#include <ctype.h>
#include <getopt.h>


#define TB_REQUEST   "v1/devices/{deviceId}/rpc/request/{requestId}"
#define TB_RESPONSE  "v1/devices/{deviceId}/rpc/response/{requestId}"
#define TB_PRESENCE  "v1/devices/{deviceId}/status"

#define TB_VAR(v)    (1u << TB_VAR_##v)


enum {
    TB_OPT_NAME = 256, TB_OPT_REDIS, TB_OPT_REDIS_USER, TB_OPT_REDIS_PW,
    TB_OPT_PREFIX, TB_OPT_SHARDS, TB_OPT_BROKER, TB_OPT_CLIENT_ID,
    TB_OPT_MQTT_USER, TB_OPT_MQTT_PW, TB_OPT_KEEPALIVE, TB_OPT_REQUEST,
    TB_OPT_RESPONSE, TB_OPT_PRESENCE, TB_OPT_ONLINE, TB_OPT_OFFLINE,
    TB_OPT_STATIC, TB_OPT_TTL, TB_OPT_QOS, TB_OPT_LOG, TB_OPT_CONCURRENCY,
    TB_OPT_MAX_ANSWERS, TB_OPT_MAX_RESPONSE, TB_OPT_MAX_DEVICES,
    TB_OPT_DRAIN, TB_OPT_HELP, TB_OPT_VERSION
};


static const struct option  tb_long[] = {
    { "name", 1, NULL, TB_OPT_NAME },
    { "redis", 1, NULL, TB_OPT_REDIS },
    { "redis-user", 1, NULL, TB_OPT_REDIS_USER },
    { "redis-password-file", 1, NULL, TB_OPT_REDIS_PW },
    { "prefix", 1, NULL, TB_OPT_PREFIX },
    { "shards", 1, NULL, TB_OPT_SHARDS },
    { "broker", 1, NULL, TB_OPT_BROKER },
    { "client-id", 1, NULL, TB_OPT_CLIENT_ID },
    { "mqtt-user", 1, NULL, TB_OPT_MQTT_USER },
    { "mqtt-password-file", 1, NULL, TB_OPT_MQTT_PW },
    { "keepalive", 1, NULL, TB_OPT_KEEPALIVE },
    { "request-topic", 1, NULL, TB_OPT_REQUEST },
    { "response-topic", 1, NULL, TB_OPT_RESPONSE },
    { "presence-topic", 1, NULL, TB_OPT_PRESENCE },
    { "online", 1, NULL, TB_OPT_ONLINE },
    { "offline", 1, NULL, TB_OPT_OFFLINE },
    { "static", 0, NULL, TB_OPT_STATIC },
    { "session-ttl", 1, NULL, TB_OPT_TTL },
    { "qos", 1, NULL, TB_OPT_QOS },
    { "log-level", 1, NULL, TB_OPT_LOG },
    { "concurrency", 1, NULL, TB_OPT_CONCURRENCY },
    { "max-answers", 1, NULL, TB_OPT_MAX_ANSWERS },
    { "max-response", 1, NULL, TB_OPT_MAX_RESPONSE },
    { "max-devices", 1, NULL, TB_OPT_MAX_DEVICES },
    { "drain", 1, NULL, TB_OPT_DRAIN },
    { "help", 0, NULL, TB_OPT_HELP },
    { "version", 0, NULL, TB_OPT_VERSION },
    { NULL, 0, NULL, 0 }
};


static const char  tb_help[] =
"Usage: tb-rpc-mqtt-bridge --name NAME [options]\n"
"\n"
"Delivers the RPC calls queued in Redis for bridge NAME to MQTT devices.\n"
"\n"
"  --name NAME                 bridge name: letters, digits, . _ : @ -\n"
"\n"
"Redis\n"
"  --redis URL                 redis://host[:port][/db] or unix:/path\n"
"                              (redis://127.0.0.1:6379)\n"
"  --redis-user USER           ACL user\n"
"  --redis-password-file FILE  its password, the first line of FILE\n"
"  --prefix TEXT               of all keys (tb:)\n"
"  --shards N                  (what PREFIXmeta says, waiting for it)\n"
"\n"
"MQTT\n"
"  --broker URL                mqtt://host[:port] (mqtt://127.0.0.1:1883)\n"
"  --client-id ID              keeps a session in the broker, so that answers\n"
"                              sent while the bridge reconnects are not lost;\n"
"                              each process needs its own (a random one,\n"
"                              without a session)\n"
"  --mqtt-user USER\n"
"  --mqtt-password-file FILE   the first line of FILE\n"
"  --keepalive SECONDS         (60)\n"
"  --qos 0|1                   of calls and subscriptions (1)\n"
"  --request-topic TEMPLATE    of {deviceId} {requestId} {tenantId} {name}\n"
"                              {method} (" TB_REQUEST ")\n"
"  --response-topic TEMPLATE   (" TB_RESPONSE ")\n"
"  --presence-topic TEMPLATE   (" TB_PRESENCE ")\n"
"  --online TEXT               presence payload (online); 1, true,\n"
"  --offline TEXT              {\"online\":true}, online:SESSION work too\n"
"  --static                    no presence topic: devices are routed by\n"
"                              tb_rpc_device_put ... bridge NAME\n"
"  --session-ttl MS            a device is offline when not heard of (60000)\n"
"\n"
"Limits\n"
"  --concurrency N             calls in hand (256)\n"
"  --max-answers N             answers waiting for Redis (4096)\n"
"  --max-response BYTES        of one answer (1048576)\n"
"  --max-devices N             present at once (200000)\n"
"  --drain MS                  to finish in at SIGTERM (5000)\n"
"\n"
"  --log-level LEVEL           error, warn, info or debug (info)\n"
"  --help, --version\n"
"\n"
"SIGTERM, SIGINT: finish what is open and exit. SIGUSR1: log the counters.\n";


static void
tb_usage(const char *option, const char *why)
{
    fprintf(stderr, "tb-rpc-mqtt-bridge: %s %s\n"
            "tb-rpc-mqtt-bridge --help shows the options\n", option, why);
    exit(2);
}


static void
tb_opt_text(char **out, const char *text)
{
    free(*out);
    *out = tb_strndup(text, strlen(text));
}


/* as it was written, for messages */

static const char *
tb_opt_option(int c)
{
    static char  name[40];

    snprintf(name, sizeof(name), "--%s", tb_long[c - TB_OPT_NAME].name);

    return name;
}


static int
tb_opt_int(const char *option, const char *text, uint32_t min, uint32_t max)
{
    char      why[64];
    uint32_t  n;

    if (tb_number(text, strlen(text), min, max, &n) != TB_OK) {
        snprintf(why, sizeof(why), "must be a number from %u to %u",
                 (unsigned) min, (unsigned) max);
        tb_usage(option, why);
    }

    return (int) n;
}


static void
tb_opt_secret(const char *option, char **out, const char *path)
{
    char   line[1024], why[1100];
    FILE  *f;

    f = fopen(path, "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL) {
        snprintf(why, sizeof(why), "cannot be read from %s: %s", path,
                 f ? "empty" : strerror(errno));
        tb_usage(option, why);
    }

    fclose(f);
    line[strcspn(line, "\r\n")] = '\0';
    tb_opt_text(out, line);
    memset(line, 0, sizeof(line));
}


/* host[:port] or [v6][:port]; what follows is left in *rest */

static void
tb_opt_host(const char *option, const char *text, char **host, int *port,
    const char **rest)
{
    char         digits[8];
    size_t       len;
    const char  *p;

    if (*text == '[') {
        len = strcspn(++text, "]");
        p = text[len] ? text + len + 1 : text + len;

    } else {
        len = strcspn(text, ":/");
        p = text + len;
    }

    if (len == 0 || strchr(text, '@') != NULL) {
        tb_usage(option, "needs a host; users and passwords have options of"
                 " their own");
    }

    free(*host);
    *host = tb_strndup(text, len);

    if (*p == ':') {
        len = strcspn(++p, "/");
        snprintf(digits, sizeof(digits), "%.*s", (int) len, p);
        *port = tb_opt_int(option, digits, 1, 65535);
        p += len;
    }

    *rest = p;
}


static void
tb_opt_redis(tb_options_t *opt, const char *url)
{
    const char  *rest;

    if (strncmp(url, "unix:", 5) == 0 && url[5] != '\0') {
        tb_opt_text(&opt->redis_unix, url + 5);
        return;
    }

    if (strncmp(url, "redis://", 8) != 0) {
        tb_usage("--redis", "must be redis://host[:port][/db] or unix:/path"
                 " (no TLS yet)");
    }

    tb_opt_host("--redis", url + 8, &opt->redis_host, &opt->redis_port,
                &rest);

    free(opt->redis_unix);
    opt->redis_unix = NULL;

    if (*rest == '/' && rest[1] != '\0') {
        opt->redis_db = tb_opt_int("--redis", rest + 1, 0, 65535);

    } else if (*rest != '/' && *rest != '\0') {
        tb_usage("--redis", "must be redis://host[:port][/db] or unix:/path");
    }
}


static void
tb_opt_broker(tb_options_t *opt, const char *url)
{
    const char  *rest;

    if (strncmp(url, "mqtt://", 7) != 0) {
        tb_usage("--broker", "must be mqtt://host[:port] (no TLS yet)");
    }

    tb_opt_host("--broker", url + 7, &opt->broker_host, &opt->broker_port,
                &rest);

    if (strcmp(rest, "/") != 0 && *rest != '\0') {
        tb_usage("--broker", "must be mqtt://host[:port]");
    }
}


static void
tb_opt_template(const char *option, tb_template_t *t, const char *source,
    unsigned required)
{
    unsigned     all;
    const char  *error;

    all = TB_VAR(DEVICE_ID) | TB_VAR(REQUEST_ID) | TB_VAR(NAME)
          | TB_VAR(TENANT_ID) | TB_VAR(METHOD);

    if (required == TB_VAR(DEVICE_ID)) {
        all &= ~(TB_VAR(REQUEST_ID) | TB_VAR(METHOD));
    }

    free(t->source);
    free(t->subscription);
    memset(t, 0, sizeof(tb_template_t));

    if (tb_template_parse(t, source, all, &error) != TB_OK) {
        tb_usage(option, error);
    }

    if ((t->vars & required) != required) {
        tb_usage(option, required == TB_VAR(DEVICE_ID)
                 ? "must have {deviceId}"
                 : "must have {deviceId} and {requestId}");
    }
}


static void
tb_opt_level(const char *text)
{
    int                 i;

    static const char  *levels[] = { "error", "warn", "info", "debug" };

    for (i = 0; i < 4; i++) {
        if (strcmp(text, levels[i]) == 0) {
            tb_log_level = i;
            return;
        }
    }

    tb_usage("--log-level", "must be error, warn, info or debug");
}


static void
tb_opt_name(const char *option, char **out, const char *text)
{
    const char  *p;

    for (p = text; *p; p++) {
        if (!isalnum((unsigned char) *p) && strchr("._:@-", *p) == NULL) {
            tb_usage(option, "may have letters, digits and . _ : @ - only");
        }
    }

    if (p == text || p - text > 64) {
        tb_usage(option, "must have 1 to 64 characters");
    }

    tb_opt_text(out, text);
}


/* 1 if it was one of these */

static int
tb_opt_numbers(tb_options_t *opt, int c)
{
    size_t  i;

    const struct {
        int        option;
        int       *value;
        uint32_t   min;
        uint32_t   max;
    } numbers[] = {
        { TB_OPT_SHARDS, &opt->shards, 1, TB_MAX_SHARDS },
        { TB_OPT_KEEPALIVE, &opt->keepalive, 5, 65535 },
        { TB_OPT_TTL, &opt->session_ttl, 300, 86400000 },
        { TB_OPT_QOS, &opt->qos, 0, 1 },
        { TB_OPT_CONCURRENCY, &opt->concurrency, 1, 10000 },
        { TB_OPT_MAX_ANSWERS, &opt->max_answers, 1, 100000 },
        { TB_OPT_MAX_RESPONSE, &opt->max_response, 1, TB_MAX_ANSWER_BYTES },
        { TB_OPT_MAX_DEVICES, &opt->max_devices, 1, 10000000 },
        { TB_OPT_DRAIN, &opt->drain, 0, 3600000 }
    };

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i].option == c) {
            *numbers[i].value = tb_opt_int(tb_opt_option(c), optarg,
                                           numbers[i].min, numbers[i].max);
            return 1;
        }
    }

    return 0;
}


static int
tb_opt_texts(tb_options_t *opt, int c)
{
    switch (c) {

    case TB_OPT_NAME:
        tb_opt_name("--name", &opt->name, optarg);
        return 1;

    case TB_OPT_REDIS_USER:
        tb_opt_text(&opt->redis_user, optarg);
        return 1;

    case TB_OPT_PREFIX:
        if (strpbrk(optarg, "{}") != NULL || strlen(optarg) > 64) {
            tb_usage("--prefix", "must be at most 64 bytes without braces");
        }
        tb_opt_text(&opt->prefix, optarg);
        return 1;

    case TB_OPT_CLIENT_ID:
        if (*optarg == '\0') {
            tb_usage("--client-id", "must not be empty");
        }
        tb_opt_text(&opt->client_id, optarg);
        opt->keep_session = 1;
        return 1;

    case TB_OPT_MQTT_USER:
        tb_opt_text(&opt->mqtt_user, optarg);
        return 1;

    case TB_OPT_ONLINE:
        tb_opt_text(&opt->online, optarg);
        return 1;

    case TB_OPT_OFFLINE:
        tb_opt_text(&opt->offline, optarg);
        return 1;
    }

    return 0;
}


static int
tb_opt_topics(tb_options_t *opt, int c)
{
    switch (c) {

    case TB_OPT_REQUEST:
        tb_opt_template("--request-topic", &opt->request, optarg, 0);
        return 1;

    case TB_OPT_RESPONSE:
        tb_opt_template("--response-topic", &opt->response, optarg,
                        TB_VAR(DEVICE_ID) | TB_VAR(REQUEST_ID));
        return 1;

    case TB_OPT_PRESENCE:
        tb_opt_template("--presence-topic", &opt->presence, optarg,
                        TB_VAR(DEVICE_ID));
        return 1;
    }

    return 0;
}


static void
tb_opt_one(tb_options_t *opt, int c)
{
    if (tb_opt_numbers(opt, c) || tb_opt_texts(opt, c)
        || tb_opt_topics(opt, c))
    {
        return;
    }

    switch (c) {

    case TB_OPT_REDIS:
        tb_opt_redis(opt, optarg);
        return;

    case TB_OPT_REDIS_PW:
        tb_opt_secret("--redis-password-file", &opt->redis_password, optarg);
        return;

    case TB_OPT_BROKER:
        tb_opt_broker(opt, optarg);
        return;

    case TB_OPT_MQTT_PW:
        tb_opt_secret("--mqtt-password-file", &opt->mqtt_password, optarg);
        return;

    case TB_OPT_STATIC:
        opt->fixed = 1;
        return;

    case TB_OPT_LOG:
        tb_opt_level(optarg);
        return;

    case TB_OPT_HELP:
        fputs(tb_help, stdout);
        exit(0);

    case TB_OPT_VERSION:
        puts("tb-rpc-mqtt-bridge " TB_VERSION);
        exit(0);

    default:
        fputs("tb-rpc-mqtt-bridge --help shows the options\n", stderr);
        exit(2);
    }
}


static void
tb_opt_defaults(tb_options_t *opt)
{
    unsigned  both;

    both = TB_VAR(DEVICE_ID) | TB_VAR(REQUEST_ID);

    tb_opt_template("", &opt->request, TB_REQUEST, 0);
    tb_opt_template("", &opt->response, TB_RESPONSE, both);
    tb_opt_template("", &opt->presence, TB_PRESENCE, TB_VAR(DEVICE_ID));

    tb_opt_text(&opt->prefix, "tb:");
    tb_opt_text(&opt->redis_host, "127.0.0.1");
    tb_opt_text(&opt->broker_host, "127.0.0.1");
    tb_opt_text(&opt->online, "online");
    tb_opt_text(&opt->offline, "offline");

    opt->redis_port = 6379;
    opt->broker_port = 1883;
    opt->keepalive = 60;
    opt->qos = 1;
    opt->session_ttl = 60000;
    opt->concurrency = 256;
    opt->max_answers = 4096;
    opt->max_response = 1048576;
    opt->max_devices = 200000;
    opt->drain = 5000;
}


void
tb_options(tb_options_t *opt, int argc, char **argv)
{
    int  c;

    tb_opt_defaults(opt);

    while ((c = getopt_long(argc, argv, "", tb_long, NULL)) != -1) {
        tb_opt_one(opt, c);
    }

    if (optind < argc) {
        tb_usage(argv[optind], "is not an option");
    }

    if (opt->name == NULL) {
        tb_usage("--name", "is missing");
    }

    if (opt->redis_user && !opt->redis_password) {
        tb_usage("--redis-user", "needs --redis-password-file");
    }

    if (opt->mqtt_password && !opt->mqtt_user) {
        tb_usage("--mqtt-password-file", "needs --mqtt-user");
    }
}


void
tb_options_free(tb_options_t *opt)
{
    int             i;
    char           *texts[12];
    tb_template_t  *templates[3];

    texts[0] = opt->name;
    texts[1] = opt->prefix;
    texts[2] = opt->redis_host;
    texts[3] = opt->redis_unix;
    texts[4] = opt->redis_user;
    texts[5] = opt->redis_password;
    texts[6] = opt->broker_host;
    texts[7] = opt->client_id;
    texts[8] = opt->mqtt_user;
    texts[9] = opt->mqtt_password;
    texts[10] = opt->online;
    texts[11] = opt->offline;

    for (i = 0; i < 12; i++) {
        free(texts[i]);
    }

    templates[0] = &opt->request;
    templates[1] = &opt->response;
    templates[2] = &opt->presence;

    for (i = 0; i < 3; i++) {
        free(templates[i]->source);
        free(templates[i]->subscription);
    }
}
