
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


#include "../bridge.h"


static tb_call_t **
tb_call_bucket(tb_bridge_t *b, const char *rpc_id)
{
    return &b->calls[tb_crc32(rpc_id, TB_UUID_LEN) % TB_CALL_BUCKETS];
}


static void
tb_call_end(tb_bridge_t *b, tb_call_t *call)
{
    tb_call_t  **p;

    for (p = tb_call_bucket(b, call->rpc_id); *p != call; p = &(*p)->chain) {
        /* void */
    }

    *p = call->chain;

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
tb_call_given_up(tb_bridge_t *b, tb_call_t *call, const char *why)
{
    tb_log(TB_LOG_INFO, "request %u of device %s: %s",
           (unsigned) call->request_id, call->device_id, why);

    b->count->given_up++;
    b->nopen--;
    tb_call_end(b, call);
}


/* an envelope that came twice is 1; an attempt that Redis has given up ends */

static int
tb_call_known(tb_bridge_t *b, tb_call_t *call)
{
    tb_call_t  *c, *next;

    for (c = *tb_call_bucket(b, call->rpc_id); c != NULL; c = next) {
        next = c->chain;

        if (strcmp(c->rpc_id, call->rpc_id) != 0) {
            continue;
        }

        if (c->attempt == call->attempt) {
            return 1;
        }

        if (c->state == TB_CALL_TAKEN) {
            tb_call_given_up(b, c, "Redis has queued it again meanwhile");
        }
    }

    return 0;
}


void
tb_call_add(tb_bridge_t *b, const char *data, size_t len)
{
    tb_call_t   *call, **bucket;
    const char  *error;

    b->count->taken++;

    call = tb_envelope_parse(data, len, &error);

    if (call == NULL) {
        b->count->malformed++;
        tb_log(TB_LOG_ERROR, "dropped an envelope of %zu bytes: %s: %s", len,
               error, tb_safe(data, len > 80 ? 80 : len));
        return;
    }

    if (tb_call_known(b, call)) {
        b->count->repeated++;
        tb_call_free(call);
        return;
    }

    /* the take was made after it was written: what is left is not less */

    call->taken_at = tb_command_written(b->redis);
    call->dies_at = call->taken_at + call->expiration_time
                    - call->taken_time;
    call->epoch = tb_mqtt_epoch(b->mqtt);

    bucket = tb_call_bucket(b, call->rpc_id);
    call->chain = *bucket;
    *bucket = call;

    call->prev = b->call_tail;

    if (b->call_tail) {
        b->call_tail->next = call;
    } else {
        b->call_head = call;
    }

    b->call_tail = call;
    b->ncalls++;
    b->nopen++;
}


int
tb_calls_room(tb_bridge_t *b)
{
    int  room, hands;

    if (!tb_presence_ready(b) || tb_answers_full(b)) {
        return 0;
    }

    room = b->window - b->nopen;
    hands = b->conf->concurrency - b->ncalls;

    return room < hands ? room : hands;
}


/* the last report of a call, was taken */

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


/* it was published, or could not be */

static void
tb_call_sent(tb_bridge_t *b, tb_call_t *call)
{
    b->nopen--;
    b->nsent--;
    call->state = TB_CALL_REPORTING;
}


static void
tb_call_failed(tb_bridge_t *b, tb_call_t *call, const char *why)
{
    char      id[16], attempt[16];
    tb_str_t  args[3];

    tb_log(TB_LOG_WARN, "request %u of device %s failed: %s",
           (unsigned) call->request_id, call->device_id, why);

    b->count->failed++;
    tb_call_sent(b, call);
    tb_wait_remove(b, call->device_id, call->request_id);

    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = why;
    args[1].len = strlen(why);
    args[2].data = attempt;
    args[2].len = sprintf(attempt, "%u", (unsigned) call->attempt);

    tb_fcall(b->redis, tb_call_reported, call, 1, "tb_rpc_failed",
             call->device_id, 3, args);
}


/* tb_rpc_delivered or tb_rpc_timeout */

static void
tb_call_report(tb_bridge_t *b, tb_call_t *call, const char *function)
{
    char      id[16], attempt[16];
    tb_str_t  args[2];

    tb_call_sent(b, call);

    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = attempt;
    args[1].len = sprintf(attempt, "%u", (unsigned) call->attempt);

    tb_fcall(b->redis, tb_call_reported, call, 1, function, call->device_id, 2,
             args);
}


void
tb_call_acked(tb_bridge_t *b, tb_call_t *call)
{
    b->count->delivered++;

    b->window *= 2;
    if (b->window > b->conf->concurrency) {
        b->window = b->conf->concurrency;
    }

    tb_call_report(b, call, "tb_rpc_delivered");
}


static void
tb_call_return(tb_bridge_t *b, tb_call_t *call, const char *session)
{
    int       n;
    char      id[16], attempt[16];
    tb_str_t  args[3];

    tb_log(TB_LOG_INFO, "request %u of device %s is returned",
           (unsigned) call->request_id, call->device_id);

    b->count->returned++;
    b->nopen--;
    call->state = TB_CALL_REPORTING;
    tb_wait_remove(b, call->device_id, call->request_id);

    n = 2;
    args[0].data = id;
    args[0].len = sprintf(id, "%u", (unsigned) call->request_id);
    args[1].data = attempt;
    args[1].len = sprintf(attempt, "%u", (unsigned) call->attempt);

    if (session) {
        n = 3;
        args[2].data = session;
        args[2].len = strlen(session);
    }

    tb_fcall(b->redis, tb_call_reported, call, 1, "tb_rpc_return",
             call->device_id, n, args);
}


/* what is behind it, of the same device */

static void
tb_call_return_later(tb_bridge_t *b, tb_call_t *call, const char *session)
{
    tb_call_t  *c;

    for (c = call->next; c != NULL; c = c->next) {
        if (strcmp(c->device_id, call->device_id) != 0) {
            continue;
        }

        if (c->state == TB_CALL_TAKEN) {
            tb_call_return(b, c, session);

        } else if (c->state == TB_CALL_ASKING) {
            c->back = 1;
        }
    }
}


/*
 * Nobody subscribes: the device is away and will have said so soon, or is one
 * that never says so.  Redis leaves it alone for a while.
 */

void
tb_call_refused(tb_bridge_t *b, tb_call_t *call, int reason)
{
    if (reason >= 0x80) {
        tb_call_failed(b, call, mosquitto_reason_string(reason));
        return;
    }

    tb_log(TB_LOG_INFO, "request %u of device %s: no client has subscribed"
           " to its topic", (unsigned) call->request_id, call->device_id);

    b->count->unheard++;
    b->nsent--;
    tb_call_return(b, call, NULL);
    tb_call_return_later(b, call, NULL);
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

    b->nsent++;
    call->state = TB_CALL_PUBLISHED;
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
        tb_call_return(b, call, session);
        tb_call_return_later(b, call, session);
        return 1;
    }

    if (b->nsent >= window) {
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
    int         first, window;
    int64_t     now;
    tb_call_t  *call, *next;

    now = tb_now();
    first = 1;
    window = b->window;

    for (call = b->call_head; call != NULL; call = next) {
        next = call->next;

        if (tb_call_last(call)) {
            /* none after it, until it has an end */
            window = b->nsent == 0 ? 1 : 0;
        }

        if (call->state == TB_CALL_TAKEN) {
            first &= tb_call_step(b, call, now, first, window);

        } else if (call->state == TB_CALL_ASKING) {
            first = 0;

        } else if (call->state == TB_CALL_PUBLISHED && tb_mqtt_up(b->mqtt)
                   && now - call->published_at >= b->conf->mqtt->ack_timeout)
        {
            tb_call_overdue(b, call);
        }
    }

    tb_mqtt_check(b->mqtt, b->conf->concurrency);
}


void
tb_calls_connected(tb_bridge_t *b)
{
    b->window = 1;
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

        b->nsent--;
        call->state = TB_CALL_TAKEN;

        if (call->publishes >= TB_MAX_PUBLISHES) {
            tb_call_given_up(b, call, "the connection broke too often before"
                             " its PUBACK, left to its acknowledgement"
                             " timeout");
        }
    }

    tb_calls_ask_settings(b);
}


void
tb_calls_free(tb_bridge_t *b)
{
    while (b->call_head != NULL) {
        tb_call_end(b, b->call_head);
    }
}
