
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The payload of a presence message: online, 1, true, {"online":true},
 * {"state":"online"}, and with a session: online:<session>,
 * {"online":true,"session":"..."}.
 */


#include "payload.h"

#include <jansson.h>

static int
tb_presence_word(const tb_rpc_conf_t *conf, const char *data, size_t len)
{
    size_t              i;

    static const char  *words[] = {
        "offline", "online", "0", "1", "false", "true"
    };

    if (len == strlen(conf->online)
        && memcmp(data, conf->online, len) == 0)
    {
        return 1;
    }

    if (len == strlen(conf->offline)
        && memcmp(data, conf->offline, len) == 0)
    {
        return 0;
    }

    for (i = 0; i < 6; i++) {
        if (len == strlen(words[i]) && memcmp(data, words[i], len) == 0) {
            return i & 1;
        }
    }

    return TB_ERROR;
}


static int
tb_presence_session(const char *data, size_t len, char *out)
{
    size_t  i;

    if (len == 0 || len > TB_MAX_SESSION) {
        return TB_ERROR;
    }

    for (i = 0; i < len; i++) {
        if (data[i] <= 0x20 || data[i] >= 0x7f) {
            return TB_ERROR;
        }
    }

    memcpy(out, data, len);
    out[len] = '\0';

    return TB_OK;
}


/* {"online":true,"session":"..."}, {"state":"online"} */

static int
tb_presence_json(const tb_rpc_conf_t *conf, const char *data, size_t len,
    char *session)
{
    int      rc;
    json_t  *json, *online, *state, *value;

    json = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    online = json_object_get(json, "online");
    value = json_object_get(json, "session");

    state = json_object_get(json, "state");

    rc = json_is_boolean(online) ? json_is_true(online) : TB_ERROR;

    if (online == NULL && json_is_string(state)) {
        rc = tb_presence_word(conf, json_string_value(state),
                              json_string_length(state));
    }

    if (json_is_string(value)
        && tb_presence_session(json_string_value(value),
                               json_string_length(value), session) != TB_OK)
    {
        rc = TB_ERROR;
    }

    json_decref(json);

    return rc;
}


int
tb_presence_parse(const tb_rpc_conf_t *conf, const tb_str_t *payload,
    char *session)
{
    int          rc;
    size_t       len;
    const char  *data, *colon;

    session[0] = '\0';
    data = payload->data;
    len = payload->len;

    if (len == 0) {
        /* the retained message was removed */
        return 0;
    }

    if (len > 1024) {
        return TB_ERROR;
    }

    rc = tb_presence_word(conf, data, len);

    if (rc != TB_ERROR) {
        return rc;
    }

    if (data[0] == '{') {
        return tb_presence_json(conf, data, len, session);
    }

    colon = memchr(data, ':', len);

    if (colon == NULL
        || tb_presence_session(colon + 1, data + len - colon - 1, session)
           != TB_OK)
    {
        return TB_ERROR;
    }

    return tb_presence_word(conf, data, colon - data);
}
