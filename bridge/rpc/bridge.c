
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What the connections tell this room, and the subscriptions.
 */


#include "../bridge.h"


static int tb_bridge_up(tb_bridge_t *b);
static void tb_bridge_acked(tb_bridge_t *b, void *data, int reason);


static const tb_redis_events_t  tb_bridge_redis = {
    tb_presence_redis_up,
    tb_calls_room,
    tb_call_add
};


static const tb_mqtt_events_t  tb_bridge_mqtt = {
    tb_bridge_up,
    tb_calls_disconnected,
    tb_message,
    tb_bridge_acked,
    tb_answers_full
};


void
tb_bridge_create(tb_bridge_t *b, const tb_rpc_conf_t *conf,
    tb_counters_t *count)
{
    b->conf = conf;
    b->count = count;
    b->redis = tb_command_create(conf->redis, &tb_bridge_redis, b, count);
    b->takes = tb_take_create(conf->redis, &tb_bridge_redis, b, b->redis);
    b->mqtt = tb_mqtt_create(conf->mqtt, &tb_bridge_mqtt, b, count);
    b->redis_ack_timeout = TB_ACK_TIMEOUT;
    b->calls = tb_alloc(TB_CALL_BUCKETS * sizeof(tb_call_t *));
    b->devices = tb_alloc(65536 * sizeof(tb_device_t *));
}


/*
 * Presence is subscribed to with QoS 0: a broker sends retained messages of
 * QoS 0 as fast as they can be written, but queues those of QoS 1, and drops
 * what is beyond the bound of its queue (mosquitto: 1000).  What a broken
 * connection takes with it is told again after the next connect.
 */

static int
tb_bridge_up(tb_bridge_t *b)
{
    int                   i, qos;
    const tb_rpc_conf_t  *conf;
    const tb_template_t  *topics[6];

    conf = b->conf;
    memset(topics, 0, sizeof(topics));

    tb_calls_connected(b);

    topics[0] = &conf->response;
    topics[1] = conf->fixed ? NULL : &conf->presence;

    if (conf->gateway) {
        topics[2] = &conf->gateway_rpc;
        topics[3] = &conf->gateway_connect;
        topics[4] = &conf->gateway_disconnect;
        topics[5] = &conf->gateway_status;
    }

    for (i = 0; i < 6; i++) {
        qos = topics[i] == &conf->presence ? 0 : conf->mqtt->qos;

        if (topics[i]
            && tb_mqtt_subscribe(b->mqtt, topics[i]->subscription, qos)
               != TB_OK)
        {
            return TB_ERROR;
        }
    }

    return TB_OK;
}


static void
tb_bridge_acked(tb_bridge_t *b, void *data, int reason)
{
    if (reason) {
        tb_call_refused(b, data, reason);
        return;
    }

    tb_call_acked(b, data);
}
