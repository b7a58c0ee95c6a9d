
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A call from its take to the reply to its last report:
 *
 *   TAKEN -> (ASKING -> TAKEN) -> PUBLISHED -> REPORTING -> freed
 *
 * What was taken is ours until it is reported, or until Redis has waited for
 * that long enough and has queued it again.  When the broker goes away, calls
 * without PUBACK become TAKEN again.  Before such a call is published once
 * more Redis is asked whether it is still open: it may have been answered or
 * cancelled.  It is not published when it has expired, nor, if it is
 * persistent, after the acknowledgement timeout of Redis: its next attempt is
 * in the queue then.  So nothing old is ever re-sent blindly.
 *
 * A call whose device is not here is returned, and so is all that we have of
 * that device behind it: nothing overtakes.
 *
 * A PUBACK that does not come within --ack-timeout is reported as a timeout;
 * whether the call is sent again is for Redis to decide.
 *
 * A broker may drop the connection because of one message (too large, not
 * allowed).  After each connect one call is published alone, and the window
 * doubles with every PUBACK.  The last of TB_MAX_PUBLISHES attempts is made
 * alone; so only the bad one is left to its ack_timeout then, and not those
 * whose PUBACK was lost with its connections.
 */


#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "ask.h"
#include "calls.h"
#include "deliver.h"
#include "presence.h"
#include "probe.h"
#include "publish.h"
#include "report.h"
#include "unsaved.h"


/* a call that went down with so many connections is left to its ack_timeout */
#define TB_MAX_PUBLISHES     3


struct tb_delivery_s {
    int                      window;       /* calls on their way at a time */
};


tb_delivery_t *
tb_delivery_create(void)
{
    return tb_alloc(sizeof(tb_delivery_t));
}


void
tb_delivery_free(tb_delivery_t *d)
{
    free(d);
}


int
tb_calls_room(tb_bridge_t *b)
{
    int             room, hands;
    tb_delivery_t  *d;

    if (!tb_presence_ready(b) || tb_answers_full(b)) {
        return 0;
    }

    d = b->delivery;
    room = tb_mqtt_room(b->mqtt);
    room = (d->window < room ? d->window : room) - tb_calls_open(b);
    hands = b->conf->concurrency - tb_calls_here(b);

    return room < hands ? room : hands;
}


static void
tb_call_delivered(tb_bridge_t *b, tb_call_t *call)
{
    tb_delivery_t  *d;

    d = b->delivery;
    d->window *= 2;

    if (d->window > b->conf->concurrency) {
        d->window = b->conf->concurrency;
    }

    b->count->delivered++;
    tb_call_report(b, call, "tb_rpc_delivered");
}


/*
 * Only these will be the same the next time.  Nobody subscribes: the device is
 * away and will have said so soon, or is one that never says so.  Others are
 * of a broker that is busy, or has a quota.  Redis leaves the device alone for
 * a while.
 */

static void
tb_call_refused(tb_bridge_t *b, tb_call_t *call, int reason)
{
    switch (reason) {

    case MQTT_RC_NOT_AUTHORIZED:
    case MQTT_RC_TOPIC_NAME_INVALID:
    case MQTT_RC_PACKET_TOO_LARGE:
    case MQTT_RC_PAYLOAD_FORMAT_INVALID:
        tb_call_failed(b, call, mosquitto_reason_string(reason));
        return;

    case MQTT_RC_NO_MATCHING_SUBSCRIBERS:
        b->count->unheard++;
        break;

    default:
        b->count->refused++;
    }

    tb_log(TB_LOG_INFO, "request %u of device %s is not passed on by the"
           " broker: %s", (unsigned) call->request_id, call->device_id,
           mosquitto_reason_string(reason));

    tb_call_return(b, call, NULL);
}


void
tb_call_acked(tb_bridge_t *b, void *data, int reason)
{
    if (reason) {
        tb_call_refused(b, data, reason);
        return;
    }

    tb_call_delivered(b, data);
}


