
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Devices behind ThingsBoard gateways: {"device":"Name"} connects and
 * disconnects one, and {"device":"Name","id":17,"data":...} is its answer.
 * A gateway says only once that a device is there; so it is kept in a hash,
 * for the time after a restart: device id -> <gateway> LF <name>.  Until that
 * was read, what gateways say waits: who disconnects a device, or answers for
 * it, must be known to have it, and what was kept is older.
 */


#include "../base/json.h"
#include "../base/log.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "../redis/key.h"
#include "answer.h"
#include "device.h"
#include "gateway.h"
#include "names.h"
#include "payload.h"
#include "presence.h"
#include "resolve.h"
#include "rival.h"
#include "unsaved.h"


#define TB_GATEWAY_DEVICE  0x01
#define TB_GATEWAY_ID      0x02
#define TB_GATEWAY_DATA    0x04
#define TB_GATEWAY_ERROR   0x08

/* of what waits for Redis */
#define TB_GATEWAY_COST    512


typedef struct {
    json_t     *device;
    uint32_t    request_id;
    tb_str_t    data;
    tb_str_t    error;
} tb_gateway_t;


typedef struct tb_gateway_msg_s  tb_gateway_msg_t;

struct tb_gateway_msg_s {
    tb_gateway_msg_t   *next;
    tb_message_t       *msg;
    size_t              cost;
    unsigned            epoch;
};


struct tb_gateways_s {
    int                 asked;             /* the hash, and it has not come */
    tb_gateway_msg_t   *head;              /* until it has */
    tb_gateway_msg_t  **tail;
};


tb_gateways_t *
tb_gateways_create(void)
{
    tb_gateways_t  *gateways;

    gateways = tb_alloc(sizeof(tb_gateways_t));
    gateways->tail = &gateways->head;

    return gateways;
}


static tb_gateway_msg_t *
tb_gateway_shift(tb_gateways_t *gateways)
{
    tb_gateway_msg_t  *m;

    m = gateways->head;

    if (m != NULL) {
        gateways->head = m->next;

        if (gateways->head == NULL) {
            gateways->tail = &gateways->head;
        }
    }

    return m;
}


static void
tb_gateway_msg_free(tb_gateway_msg_t *m)
{
    free(m->msg);
    free(m);
}


void
tb_gateways_free(tb_gateways_t *gateways)
{
    tb_gateway_msg_t  *m;

    while ((m = tb_gateway_shift(gateways)) != NULL) {
        tb_gateway_msg_free(m);
    }

    free(gateways);
}


/* 1: it is heeded when the hash has come; the master of that may be away */

static int
tb_gateway_waits(tb_bridge_t *b, const tb_message_t *msg)
{
    tb_gateway_msg_t  *m;

    if (!b->gateways->asked) {
        return 0;
    }

    if (tb_answers_overfull(b, 0)) {
        tb_message_no_room(b, msg);
        return 1;
    }

    m = tb_alloc(sizeof(tb_gateway_msg_t));
    m->msg = tb_message_copy(b, msg);
    m->cost = sizeof(tb_gateway_msg_t) + tb_message_size(b, msg);
    m->epoch = tb_answer_unsaved(b, 0, m->cost);

    *b->gateways->tail = m;
    b->gateways->tail = &m->next;

    return 1;
}


static int
tb_gateway_member(void *data, const char *key, json_t *json, tb_str_t *raw)
{
    tb_gateway_t  *g = data;

    if (strcmp(key, "device") == 0) {
        if (!json_is_string(json) || json_string_length(json) == 0
            || json_string_length(json) > TB_MAX_NAME
            || strlen(json_string_value(json)) != json_string_length(json))
        {
            return TB_ERROR;
        }

        json_decref(g->device);
        g->device = json_incref(json);
        return TB_GATEWAY_DEVICE;
    }

    if (strcmp(key, "id") == 0) {
        return tb_number(raw->data, raw->len, 1, 0x7fffffff, &g->request_id)
               == TB_OK ? TB_GATEWAY_ID : TB_ERROR;
    }

    if (strcmp(key, "data") == 0) {
        g->data = *raw;
        return TB_GATEWAY_DATA;
    }

    if (strcmp(key, "error") == 0) {
        g->error = *raw;
        return TB_GATEWAY_ERROR;
    }

    return 0;
}


