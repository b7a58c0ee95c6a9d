
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Subscriptions of a connection.  With MQTT 5 one may be shared, so that of
 * all processes of a name one gets each message; where the broker has no such
 * thing, all of them get all.  What a broker refuses otherwise makes the
 * connection useless: who cannot hear answers has no use for calls.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "private.h"


/* one that does not acknowledge subscriptions is used nevertheless */
#define TB_SUBACK_TIMEOUT    5000
/* nor is it waited for at the end */
#define TB_UNSUBACK_TIMEOUT  1000


static int
tb_sub_send(tb_mqtt_t *m, tb_sub_t *sub)
{
    int   rc;
    char  shared[TB_MAX_FILTER];

    snprintf(shared, sizeof(shared), "$share/%s/%s",
             sub->share ? sub->share : "", sub->filter);

    rc = mosquitto_subscribe(m->mosq, &sub->mid,
                             sub->share ? shared : sub->filter, sub->qos);

    if (rc != MOSQ_ERR_SUCCESS) {
        return TB_ERROR;
    }

    sub->open = 1;
    m->subs_open++;

    return TB_OK;
}


int
tb_mqtt_subscribe(tb_mqtt_t *m, const char *filter, int qos,
    const char *share)
{
    tb_sub_t  *sub;

    if (m->nsubs == TB_MAX_SUBS) {
        return TB_ERROR;
    }

    sub = &m->subs[m->nsubs++];
    sub->filter = filter;
    sub->qos = qos;
    sub->share = m->shares ? share : NULL;

    return tb_sub_send(m, sub);
}


int
tb_mqtt_subscribed(const tb_mqtt_t *m)
{
    return m->subs_open <= 0 || tb_now() - m->since >= TB_SUBACK_TIMEOUT;
}


static void
tb_sub_refused(tb_mqtt_t *m, tb_sub_t *sub)
{
    if (sub->share) {
        tb_log(TB_LOG_INFO, "mqtt: the broker has no shared subscription for"
               " %s, this process gets all messages", sub->filter);
        sub->share = NULL;

        if (tb_sub_send(m, sub) == TB_OK) {
            return;
        }
    }

    if (!m->failed) {
        tb_log(TB_LOG_ERROR, "mqtt: the broker refused the subscription to"
               " %s: allow this client to read it; trying again",
               sub->filter);
    }

    m->failed = 1;
    m->lost = 1;
}


void
tb_mqtt_suback(struct mosquitto *mosq, void *data, int mid, int n,
    const int *granted)
{
    int         i;
    tb_sub_t   *sub;
    tb_mqtt_t  *m = data;

    for (i = 0; i < m->nsubs; i++) {
        sub = &m->subs[i];

        if (!sub->open || sub->mid != mid) {
            continue;
        }

        sub->open = 0;
        m->subs_open--;

        if (n > 0 && granted[0] > 2) {
            tb_sub_refused(m, sub);
        }
    }

    tb_mqtt_probed(m, mid);

    /* the next failure is news */

    if (m->subs_open == 0 && !m->lost) {
        m->failed = 0;
    }
}


void
tb_mqtt_unsuback(struct mosquitto *mosq, void *data, int mid)
{
    int         i;
    tb_mqtt_t  *m = data;

    for (i = 0; i < m->nsubs; i++) {
        if (m->subs[i].leaving && m->subs[i].mid == mid) {
            m->subs[i].leaving = 0;
            m->subs_leaving--;
        }
    }
}


/* what the broker would send us from now on is for the others */

static void
tb_subs_leave(tb_mqtt_t *m)
{
    int        i;
    char       shared[TB_MAX_FILTER];
    tb_sub_t  *sub;

    m->leave_at = tb_now() + TB_UNSUBACK_TIMEOUT;

    for (i = 0; i < m->nsubs; i++) {
        sub = &m->subs[i];

        if (sub->share == NULL) {
            continue;
        }

        snprintf(shared, sizeof(shared), "$share/%s/%s", sub->share,
                 sub->filter);

        if (mosquitto_unsubscribe(m->mosq, &sub->mid, shared)
            == MOSQ_ERR_SUCCESS)
        {
            sub->leaving = 1;
            m->subs_leaving++;
        }
    }
}


int
tb_mqtt_left(tb_mqtt_t *m)
{
    /* a session keeps what is sent meanwhile, for its next connection */

    if (!m->up || m->conf->keep_session) {
        return 1;
    }

    if (m->leave_at == 0) {
        tb_subs_leave(m);
    }

    return m->subs_leaving <= 0 || tb_now() >= m->leave_at;
}