static void
tb_call_overdue(tb_bridge_t *b, tb_call_t *call)
{
    tb_log(TB_LOG_WARN, "request %u of device %s was not acknowledged within"
           " %d ms", (unsigned) call->request_id, call->device_id,
           b->conf->mqtt->ack_timeout);

    b->count->timeouts++;
    tb_mqtt_forget(b->mqtt, call, call->mid);
    tb_call_report(b, call, "tb_rpc_timeout");
}


static void
tb_call_publish(tb_bridge_t *b, tb_call_t *call)
{
    const char  *error;

    tb_call_to(b, call, TB_CALL_PUBLISHED);
    call->published_at = tb_now();
    call->publishes++;

    error = tb_publish_call(b, call);

    if (error) {
        tb_call_failed(b, call, error);
        return;
    }

    b->count->published++;
}


/* first: nothing before it waits for a reply; 0 if it does so now */

static int
tb_call_step(tb_bridge_t *b, tb_call_t *call, int64_t now, int first,
    int window)
{
    const char  *why, *session;

    why = tb_call_stale(b, call, now);

    if (why) {
        tb_call_given_up(b, call, why);
        return 1;
    }

    if (!tb_presence_ready(b)) {
        return 1;
    }

    session = NULL;

    if (call->back
        || (!b->conf->fixed
            && !tb_presence_here(b, call->device_id, &session)))
    {
        tb_probe_unknown(b, call->device_id, call->tenant_id);
        tb_call_return(b, call, session);
        return 1;
    }

    if (tb_calls_sent(b) >= window
        || tb_calls_sent(b) >= tb_mqtt_room(b->mqtt))
    {
        return 1;
    }

    if (tb_call_ask(b, call)) {
        return 0;
    }

    if (first) {
        tb_call_publish(b, call);
    }

    return 1;
}


/* what is, or will be, its last attempt */

static int
tb_call_last(tb_call_t *call)
{
    return call->state != TB_CALL_REPORTING
           && call->publishes + (call->state != TB_CALL_PUBLISHED)
              >= TB_MAX_PUBLISHES;
}


void
tb_calls_run(tb_bridge_t *b)
{
    int         first, window, away, asks;
    char        waits[TB_MAX_SHARDS];
    int64_t     now;
    tb_call_t  *call, *next;

    now = tb_now();
    first = 1;
    memset(waits, 0, sizeof(waits));
    window = b->delivery->window;

    for (call = tb_calls_first(b); call != NULL; call = next) {
        next = call->next;
        away = call->state == TB_CALL_ASKING
               && tb_shard_away(b->redis, call->shard);

        if (tb_call_last(call) && !away) {
            /* none after it, until it has an end */
            window = tb_calls_sent(b) == 0 ? 1 : 0;
        }

        asks = call->state == TB_CALL_ASKING;

        if (call->state == TB_CALL_TAKEN) {
            asks = !tb_call_step(b, call, now, first && !waits[call->shard],
                                 window);

        } else if (call->state == TB_CALL_PUBLISHED && tb_mqtt_up(b->mqtt)
                   && now - call->published_at >= b->conf->mqtt->ack_timeout)
        {
            tb_call_overdue(b, call);
        }

        /* with its master away it holds up its own shard only */

        if (asks && tb_shard_away(b->redis, call->shard)) {
            waits[call->shard] = 1;

        } else if (asks) {
            first = 0;
        }
    }

    tb_mqtt_check(b->mqtt, b->conf->concurrency);
}


void
tb_calls_connected(tb_bridge_t *b)
{
    b->delivery->window = 1;
}


void
tb_calls_disconnected(tb_bridge_t *b)
{
    tb_call_t  *call, *next;

    for (call = tb_calls_first(b); call != NULL; call = next) {
        next = call->next;

        if (call->state != TB_CALL_PUBLISHED) {
            continue;
        }

        tb_call_to(b, call, TB_CALL_TAKEN);

        if (call->publishes >= TB_MAX_PUBLISHES) {
            tb_call_given_up(b, call, "the connection broke too often before"
                             " its PUBACK, left to its acknowledgement"
                             " timeout");
        }
    }

    tb_calls_ask_settings(b);
}