static void
tb_gateway_bad(tb_bridge_t *b, tb_message_t *msg, const char *why)
{
    b->count->gateway_bad++;
    tb_log(TB_LOG_WARN, "a message of a gateway on %s is refused: %s",
           tb_safe(msg->topic, strlen(msg->topic)), why);
}


/*
 * Before it is parsed: what there is beside an answer is a name, an id and
 * little more; 1 if it is larger than that.
 */

static int
tb_gateway_too_large(tb_bridge_t *b, tb_message_t *msg, int rpc)
{
    size_t  max;

    max = TB_AROUND_ANSWER + (rpc ? (size_t) b->conf->max_response : 0);

    if (msg->payload.len <= max) {
        return 0;
    }

    tb_gateway_bad(b, msg, rpc ? "it is larger than --max-response"
                               : "it is too large");

    return 1;
}


/* the members there are, or TB_ERROR; g->device is to be released */

static int
tb_gateway_parse(tb_bridge_t *b, tb_message_t *msg, tb_gateway_t *g)
{
    int          has;
    const char  *error;

    memset(g, 0, sizeof(tb_gateway_t));

    error = tb_json_walk(msg->payload.data, msg->payload.len,
                         tb_gateway_member, g, &has);

    if (error == NULL && !(has & TB_GATEWAY_DEVICE)) {
        error = "it names no device";
    }

    if (error) {
        tb_gateway_bad(b, msg, error);
        json_decref(g->device);
        return TB_ERROR;
    }

    return has;
}


static void
tb_gateway_saved(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_answer_saved(b, 0, TB_GATEWAY_COST, (unsigned) (uintptr_t) data);

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "devices of gateways cannot be saved: %s",
               tb_safe(reply->str, reply->len));
    }
}


/* without a name: removes it */

static void
tb_gateway_save(tb_bridge_t *b, const char *id, const char *gateway,
    const char *name)
{
    char         key[TB_MAX_KEY], value[TB_MAX_TOPIC];
    unsigned     epoch;
    const char  *argv[4];

    tb_key(b->conf->redis, 0, "gateway", b->conf->redis->name, key,
           sizeof(key));

    argv[0] = name ? "HSET" : "HDEL";
    argv[1] = key;
    argv[2] = id;
    argv[3] = value;

    if (name) {
        snprintf(value, sizeof(value), "%.2048s\n%s", gateway, name);
    }

    if (tb_answers_overfull(b, 0)) {
        tb_log(TB_LOG_ERROR, "devices of gateways cannot be saved: %s",
               "too many messages wait for Redis");
        return;
    }

    /* counted with the answers, so that the broker is not read meanwhile */

    epoch = tb_answer_unsaved(b, 0, TB_GATEWAY_COST);

    tb_command(b->redis, tb_gateway_saved, (void *) (uintptr_t) epoch, 0,
               name ? 4 : 3, argv, NULL);
}


static void
tb_gateway_gone(tb_bridge_t *b, const char *id)
{
    tb_gateway_save(b, id, NULL, NULL);
    tb_presence_set(b, id, 0, "", 1, NULL, NULL);
}


