
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What devices publish: the topics, and whose a message is.
 */


#include "answer.h"
#include "gateway.h"
#include "inbox.h"
#include "presence.h"


/*
 * Any process can pass an answer on, if it says to what; all of them must know
 * who is there.
 */

static int
tb_inbox_shared(const tb_rpc_conf_t *conf, const tb_template_t *topic)
{
    if (!conf->share) {
        return 0;
    }

    return topic == &conf->gateway_rpc
           || (topic == &conf->response
               && (topic->vars & TB_VAR(REQUEST_ID)));
}


/*
 * Presence is subscribed to with QoS 0: a broker sends retained messages of
 * QoS 0 as fast as they can be written, but queues those of QoS 1, and drops
 * what is beyond the bound of its queue (mosquitto: 1000).  What a broken
 * connection takes with it is told again after the next connect.
 */

int
tb_inbox_subscribe(tb_bridge_t *b)
{
    int                   i, qos;
    const char           *share;
    const tb_rpc_conf_t  *conf;
    const tb_template_t  *topics[6];

    conf = b->conf;
    memset(topics, 0, sizeof(topics));

    topics[0] = &conf->response;
    topics[1] = conf->fixed || conf->attached ? NULL : &conf->presence;

    if (conf->gateway) {
        topics[2] = &conf->gateway_rpc;
        topics[3] = &conf->gateway_connect;
        topics[4] = &conf->gateway_disconnect;

        /* whose last will it is must be in the topic */

        topics[5] = conf->gateway_status.vars & TB_VAR(GATEWAY)
                    ? &conf->gateway_status : NULL;
    }

    for (i = 0; i < 6; i++) {
        qos = topics[i] == &conf->presence ? 0 : conf->mqtt->qos;
        share = tb_inbox_shared(conf, topics[i]) ? conf->redis->name : NULL;

        if (topics[i]
            && tb_mqtt_subscribe(b->mqtt, topics[i]->subscription, qos, share)
               != TB_OK)
        {
            return TB_ERROR;
        }
    }

    return TB_OK;
}


void
tb_message(tb_bridge_t *b, tb_message_t *msg)
{
    tb_str_t  values[TB_VAR_MAX];

    if (b->conf->gateway && tb_gateway_message(b, msg)) {
        return;
    }

    if (!b->conf->fixed && !b->conf->attached
        && tb_template_match(&b->conf->presence, msg->topic, values) == TB_OK)
    {
        tb_presence_message(b, msg, values);
        return;
    }

    tb_answer_message(b, msg);
}
