
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The MQTT side: libmosquitto driven from our own poll loop.  The client is
 * made anew for every connection, so that the library never re-sends on its
 * own; what was not acknowledged is decided on above.  Callbacks run
 * inside mosquitto_loop_*(), in the one thread; only the host is looked up in
 * another one.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "private.h"


#define TB_MQTT_MAX_BACKOFF  5000
#define TB_MIDS              65536
/* seconds that the broker keeps the session of a --client-id */
#define TB_MQTT_SESSION      86400
/* a broker that acknowledges nothing for so long is left */
#define TB_PUBACK_TIMEOUT    30000
/* ms that what is published may wait for messages that Redis has not taken */
#define TB_MQTT_WAIT         100


/* in the place of what was published: its PUBACK comes too late */

static char  tb_mqtt_overdue;


tb_mqtt_t *
tb_mqtt_create(const tb_mqtt_conf_t *conf, const tb_mqtt_events_t *events,
    tb_bridge_t *b, tb_counters_t *count)
{
    tb_mqtt_t  *m;

    mosquitto_lib_init();

    m = tb_alloc(sizeof(tb_mqtt_t));
    m->conf = conf;
    m->events = events;
    m->bridge = b;
    m->count = count;
    m->by_mid = tb_alloc(TB_MIDS * sizeof(void *));

    return m;
}


int
tb_mqtt_up(const tb_mqtt_t *m)
{
    return m->up;
}


int64_t
tb_mqtt_since(const tb_mqtt_t *m)
{
    return m->since;
}


unsigned
tb_mqtt_epoch(const tb_mqtt_t *m)
{
    return m->epoch;
}


static void
tb_mqtt_connected(struct mosquitto *mosq, void *data, int rc, int flags,
    const mosquitto_property *properties)
{
    uint8_t     shares;
    uint16_t    max;
    tb_mqtt_t  *m = data;

    if (rc != 0) {
        if (!m->failed) {
            tb_log(TB_LOG_ERROR, "mqtt: %s:%d refused the connection: %s",
                   m->conf->host, m->conf->port,
                   rc == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION
                   ? "it does not speak MQTT 5, see --mqtt-version"
                   : m->conf->version == MQTT_PROTOCOL_V5
                     ? mosquitto_reason_string(rc)
                     : mosquitto_connack_string(rc));
        }

        m->failed = 1;
        m->lost = 1;
        return;
    }

    tb_log(TB_LOG_INFO, "mqtt: connected to %s:%d as \"%s\"%s",
           m->conf->host, m->conf->port, m->conf->client_id,
           m->conf->tls ? " with TLS" : "");

    max = UINT16_MAX;
    shares = m->conf->version == MQTT_PROTOCOL_V5;

    mosquitto_property_read_int16(properties, MQTT_PROP_RECEIVE_MAXIMUM, &max,
                                  0);
    mosquitto_property_read_byte(properties, MQTT_PROP_SHARED_SUB_AVAILABLE,
                                 &shares, 0);

    m->up = 1;
    m->receive_max = max;
    m->shares = shares;
    m->nsubs = 0;
    m->leave_at = 0;
    m->subs_open = 0;
    m->subs_leaving = 0;
    m->since = tb_now();
    m->heard_at = m->since;
    m->epoch++;
    m->held_at = 0;

    if (m->events->up(m->bridge) != TB_OK) {
        m->lost = 1;
    }
}


static void
tb_mqtt_disconnected(struct mosquitto *mosq, void *data, int rc)
{
    tb_mqtt_t  *m = data;

    m->lost = 1;
}


static void
tb_mqtt_published(struct mosquitto *mosq, void *data, int mid, int reason,
    const mosquitto_property *properties)
{
    void       *published;
    tb_mqtt_t  *m = data;

    if (mid < 0 || mid >= TB_MIDS) {
        return;
    }

    m->heard_at = tb_now();

    published = m->by_mid[mid];
    m->by_mid[mid] = NULL;

    /* QoS 0 may be through before mosquitto_publish() has returned */

    if (published == NULL && m->publishing && m->mid == mid) {
        published = m->publishing;
        m->publishing = NULL;
    }

    if (published == &tb_mqtt_overdue) {
        m->overdue--;
        return;
    }

    if (published == NULL) {
        return;
    }

    m->backoff = 0;

    if (m->conf->version != MQTT_PROTOCOL_V5 || m->conf->qos == 0) {
        reason = 0;
    }

    m->events->acked(m->bridge, published, reason);
}


