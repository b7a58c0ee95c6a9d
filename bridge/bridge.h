
/*
 * Copyright (C) tb-rpc contributors.
 *
 * tb-rpc-mqtt-bridge: takes calls from Redis, publishes them to MQTT devices
 * and reports back.
 *
 * One thread, one poll() loop (main.c) over three sockets.  Who owns what:
 *
 *   bell.c      the Redis connection that listens to the bells of the queues;
 *               owns nothing else
 *   command.c   the Redis connection for everything else; owns tb_cmd_t, each
 *               of which lives until its reply has come, over reconnects
 *   take.c      owns the takes: which shard has its turn, and how many calls
 *               it is asked for
 *   calls.c     owns tb_call_t, from the take to the end of the last report
 *   ask.c       what must be known before a call is published
 *   broker.c    owns the libmosquitto client, which is thrown away at every
 *               disconnect; maps packet ids to calls, owns none of them
 *   io.c        when its socket is read and written
 *   answer.c    turns messages of devices into tb_rpc_respond commands
 *   waiting.c   calls without a request id in their answer's topic; owns
 *               tb_wait_t, bounded by TB_MAX_WAITING
 *   device.c    owns tb_device_t
 *   presence.c  who is online, and under which session
 *   beat.c      keeps the sessions alive, many at a time
 *   gateway.c   devices behind ThingsBoard gateways: their messages
 *   names.c     owns the cache of device names, and --devices
 *
 * Everything is bounded: calls by --concurrency, answers by count and bytes
 * (the MQTT socket is not read meanwhile), devices and names by
 * --max-devices.
 */


#ifndef _TB_BRIDGE_H_INCLUDED_
#define _TB_BRIDGE_H_INCLUDED_


#include "base/base.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/crc.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "base/str.h"
#include "base/topic.h"
#include "base/uuid.h"
#include "redis/command.h"
#include "redis/key.h"
#include "redis/take.h"
#include "mqtt/broker.h"
#include "rpc/conf.h"

#include <poll.h>
#include <strings.h>
#include <time.h>

#include <hiredis/hiredis.h>
#include <jansson.h>


#define TB_MAX_SESSION       64
#define TB_MAX_ENVELOPE      (4 * 1024 * 1024)

#define TB_CALL_BUCKETS      4096

/* presence commands on their way */
#define TB_MAX_PRESENCE      128
/* batches of heartbeats on their way, and devices in each */
#define TB_MAX_BEATS         4
#define TB_BEAT_DEVICES      256
/* of Redis, when its settings do not say */
#define TB_ACK_TIMEOUT       10000
/* a call that went down with so many connections is left to its ack_timeout */
#define TB_MAX_PUBLISHES     3
#define TB_MAX_WAITING       100000
#define TB_MAX_NAME          255


typedef struct tb_call_s    tb_call_t;
typedef struct tb_device_s  tb_device_t;
typedef struct tb_name_s    tb_name_t;
typedef struct tb_named_s   tb_named_t;
typedef struct tb_wait_s    tb_wait_t;
typedef struct tb_answer_s  tb_answer_t;


/* a call that was taken */

typedef enum {
    TB_CALL_TAKEN = 0,                     /* waits to be published */
    TB_CALL_ASKING,                        /* Redis is asked about it */
    TB_CALL_PUBLISHED,                     /* waits for its PUBACK */
    TB_CALL_REPORTING
} tb_call_state_e;


struct tb_call_s {
    tb_call_t           *prev;
    tb_call_t           *next;
    tb_call_t           *chain;            /* by rpcId */
    tb_call_state_e      state;
    int64_t              taken_at;         /* not later than the take */
    int64_t              dies_at;
    int64_t              published_at;
    unsigned             epoch;            /* published without asking in it */
    int                  asks;             /* replies to come */
    int                  publishes;
    int                  mid;
    unsigned             named:1;          /* its name was asked for */
    unsigned             ended:1;          /* Redis says so */
    unsigned             back:1;           /* it is to be returned */

