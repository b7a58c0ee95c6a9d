
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What comes from the broker: of gateways, of devices, of whoever may publish
 * there.  All of the bridge is real but its two ends: the commands to Redis
 * are looked at and get the replies that the input says.
 *
 * fuzz: bridge, at most 512 bytes
 */


#include <stdarg.h>

#include "../../bridge/base/clock.h"
#include "../../bridge/base/log.h"
#include "../../bridge/base/str.h"
#include "../../bridge/redis/fcall.h"
#include "../../bridge/rpc/answer.h"
#include "../../bridge/rpc/beat.h"
#include "../../bridge/rpc/device.h"
#include "../../bridge/rpc/gateway.h"
#include "../../bridge/rpc/inbox.h"
#include "../../bridge/rpc/names.h"
#include "../../bridge/rpc/presence.h"
#include "../../bridge/rpc/resolve.h"
#include "../../bridge/rpc/unsaved.h"
#include "../../bridge/rpc/waiting.h"
#include "lib/fuzz.h"


#define COMMANDS  64
#define DEVICE    "13814000-1dd2-11b2-8080-80808080808"


typedef struct {
    tb_reply_pt   handler;
    void         *data;
} asked_t;


static tb_bridge_t      bridge;
static tb_counters_t    counters;
static tb_rpc_conf_t    conf;
static tb_redis_conf_t  redis;
static tb_mqtt_conf_t   mqtt;
static asked_t          asked[COMMANDS];
static int              nasked;
static int              unsaved;


/* the two ends; each has the name of the real one, and is linked before it */

static void
ask(tb_reply_pt handler, void *data)
{
    CHECK(handler != NULL);
    CHECK(nasked < COMMANDS);

    asked[nasked].handler = handler;
    asked[nasked++].data = data;
}


void
tb_command(tb_commands_t *c, tb_reply_pt handler, void *data, int patient,
    int argc, const char **argv, const size_t *lens)
{
    int  i;

    CHECK(argc >= 2);

    for (i = 0; i < argc; i++) {
        CHECK(argv[i] != NULL && (lens || strlen(argv[i]) < TB_MAX_TOPIC));
    }

    ask(handler, data);
}


void
tb_fcall(tb_commands_t *c, tb_reply_pt handler, void *data, int patient,
    const char *function, const char *device, int n, const tb_str_t *args)
{
    int     i;
    char    id[TB_UUID_LEN + 1];
    size_t  j, sum;

    CHECK(tb_uuid(device, strlen(device), id) == TB_OK);

    for (i = 0, sum = 0; i < n; i++) {
        for (j = 0; j < args[i].len; j++) {
            sum += (unsigned char) args[i].data[j];
        }
    }

    CHECK(sum < 1000000);

    if (strcmp(function, "tb_rpc_respond") == 0) {
        CHECK(n >= 2 && args[1].len <= (size_t) conf.max_response);
    }

    ask(handler, data);
}


int
tb_shards(const tb_commands_t *c)
{
    return 128;
}


void
tb_device_key(const tb_commands_t *c, const char *what, const char *device,
    char *key, size_t size)
{
    snprintf(key, size, "tb:{s000}:%s:%s", what, device);
}


unsigned
tb_mqtt_unsaved(tb_mqtt_t *m)
{
    unsaved++;

    return 1;
}


void
tb_mqtt_saved(tb_mqtt_t *m, unsigned epoch)
{
    unsaved--;
    CHECK(epoch == 1 && unsaved >= 0);
}


int
tb_mqtt_up(const tb_mqtt_t *m)
{
    return 1;
}


int
tb_device_shard(const tb_commands_t *c, const char *device)
{
    return device[35] & 1;
}


int
tb_shard_away(const tb_commands_t *c, int shard)
{
    return 0;
}


int
tb_shards_away(const tb_commands_t *c, const int *n)
{
    return 0;
}


unsigned
tb_mqtt_epoch(const tb_mqtt_t *m)
{
    return 1;
}


int64_t
tb_mqtt_since(const tb_mqtt_t *m)
{
    return 0;
}


int
tb_mqtt_subscribed(const tb_mqtt_t *m)
{
    return 1;
}


/* a message is made, and goes nowhere */

void
tb_log_write(int level, const char *fmt, ...)
{
    va_list      args;
    static char  text[4096];

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    CHECK(strpbrk(text, "\x1b\r\n") == NULL);
}