static void
tb_mqtt_message(struct mosquitto *mosq, void *data,
    const struct mosquitto_message *in, const mosquitto_property *properties)
{
    void          *correlation;
    uint16_t       len;
    tb_mqtt_t     *m = data;
    tb_message_t   msg;

    if (in->topic == NULL) {
        return;
    }

    m->queued += in->qos > 0;

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

    m->events->message(m->bridge, &msg);

    free(correlation);
}


/* a key with a passphrase must not make OpenSSL ask a terminal for it */

static int
tb_mqtt_no_passphrase(char *buf, int size, int rw, void *data)
{
    return 0;
}


static int
tb_mqtt_tls(tb_mqtt_t *m)
{
    int                    rc;
    const tb_mqtt_conf_t  *conf;

    conf = m->conf;

    if (!conf->tls) {
        return MOSQ_ERR_SUCCESS;
    }

    if (conf->cafile == NULL && conf->capath == NULL) {
        rc = mosquitto_int_option(m->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
        if (rc != MOSQ_ERR_SUCCESS) {
            return rc;
        }

        if (conf->cert == NULL) {
            return MOSQ_ERR_SUCCESS;
        }
    }

    return mosquitto_tls_set(m->mosq, conf->cafile, conf->capath, conf->cert,
                             conf->key, tb_mqtt_no_passphrase);
}


/*
 * What CONNECT says with MQTT 5.  Only the blocking connect of the library
 * takes that; without a host it does no more than that, and fails.  What it
 * has taken is in all later connects of the client.
 */

static int
tb_mqtt_properties(tb_mqtt_t *m)
{
    int                    rc;
    mosquitto_property    *list;
    const tb_mqtt_conf_t  *conf;

    conf = m->conf;

    if (conf->version != MQTT_PROTOCOL_V5) {
        return MOSQ_ERR_SUCCESS;
    }

    list = NULL;

    rc = mosquitto_property_add_int32(&list, MQTT_PROP_MAXIMUM_PACKET_SIZE,
                                      conf->max_packet);

    if (rc == MOSQ_ERR_SUCCESS && conf->keep_session) {
        rc = mosquitto_property_add_int32(&list,
                                          MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                          TB_MQTT_SESSION);
    }

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_connect_bind_v5(m->mosq, NULL, 0, conf->keepalive,
                                       NULL, list);

        rc = rc == MOSQ_ERR_INVAL ? MOSQ_ERR_SUCCESS : rc;
    }

    mosquitto_property_free_all(&list);

    return rc;
}


static int
tb_mqtt_set(tb_mqtt_t *m)
{
    int                    rc;
    const tb_mqtt_conf_t  *conf;

    conf = m->conf;

    rc = mosquitto_int_option(m->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                              conf->version);

    /* MQTT 5: else the broker queues what is beyond 20, and may lose it */

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_int_option(m->mosq, MOSQ_OPT_RECEIVE_MAXIMUM,
                                  UINT16_MAX);
    }

    /* a PUBLISH is not to wait until the PUBACK before it was received */

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_int_option(m->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    }

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = tb_mqtt_tls(m);
    }

    if (rc == MOSQ_ERR_SUCCESS && conf->user) {
        rc = mosquitto_username_pw_set(m->mosq, conf->user, conf->password);
    }

    return rc;
}


/* in its thread: it looks up the host, and waits for nothing else */

static void
tb_mqtt_lookup(void *data)
{
    tb_mqtt_t  *m = data;

    m->rc = mosquitto_connect_async(m->mosq, m->conf->host, m->conf->port,
                                    m->conf->keepalive);
    m->err = errno;
}


void
tb_mqtt_opened(tb_mqtt_t *m)
{
    tb_job_end(&m->job);
    m->since = tb_now();

    if (m->rc != MOSQ_ERR_SUCCESS) {
        tb_mqtt_drop(m, m->rc == MOSQ_ERR_ERRNO ? strerror(m->err)
                                                : mosquitto_strerror(m->rc));
    }
}


