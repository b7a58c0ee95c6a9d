
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Flags, and the configuration file with the same names.
 */


#include "../base/log.h"
#include "options.h"
#include "optredis.h"
#include "table.h"

#include <ctype.h>


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

    for (i = 0; i < tb_ntable; i++) {
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
         "SIGHUP: read --devices, passwords and the files of --redis-... "
         "again.");
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

    for (i = 0; i < tb_ntable; i++) {
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

    for (i = 0; i < tb_ntable; i++) {
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
    unsigned     names;
    const char  *option, *why;

    names = opt->rpc.response.vars;

    if (!opt->rpc.fixed && !opt->rpc.attached) {
        names &= opt->rpc.presence.vars;
    }

    if (opt->redis.name == NULL) {
        tb_usage("", "--name", "is missing");
    }

    if (opt->rpc.fixed && opt->rpc.attached) {
        tb_usage("", "--static and --attached", "exclude each other");
    }

    why = tb_redis_options_check(opt, &option);

    if (why) {
        tb_usage("", option, why);
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

    for (i = 0; i < tb_ntable; i++) {
        if (tb_table[i].value) {
            tb_option(opt, "", "", tb_table[i].name,
                      strlen(tb_table[i].name), tb_table[i].value);
        }
    }

    tb_flags(opt, argc, argv, 1);

    if (opt->config) {
        opt->source = TB_FROM_FILE;
        tb_config(opt, opt->config);
    }

    opt->source = TB_FROM_FLAGS;
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

    why = tb_redis_options_again(opt);

    if (why == NULL && opt->mqtt_password_file) {
        why = tb_secret(&opt->mqtt.password, "--mqtt-password-file ",
                        opt->mqtt_password_file);
    }

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
        &opt->redis.name, &opt->redis.prefix, &opt->redis.user,
        &opt->redis.password, &opt->sentinel_password_file,
        &opt->redis.sentinel, &opt->redis.sentinel_user,
        &opt->redis.sentinel_password, &opt->redis.ca, &opt->redis.cert,
        &opt->redis.key,
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

    tb_redis_options_free(opt);
}
