
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The loop.  Each turn: Redis replies, bells, MQTT, calls, takes, presence;
 * then everything gathered leaves in one write per connection.
 */


#include "../bridge.h"

#include <signal.h>


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


static void
tb_start(tb_bridge_t *b)
{
    uint32_t  id[2];

    if (tb_random(id, sizeof(id)) != TB_OK) {
        tb_log(TB_LOG_ERROR, "cannot read /dev/urandom");
        exit(1);
    }

    srandom(id[0] ^ id[1]);

    if (b->opt.client_id == NULL) {
        b->opt.client_id = tb_alloc(strlen(b->opt.name) + 32);
        sprintf(b->opt.client_id, "tb-rpc-%s-%08x", b->opt.name, id[0]);
    }

    b->shards = b->opt.shards;
    b->cmd.label = "commands";
    b->cmd.address = b->opt.redis_address;
    b->cmd.with_meta = 1;
    b->cmd_tail = &b->cmd_head;
    b->bell.label = "bells";
    b->bell.address = b->opt.redis_address;
    b->redis_ack_timeout = TB_ACK_TIMEOUT;
    b->calls = tb_alloc(TB_CALL_BUCKETS * sizeof(tb_call_t *));
    b->by_mid = tb_alloc(65536 * sizeof(tb_call_t *));
    b->devices = tb_alloc(65536 * sizeof(tb_device_t *));

    mosquitto_lib_init();
    tb_take_start(b);

    if (tb_names_load(b) != TB_OK) {
        exit(1);
    }

    tb_gateway_start(b);

    tb_log(TB_LOG_INFO, "tb-rpc-mqtt-bridge " TB_VERSION " \"%s\" started",
           b->opt.name);
}


/* the moment to wake up at, whatever happens */

static int
tb_wait(tb_bridge_t *b)
{
    int      i;
    int64_t  t, timers[5];

    timers[0] = tb_command_timer(b);
    timers[1] = tb_bell_timer(b);
    timers[2] = tb_mqtt_timer(b);
    timers[3] = tb_presence_timer(b);
    timers[4] = b->stopping ? b->stop_at : b->take_at;

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
tb_poll(tb_bridge_t *b, short *revents, sigset_t *mask)
{
    int              i, wait;
    struct pollfd    fds[3];
    struct timespec  ts;

    memset(fds, 0, sizeof(fds));

    tb_command_flush(b);

    fds[0].fd = tb_redis_poll(&b->cmd, &fds[0].events);
    fds[1].fd = tb_redis_poll(&b->bell, &fds[1].events);
    fds[2].fd = tb_mqtt_poll(b, &fds[2].events);

    wait = b->mqtt_lost && b->mosq ? 0 : tb_wait(b);

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
tb_finished(tb_bridge_t *b)
{
    if (tb_terminate > 1) {
        tb_log(TB_LOG_WARN, "told twice, stopping at once");
        return 1;
    }

    if (tb_terminate && !b->stopping) {
        tb_log(TB_LOG_INFO, "stopping: %d calls are open", b->ncalls);
        b->stopping = 1;
        b->stop_at = tb_now() + b->opt.drain;
    }

    if (!b->stopping) {
        return 0;
    }

    if (b->ncalls == 0 && b->cmd_head == NULL && b->cmd_later == NULL) {
        return 1;
    }

    if (tb_now() < b->stop_at) {
        return 0;
    }

    tb_log(TB_LOG_WARN, "stopped with %d calls open, they are left to their"
           " acknowledgement timeout, and %d answers not passed on",
           b->ncalls, b->nanswers);

    return 1;
}


static void
tb_stop(tb_bridge_t *b)
{
    tb_mqtt_stop(b);
    tb_redis_close(&b->bell);
    tb_redis_close(&b->cmd);
    tb_command_free(b);
    tb_calls_free(b);
    tb_names_free(b);
    tb_presence_free(b);
    tb_waits_free(b);
    tb_counters(b);
    mosquitto_lib_cleanup();
    free(b->by_mid);
    free(b->devices);
    free(b->calls);
    tb_options_free(&b->opt);
}


int
main(int argc, char **argv)
{
    short               revents[3] = { 0, 0, 0 };
    sigset_t            mask;

    static tb_bridge_t  b;

    setvbuf(stderr, NULL, _IOLBF, 0);

    tb_options(&b.opt, argc, argv);
    tb_signals(&mask);
    tb_start(&b);

    for ( ;; ) {
        tb_command_run(&b, revents[0]);
        tb_bell_run(&b, revents[1]);
        tb_mqtt_run(&b, revents[2]);
        tb_calls_run(&b);
        tb_take_run(&b);
        tb_presence_run(&b);

        tb_waits_run(&b);
        tb_metrics_run(&b);

        if (tb_reload) {
            tb_reload = 0;
            tb_names_load(&b);
        }

        if (tb_report) {
            tb_report = 0;
            tb_counters(&b);
        }

        if (tb_finished(&b)) {
            break;
        }

        tb_poll(&b, revents, &mask);
    }

    tb_stop(&b);

    return 0;
}