void
tb_mqtt_open(tb_mqtt_t *m)
{
    int                    rc;
    const tb_mqtt_conf_t  *conf;

    conf = m->conf;

    /* a chosen client id has a session that keeps answers for us */

    m->mosq = mosquitto_new(conf->client_id, !conf->keep_session, m);
    if (m->mosq == NULL) {
        tb_log(TB_LOG_ERROR, "mqtt: cannot make a client: %s",
               strerror(errno));
        exit(1);
    }

    mosquitto_connect_v5_callback_set(m->mosq, tb_mqtt_connected);
    mosquitto_subscribe_callback_set(m->mosq, tb_mqtt_suback);
    mosquitto_unsubscribe_callback_set(m->mosq, tb_mqtt_unsuback);
    mosquitto_disconnect_callback_set(m->mosq, tb_mqtt_disconnected);
    mosquitto_publish_v5_callback_set(m->mosq, tb_mqtt_published);
    mosquitto_message_v5_callback_set(m->mosq, tb_mqtt_message);

    /* whoever publishes bounds them */
    mosquitto_max_inflight_messages_set(m->mosq, 0);

    /* there are no threads, but so it writes only when it is told to */
    mosquitto_threaded_set(m->mosq, 1);

    rc = tb_mqtt_set(m);

    m->lost = 0;
    m->up = 0;
    m->since = tb_now();
    m->count->reconnects++;

    if (rc == MOSQ_ERR_SUCCESS) {
        rc = tb_mqtt_properties(m);
    }

    if (rc == MOSQ_ERR_SUCCESS
        && tb_job_start(&m->job, tb_mqtt_lookup, m) != TB_OK)
    {
        rc = MOSQ_ERR_ERRNO;
    }

    if (rc != MOSQ_ERR_SUCCESS) {
        tb_mqtt_drop(m, rc == MOSQ_ERR_ERRNO ? strerror(errno)
                                             : mosquitto_strerror(rc));
    }
}


static void
tb_mqtt_close(tb_mqtt_t *m)
{
    if (m->mosq != NULL) {
        mosquitto_destroy(m->mosq);
        m->mosq = NULL;
    }

    tb_mqtt_probes_free(m);

    m->up = 0;
    m->overdue = 0;
    m->queued = 0;
    memset(m->by_mid, 0, TB_MIDS * sizeof(void *));
}


void
tb_mqtt_free(tb_mqtt_t *m)
{
    if (m->job.running) {
        /* the thread has it, and nobody can stop that */
        return;
    }

    /* else the broker keeps what we have not passed on */

    if (m->mosq && m->up && m->events->unsaved(m->bridge, 1) == 0) {
        mosquitto_disconnect(m->mosq);
        mosquitto_loop_write(m->mosq, 1);
    }

    tb_mqtt_close(m);
    free(m->by_mid);
    free(m);
    mosquitto_lib_cleanup();
}


void
tb_mqtt_drop(tb_mqtt_t *m, const char *why)
{
    if (!m->failed) {
        tb_log(TB_LOG_ERROR, "mqtt: connection to %s:%d: %s; trying again",
               m->conf->host, m->conf->port, why);
    }

    m->failed = 1;
    tb_mqtt_close(m);
    m->events->down(m->bridge);
    m->retry_at = tb_backoff(&m->backoff, TB_MQTT_MAX_BACKOFF);
}


/*
 * The library would keep what is beyond the Receive Maximum of the broker, and
 * what is published while writes are held back, for nobody knows how long; and
 * a call that it has may expire there.
 */

int
tb_mqtt_room(tb_mqtt_t *m)
{
    if (tb_mqtt_held(m) > TB_MQTT_WAIT) {
        return 0;
    }

    return m->conf->qos == 0 ? UINT16_MAX : m->receive_max - m->overdue;
}


int
tb_mqtt_publish(tb_mqtt_t *m, void *data, int *mid, const char *topic,
    const tb_str_t *payload, int qos, const mosquitto_property *properties)
{
    int  rc;

    m->publishing = data;

    rc = mosquitto_publish_v5(m->mosq, &m->mid, topic, (int) payload->len,
                              payload->data, qos, 0, properties);

    if (rc == MOSQ_ERR_SUCCESS) {
        *mid = m->mid;
        m->queued++;

        if (m->publishing) {
            m->by_mid[m->mid & (TB_MIDS - 1)] = data;
        }
    }

    m->publishing = NULL;

    if (rc != MOSQ_ERR_SUCCESS) {
        tb_log(TB_LOG_DEBUG, "mqtt: publish: %s", mosquitto_strerror(rc));

        if (rc != MOSQ_ERR_PAYLOAD_SIZE && rc != MOSQ_ERR_OVERSIZE_PACKET
            && rc != MOSQ_ERR_INVAL && rc != MOSQ_ERR_MALFORMED_UTF8)
        {
            m->lost = 1;
        }
    }

    return rc;
}


void
tb_mqtt_forget(tb_mqtt_t *m, void *data, int mid)
{
    void  **slot;

    slot = &m->by_mid[mid & (TB_MIDS - 1)];

    if (*slot == data) {
        *slot = &tb_mqtt_overdue;
        m->overdue++;
    }
}


void
tb_mqtt_check(tb_mqtt_t *m, int max)
{
    if (m->up
        && (m->overdue > max
            || (m->overdue && tb_now() - m->heard_at > TB_PUBACK_TIMEOUT)))
    {
        tb_mqtt_drop(m, "messages are not acknowledged");
    }
}
