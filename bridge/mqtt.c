
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The MQTT side: libmosquitto driven from our own poll loop.  The client is
 * made anew for every connection, so that the library never re-sends on its
 * own; what was not acknowledged is decided on in calls.c.  Callbacks run
 * inside mosquitto_loop_*() and mosquitto_publish(), in the one thread.
 */


#include "bridge.h"


#define TB_MQTT_MAX_BACKOFF  5000
#define TB_MIDS              65536


static void
tb_mqtt_connected(struct mosquitto *mosq, void *data, int rc)
{
    tb_bridge_t  *b = data;

    if (rc != 0) {
        if (!b->mqtt_failed) {
            tb_log(TB_LOG_ERROR, "mqtt: %s:%d refused the connection: %s",
                   b->opt.broker_host, b->opt.broker_port,
                   mosquitto_connack_string(rc));
        }

        b->mqtt_failed = 1;
        b->mqtt_lost = 1;
        return;
    }

    tb_log(TB_LOG_INFO, "mqtt: connected to %s:%d as \"%s\"",
           b->opt.broker_host, b->opt.broker_port, b->opt.client_id);

    b->mqtt_up = 1;
    b->mqtt_failed = 0;
    b->mqtt_since = tb_now();
    b->window = 1;
    b->epoch++;

    if (mosquitto_subscribe(mosq, NULL, b->opt.response.subscription,
                            b->opt.qos) != MOSQ_ERR_SUCCESS
        || (!b->opt.fixed
            && mosquitto_subscribe(mosq, NULL, b->opt.presence.subscription,
                                   b->opt.qos) != MOSQ_ERR_SUCCESS))
    {
        b->mqtt_lost = 1;
    }
}


static void
tb_mqtt_subscribed(struct mosquitto *mosq, void *data, int mid, int n,
    const int *granted)
{
    int  i;

    for (i = 0; i < n; i++) {
        if (granted[i] > 2) {
            tb_log(TB_LOG_ERROR, "mqtt: the broker refused a subscription;"
                   " allow this client to read the response and presence"
                   " topics");
        }
    }
}


static void
tb_mqtt_disconnected(struct mosquitto *mosq, void *data, int rc)
{
    tb_bridge_t  *b = data;

    b->mqtt_lost = 1;
}


static void
tb_mqtt_published(struct mosquitto *mosq, void *data, int mid)
{
    tb_call_t    *call;
    tb_bridge_t  *b = data;

    if (mid < 0 || mid >= TB_MIDS) {
        return;
    }

    call = b->by_mid[mid];
    b->by_mid[mid] = NULL;

    /* QoS 0 may be through before mosquitto_publish() has returned */

    if (call == NULL && b->publishing && b->publishing->mid == mid) {
        call = b->publishing;
        b->publishing = NULL;
    }

    if (call) {
        tb_call_acked(b, call);
        b->mqtt_backoff = 0;
    }
}


static void
tb_mqtt_message(struct mosquitto *mosq, void *data,
    const struct mosquitto_message *msg)
{
    tb_str_t      values[TB_VAR_MAX];
    tb_bridge_t  *b = data;

    if (msg->topic == NULL) {
        return;
    }

    if (!b->opt.fixed
        && tb_template_match(&b->opt.presence, msg->topic, values) == TB_OK)
    {
        tb_presence_message(b, msg);
        return;
    }

    tb_answer_message(b, msg);
}


static void
tb_mqtt_open(tb_bridge_t *b)
{
    int            rc;
    tb_options_t  *opt;

    opt = &b->opt;

    /* a chosen client id has a session that keeps answers for us */

    b->mosq = mosquitto_new(opt->client_id, !opt->keep_session, b);
    if (b->mosq == NULL) {
        tb_log(TB_LOG_ERROR, "mqtt: cannot make a client: %s",
               strerror(errno));
        exit(1);
    }

    mosquitto_connect_callback_set(b->mosq, tb_mqtt_connected);
    mosquitto_subscribe_callback_set(b->mosq, tb_mqtt_subscribed);
    mosquitto_disconnect_callback_set(b->mosq, tb_mqtt_disconnected);
    mosquitto_publish_callback_set(b->mosq, tb_mqtt_published);
    mosquitto_message_callback_set(b->mosq, tb_mqtt_message);

    /* calls.c bounds them */
    mosquitto_max_inflight_messages_set(b->mosq, 0);

    rc = MOSQ_ERR_SUCCESS;

    if (opt->mqtt_user) {
        rc = mosquitto_username_pw_set(b->mosq, opt->mqtt_user,
                                       opt->mqtt_password);
    }

    b->mqtt_lost = 0;
    b->mqtt_up = 0;
    b->mqtt_since = tb_now();
    b->count.reconnects++;

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_connect_async(b->mosq, opt->broker_host,
                                     opt->broker_port, opt->keepalive);
    }

    if (rc != MOSQ_ERR_SUCCESS) {
        tb_mqtt_drop(b, rc == MOSQ_ERR_ERRNO ? strerror(errno)
                                             : mosquitto_strerror(rc));
    }
}


