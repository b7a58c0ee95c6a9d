
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The process: options, signals, the loop, and how it ends.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/random.h"
#include "../base/str.h"
#include "../rpc/bridge.h"
#include "metrics.h"
#include "options.h"

#include <signal.h>
#include <time.h>


typedef struct {
    tb_options_t     opt;
    tb_counters_t    count;
    tb_bridge_t     *bridge;
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
    tb_client_id(m);

    m->bridge = tb_bridge_create(&m->opt.rpc, &m->count);

    if (m->bridge == NULL) {
        exit(1);
    }

    m->metrics = tb_metrics_create(&m->opt, m->bridge, &m->count);

    tb_log(TB_LOG_INFO, "tb-rpc-mqtt-bridge " TB_VERSION " \"%s\" started",
           m->opt.redis.name);
}


static void
tb_main_poll(tb_main_t *m, tb_poll_t *p, sigset_t *mask)
{
    int              i, n;
    int64_t          wait;
    struct timespec  ts;

    tb_bridge_poll(m->bridge, p);

    wait = tb_bridge_timer(m->bridge);

    if (m->stopping && m->stop_at < wait) {
        wait = m->stop_at;
    }

    wait -= tb_now();

    if (wait < 0) {
        wait = 0;
    }

    ts.tv_sec = wait / 1000;
    ts.tv_nsec = (wait % 1000) * 1000000L;

    n = ppoll(p->fds, p->n, &ts, mask);

    if (n == -1) {
        for (i = 0; i < p->n; i++) {
            p->fds[i].revents = 0;
        }

    } else if (n > 0) {

        /* with something ready, it delivers no signal */

        memset(&ts, 0, sizeof(ts));
        (void) ppoll(NULL, 0, &ts, mask);
    }
}


/* 1 when nothing that was begun is open, or there is no more time */

static int
tb_finished(tb_main_t *m)
{
    tb_gauges_t  g;

    if (tb_terminate > 1) {
        tb_log(TB_LOG_WARN, "told twice, stopping at once");
        return 1;
    }

    if (!tb_terminate && !m->stopping) {
        return 0;
    }

    tb_bridge_gauges(m->bridge, &g);

    if (!m->stopping) {
        tb_log(TB_LOG_INFO, "stopping: %d calls are open", g.calls);
        m->stopping = 1;
        m->stop_at = tb_now() + m->opt.drain;
        tb_bridge_stop(m->bridge);
    }

    if (tb_bridge_idle(m->bridge)) {
        return 1;
    }

    if (tb_now() < m->stop_at) {
        return 0;
    }

    tb_log(TB_LOG_WARN, "stopped with %d calls open, they are left to their"
           " acknowledgement timeout, and %d answers not passed on",
           g.calls, g.answers);

    return 1;
}


int
main(int argc, char **argv)
{
    sigset_t           mask;
    tb_poll_t          p;

    static tb_main_t   m;

    setvbuf(stderr, NULL, _IOLBF, 0);

    tb_options(&m.opt, argc, argv);
    tb_signals(&mask);
    tb_start(&m);

    memset(&p, 0, sizeof(tb_poll_t));

    for ( ;; ) {
        tb_bridge_run(m.bridge, &p);
        tb_metrics_run(m.metrics);

        if (tb_reload) {
            tb_reload = 0;
            tb_options_reload(&m.opt);
            tb_bridge_reload(m.bridge);
        }

        if (tb_report) {
            tb_report = 0;
            tb_metrics_log(m.metrics);
        }

        if (tb_finished(&m)) {
            break;
        }

        tb_main_poll(&m, &p, &mask);
    }

    tb_metrics_log(m.metrics);
    tb_metrics_free(m.metrics);
    tb_bridge_free(m.bridge);
    tb_poll_free(&p);
    tb_options_free(&m.opt);

    return 0;
}
