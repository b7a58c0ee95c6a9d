
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The counters: a line in the log, and a file for Prometheus' textfile
 * collector, which is replaced as a whole.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "metrics.h"

#include <stddef.h>
#include <sys/stat.h>


#define TB_METRICS_INTERVAL  10000

#define TB_COUNTER(name, help)  { #name, offsetof(tb_counters_t, name), help }


static const struct {
    const char  *name;
    size_t       offset;
    const char  *help;
} tb_counter_table[] = {
    TB_COUNTER(taken, "Calls taken from the queues"),
    TB_COUNTER(malformed, "Envelopes that were no calls"),
    TB_COUNTER(repeated, "Envelopes of calls that were in hand already"),
    TB_COUNTER(returned, "Calls returned, their devices not being here"),
    TB_COUNTER(published, "Messages published to devices"),
    TB_COUNTER(delivered, "Calls acknowledged by the broker"),
    TB_COUNTER(failed, "Calls that can never be delivered"),
    TB_COUNTER(given_up,
               "Calls in hand at a broken connection, and not sent again"),
    TB_COUNTER(timeouts, "Calls without a PUBACK in time"),
    TB_COUNTER(unheard, "Calls that no client was subscribed to"),
    TB_COUNTER(refused, "Calls that the broker refused for the moment"),
    TB_COUNTER(answers, "Answers passed on"),
    TB_COUNTER(answers_late, "Answers late, repeated or to no call"),
    TB_COUNTER(answers_bad, "Answers refused"),
    TB_COUNTER(answers_lost, "Answers lost"),
    TB_COUNTER(presence_bad, "Presence messages refused"),
    TB_COUNTER(presence_unknown, "Devices online that Redis does not know"),
    TB_COUNTER(gateway_bad, "Messages of gateways refused"),
    TB_COUNTER(names_unknown, "Messages of devices whose name is unknown"),
    TB_COUNTER(foreign, "Messages of devices of another tenant"),
    TB_COUNTER(redis_errors, "Error replies of Redis"),
    TB_COUNTER(reconnects, "Connections to the broker begun")
};

#define TB_NCOUNTERS  (sizeof(tb_counter_table) / sizeof(tb_counter_table[0]))


struct tb_metrics_s {
    const tb_options_t   *opt;
    const tb_counters_t  *count;
    tb_bridge_t          *bridge;
    int64_t               log_at;
    int64_t               file_at;
    int                   failed;          /* and that was logged */
};


tb_metrics_t *
tb_metrics_create(const tb_options_t *opt, tb_bridge_t *b,
    const tb_counters_t *count)
{
    tb_metrics_t  *m;

    m = tb_alloc(sizeof(tb_metrics_t));
    m->opt = opt;
    m->count = count;
    m->bridge = b;

    return m;
}


void
tb_metrics_free(tb_metrics_t *m)
{
    free(m);
}


static unsigned long long
tb_counter(tb_metrics_t *m, size_t i)
{
    const char  *count;

    count = (const char *) m->count;

    return *(const uint64_t *) (count + tb_counter_table[i].offset);
}


void
tb_metrics_log(tb_metrics_t *m)
{
    char          line[1536];
    size_t        i, n;
    tb_gauges_t   g;

    for (i = 0, n = 0; i < TB_NCOUNTERS; i++) {
        n += snprintf(line + n, sizeof(line) - n, " %s=%llu",
                      tb_counter_table[i].name, tb_counter(m, i));
    }

    tb_bridge_gauges(m->bridge, &g);

    tb_log(TB_LOG_INFO, "counters:%s open=%d devices=%d waiting=%d", line,
           g.calls, g.devices, g.answers);
}


static void
tb_metrics_gauge(tb_metrics_t *m, FILE *f, const char *name, int value,
    const char *help)
{
    fprintf(f, "# HELP tb_rpc_bridge_%s %s.\n# TYPE tb_rpc_bridge_%s gauge\n"
            "tb_rpc_bridge_%s{bridge=\"%s\"} %d\n", name, help, name, name,
            m->opt->redis.name, value);
}


static int
tb_metrics_write(tb_metrics_t *m, const char *path)
{
    FILE         *f;
    size_t        i;
    tb_gauges_t   g;

    f = fopen(path, "w");
    if (f == NULL) {
        return TB_ERROR;
    }

    /* the collector is another user */
    (void) fchmod(fileno(f), 0644);

    for (i = 0; i < TB_NCOUNTERS; i++) {
        fprintf(f, "# HELP tb_rpc_bridge_%s_total %s.\n"
                "# TYPE tb_rpc_bridge_%s_total counter\n"
                "tb_rpc_bridge_%s_total{bridge=\"%s\"} %llu\n",
                tb_counter_table[i].name, tb_counter_table[i].help,
                tb_counter_table[i].name, tb_counter_table[i].name,
                m->opt->redis.name, tb_counter(m, i));
    }

    tb_bridge_gauges(m->bridge, &g);

    tb_metrics_gauge(m, f, "open_calls", g.calls, "Calls in hand");
    tb_metrics_gauge(m, f, "devices", g.devices, "Devices present");
    tb_metrics_gauge(m, f, "waiting_answers", g.answers,
                     "Answers that Redis has not taken yet");
    tb_metrics_gauge(m, f, "broker_up", g.broker_up,
                     "Whether there is a connection to the broker");
    tb_metrics_gauge(m, f, "redis_up", g.redis_up,
                     "Whether there is a connection to Redis");

    i = ferror(f);

    return fclose(f) == 0 && !i ? TB_OK : TB_ERROR;
}


static void
tb_metrics_file(tb_metrics_t *m)
{
    char        *path;
    const char  *name;

    name = m->opt->metrics_file;

    path = tb_alloc(strlen(name) + 32);
    sprintf(path, "%s.%ld", name, (long) getpid());

    if (tb_metrics_write(m, path) == TB_OK && rename(path, name) == 0)
    {
        m->failed = 0;

    } else {
        tb_log(m->failed ? TB_LOG_DEBUG : TB_LOG_ERROR,
               "--metrics-file %s cannot be written: %s", name,
               strerror(errno));
        m->failed = 1;
        unlink(path);
    }

    free(path);
}


void
tb_metrics_run(tb_metrics_t *m)
{
    int64_t  now;

    now = tb_now();

    if (m->opt->metrics_file && now >= m->file_at) {
        m->file_at = now + TB_METRICS_INTERVAL;
        tb_metrics_file(m);
    }

    if (m->opt->stats_interval && now >= m->log_at) {

        if (m->log_at) {
            tb_metrics_log(m);
        }

        m->log_at = now + m->opt->stats_interval * 1000LL;
    }
}
