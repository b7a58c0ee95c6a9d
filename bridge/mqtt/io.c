
/*
 * Copyright (C) tb-rpc contributors.
 *
 * When the socket of the broker is read and written.
 *
 * The library acknowledges a message to the broker before it is even given to
 * us.  So nothing is written while there are messages that Redis has not
 * taken: should we be killed, the broker still has them for the next one of
 * our --client-id.  Those for a master that is away, while others are there,
 * are not waited for: acknowledgements have an order, and all that is written
 * is behind them.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "io.h"
#include "private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>


/* of a connection to be made */
#define TB_CONNECT_TIMEOUT   5000
/* ms that are gathered before what was read must be in Redis first */
#define TB_MQTT_GATHER       5
/* nothing is held back for longer: then it is in our memory only */
#define TB_MQTT_MAX_HOLD     5000


/* PINGs and calls are behind what is held back */

static int64_t
tb_mqtt_hold(tb_mqtt_t *m)
{
    int64_t  hold;

    hold = m->conf->keepalive * 1000 / 4;

    if (hold > m->conf->ack_timeout / 2) {
        hold = m->conf->ack_timeout / 2;
    }

    return hold < TB_MQTT_MAX_HOLD ? hold : TB_MQTT_MAX_HOLD;
}


int64_t
tb_mqtt_held(tb_mqtt_t *m)
{
    int64_t  held;

    if (!m->up || m->conf->qos == 0
        || m->events->unsaved(m->bridge, 0) == 0)
    {
        m->held_at = 0;
        return -1;
    }

    if (m->held_at == 0) {
        m->held_at = tb_now();
    }

    held = tb_now() - m->held_at;

    return held < tb_mqtt_hold(m) ? held : -1;
}


/* what was read must be in Redis first; a CONNACK needs no Redis */

static int
tb_mqtt_wanted(tb_mqtt_t *m)
{
    return tb_mqtt_held(m) < TB_MQTT_GATHER
           && (!m->up || !m->events->full(m->bridge));
}


/*
 * With TLS, what was decrypted and is not read: poll() knows nothing of it,
 * and the library leaves it when it takes the EAGAIN of a write for the read's.
 */

static int
tb_mqtt_decrypted(tb_mqtt_t *m)
{
    SSL  *ssl;

    ssl = mosquitto_ssl_get(m->mosq);

    return ssl != NULL && SSL_pending(ssl) > 0;
}


int
tb_mqtt_poll(tb_mqtt_t *m, short *events)
{
    int  fd;

    if (m->mosq == NULL) {
        return -1;
    }

    if (m->job.running) {
        *events = POLLIN;
        return m->job.fd;
    }

    fd = mosquitto_socket(m->mosq);

    *events = tb_mqtt_wanted(m) ? POLLIN : 0;

    if (tb_mqtt_held(m) < 0 && mosquitto_want_write(m->mosq)) {
        *events |= POLLOUT;
    }

    return fd;
}


/*
 * A broker without TCP_NODELAY holds an answer back until its PUBACK before
 * that was received, which would be 40 ms later: nothing is sent in reply to
 * a PUBACK.  The kernel forgets the option, so it is set after each read.
 */

static void
tb_mqtt_quickack(tb_mqtt_t *m)
{
#ifdef TCP_QUICKACK

    int  fd, one;

    fd = mosquitto_socket(m->mosq);
    one = 1;

    if (fd != -1) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
    }

#endif
}


/* with more than one packet to be written: they go together, as one segment */

static void
tb_mqtt_cork(tb_mqtt_t *m, int on)
{
#ifdef TCP_CORK

    int  fd;

    fd = mosquitto_socket(m->mosq);

    if (fd != -1) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    }

#endif
}


static int
tb_mqtt_write(tb_mqtt_t *m)
{
    int  rc, many;

    many = m->queued > 1;
    m->queued = 0;

    if (many) {
        tb_mqtt_cork(m, 1);
    }

    rc = mosquitto_loop_write(m->mosq, 1);

    if (many) {
        tb_mqtt_cork(m, 0);
    }

    return rc;
}