    char                *envelope;
    size_t               len;
    tb_str_t             method;           /* raw JSON texts, inside it */
    tb_str_t             params;
    char                *method_name;      /* decoded */
    char                *name;             /* of the device, when needed */
    int                  oneway;
    int                  persistent;
    int64_t              expiration_time;
    int64_t              taken_time;       /* both by the clock of Redis */
    uint32_t             request_id;
    uint32_t             attempt;
    char                 rpc_id[TB_UUID_LEN + 1];
    char                 device_id[TB_UUID_LEN + 1];
    char                 tenant_id[TB_UUID_LEN + 1];
};


/* the devices of a shard that have a session */

typedef struct {
    tb_device_t         *beat_head;        /* the longest ago first */
    tb_device_t         *beat_tail;
    int                  nbeats;
    int64_t              beat_at;
} tb_shard_t;


struct tb_bridge_s {
    const tb_rpc_conf_t *conf;
    tb_counters_t       *count;
    tb_commands_t       *redis;
    tb_takes_t          *takes;
    tb_mqtt_t           *mqtt;
    tb_shard_t           shard[TB_MAX_SHARDS];

    /* calls.c: in the order of their takes */
    tb_call_t           *call_head;
    tb_call_t           *call_tail;
    tb_call_t          **calls;            /* by rpcId */
    int                  ncalls;
    int                  nopen;            /* not reported yet */
    int                  nsent;            /* asking or published */
    int                  window;
    int                  redis_ack_timeout;
    int                  settings_asked;

    /* answer.c */
    int                  nanswers;
    size_t               answer_bytes;
    tb_answer_t         *untagged;

    /* waiting.c */
    tb_wait_t          **waits;
    tb_wait_t           *wait_head;
    tb_wait_t           *wait_tail;
    int                  nwaits;

    /* names.c */
    tb_named_t         **named;            /* of the file, by name */
    tb_named_t         **named_ids;        /* and by device */
    int                  nnamed;
    tb_name_t          **names;            /* of Redis */
    tb_name_t           *name_head;
    tb_name_t           *name_tail;
    int                  nnames;

    /* presence.c */
    tb_device_t        **devices;
    int                  ndevices;
    int                  presence_busy;
    tb_device_t         *dirty_head;
    tb_device_t         *dirty_tail;
    tb_device_t         *late_head;
    tb_device_t         *late_tail;

    /* beat.c */
    int                  nbeats;           /* batches on their way */
    int64_t              beat_at;
};


/* bridge.c */

void tb_bridge_create(tb_bridge_t *b, const tb_rpc_conf_t *conf,
    tb_counters_t *count);

/* envelope.c */

tb_call_t *tb_envelope_parse(const char *data, size_t len,
    const char **error);
void tb_call_free(tb_call_t *call);

/* calls.c */

/* how many more can be written now, for takes */
int tb_calls_room(tb_bridge_t *b);
/* an envelope that a take has brought */
void tb_call_add(tb_bridge_t *b, const char *data, size_t len);
/* publishes what may be published, and reports what was not acknowledged */
void tb_calls_run(tb_bridge_t *b);
void tb_call_acked(tb_bridge_t *b, tb_call_t *call);
/* the broker says that it will not, or could not, pass it on */
void tb_call_refused(tb_bridge_t *b, tb_call_t *call, int reason);
/* it is not published (again), and not reported: Redis knows what to do */
void tb_call_given_up(tb_bridge_t *b, tb_call_t *call, const char *why);
void tb_calls_connected(tb_bridge_t *b);
void tb_calls_disconnected(tb_bridge_t *b);
void tb_calls_free(tb_bridge_t *b);

/* ask.c */

/* 1 when Redis is asked first; then it is ASKING until all is known */
int tb_call_ask(tb_bridge_t *b, tb_call_t *call);
/* NULL, or why it must not be published any more */
const char *tb_call_stale(tb_bridge_t *b, tb_call_t *call, int64_t now);
/* for tb_call_stale(): how long Redis waits for an acknowledgement */
void tb_calls_ask_settings(tb_bridge_t *b);

/* publish.c: topic, payload and properties of a call */

/* the name of its device is needed */
int tb_publish_named(tb_bridge_t *b);
/* NULL, or why the call can never be sent */
const char *tb_publish_call(tb_bridge_t *b, tb_call_t *call);

/* message.c */

/* tells answers, presence and gateways apart */
void tb_message(tb_bridge_t *b, tb_message_t *msg);
/* one block; free() frees it all */
tb_message_t *tb_message_copy(tb_message_t *msg);
size_t tb_message_size(tb_message_t *msg);

