
/*
 * Copyright (C) tb-rpc contributors.
 *
 * When the socket of the broker is read and written.
 *
 * The library acknowledges a message to the broker before it is even given to
 * us.  So nothing is written while there are messages that Redis has not
 * taken: should we be killed, the broker still has them for the next one of
 * our --client-id.
 */


#include "../bridge.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>


/* ms that are gathered before what was read must be in Redis first */
#define TB_MQTT_GATHER       5
/* nothing is held back for longer: then it is in our memory only */
#define TB_MQTT_MAX_HOLD     5000


/* PINGs and calls are behind what is held back */

static int64_t
tb_mqtt_hold(tb_bridge_t *b)
{
    int64_t  hold;

    hold = b->conf->mqtt->keepalive * 1000 / 4;

    if (hold > b->conf->mqtt->ack_timeout / 2) {
        hold = b->conf->mqtt->ack_timeout / 2;
    }

    return hold < TB_MQTT_MAX_HOLD ? hold : TB_MQTT_MAX_HOLD;
}


/* ms since it is held back, -1 when it is not */

static int64_t
tb_mqtt_held(tb_bridge_t *b)
{
    int64_t  held;

    if (!b->mqtt_up || b->unsaved == 0 || b->conf->mqtt->qos == 0) {
        b->mqtt_held_at = 0;
        return -1;
    }

    if (b->mqtt_held_at == 0) {
        b->mqtt_held_at = tb_now();
    }

    held = tb_now() - b->mqtt_held_at;

    return held < tb_mqtt_hold(b) ? held : -1;
}


int
tb_mqtt_poll(tb_bridge_t *b, short *events)
{
    int      fd;
    int64_t  held;

    if (b->mosq == NULL) {
        return -1;
    }

    fd = mosquitto_socket(b->mosq);

    held = tb_mqtt_held(b);

    *events = tb_answers_full(b) || held >= TB_MQTT_GATHER ? 0 : POLLIN;

    if (held < 0 && mosquitto_want_write(b->mosq)) {
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
tb_mqtt_quickack(tb_bridge_t *b)
{
#ifdef TCP_QUICKACK

    int  fd, one;

    fd = mosquitto_socket(b->mosq);
    one = 1;

    if (fd != -1) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
    }

#endif
}


void
tb_mqtt_run(tb_bridge_t *b, short revents)
{
    int      rc;
    int64_t  now;

    now = tb_now();

    if (b->mosq == NULL) {
        /* without the number of shards no message can be made use of */

        if (now >= b->mqtt_retry_at && tb_shards(b->redis)) {
            tb_mqtt_open(b);
        }

        return;
    }

    rc = MOSQ_ERR_SUCCESS;

    if (b->mqtt_up && (revents & (POLLERR|POLLHUP)) && !tb_answers_full(b)) {
        /* what a broker has sent before its end is read, to the end */
        revents = POLLIN;
    }

    if (!b->mqtt_lost && (revents & POLLIN)) {
        rc = mosquitto_loop_read(b->mosq, 1);

        if (rc == MOSQ_ERR_SUCCESS) {
            tb_mqtt_quickack(b);
        }

    } else if (!b->mqtt_lost && (revents & (POLLERR|POLLHUP))) {
        rc = MOSQ_ERR_CONN_LOST;
    }

    if (rc == MOSQ_ERR_SUCCESS && !b->mqtt_lost && (revents & POLLOUT)
        && tb_mqtt_held(b) < 0)
    {
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
    int64_t  held;

    if (b->mosq == NULL) {
        return tb_shards(b->redis) ? b->mqtt_retry_at : INT64_MAX;
    }

    held = b->mqtt_held_at ? b->mqtt_held_at + tb_mqtt_hold(b) : INT64_MAX;

    return held > tb_now() && held < b->mqtt_misc_at ? held : b->mqtt_misc_at;
}