/* it cannot be stopped, nor would another one come further */

static void
tb_mqtt_looking(tb_mqtt_t *m, short revents)
{
    if (revents) {
        tb_mqtt_opened(m);

    } else if (tb_now() - m->since > TB_CONNECT_TIMEOUT) {
        tb_log(m->failed ? TB_LOG_DEBUG : TB_LOG_ERROR,
               "mqtt: the name of %s:%d is still being looked up",
               m->conf->host, m->conf->port);
        m->failed = 1;
        m->since = tb_now();
    }
}


static const char *
tb_mqtt_why(tb_mqtt_t *m, int rc)
{
    if (rc == MOSQ_ERR_ERRNO) {
        return strerror(errno);
    }

    if (!m->up && m->conf->version == MQTT_PROTOCOL_V5) {

        if (rc == MOSQ_ERR_CONN_LOST) {
            return "closed by the broker; if it does not speak MQTT 5, see"
                   " --mqtt-version";
        }

        /* a CONNACK of 3.1.1, as some libmosquitto see it */

        if (rc == MOSQ_ERR_PROTOCOL || rc == MOSQ_ERR_MALFORMED_PACKET) {
            return "it does not speak MQTT 5, see --mqtt-version";
        }
    }

    return rc ? mosquitto_strerror(rc) : "lost";
}


void
tb_mqtt_run(tb_mqtt_t *m, short revents)
{
    int      rc;
    int64_t  now;

    now = tb_now();

    if (m->mosq == NULL) {
        if (now >= m->retry_at) {
            tb_mqtt_open(m);
        }

        return;
    }

    if (m->job.running) {
        tb_mqtt_looking(m, revents);
        return;
    }

    rc = MOSQ_ERR_SUCCESS;

    if (m->up && (revents & (POLLERR|POLLHUP))
        && !m->events->full(m->bridge))
    {
        /* what a broker has sent before its end is read, to the end */
        revents = POLLIN;
    }

    if (!m->lost && tb_mqtt_decrypted(m) && tb_mqtt_wanted(m)) {
        revents |= POLLIN;
    }

    if (!m->lost && (revents & POLLIN)) {
        rc = mosquitto_loop_read(m->mosq, 1);

        if (rc == MOSQ_ERR_SUCCESS) {
            tb_mqtt_quickack(m);
        }

    } else if (!m->lost && (revents & (POLLERR|POLLHUP))) {
        rc = MOSQ_ERR_CONN_LOST;
    }

    if (rc == MOSQ_ERR_SUCCESS && !m->lost && (revents & POLLOUT)
        && tb_mqtt_held(m) < 0)
    {
        rc = tb_mqtt_write(m);
    }

    if (rc == MOSQ_ERR_SUCCESS && !m->lost && now >= m->misc_at) {
        m->misc_at = now + 1000;
        rc = mosquitto_loop_misc(m->mosq);

        if (m->up && now - m->since > 10000) {
            m->backoff = 0;
            m->failed = 0;
        }
    }

    if (!m->up && now - m->since > TB_CONNECT_TIMEOUT) {
        tb_mqtt_drop(m, "no answer in time");

    } else if (rc != MOSQ_ERR_SUCCESS || m->lost) {
        tb_mqtt_drop(m, tb_mqtt_why(m, rc));
    }
}


int64_t
tb_mqtt_timer(tb_mqtt_t *m)
{
    int64_t  held;

    if (m->mosq == NULL) {
        return m->retry_at;
    }

    if (m->job.running) {
        return INT64_MAX;
    }

    if (m->lost || (tb_mqtt_decrypted(m) && tb_mqtt_wanted(m))) {
        return 0;
    }

    held = m->held_at ? m->held_at + tb_mqtt_hold(m) : INT64_MAX;

    return held > tb_now() && held < m->misc_at ? held : m->misc_at;
}