typedef void (*tb_message_pt)(tb_bridge_t *b, tb_message_t *msg,
    const char *id);

/* the handler is called, now or later, when the device is known */
void tb_message_named(tb_bridge_t *b, tb_message_t *msg, const char *tenant,
    tb_str_t *name, tb_message_pt handler);
/* the device that the topic's variables name; TB_ERROR if they cannot */
int tb_message_device(tb_bridge_t *b, tb_message_t *msg, tb_str_t *values,
    tb_message_pt handler);

/* answer.c */

void tb_answer_message(tb_bridge_t *b, tb_message_t *msg);
/* the answer to that request; 0: to the oldest that waits for one */
void tb_answer(tb_bridge_t *b, const char *device, uint32_t request_id,
    tb_str_t *payload);
/* a message that Redis is to take: its connection, for tb_answer_saved() */
unsigned tb_answer_unsaved(tb_bridge_t *b, size_t cost);
void tb_answer_saved(tb_bridge_t *b, size_t cost, unsigned epoch);
int tb_answers_full(tb_bridge_t *b);
/* so full that nothing more is taken, not even what is on its way */
int tb_answers_overfull(tb_bridge_t *b);

/* waiting.c */

void tb_wait_add(tb_bridge_t *b, tb_call_t *call);
/* takes the oldest out; 0 if there is none */
uint32_t tb_wait_take(tb_bridge_t *b, const char *device);
void tb_wait_remove(tb_bridge_t *b, const char *device, uint32_t request_id);
void tb_waits_run(tb_bridge_t *b);
void tb_waits_free(tb_bridge_t *b);

/* payload.c */

/* 1 online, 0 offline, or TB_ERROR; session has TB_MAX_SESSION + 1 bytes */
int tb_presence_parse(tb_bridge_t *b, tb_str_t *payload, char *session);

/* presence.c */

void tb_presence_message(tb_bridge_t *b, tb_message_t *msg,
    tb_str_t *values);
/* gateway and name are NULL unless the device is behind a gateway */
void tb_presence_set(tb_bridge_t *b, const char *id, int online,
    const char *session, int live, const char *gateway, const char *name);
/* of a device behind a gateway: 1, its gateway, and its name there */
int tb_presence_gateway(tb_bridge_t *b, const char *id,
    const char **gateway, const char **name);
/* 1, or 0 and the session that it had here, NULL if that is not known */
int tb_presence_here(tb_bridge_t *b, const char *id, const char **session);
/* the broker has said who is there, as far as it does so at once */
int tb_presence_ready(tb_bridge_t *b);
void tb_presence_run(tb_bridge_t *b);
/* Redis may have forgotten: say again who is here */
void tb_presence_redis_up(tb_bridge_t *b);
int64_t tb_presence_timer(tb_bridge_t *b);

/* device.c */

/* calls handler for each device behind that gateway, "" is any */
void tb_presence_behind(tb_bridge_t *b, tb_str_t *gateway,
    void (*handler)(tb_bridge_t *b, const char *id));
void tb_presence_free(tb_bridge_t *b);

/* gateway.c */

/* asks Redis for the devices that were behind gateways before our start */
void tb_gateway_start(tb_bridge_t *b);
/* 1 if it was a message of a gateway */
int tb_gateway_message(tb_bridge_t *b, tb_message_t *msg);

/* names.c */

typedef void (*tb_name_handler_pt)(tb_bridge_t *b, void *data,
    const char *id);

/*
 * The device of that name, in the file or among the names of the tenant
 * (NULL: of --tenant).  The handler is called once, now or later; id is
 * NULL when there is no such device.  Of one name they are called in order.
 */
void tb_name_find(tb_bridge_t *b, const char *tenant, tb_str_t *name,
    tb_name_handler_pt handler, void *data);
/* what the file calls the device, or NULL */
const char *tb_name_of(tb_bridge_t *b, const char *id);
/* reads --devices; on errors what was read before stays */
int tb_names_load(tb_bridge_t *b);
void tb_names_free(tb_bridge_t *b);


#endif /* _TB_BRIDGE_H_INCLUDED_ */
