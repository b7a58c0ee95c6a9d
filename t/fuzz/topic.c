
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Templates of topics: what a topic is made of by one is found in it again,
 * and what matches is what the broker would send for its subscription.
 *
 * fuzz: bridge, at most 160 bytes
 */


#include "../../bridge/base/topic.h"
#include "../../bridge/base/uuid.h"
#include "lib/fuzz.h"

#include <mosquitto.h>


/* "template\ntopic\nvalue\nvalue..." */

static char *
next(char **text)
{
    char  *start;

    start = *text;

    if (start == NULL) {
        return "";
    }

    *text = strchr(start, '\n');

    if (*text) {
        *(*text)++ = '\0';
    }

    return start;
}


/* the pieces of a match, one behind the other, are the topic */

static void
whole(tb_template_t *t, const char *topic, tb_str_t *values)
{
    size_t    n;
    unsigned  i;
    tb_str_t  *text;

    for (i = 0, n = 0; i < t->npieces; i++) {
        text = &t->pieces[i].text;

        if (t->pieces[i].var != TB_VAR_LITERAL) {
            text = &values[t->pieces[i].var];

            CHECK(text->data == topic + n && text->len > 0);
            CHECK(memchr(text->data, '/', text->len) == NULL);
        }

        CHECK(memcmp(topic + n, text->data, text->len) == 0);
        n += text->len;
    }

    CHECK(n == strlen(topic));
}


static void
match(tb_template_t *t, const char *topic)
{
    int        rc;
    bool       sent;
    tb_str_t   values[TB_VAR_MAX];

    rc = tb_template_match(t, topic, values);

    if (rc != TB_OK) {
        return;
    }

    whole(t, topic, values);

    if (mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS
        && mosquitto_sub_topic_check(t->subscription) == MOSQ_ERR_SUCCESS
        && topic[0] != '$' && t->subscription[0] != '$')
    {
        rc = mosquitto_topic_matches_sub(t->subscription, topic, &sent);
        CHECK(rc != MOSQ_ERR_SUCCESS || sent);
    }
}


static void
expand(tb_template_t *t, char *text)
{
    char        out[64];
    size_t      i;
    unsigned    bit;
    tb_str_t    values[TB_VAR_MAX], found[TB_VAR_MAX];
    const char *error, *slash;

    for (i = 0; i < TB_VAR_MAX; i++) {
        values[i].data = next(&text);
        values[i].len = strlen(values[i].data);
    }

    error = tb_template_expand(t, values, out, sizeof(out));

    if (error) {
        return;
    }

    CHECK(memchr(out, '\0', sizeof(out)) != NULL);
    CHECK(mosquitto_pub_topic_check(out) == MOSQ_ERR_SUCCESS);

    /* no level more than the template has */

    for (slash = out, i = 0; *slash; slash++) {
        i += *slash == '/';
    }

    for (slash = t->source; *slash; slash++) {
        i -= *slash == '/';
    }

    CHECK(i == 0);

    /*
     * A variable that is a level by itself is found again, but for ids that
     * are none.
     */

    if (tb_template_match(t, out, found) != TB_OK) {
        for (bit = 1; bit < TB_VAR_MAX; bit++) {
            if (!(t->vars & (1u << bit))) {
                continue;
            }

            if (bit == TB_VAR_REQUEST_ID
                && strspn(values[bit].data, "0123456789") != values[bit].len)
            {
                return;
            }

            if (bit == TB_VAR_DEVICE_ID && values[bit].len > TB_UUID_LEN) {
                return;
            }
        }

        /* else what follows a value is in it, too */

        for (i = 1; i < t->npieces; i++) {
            if (t->pieces[i].var == TB_VAR_LITERAL
                && t->pieces[i].text.data[0] != '/')
            {
                return;
            }

            if (t->pieces[i - 1].var == TB_VAR_LITERAL
                && t->pieces[i - 1].text.data[t->pieces[i - 1].text.len - 1]
                   != '/')
            {
                return;
            }
        }

        CHECK(!"what a template has made it does not know again");
    }

    whole(t, out, found);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             rc;
    char           *text, *source, *topic;
    const char     *error;
    tb_template_t   t;
    static char     copy[256];

    if (size == 0 || size >= sizeof(copy)) {
        return 0;
    }

    memcpy(copy, data, size);
    copy[size] = '\0';
    text = copy;

    memset(&t, 0, sizeof(tb_template_t));

    error = NULL;
    source = next(&text);
    topic = (char *) next(&text);
    rc = tb_template_parse(&t, source, ~0u, &error);

    if (rc == TB_OK) {
        CHECK(t.npieces > 0 && t.npieces <= TB_MAX_PIECES);
        CHECK(strpbrk(t.subscription, "{}") == NULL);

        match(&t, topic);
        expand(&t, text);

    } else {
        CHECK(error != NULL);
    }

    tb_template_free(&t);

    return 0;
}