static void
tb_gateway_restore(tb_bridge_t *b, redisReply *reply)
{
    char          id[TB_UUID_LEN + 1], *name;
    size_t        i;
    redisReply   *key, *value;

    if (reply->type != REDIS_REPLY_ARRAY) {
        tb_log(TB_LOG_ERROR, "devices of gateways cannot be read: %s",
               reply->type == REDIS_REPLY_ERROR
               ? tb_safe(reply->str, reply->len) : "no hash");
        return;
    }

    for (i = 0; i + 1 < reply->elements; i += 2) {
        key = reply->element[i];
        value = reply->element[i + 1];

        if (key->type != REDIS_REPLY_STRING
            || value->type != REDIS_REPLY_STRING
            || tb_uuid(key->str, key->len, id) != TB_OK)
        {
            continue;
        }

        name = strchr(value->str, '\n');

        if (name != NULL) {
            *name++ = '\0';
            tb_presence_set(b, id, 1, "", 0, value->str, name);
        }
    }

    if (reply->elements) {
        tb_log(TB_LOG_INFO, "%zu devices were behind gateways",
               reply->elements / 2);
    }
}


static void
tb_gateway_restored(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_gateway_msg_t  *m;

    b->gateways->asked = 0;
    tb_gateway_restore(b, reply);

    while ((m = tb_gateway_shift(b->gateways)) != NULL) {
        tb_answer_saved(b, 0, m->cost, m->epoch);
        (void) tb_gateway_message(b, m->msg);
        tb_gateway_msg_free(m);
    }
}


void
tb_gateway_start(tb_bridge_t *b)
{
    char         key[TB_MAX_KEY];
    const char  *argv[2];

    if (!b->conf->gateway || b->conf->fixed) {
        return;
    }

    tb_key(b->conf->redis, 0, "gateway", b->conf->redis->name, key,
           sizeof(key));

    argv[0] = "HGETALL";
    argv[1] = key;

    b->gateways->asked = 1;
    tb_command(b->redis, tb_gateway_restored, NULL, 1, 2, argv, NULL);
}


/* the level that names the gateway, "" if there is none */

static char *
tb_gateway_of(const tb_template_t *t, const char *topic)
{
    tb_str_t  values[TB_VAR_MAX], *v;

    tb_template_match(t, topic, values);
    v = &values[TB_VAR_GATEWAY];

    return tb_strndup(v->data ? v->data : "", v->len);
}


/* with topics of its own, a gateway speaks for its own devices only */

static int
tb_gateway_foreign(tb_bridge_t *b, const char *gateway, const char *id)
{
    const char  *name, *real;

    return *gateway
           && (!tb_presence_gateway(b, id, &real, &name)
               || strcmp(real, gateway) != 0);
}


static void
tb_gateway_connect(tb_bridge_t *b, tb_message_t *msg, const char *id)
{
    char          *gateway;
    const char    *name;
    tb_gateway_t   g;

    if (tb_gateway_parse(b, msg, &g) == TB_ERROR) {
        return;
    }

    name = json_string_value(g.device);
    gateway = tb_gateway_of(&b->conf->gateway_connect, msg->topic);

    tb_gateway_save(b, id, gateway, name);
    tb_presence_set(b, id, 1, "", 1, gateway, name);

    free(gateway);
    json_decref(g.device);
}


/*
 * Where nginx attaches gateways, one can't take over what is behind another
 * one while that is online.
 */

static void
tb_gateway_connected(tb_bridge_t *b, tb_message_t *msg, const char *id)
{
    char        *gateway;
    const char  *name, *real;

    gateway = tb_gateway_of(&b->conf->gateway_connect, msg->topic);

    if (b->conf->attached && *gateway
        && tb_presence_gateway(b, id, &real, &name)
        && strcmp(real, gateway) != 0)
    {
        tb_rival(b, msg, id, real, tb_gateway_connect, tb_gateway_bad);

    } else {
        tb_gateway_connect(b, msg, id);
    }

    free(gateway);
}


static void
tb_gateway_disconnected(tb_bridge_t *b, tb_message_t *msg, const char *id)
{
    char  *gateway;

    gateway = tb_gateway_of(&b->conf->gateway_disconnect, msg->topic);

    if (!tb_gateway_foreign(b, gateway, id)) {
        tb_gateway_gone(b, id);
    }

    free(gateway);
}


