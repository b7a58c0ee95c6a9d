
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Retained messages of single topics, asked for once more: a subscription
 * brings them, and is ended when it is acknowledged.
 */


#include "../base/str.h"
#include "private.h"


struct tb_probe_s {
    tb_probe_t    *next;
    int            mid;
    int            n;
    char         **topics;
};


static void
tb_probe_free(tb_probe_t *p)
{
    int  i;

    for (i = 0; i < p->n; i++) {
        free(p->topics[i]);
    }

    free(p->topics);
    free(p);
}


void
tb_mqtt_probe(tb_mqtt_t *m, char *const *topics, int n)
{
    int          i;
    tb_probe_t  *p;

    if (!m->up) {
        return;
    }

    p = tb_alloc(sizeof(tb_probe_t));
    p->topics = tb_alloc(n * sizeof(char *));
    p->n = n;

    for (i = 0; i < n; i++) {
        p->topics[i] = tb_strndup(topics[i], strlen(topics[i]));
    }

    if (mosquitto_subscribe_multiple(m->mosq, &p->mid, n, p->topics, 0, 0,
                                     NULL)
        != MOSQ_ERR_SUCCESS)
    {
        tb_probe_free(p);
        return;
    }

    p->next = m->probes;
    m->probes = p;
}


void
tb_mqtt_probed(tb_mqtt_t *m, int mid)
{
    tb_probe_t  *p, **link;

    for (link = &m->probes; (p = *link) != NULL; link = &p->next) {
        if (p->mid != mid) {
            continue;
        }

        *link = p->next;
        (void) mosquitto_unsubscribe_multiple(m->mosq, NULL, p->n, p->topics,
                                              NULL);
        tb_probe_free(p);
        return;
    }
}


void
tb_mqtt_probes_free(tb_mqtt_t *m)
{
    tb_probe_t  *p;

    while ((p = m->probes) != NULL) {
        m->probes = p->next;
        tb_probe_free(p);
    }
}