void
tb_mqtt_close(tb_bridge_t *b)
{
    if (b->mosq != NULL) {
        mosquitto_destroy(b->mosq);
        b->mosq = NULL;
    }

    b->mqtt_up = 0;
    memset(b->by_mid, 0, TB_MIDS * sizeof(tb_call_t *));
}


void
tb_mqtt_drop(tb_bridge_t *b, const char *why)
{
    if (!b->mqtt_failed) {
        tb_log(TB_LOG_ERROR, "mqtt: connection to %s:%d: %s; trying again",
               b->opt.broker_host, b->opt.broker_port, why);
    }

    b->mqtt_failed = 1;
    tb_mqtt_close(b);
    tb_calls_disconnected(b);
    b->mqtt_retry_at = tb_backoff(&b->mqtt_backoff, TB_MQTT_MAX_BACKOFF);
}


int
tb_mqtt_publish(tb_bridge_t *b, tb_call_t *call, const char *topic,
    const void *payload, size_t len)
{
    int  rc;

    b->publishing = call;

    rc = mosquitto_publish(b->mosq, &call->mid, topic, (int) len, payload,
                           b->opt.qos, 0);

    if (rc == MOSQ_ERR_SUCCESS && b->publishing == call) {
        b->by_mid[call->mid & (TB_MIDS - 1)] = call;
    }

    b->publishing = NULL;

    if (rc != MOSQ_ERR_SUCCESS) {
        tb_log(TB_LOG_DEBUG, "mqtt: publish: %s", mosquitto_strerror(rc));

        if (rc != MOSQ_ERR_PAYLOAD_SIZE && rc != MOSQ_ERR_OVERSIZE_PACKET
            && rc != MOSQ_ERR_INVAL && rc != MOSQ_ERR_MALFORMED_UTF8)
        {
            b->mqtt_lost = 1;
        }
    }

    return rc;
}


int
tb_mqtt_poll(tb_bridge_t *b, short *events)
{
    int  fd;

    if (b->mosq == NULL) {
        return -1;
    }

    fd = mosquitto_socket(b->mosq);

    *events = tb_answers_full(b) ? 0 : POLLIN;

    if (mosquitto_want_write(b->mosq)) {
        *events |= POLLOUT;
    }

    return fd;
}


void
tb_mqtt_run(tb_bridge_t *b, short revents)
{
    int      rc;
    int64_t  now;

    now = tb_now();

    if (b->mosq == NULL) {
        if (now >= b->mqtt_retry_at) {
            tb_mqtt_open(b);
        }

        return;
    }

    rc = MOSQ_ERR_SUCCESS;

    if (!b->mqtt_lost && (revents & POLLIN)) {
        rc = mosquitto_loop_read(b->mosq, 1);

    } else if (!b->mqtt_lost && (revents & (POLLERR|POLLHUP))) {
        rc = MOSQ_ERR_CONN_LOST;
    }

    if (rc == MOSQ_ERR_SUCCESS && !b->mqtt_lost && (revents & POLLOUT)) {
        rc = mosquitto_loop_write(b->mosq, 1);
    }

    if (rc == MOSQ_ERR_SUCCESS && !b->mqtt_lost && now >= b->mqtt_misc_at) {
        b->mqtt_misc_at = now + 1000;
        rc = mosquitto_loop_misc(b->mosq);

        if (b->mqtt_up && now - b->mqtt_since > 10000) {
            b->mqtt_backoff = 0;
        }
    }

    if (!b->mqtt_up && now - b->mqtt_since > TB_CONNECT_TIMEOUT) {
        tb_mqtt_drop(b, "no answer in time");

    } else if (rc != MOSQ_ERR_SUCCESS || b->mqtt_lost) {
        tb_mqtt_drop(b, rc == MOSQ_ERR_ERRNO ? strerror(errno)
                        : rc ? mosquitto_strerror(rc) : "lost");
    }
}


int64_t
tb_mqtt_timer(tb_bridge_t *b)
{
    return b->mosq ? b->mqtt_misc_at : b->mqtt_retry_at;
}
