
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The MQTT side: libmosquitto driven from our own poll loop.  The client is
 * made anew for every connection, so that the library never re-sends on its
 * own; what was not acknowledged is decided on in calls.c.  Callbacks run
 * inside mosquitto_loop_*(), in the one thread.
 */


#include "../bridge.h"


#define TB_MQTT_MAX_BACKOFF  5000
#define TB_MIDS              65536
/* seconds that the broker keeps the session of a --client-id */
#define TB_MQTT_SESSION      86400


/* a PUBACK that came after its call was given to the timeout */

static tb_call_t  tb_mqtt_overdue;


/*
 * Presence is subscribed to with QoS 0: a broker sends retained messages of
 * QoS 0 as fast as they can be written, but queues those of QoS 1, and drops
 * what is beyond the bound of its queue (mosquitto: 1000).  What a broken
 * connection takes with it is told again after the next connect.
 */

static int
tb_mqtt_subscribe(tb_bridge_t *b)
{
    int             i, qos;
    const tb_rpc_conf_t  *opt;
    const tb_template_t  *topics[6];

    opt = b->conf;
    memset(topics, 0, sizeof(topics));

    topics[0] = &opt->response;
    topics[1] = opt->fixed ? NULL : &opt->presence;

    if (opt->gateway) {
        topics[2] = &opt->gateway_rpc;
        topics[3] = &opt->gateway_connect;
        topics[4] = &opt->gateway_disconnect;
        topics[5] = &opt->gateway_status;
    }

    for (i = 0; i < 6; i++) {
        qos = topics[i] == &opt->presence ? 0 : opt->mqtt->qos;

        if (topics[i]
            && mosquitto_subscribe(b->mosq, NULL, topics[i]->subscription,
                                   qos) != MOSQ_ERR_SUCCESS)
        {
            return TB_ERROR;
        }

        b->mqtt_subs += topics[i] != NULL;
    }

    return TB_OK;
}


static void
tb_mqtt_connected(struct mosquitto *mosq, void *data, int rc, int flags,
    const mosquitto_property *properties)
{
    tb_bridge_t  *b = data;

    if (rc != 0) {
        if (!b->mqtt_failed) {
            tb_log(TB_LOG_ERROR, "mqtt: %s:%d refused the connection: %s",
                   b->conf->mqtt->host, b->conf->mqtt->port,
                   b->conf->mqtt->version == MQTT_PROTOCOL_V5
                   ? mosquitto_reason_string(rc)
                   : mosquitto_connack_string(rc));
        }

        b->mqtt_failed = 1;
        b->mqtt_lost = 1;
        return;
    }

    tb_log(TB_LOG_INFO, "mqtt: connected to %s:%d as \"%s\"%s",
           b->conf->mqtt->host, b->conf->mqtt->port, b->conf->mqtt->client_id,
           b->conf->mqtt->tls ? " with TLS" : "");

    b->mqtt_up = 1;
    b->mqtt_subs = 0;
    b->mqtt_failed = 0;
    b->mqtt_since = tb_now();
    b->mqtt_heard_at = b->mqtt_since;
    b->window = 1;
    b->epoch++;
    b->unsaved = 0;
    b->mqtt_held_at = 0;

    if (tb_mqtt_subscribe(b) != TB_OK) {
        b->mqtt_lost = 1;
    }
}


