
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The bridge as a whole: one poll() over all sockets, in one thread; only
 * hosts are looked up in others (base/job.c).  It makes the connections, and
 * says who is told what of them.
 */


#include "../base/clock.h"
#include "../base/job.h"
#include "../base/str.h"
#include "../mqtt/io.h"
#include "../redis/bell.h"
#include "answer.h"
#include "ask.h"
#include "beat.h"
#include "bridge.h"
#include "calls.h"
#include "deliver.h"
#include "device.h"
#include "gateway.h"
#include "inbox.h"
#include "names.h"
#include "presence.h"
#include "probe.h"
#include "resolve.h"
#include "rival.h"
#include "unsaved.h"
#include "waiting.h"


static int tb_bridge_up(tb_bridge_t *b);


static const tb_redis_events_t  tb_bridge_redis = {
    tb_presence_redis_up,
    tb_calls_room,
    tb_call_add
};


static const tb_mqtt_events_t  tb_bridge_mqtt = {
    tb_bridge_up,
    tb_calls_disconnected,
    tb_message,
    tb_call_acked,
    tb_answers_full,
    tb_answers_unsaved
};


tb_bridge_t *
tb_bridge_create(const tb_rpc_conf_t *conf, tb_counters_t *count)
{
    tb_bridge_t  *b;

    b = tb_alloc(sizeof(tb_bridge_t));
    b->conf = conf;
    b->count = count;
    b->mqtt_place = -1;

    b->redis = tb_command_create(conf->redis, &tb_bridge_redis, b, count);

    if (b->redis == NULL) {
        free(b);
        return NULL;
    }

    b->takes = tb_take_create(conf->redis, &tb_bridge_redis, b, b->redis);
    b->bells = tb_bells_create(conf->redis, b->redis, b->takes);
    b->mqtt = tb_mqtt_create(conf->mqtt, &tb_bridge_mqtt, b, count);

    b->calls = tb_calls_create();
    b->ask = tb_ask_create();
    b->delivery = tb_delivery_create();
    b->waits = tb_waits_create();
    b->unsaved = tb_unsaved_create();
    b->answers = tb_answers_create();
    b->names = tb_names_create();
    b->devices = tb_devices_create();
    b->gateways = tb_gateways_create();
    b->rivals = tb_rivals_create();
    b->beats = tb_beats_create();
    b->presence = tb_presence_create();
    b->probes = tb_probes_create();

    if (tb_names_load(b) != TB_OK) {
        tb_bridge_free(b);
        return NULL;
    }

    tb_gateway_start(b);

    return b;
}


void
tb_bridge_free(tb_bridge_t *b)
{
    tb_mqtt_free(b->mqtt);

    if (tb_jobs_running()) {
        /* their threads have what is freed here, and cannot be stopped */
        _exit(0);
    }

    tb_bells_free(b->bells);
    tb_take_free(b->takes);
    tb_command_free(b->redis);

    tb_names_free(b, tb_message_release);
    tb_calls_free(b->calls);
    tb_ask_free(b->ask);
    tb_delivery_free(b->delivery);
    tb_waits_free(b->waits);
    tb_answers_free(b->answers);
    tb_unsaved_free(b->unsaved);
    tb_probes_free(b->probes);
    tb_presence_free(b->presence);
    tb_beats_free(b->beats);
    tb_rivals_free(b->rivals);
    tb_gateways_free(b->gateways);
    tb_devices_free(b->devices);

    free(b);
}


static int
tb_bridge_up(tb_bridge_t *b)
{
    tb_calls_connected(b);

    return tb_inbox_subscribe(b);
}


void
tb_bridge_run(tb_bridge_t *b, const tb_poll_t *p)
{
    tb_command_run(b->redis, p);
    tb_bells_run(b->bells, p);

    /* without the number of shards no message can be made use of */

    if (tb_shards(b->redis)) {
        tb_mqtt_run(b->mqtt, tb_poll_events(p, b->mqtt_place));
    }

    tb_calls_run(b);
    tb_take_run(b->takes);
    tb_presence_run(b);
    tb_waits_run(b);
}


void
tb_bridge_poll(tb_bridge_t *b, tb_poll_t *p)
{
    int    fd;
    short  events;

    tb_poll_clear(p);

    tb_command_poll(b->redis, p);
    tb_bells_poll(b->bells, p);

    fd = tb_mqtt_poll(b->mqtt, &events);
    b->mqtt_place = tb_poll_add(p, fd, fd == -1 ? 0 : events);
}


int64_t
tb_bridge_timer(tb_bridge_t *b)
{
    int      i;
    int64_t  t, timers[5];

    timers[0] = tb_command_timer(b->redis);
    timers[1] = tb_bells_timer(b->bells);
    timers[2] = tb_shards(b->redis) ? tb_mqtt_timer(b->mqtt) : INT64_MAX;
    timers[3] = tb_presence_timer(b);
    timers[4] = tb_take_timer(b->takes);

    t = tb_now() + 1000;

    for (i = 0; i < 5; i++) {
        if (timers[i] < t) {
            t = timers[i];
        }
    }

    return t;
}


void
tb_bridge_reload(tb_bridge_t *b)
{
    (void) tb_names_load(b);
    tb_command_reload(b->redis);
}


void
tb_bridge_stop(tb_bridge_t *b)
{
    b->stopping = 1;
    tb_take_stop(b->takes);
}


int
tb_bridge_idle(tb_bridge_t *b)
{
    return tb_calls_count(b) == 0 && tb_command_idle(b->redis)
           && tb_mqtt_left(b->mqtt);
}


void
tb_bridge_gauges(tb_bridge_t *b, tb_gauges_t *g)
{
    g->calls = tb_calls_count(b);
    g->devices = tb_devices_count(b);
    g->answers = tb_answers_count(b);
    g->broker_up = tb_mqtt_up(b->mqtt);
    g->redis_up = tb_command_up(b->redis);
}
