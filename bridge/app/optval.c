
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Values of options.  Secrets are read from files only: a command line can
 * be read by everyone on the machine.
 */


#include "../base/str.h"
#include "../base/uuid.h"
#include "../mqtt/lib.h"
#include "optval.h"

#include <ctype.h>
#include <stdarg.h>


#define tb_field(opt, o, type)  ((type *) ((char *) (opt) + (o)->offset))


const char *
tb_why(const char *fmt, ...)
{
    va_list      args;

    static char  why[1200];

    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);

    return why;
}


void
tb_replace(char **out, const char *text, size_t len)
{
    char  *copy;

    copy = tb_strndup(text, len);
    free(*out);
    *out = copy;
}


const char *
tb_set_int(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    uint32_t  n;

    if (tb_number(value, strlen(value), o->min, o->max, &n) != TB_OK) {
        return tb_why("must be a number from %u to %u", (unsigned) o->min,
                      (unsigned) o->max);
    }

    *tb_field(opt, o, int) = (int) n;

    return NULL;
}


const char *
tb_set_text(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    if (strlen(value) < o->min) {
        return "must not be empty";
    }

    tb_replace(tb_field(opt, o, char *), value, strlen(value));

    return NULL;
}


const char *
tb_set_switch(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
        return "must be on or off";
    }

    *tb_field(opt, o, int) = strcmp(value, "on") == 0;

    return NULL;
}


const char *
tb_secret(char **out, const char *option, const char *path)
{
    int    empty;
    char   line[1024];
    FILE  *f;

    f = fopen(path, "r");

    if (f == NULL) {
        return tb_why("%scannot be read from %s: %s", option, path,
                      strerror(errno));
    }

    empty = fgets(line, sizeof(line), f) == NULL;
    fclose(f);

    if (empty) {
        return tb_why("%scannot be read from %s: it is empty", option, path);
    }

    tb_replace(out, line, strcspn(line, "\r\n"));
    memset(line, 0, sizeof(line));

    return NULL;
}


const char *
tb_set_mqtt_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value)
{
    tb_replace(&opt->mqtt_password_file, value, strlen(value));

    return tb_secret(&opt->mqtt.password, "", value);
}


const char *
tb_set_name(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    const char  *p;

    for (p = value; *p; p++) {
        if (!isalnum((unsigned char) *p) && strchr("._:@-", *p) == NULL) {
            return "may have letters, digits and . _ : @ - only";
        }
    }

    if (p == value || p - value > 64) {
        return "must have 1 to 64 characters";
    }

    return tb_set_text(opt, o, value);
}


const char *
tb_set_prefix(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    if (strpbrk(value, "{}") != NULL || strlen(value) > 64) {
        return "must be at most 64 bytes without braces";
    }

    return tb_set_text(opt, o, value);
}


const char *
tb_set_uuid(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    char  id[TB_UUID_LEN + 1];

    if (tb_uuid(value, strlen(value), id) != TB_OK) {
        return "must be a UUID";
    }

    return tb_set_text(opt, o, id);
}


const char *
tb_set_template(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    const char     *error;
    tb_template_t   t, *old;

    memset(&t, 0, sizeof(tb_template_t));

    if (tb_template_parse(&t, value, o->max, &error) != TB_OK) {
        tb_template_free(&t);
        return error;
    }

    if (o->min && !(t.vars & o->min)) {
        tb_template_free(&t);
        return "must have {deviceId} or {name}";
    }

    old = tb_field(opt, o, tb_template_t);
    tb_template_free(old);
    *old = t;

    return NULL;
}


const char *
tb_set_host(const char *text, char **host, int *port, const char **rest)
{
    size_t       len;
    uint32_t     n;
    const char  *p, *name;

    name = text;

    if (*text == '[') {
        name++;
        len = strcspn(name, "]");
        p = name[len] ? name + len + 1 : name + len;

    } else {
        len = strcspn(name, ":/");
        p = name + len;
    }

    if (len == 0 || strchr(text, '@') != NULL) {
        return "needs a host; users and passwords have options of their own";
    }

    if (*p == ':') {
        size_t  digits = strcspn(++p, "/");

        if (tb_number(p, digits, 1, 65535, &n) != TB_OK) {
            return "has a port that is no number from 1 to 65535";
        }

        *port = (int) n;
        p += digits;
    }

    tb_replace(host, name, len);
    *rest = p;

    return NULL;
}


const char *
tb_set_broker(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    int          tls, port;
    const char  *rest, *error;

    tls = strncmp(value, "mqtts://", 8) == 0;

    if (!tls && strncmp(value, "mqtt://", 7) != 0) {
        return "must be mqtt://host[:port] or mqtts://host[:port]";
    }

    port = tls ? 8883 : 1883;

    error = tb_set_host(value + 7 + tls, &opt->mqtt.host, &port, &rest);
    if (error) {
        return error;
    }

    if (strcmp(rest, "/") != 0 && *rest != '\0') {
        return "must be mqtt://host[:port] or mqtts://host[:port]";
    }

    opt->mqtt.tls = tls;
    opt->mqtt.port = port;

    return NULL;
}


const char *
tb_set_word(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    int          i;
    size_t       len;
    const char  *word;

    word = o->arg;

    for (i = 0; *value && *word; i++) {
        len = strcspn(word, "|");

        if (strlen(value) == len && memcmp(value, word, len) == 0) {
            *tb_field(opt, o, int) = i;
            return NULL;
        }

        word += len + (word[len] == '|');
    }

    return tb_why("must be one of %s", o->arg);
}


const char *
tb_set_version(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    if (strcmp(value, "3.1.1") == 0 || strcmp(value, "311") == 0) {
        opt->mqtt.version = MQTT_PROTOCOL_V311;
        return NULL;
    }

    if (strcmp(value, "5") == 0) {
        opt->mqtt.version = MQTT_PROTOCOL_V5;
        return NULL;
    }

    return "must be 3.1.1 or 5";
}
