
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The loop.  Each turn: Redis replies, bells, MQTT, calls, takes, presence;
 * then everything gathered leaves in one write per connection.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/random.h"
#include "../base/str.h"
#include "../bridge.h"
#include "../mqtt/io.h"
#include "../redis/bell.h"
#include "metrics.h"

#include <poll.h>
#include <signal.h>
#include <time.h>


typedef struct {
    tb_options_t     opt;
    tb_counters_t    count;
    tb_bridge_t      bridge;
    tb_bell_t       *bell;
    tb_metrics_t    *metrics;
    int              stopping;
    int64_t          stop_at;
} tb_main_t;


static volatile sig_atomic_t  tb_terminate;
static volatile sig_atomic_t  tb_report;
static volatile sig_atomic_t  tb_reload;


static void
tb_signal(int signo)
{
    if (signo == SIGUSR1) {
        tb_report = 1;
        return;
    }

    if (signo == SIGHUP) {
        tb_reload = 1;
        return;
    }

    tb_terminate++;
}


static void
tb_signals(sigset_t *during_poll)
{
    sigset_t          block;
    struct sigaction  sa;

    memset(&sa, 0, sizeof(sa));
    sigemptyset(&sa.sa_mask);

    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);

    sa.sa_handler = tb_signal;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);

    /* delivered inside ppoll() only, so none is missed before it */

    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGUSR1);
    sigaddset(&block, SIGHUP);
    sigprocmask(SIG_BLOCK, &block, during_poll);
}


/* without --client-id each start is another client, without a session */

static void
tb_client_id(tb_main_t *m)
{
    uint32_t         id;
    tb_mqtt_conf_t  *mqtt;

    if (tb_random(&id, sizeof(id)) != TB_OK) {
        tb_log(TB_LOG_ERROR, "cannot read /dev/urandom");
        exit(1);
    }

    srandom(id);

    mqtt = &m->opt.mqtt;

    if (mqtt->client_id == NULL) {
        mqtt->client_id = tb_alloc(strlen(m->opt.redis.name) + 32);
        sprintf(mqtt->client_id, "tb-rpc-%s-%08x", m->opt.redis.name, id);
    }
}


static void
tb_start(tb_main_t *m)
{
    tb_bridge_t      *b;
    tb_redis_conf_t  *redis;

    tb_client_id(m);

    b = &m->bridge;
    redis = &m->opt.redis;

    tb_bridge_create(b, &m->opt.rpc, &m->count);

    m->bell = tb_bell_create(redis, b->redis, b->takes);
    m->metrics = tb_metrics_create(&m->opt, b);

    if (tb_names_load(b) != TB_OK) {
        exit(1);
    }

    tb_gateway_start(b);

    tb_log(TB_LOG_INFO, "tb-rpc-mqtt-bridge " TB_VERSION " \"%s\" started",
           redis->name);
}


/* the moment to wake up at, whatever happens */

static int
tb_wait(tb_main_t *m)
{
    int           i;
    int64_t       t, timers[5];
    tb_bridge_t  *b;

    b = &m->bridge;

    timers[0] = tb_command_timer(b->redis);
    timers[1] = tb_bell_timer(m->bell);
    timers[2] = tb_shards(b->redis) ? tb_mqtt_timer(b->mqtt) : INT64_MAX;
    timers[3] = tb_presence_timer(b);
    timers[4] = m->stopping ? m->stop_at : tb_take_timer(b->takes);

    t = tb_now() + 1000;

    for (i = 0; i < 5; i++) {
        if (timers[i] < t) {
            t = timers[i];
        }
    }

    t -= tb_now();

    return t > 0 ? (int) t : 0;
}


static void
tb_poll(tb_main_t *m, short *revents, sigset_t *mask)
{
    int              i, wait;
    tb_bridge_t     *b;
    struct pollfd    fds[3];
    struct timespec  ts;

    b = &m->bridge;
    memset(fds, 0, sizeof(fds));

    tb_command_flush(b->redis);

    fds[0].fd = tb_command_poll(b->redis, &fds[0].events);
    fds[1].fd = tb_bell_poll(m->bell, &fds[1].events);
    fds[2].fd = tb_mqtt_poll(b->mqtt, &fds[2].events);

    wait = tb_wait(m);

    ts.tv_sec = wait / 1000;
    ts.tv_nsec = (wait % 1000) * 1000000L;

    if (ppoll(fds, 3, &ts, mask) == -1) {
        memset(revents, 0, 3 * sizeof(short));
        return;
    }

    for (i = 0; i < 3; i++) {
        revents[i] = fds[i].revents;
    }
}


/* 1 when nothing that was begun is open, or there is no more time */

static int
tb_finished(tb_main_t *m)
{
    tb_bridge_t  *b;

    b = &m->bridge;

    if (tb_terminate > 1) {
        tb_log(TB_LOG_WARN, "told twice, stopping at once");
        return 1;
    }

    if (tb_terminate && !m->stopping) {
        tb_log(TB_LOG_INFO, "stopping: %d calls are open", b->ncalls);
        m->stopping = 1;
        m->stop_at = tb_now() + m->opt.drain;
        tb_take_stop(b->takes);
    }

    if (!m->stopping) {
        return 0;
    }

    if (b->ncalls == 0 && tb_command_idle(b->redis)) {
        return 1;
    }

    if (tb_now() < m->stop_at) {
        return 0;
    }

    tb_log(TB_LOG_WARN, "stopped with %d calls open, they are left to their"
           " acknowledgement timeout, and %d answers not passed on",
           b->ncalls, b->nanswers);

    return 1;
}


static void
tb_stop(tb_main_t *m)
{
    tb_bridge_t  *b;

    b = &m->bridge;

    tb_mqtt_free(b->mqtt);
    tb_bell_free(m->bell);
    tb_take_free(b->takes);
    tb_command_free(b->redis);
    tb_calls_free(b);
    tb_names_free(b);
    tb_presence_free(b);
    tb_waits_free(b);
    tb_metrics_log(m->metrics);
    tb_metrics_free(m->metrics);
    free(b->devices);
    free(b->calls);
    tb_options_free(&m->opt);
}


int
main(int argc, char **argv)
{
    short              revents[3] = { 0, 0, 0 };
    sigset_t           mask;
    tb_bridge_t       *b;

    static tb_main_t   m;

    setvbuf(stderr, NULL, _IOLBF, 0);

    tb_options(&m.opt, argc, argv);
    tb_signals(&mask);
    tb_start(&m);

    b = &m.bridge;

    for ( ;; ) {
        tb_command_run(b->redis, revents[0]);
        tb_bell_run(m.bell, revents[1]);

        /* without the number of shards no message can be made use of */

        if (tb_shards(b->redis)) {
            tb_mqtt_run(b->mqtt, revents[2]);
        }

        tb_calls_run(b);
        tb_take_run(b->takes);
        tb_presence_run(b);

        tb_waits_run(b);
        tb_metrics_run(m.metrics);

        if (tb_reload) {
            tb_reload = 0;
            tb_names_load(b);
        }

        if (tb_report) {
            tb_report = 0;
            tb_metrics_log(m.metrics);
        }

        if (tb_finished(&m)) {
            break;
        }

        tb_poll(&m, revents, &mask);
    }

    tb_stop(&m);

    return 0;
}
