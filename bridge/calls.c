
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A call from its pop to the reply to its last report:
 *
 *   POPPED -> CLAIMING (tb_rpc_sent) -> PUBLISHED -> REPORTING -> freed
 *
 * A call is only written to MQTT after its claim was admitted.  When the
 * broker goes away, published calls without PUBACK become POPPED again: they
 * are claimed once more by the same claimer, which is refused when the call
 * has meanwhile been answered, cancelled, retried or has expired.  So nothing
 * old is ever re-sent blindly.
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


#include "bridge.h"


static void
tb_call_end(tb_bridge_t *b, tb_call_t *call)
{
    if (call->prev) {
        call->prev->next = call->next;
    } else {
        b->call_head = call->next;
    }

    if (call->next) {
        call->next->prev = call->prev;
    } else {
        b->call_tail = call->prev;
    }

    b->ncalls--;
    tb_call_free(call);
}


void
tb_call_add(tb_bridge_t *b, const char *data, size_t len)
{
    tb_call_t   *call;
    const char  *error;

    call = tb_envelope_parse(data, len, &error);

    if (call == NULL) {
        b->count.malformed++;
        tb_log(TB_LOG_ERROR, "dropped an envelope of %zu bytes: %s: %s", len,
               error, tb_safe(data, len > 80 ? 80 : len));
        return;
    }

    call->prev = b->call_tail;

    if (b->call_tail) {
        b->call_tail->next = call;
    } else {
        b->call_head = call;
    }

    b->call_tail = call;
    b->ncalls++;
}


/* the last report of a call, delivered or failed, was taken */

static void
tb_call_reported(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_call_t  *call = data;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "report on request %u of device %s refused: %s",
               (unsigned) call->request_id, call->device_id,
               tb_safe(reply->str, reply->len));
    }

    tb_call_end(b, call);
}


static void
tb_call_failed(tb_bridge_t *b, tb_call_t *call, const char *why)
{
    char      id[16], attempt[16];
    tb_str_t  args[3];

    tb_log(TB_LOG_WARN, "request %u of device %s failed: %s",
           (unsigned) call->request_id, call->device_id, why);

    b->count.failed++;
    b->nopen--;
    call->state = TB_CALL_REPORTING;
    tb_wait_remove(b, call->device_id, call->request_id);

    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = why;
    args[1].len = strlen(why);
    args[2].data = attempt;
    args[2].len = sprintf(attempt, "%u", (unsigned) call->attempt);

    tb_fcall(b, tb_call_reported, call, 1, "tb_rpc_failed", call->device_id,
             3, args);
}


/* tb_rpc_delivered or tb_rpc_timeout */

static void
tb_call_report(tb_bridge_t *b, tb_call_t *call, const char *function)
{
    char      id[16], attempt[16];
    tb_str_t  args[2];

    b->nopen--;
    call->state = TB_CALL_REPORTING;

    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = attempt;
    args[1].len = sprintf(attempt, "%u", (unsigned) call->attempt);

    tb_fcall(b, tb_call_reported, call, 1, function, call->device_id, 2,
             args);
}


void
tb_call_acked(tb_bridge_t *b, tb_call_t *call)
{
    b->count.delivered++;

    b->window *= 2;
    if (b->window > b->opt.concurrency) {
        b->window = b->opt.concurrency;
    }

    tb_call_report(b, call, "tb_rpc_delivered");
}


/*
 * Nobody subscribes: the device is away and will have said so soon.  A
 * timeout that is reported would be a retry at once; the acknowledgement
 * timeout in Redis does the same after a while.
 */

void
tb_call_refused(tb_bridge_t *b, tb_call_t *call, int reason)
{
    if (reason >= 0x80) {
        tb_call_failed(b, call, mosquitto_reason_string(reason));
        return;
    }

    tb_log(TB_LOG_INFO, "request %u of device %s: no client has subscribed"
           " to its topic, left to its acknowledgement timeout",
           (unsigned) call->request_id, call->device_id);

    b->count.unheard++;
    b->nopen--;
    tb_call_end(b, call);
}


static void
tb_call_overdue(tb_bridge_t *b, tb_call_t *call)
{
    tb_log(TB_LOG_WARN, "request %u of device %s was not acknowledged within"
           " %d ms", (unsigned) call->request_id, call->device_id,
           b->opt.ack_timeout);

    b->count.timeouts++;
    tb_mqtt_forget(b, call);
    tb_call_report(b, call, "tb_rpc_timeout");
}