static void
topic(tb_template_t *t, const char *source)
{
    const char  *error;

    CHECK(tb_template_parse(t, source, ~0u, &error) == TB_OK);
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    tb_log_level = TB_LOG_DEBUG;

    redis.name = "fuzz";
    redis.prefix = "tb:";

    conf.redis = &redis;
    conf.mqtt = &mqtt;
    conf.gateway = 1;
    conf.online = "online";
    conf.offline = "offline";
    conf.tenant = DEVICE "0";
    conf.session_ttl = 60;
    conf.max_answers = 16;
    conf.max_response = 64;
    conf.max_devices = 4;

    topic(&conf.request, "v1/devices/{deviceId}/rpc/request/{requestId}");
    topic(&conf.response, "d/{deviceId}/r/{requestId}");
    topic(&conf.presence, "p/{tenantId}/{name}");
    topic(&conf.gateway_rpc, "g/{gateway}/rpc");
    topic(&conf.gateway_connect, "g/{gateway}/connect");
    topic(&conf.gateway_disconnect, "g/{gateway}/disconnect");
    topic(&conf.gateway_status, "s/{gateway}");

    return 0;
}


/* a reply of this kind to the oldest command */

static void
reply(unsigned kind)
{
    asked_t     one;
    redisReply  r, *elements[2], first, second;

    one = asked[0];
    memmove(asked, asked + 1, --nasked * sizeof(asked_t));

    memset(&r, 0, sizeof(redisReply));
    memset(&first, 0, sizeof(redisReply));

    switch (kind % 6) {

    case 0:
        r.type = REDIS_REPLY_NIL;
        break;

    case 1:
        r.type = REDIS_REPLY_STRING;
        r.str = DEVICE "1";
        r.len = strlen(r.str);
        break;

    case 2:
        r.type = REDIS_REPLY_STRING;
        r.str = DEVICE "2";
        r.len = strlen(r.str);
        break;

    case 3:
        r.type = REDIS_REPLY_ERROR;
        r.str = "ERR \x1b[31m no";
        r.len = strlen(r.str);
        break;

    case 4:
        r.type = REDIS_REPLY_INTEGER;
        r.integer = kind & 8 ? 0 : 1;
        break;

    default:
        r.type = REDIS_REPLY_ARRAY;
        r.elements = 2;
        r.element = elements;
        elements[0] = &first;
        elements[1] = &second;
        first.type = REDIS_REPLY_STRING;
        first.str = "ok";
        first.len = 2;
        second = first;
    }

    one.handler(&bridge, one.data, &r);
}


static void
message(const uint8_t *data, size_t size, unsigned kind)
{
    char          *text;
    uint8_t       *payload;
    tb_message_t   msg;

    static const char  *topics[] = {
        "g/gw/rpc", "g/gw/connect", "g/gw/disconnect", "s/gw",
        "d/" DEVICE "1/r/17", "p/" DEVICE "0/lamp", "g/other/rpc", NULL
    };

    memset(&msg, 0, sizeof(tb_message_t));
    msg.retain = (kind & 0x80) != 0;
    msg.topic = topics[kind & 7];
    text = NULL;

    if (msg.topic == NULL) {
        /* a topic of its own, to a line's end */

        const uint8_t  *lf = memchr(data, '\n', size);
        size_t          len = lf ? (size_t) (lf - data) : size;

        text = tb_strndup((const char *) data, len);
        msg.topic = text;
        data += len;
        size -= len;
    }

    payload = fuzz_copy(data, size);
    msg.payload.data = (const char *) payload;
    msg.payload.len = size;

    if (kind & 0x10) {
        msg.correlation.data = DEVICE "1/17";
        msg.correlation.len = strlen(msg.correlation.data);
    }

    tb_message(&bridge, &msg);

    free(text);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       len;
    tb_bridge_t  *b = &bridge;

    memset(b, 0, sizeof(tb_bridge_t));
    memset(&counters, 0, sizeof(counters));

    b->conf = &conf;
    b->count = &counters;
    b->waits = tb_waits_create();
    b->unsaved = tb_unsaved_create();
    b->answers = tb_answers_create();
    b->names = tb_names_create();
    b->devices = tb_devices_create();
    b->presence = tb_presence_create();
    b->beats = tb_beats_create();
    b->gateways = tb_gateways_create();

    nasked = 0;
    unsaved = 0;

    /* until that is answered, messages of gateways wait */
    tb_gateway_start(b);

    /* [kind][length][payload]..., with 0xf0 to 0xff for a reply */

    while (size >= 2) {
        if (nasked && data[0] >= 0xf0) {
            reply(data[1]);
            data += 2;
            size -= 2;
            continue;
        }

        len = data[1] < size - 2 ? data[1] : size - 2;

        if (nasked < COMMANDS - 8) {
            message(data + 2, len, data[0]);
        }

        data += 2 + len;
        size -= 2 + len;
    }

    while (nasked) {
        reply(nasked);
    }

    CHECK(unsaved == 0);
    CHECK(tb_answers_count(b) == 0);

    tb_gateways_free(b->gateways);
    tb_names_free(b, tb_message_release);
    tb_waits_free(b->waits);
    tb_answers_free(b->answers);
    tb_unsaved_free(b->unsaved);
    tb_presence_free(b->presence);
    tb_beats_free(b->beats);
    tb_devices_free(b->devices);

    return 0;
}
