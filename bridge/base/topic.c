
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Topic templates: v1/devices/{deviceId}/rpc/request/{requestId}.
 * A template owns the texts that its pieces point into.
 */


#include "str.h"
#include "topic.h"
#include "uuid.h"

#include <mosquitto.h>


static const struct {
    const char  *name;
    tb_var_e     var;
} tb_vars[] = {
    { "deviceId", TB_VAR_DEVICE_ID },
    { "requestId", TB_VAR_REQUEST_ID },
    { "name", TB_VAR_NAME },
    { "tenantId", TB_VAR_TENANT_ID },
    { "method", TB_VAR_METHOD },
    { "gateway", TB_VAR_GATEWAY }
};


static tb_var_e
tb_template_var(const char *name, size_t len)
{
    size_t  i;

    for (i = 0; i < sizeof(tb_vars) / sizeof(tb_vars[0]); i++) {
        if (strlen(tb_vars[i].name) == len
            && memcmp(tb_vars[i].name, name, len) == 0)
        {
            return tb_vars[i].var;
        }
    }

    return TB_VAR_LITERAL;
}


/* levels with a variable become "+" */

static char *
tb_template_subscription(const char *source)
{
    char    *out, *p;
    size_t   len;

    out = tb_alloc(strlen(source) + 2);
    p = out;

    for ( ;; ) {
        len = strcspn(source, "/");

        if (memchr(source, '{', len) != NULL) {
            *p++ = '+';

        } else {
            memcpy(p, source, len);
            p += len;
        }

        source += len;

        if (*source == '\0') {
            return out;
        }

        *p++ = *source++;
    }
}


static const char *
tb_template_add(tb_template_t *t, tb_var_e var, const char *text, size_t len)
{
    tb_piece_t  *piece;

    if (t->npieces == TB_MAX_PIECES) {
        return "has too many parts";
    }

    if (var != TB_VAR_LITERAL) {
        if (t->npieces
            && t->pieces[t->npieces - 1].var != TB_VAR_LITERAL)
        {
            return "has two variables with nothing between them";
        }

        if (t->vars & (1u << var)) {
            return "has a variable twice";
        }

        t->vars |= 1u << var;
    }

    piece = &t->pieces[t->npieces++];
    piece->var = var;
    piece->text.data = text;
    piece->text.len = len;

    return NULL;
}


int
tb_template_parse(tb_template_t *t, const char *source, unsigned allowed,
    const char **error)
{
    size_t       len;
    tb_var_e     var;
    const char  *p, *end;

    if (*source == '\0' || strlen(source) > 1024
        || strpbrk(source, "+#") != NULL)
    {
        *error = "is empty, too long, or has a wildcard";
        return TB_ERROR;
    }

    t->source = tb_strndup(source, strlen(source));

    for (p = t->source; *p != '\0'; p = end) {
        len = strcspn(p, "{}");

        if (len) {
            var = TB_VAR_LITERAL;
            end = p + len;

        } else {
            end = strchr(p, '}');
            if (*p == '}' || end == NULL) {
                *error = "has a lone brace";
                return TB_ERROR;
            }

            var = tb_template_var(p + 1, end - p - 1);
            if (var == TB_VAR_LITERAL || !(allowed & (1u << var))) {
                *error = "has a variable that is unknown or not for here";
                return TB_ERROR;
            }

            end++;
        }

        *error = tb_template_add(t, var, p, end - p);
        if (*error != NULL) {
            return TB_ERROR;
        }
    }

    t->subscription = tb_template_subscription(t->source);

    return TB_OK;
}


void
tb_template_free(tb_template_t *t)
{
    free(t->source);
    free(t->subscription);
    memset(t, 0, sizeof(tb_template_t));
}


/*
 * A method or a name comes from an HTTP caller or an operator.  It must not
 * lead to another topic than that of its place in the template.
 */

static int
tb_template_unfit(const tb_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len; i++) {
        if ((unsigned char) value->data[i] < 0x20 || value->data[i] == 0x7f
            || value->data[i] == '/' || value->data[i] == '+'
            || value->data[i] == '#')
        {
            return 1;
        }
    }

    return value->len == 0;
}


const char *
tb_template_expand(const tb_template_t *t, tb_str_t *values, char *out,
    size_t size)
{
    size_t             n;
    unsigned           i;
    const tb_str_t    *text;
    const tb_piece_t  *piece;

    for (i = 0, n = 0; i < t->npieces; i++) {
        piece = &t->pieces[i];
        text = &piece->text;

        if (piece->var != TB_VAR_LITERAL) {
            text = &values[piece->var];

            /* what begins with a dollar sign is the broker's own */

            if (tb_template_unfit(text)
                || (i == 0 && text->data[0] == '$'))
            {
                return piece->var == TB_VAR_METHOD
                       ? "the method cannot be part of an MQTT topic"
                       : piece->var == TB_VAR_NAME
                         ? "the device has no name that can be part of"
                           " an MQTT topic"
                         : "an id cannot be part of an MQTT topic";
            }
        }

        if (text->len >= size - n) {
            return "the MQTT topic is too long";
        }

        memcpy(out + n, text->data, text->len);
        n += text->len;
    }

    out[n] = '\0';

    return mosquitto_pub_topic_check(out) == MOSQ_ERR_SUCCESS
           && mosquitto_validate_utf8(out, (int) n) == MOSQ_ERR_SUCCESS
           ? NULL : "the MQTT topic is not valid";
}


int
tb_template_match(const tb_template_t *t, const char *topic,
    tb_str_t *values)
{
    size_t             len;
    unsigned           i;
    const char        *end;
    const tb_piece_t  *piece;

    memset(values, 0, sizeof(tb_str_t) * TB_VAR_MAX);

    for (i = 0; i < t->npieces; i++) {
        piece = &t->pieces[i];

        if (piece->var == TB_VAR_LITERAL) {
            if (strncmp(topic, piece->text.data, piece->text.len) != 0) {
                return TB_ERROR;
            }

            topic += piece->text.len;
            continue;
        }

        /* up to the end of the level, or to the literal that follows */

        len = strcspn(topic, "/");

        if (piece->var == TB_VAR_DEVICE_ID && len > TB_UUID_LEN) {
            len = TB_UUID_LEN;

        } else if (piece->var == TB_VAR_REQUEST_ID) {
            len = strspn(topic, "0123456789");

        } else if (i + 1 < t->npieces && piece[1].text.data[0] != '/') {
            end = memchr(topic, piece[1].text.data[0], len);
            len = end ? (size_t) (end - topic) : len;
        }

        if (len == 0) {
            return TB_ERROR;
        }

        values[piece->var].data = topic;
        values[piece->var].len = len;
        topic += len;
    }

    return *topic == '\0' ? TB_OK : TB_ERROR;
}