static void
tb_call_publish(tb_bridge_t *b, tb_call_t *call)
{
    const char  *error;

    call->state = TB_CALL_PUBLISHED;
    call->published_at = tb_now();
    call->publishes++;

    error = tb_publish_call(b, call);

    if (error) {
        tb_call_failed(b, call, error);
        return;
    }

    b->count.published++;
}


static void
tb_call_claimed(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_call_t  *call = data;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1) {
        if (!b->mqtt_up) {
            call->state = TB_CALL_POPPED;
            b->nopen--;
            return;
        }

        tb_call_publish(b, call);
        return;
    }

    b->nopen--;
    b->count.dropped++;

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "claim of request %u of device %s refused: %s",
               (unsigned) call->request_id, call->device_id,
               tb_safe(reply->str, reply->len));
    } else {
        tb_log(TB_LOG_DEBUG, "request %u of device %s is no longer wanted",
               (unsigned) call->request_id, call->device_id);
    }

    tb_call_end(b, call);
}


static void
tb_call_named(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_call_t  *call = data;

    if (reply->type == REDIS_REPLY_STRING
        && strlen(reply->str) == (size_t) reply->len)
    {
        free(call->name);
        call->name = tb_strndup(reply->str, reply->len);
    }
}


static void
tb_call_claim(tb_bridge_t *b, tb_call_t *call)
{
    char         id[16], attempt[16], key[512];
    tb_str_t     args[3];
    const char  *argv[3], *name;

    call->state = TB_CALL_CLAIMING;
    b->nopen++;

    name = tb_name_of(b, call->device_id);

    if (name != NULL) {
        free(call->name);
        call->name = tb_strndup(name, strlen(name));

    } else if (tb_publish_named(b)) {
        tb_device_key(b, call->device_id, key, sizeof(key));
        argv[0] = "HGET";
        argv[1] = key;
        argv[2] = "name";
        tb_command(b, tb_call_named, call, 1, 3, argv, NULL);
    }

    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = attempt;
    args[1].len = sprintf(attempt, "%u", (unsigned) call->attempt);
    args[2].data = b->claimer;
    args[2].len = strlen(b->claimer);

    tb_fcall(b, tb_call_claimed, call, 1, "tb_rpc_sent", call->device_id, 3,
             args);
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
    int         window;
    int64_t     now;
    tb_call_t  *call, *next;

    if (!b->mqtt_up) {
        return;
    }

    now = tb_now();
    window = b->window;

    for (call = b->call_head; call != NULL; call = next) {
        next = call->next;

        if (tb_call_last(call)) {
            /* none after it, until it has an end */
            window = b->nopen == 0 ? 1 : 0;
        }

        if (call->state == TB_CALL_POPPED && b->nopen < window) {
            tb_call_claim(b, call);

        } else if (call->state == TB_CALL_PUBLISHED
                   && now - call->published_at >= b->opt.ack_timeout)
        {
            tb_call_overdue(b, call);
        }
    }

    if (b->overdue > b->opt.concurrency
        || (b->overdue && now - b->mqtt_heard_at > TB_PUBACK_TIMEOUT))
    {
        tb_mqtt_drop(b, "messages are not acknowledged");
    }
}


void
tb_calls_disconnected(tb_bridge_t *b)
{
    tb_call_t  *call, *next;

    for (call = b->call_head; call != NULL; call = next) {
        next = call->next;

        if (call->state != TB_CALL_PUBLISHED) {
            continue;
        }

        b->nopen--;
        call->state = TB_CALL_POPPED;

        if (call->publishes >= TB_MAX_PUBLISHES) {
            b->count.given_up++;
            tb_log(TB_LOG_WARN, "request %u of device %s: the connection"
                   " broke %d times before its PUBACK, left to its"
                   " acknowledgement timeout", (unsigned) call->request_id,
                   call->device_id, call->publishes);
            tb_call_end(b, call);
        }
    }
}


void
tb_calls_free(tb_bridge_t *b)
{
    while (b->call_head != NULL) {
        tb_call_end(b, b->call_head);
    }
}