static void
tb_mqtt_subscribed(struct mosquitto *mosq, void *data, int mid, int n,
    const int *granted)
{
    int           i;
    tb_bridge_t  *b = data;

    b->mqtt_subs--;

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
tb_mqtt_published(struct mosquitto *mosq, void *data, int mid, int reason,
    const mosquitto_property *properties)
{
    tb_call_t    *call;
    tb_bridge_t  *b = data;

    if (mid < 0 || mid >= TB_MIDS) {
        return;
    }

    b->mqtt_heard_at = tb_now();

    call = b->by_mid[mid];
    b->by_mid[mid] = NULL;

    /* QoS 0 may be through before mosquitto_publish() has returned */

    if (call == NULL && b->publishing && b->publishing->mid == mid) {
        call = b->publishing;
        b->publishing = NULL;
    }

    if (call == &tb_mqtt_overdue) {
        b->overdue--;
        return;
    }

    if (call == NULL) {
        return;
    }

    b->mqtt_backoff = 0;

    if (b->conf->mqtt->version == MQTT_PROTOCOL_V5 && b->conf->mqtt->qos > 0
        && reason != 0)
    {
        tb_call_refused(b, call, reason);
        return;
    }

    tb_call_acked(b, call);
}


static void
tb_mqtt_message(struct mosquitto *mosq, void *data,
    const struct mosquitto_message *in, const mosquitto_property *properties)
{
    void          *correlation;
    uint16_t       len;
    tb_bridge_t   *b = data;
    tb_message_t   msg;

    if (in->topic == NULL) {
        return;
    }

    correlation = NULL;
    len = 0;

    if (properties) {
        mosquitto_property_read_binary(properties,
                                       MQTT_PROP_CORRELATION_DATA,
                                       &correlation, &len, 0);
    }

    msg.topic = in->topic;
    msg.payload.data = in->payloadlen > 0 ? in->payload : "";
    msg.payload.len = in->payloadlen > 0 ? (size_t) in->payloadlen : 0;
    msg.correlation.data = correlation;
    msg.correlation.len = len;
    msg.retain = in->retain;

    tb_message(b, &msg);

    free(correlation);
}


/* a key with a passphrase must not make OpenSSL ask a terminal for it */

static int
tb_mqtt_no_passphrase(char *buf, int size, int rw, void *data)
{
    return 0;
}


static int
tb_mqtt_tls(tb_bridge_t *b)
{
    int            rc;
    const tb_mqtt_conf_t  *opt;

    opt = b->conf->mqtt;

    if (!opt->tls) {
        return MOSQ_ERR_SUCCESS;
    }

    if (opt->cafile == NULL && opt->capath == NULL) {
        rc = mosquitto_int_option(b->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
        if (rc != MOSQ_ERR_SUCCESS) {
            return rc;
        }

        if (opt->cert == NULL) {
            return MOSQ_ERR_SUCCESS;
        }
    }

    return mosquitto_tls_set(b->mosq, opt->cafile, opt->capath, opt->cert,
                             opt->key, tb_mqtt_no_passphrase);
}


/*
 * With MQTT 5 the broker keeps a session as long as it is told to, and only
 * the blocking connect of the library can tell it.
 */

static int
tb_mqtt_connect(tb_bridge_t *b)
{
    int                  rc;
    const tb_mqtt_conf_t        *opt;
    mosquitto_property  *list;

    opt = b->conf->mqtt;

    if (opt->version != MQTT_PROTOCOL_V5 || !opt->keep_session) {
        return mosquitto_connect_async(b->mosq, opt->host,
                                       opt->port, opt->keepalive);
    }

    list = NULL;

    rc = mosquitto_property_add_int32(&list,
                                      MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                      TB_MQTT_SESSION);
    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_connect_bind_v5(b->mosq, opt->host,
                                       opt->port, opt->keepalive,
                                       NULL, list);
    }

    mosquitto_property_free_all(&list);

    return rc;
}


void
tb_mqtt_open(tb_bridge_t *b)
{
    int            rc;
    const tb_mqtt_conf_t  *opt;

    opt = b->conf->mqtt;

    /* a chosen client id has a session that keeps answers for us */

    b->mosq = mosquitto_new(opt->client_id, !opt->keep_session, b);
    if (b->mosq == NULL) {
        tb_log(TB_LOG_ERROR, "mqtt: cannot make a client: %s",
               strerror(errno));
        exit(1);
    }

    mosquitto_connect_v5_callback_set(b->mosq, tb_mqtt_connected);
    mosquitto_subscribe_callback_set(b->mosq, tb_mqtt_subscribed);
    mosquitto_disconnect_callback_set(b->mosq, tb_mqtt_disconnected);
    mosquitto_publish_v5_callback_set(b->mosq, tb_mqtt_published);
    mosquitto_message_v5_callback_set(b->mosq, tb_mqtt_message);

    /* calls.c bounds them */
    mosquitto_max_inflight_messages_set(b->mosq, 0);

    /* there are no threads, but so it writes only when it is told to */
    mosquitto_threaded_set(b->mosq, 1);

    rc = mosquitto_int_option(b->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                              opt->version);

    /* a PUBLISH is not to wait until the PUBACK before it was received */

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_int_option(b->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    }

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = tb_mqtt_tls(b);
    }

    if (rc == MOSQ_ERR_SUCCESS && opt->user) {
        rc = mosquitto_username_pw_set(b->mosq, opt->user,
                                       opt->password);
    }

    b->mqtt_lost = 0;
    b->mqtt_up = 0;
    b->mqtt_since = tb_now();
    b->count->reconnects++;

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = tb_mqtt_connect(b);
    }

    if (rc != MOSQ_ERR_SUCCESS) {
        tb_mqtt_drop(b, rc == MOSQ_ERR_ERRNO ? strerror(errno)
                                             : mosquitto_strerror(rc));
    }
}


/*
 * Retained presence comes before the acknowledgement of its subscription, or
 * soon after: a call that is looked at earlier is of a device that seems to
 * be away.
 */

int
tb_mqtt_ready(tb_bridge_t *b)
{
    return b->mqtt_up
           && (b->conf->fixed || b->mqtt_subs <= 0
               || tb_now() - b->mqtt_since >= TB_SUBACK_TIMEOUT);
}


void
tb_mqtt_stop(tb_bridge_t *b)
{
    /* else the broker keeps what we have not passed on */

    if (b->mosq && b->mqtt_up && b->unsaved == 0) {
        mosquitto_disconnect(b->mosq);
        mosquitto_loop_write(b->mosq, 1);
    }

    tb_mqtt_close(b);
}


void
tb_mqtt_close(tb_bridge_t *b)
{
    if (b->mosq != NULL) {
        mosquitto_destroy(b->mosq);
        b->mosq = NULL;
    }

    b->mqtt_up = 0;
    b->overdue = 0;
    memset(b->by_mid, 0, TB_MIDS * sizeof(tb_call_t *));
}


void
tb_mqtt_drop(tb_bridge_t *b, const char *why)
{
    if (!b->mqtt_failed) {
        tb_log(TB_LOG_ERROR, "mqtt: connection to %s:%d: %s; trying again",
               b->conf->mqtt->host, b->conf->mqtt->port, why);
    }

    b->mqtt_failed = 1;
    tb_mqtt_close(b);
    tb_calls_disconnected(b);
    b->mqtt_retry_at = tb_backoff(&b->mqtt_backoff, TB_MQTT_MAX_BACKOFF);
}


int
tb_mqtt_publish(tb_bridge_t *b, tb_call_t *call, const char *topic,
    tb_str_t *payload, const mosquitto_property *properties)
{
    int  rc;

    b->publishing = call;

    rc = mosquitto_publish_v5(b->mosq, &call->mid, topic, (int) payload->len,
                              payload->data, b->conf->mqtt->qos, 0,
                              properties);

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


void
tb_mqtt_forget(tb_bridge_t *b, tb_call_t *call)
{
    tb_call_t  **slot;

    slot = &b->by_mid[call->mid & (TB_MIDS - 1)];

    if (*slot == call) {
        *slot = &tb_mqtt_overdue;
        b->overdue++;
    }
}
