
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A broker may drop what is retained when there is more than it queues for us.
 * So before a device of which it did not speak is forgotten, it is asked for
 * that one's topic; and when there is a call for a device that it has not
 * spoken of at all.
 */


#include "../base/clock.h"
#include "../base/str.h"
#include "probe.h"


/* topics in one subscription */
#define TB_PROBE_TOPICS      64
/* ms that the broker has to bring them */
#define TB_PROBE_WAIT        3000


struct tb_probes_s {
    int                      n;
    char                    *topics[TB_PROBE_TOPICS];
};


tb_probes_t *
tb_probes_create(void)
{
    return tb_alloc(sizeof(tb_probes_t));
}


static void
tb_probes_clear(tb_probes_t *p)
{
    while (p->n) {
        free(p->topics[--p->n]);
    }
}


void
tb_probes_free(tb_probes_t *p)
{
    tb_probes_clear(p);
    free(p);
}


void
tb_probes_run(tb_bridge_t *b)
{
    tb_probes_t  *p;

    p = b->probes;

    if (p->n) {
        tb_mqtt_probe(b->mqtt, p->topics, p->n);
        tb_probes_clear(p);
    }
}


/* TB_ERROR where an id, and perhaps a tenant, do not make a topic */

static int
tb_probe_expand(tb_bridge_t *b, const char *id, const char *tenant,
    char *topic, size_t size)
{
    tb_str_t  values[TB_VAR_MAX];

    memset(values, 0, sizeof(values));

    values[TB_VAR_DEVICE_ID].data = id;
    values[TB_VAR_DEVICE_ID].len = TB_UUID_LEN;
    values[TB_VAR_TENANT_ID].data = tenant;
    values[TB_VAR_TENANT_ID].len = strlen(tenant);

    return tb_template_expand(&b->conf->presence, values, topic, size)
           ? TB_ERROR : TB_OK;
}


static void
tb_probe_add(tb_bridge_t *b, tb_device_t *dev, const char *topic)
{
    tb_probes_t  *p;

    p = b->probes;

    if (p->n == TB_PROBE_TOPICS) {
        tb_probes_run(b);
    }

    dev->asked_at = tb_now();
    p->topics[p->n++] = tb_strndup(topic, strlen(topic));
}


int
tb_probe(tb_bridge_t *b, tb_device_t *dev)
{
    char         topic[TB_MAX_TOPIC];
    const char  *text;

    if (dev->asked_at && dev->asked_at >= tb_mqtt_since(b->mqtt)) {
        return tb_now() - dev->asked_at < TB_PROBE_WAIT;
    }

    text = dev->topic;

    if (text == NULL) {
        text = topic;

        if (tb_probe_expand(b, dev->id, "", topic, sizeof(topic)) != TB_OK) {
            return 0;
        }
    }

    tb_probe_add(b, dev, text);

    return 1;
}


void
tb_probe_unknown(tb_bridge_t *b, const char *id, const char *tenant)
{
    char          topic[TB_MAX_TOPIC];
    tb_device_t  *dev;

    if (b->conf->fixed || b->conf->attached
        || tb_device_find(b, id) != NULL
        || tb_probe_expand(b, id, tenant, topic, sizeof(topic)) != TB_OK)
    {
        return;
    }

    dev = tb_device_get(b, id);

    if (dev != NULL) {
        /* it is forgotten if there is no answer */
        tb_device_late(b, dev);
        tb_probe_add(b, dev, topic);
    }
}


void
tb_probe_topic(tb_bridge_t *b, tb_device_t *dev, const char *topic)
{
    char  usual[TB_MAX_TOPIC];

    if (dev->topic && strcmp(dev->topic, topic) == 0) {
        return;
    }

    free(dev->topic);
    dev->topic = NULL;

    if (tb_probe_expand(b, dev->id, "", usual, sizeof(usual)) != TB_OK
        || strcmp(usual, topic) != 0)
    {
        dev->topic = tb_strndup(topic, strlen(topic));
    }
}