static void
tb_gateway_answered(tb_bridge_t *b, tb_message_t *msg, const char *id)
{
    char          *gateway;
    tb_str_t       whole;
    tb_gateway_t   g;

    if (tb_gateway_parse(b, msg, &g) == TB_ERROR) {
        return;
    }

    json_decref(g.device);
    gateway = tb_gateway_of(&b->conf->gateway_rpc, msg->topic);

    if (tb_gateway_foreign(b, gateway, id)) {
        tb_gateway_bad(b, msg, "the device is not behind this gateway");

    } else if (g.data.data) {
        tb_answer(b, id, g.request_id, &g.data);

    } else {
        whole.len = g.error.len + sizeof("{\"error\":}") - 1;
        whole.data = tb_alloc(whole.len + 1);
        sprintf((char *) whole.data, "{\"error\":%.*s}", (int) g.error.len,
                g.error.data);
        tb_answer(b, id, g.request_id, &whole);
        free((char *) whole.data);
    }

    free(gateway);
}


static void
tb_gateway_rpc(tb_bridge_t *b, tb_message_t *msg, tb_gateway_t *g, int has)
{
    tb_str_t  name;

    if (!(has & TB_GATEWAY_ID)) {
        /* a call, our own: requests and answers share the topic */
        return;
    }

    if (!(has & (TB_GATEWAY_DATA | TB_GATEWAY_ERROR))) {
        tb_gateway_bad(b, msg, "an answer needs data");
        return;
    }

    if (tb_gateway_waits(b, msg)) {
        return;
    }

    name.data = json_string_value(g->device);
    name.len = json_string_length(g->device);

    tb_message_named(b, msg, NULL, &name, tb_gateway_answered);
}


static void
tb_gateway_status(tb_bridge_t *b, tb_message_t *msg, tb_str_t *gateway)
{
    char  session[TB_MAX_SESSION + 1];

    if (tb_presence_parse(b->conf, &msg->payload, session) == 0) {
        tb_devices_behind(b, gateway, tb_gateway_gone);
    }
}


int
tb_gateway_message(tb_bridge_t *b, tb_message_t *msg)
{
    int                   has, rpc, connect, status;
    tb_str_t              values[TB_VAR_MAX], gateway[TB_VAR_MAX], name;
    tb_gateway_t          g;
    const tb_rpc_conf_t  *conf;

    conf = b->conf;

    status = (conf->gateway_status.vars & TB_VAR(GATEWAY))
             && tb_template_match(&conf->gateway_status, msg->topic, gateway)
                == TB_OK;

    rpc = tb_template_match(&conf->gateway_rpc, msg->topic, values) == TB_OK;
    connect = tb_template_match(&conf->gateway_connect, msg->topic, values)
              == TB_OK;

    if (!status && !rpc && !connect
        && tb_template_match(&conf->gateway_disconnect, msg->topic, values)
           != TB_OK)
    {
        return 0;
    }

    if (msg->retain) {
        tb_gateway_bad(b, msg, "it is retained, and may be old");
        return 1;
    }

    if (tb_gateway_too_large(b, msg, rpc)) {
        return 1;
    }

    if (status) {
        if (!tb_gateway_waits(b, msg)) {
            tb_gateway_status(b, msg, &gateway[TB_VAR_GATEWAY]);
        }

        return 1;
    }

    has = tb_gateway_parse(b, msg, &g);
    if (has == TB_ERROR) {
        return 1;
    }

    if (rpc) {
        tb_gateway_rpc(b, msg, &g, has);

    } else if (!conf->fixed && !tb_gateway_waits(b, msg)) {
        name.data = json_string_value(g.device);
        name.len = json_string_length(g.device);

        tb_message_named(b, msg, NULL, &name,
                         connect ? tb_gateway_connected
                                 : tb_gateway_disconnected);
    }

    json_decref(g.device);

    return 1;
}
