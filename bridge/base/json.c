
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Objects are walked member by member, so that values can be passed on as
 * the bytes that were sent: 1.10 stays 1.10.
 */


#include "json.h"


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


static const char *
tb_walk_member(const char **p, const char *end, tb_member_pt handler,
    void *data, int *has)
{
    int        rc;
    json_t    *key, *json;
    tb_str_t   raw;

    key = tb_value(p, end, &raw);
    if (key == NULL || !json_is_string(key)) {
        json_decref(key);
        return "a member has no name";
    }

    *p = tb_skip(*p, end);
    json = NULL;

    if (*p < end && *(*p)++ == ':') {
        json = tb_value(p, end, &raw);
    }

    if (json == NULL) {
        json_decref(key);
        return "a member has no value";
    }

    rc = handler(data, json_string_value(key), json, &raw);

    json_decref(key);
    json_decref(json);

    if (rc == TB_ERROR) {
        return "a member has a wrong value";
    }

    *has |= rc;
    *p = tb_skip(*p, end);

    return NULL;
}


const char *
tb_json_walk(const char *text, size_t len, tb_member_pt handler, void *data,
    int *has)
{
    char         c;
    const char  *p, *end, *error;

    end = text + len;
    p = tb_skip(text, end);
    *has = 0;

    if (p == end || *p++ != '{') {
        return "it is not a JSON object";
    }

    do {
        error = tb_walk_member(&p, end, handler, data, has);
        if (error != NULL) {
            return error;
        }

        c = (p < end) ? *p++ : '\0';

    } while (c == ',');

    if (c != '}' || tb_skip(p, end) != end) {
        return "it does not end as a JSON object";
    }

    return NULL;
}
