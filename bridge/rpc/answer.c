
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Answers of devices: matched by topic, by correlation data, or by their
 * order, and passed on as bytes.
 */


#include "../base/log.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "answer.h"
#include "resolve.h"
#include "unsaved.h"
#include "waiting.h"


/* of the memory of an answer, beside its payload */
#define TB_ANSWER_COST   256


/*
 * An answer without a request id is in a list until it is taken, so that
 * those of one device are tried one after another: each may turn out to be
 * for the next call.
 */

typedef struct tb_answer_s  tb_answer_t;

struct tb_answer_s {
    tb_answer_t  *next;
    size_t        cost;
    int           shard;
    unsigned      epoch;
    uint32_t      request_id;
    int           refused;             /* and counted as such */
    int           untagged;
    char          device[TB_UUID_LEN + 1];
    tb_str_t      payload;             /* when untagged */
};


struct tb_answers_s {
    tb_answer_t  *untagged;
};


tb_answers_t *
tb_answers_create(void)
{
    return tb_alloc(sizeof(tb_answers_t));
}


void
tb_answers_free(tb_answers_t *answers)
{
    tb_answer_t  *a;

    while (answers->untagged != NULL) {
        a = answers->untagged;
        answers->untagged = a->next;
        free((char *) a->payload.data);
        free(a);
    }

    free(answers);
}


static void tb_answer_pass(tb_bridge_t *b, tb_answer_t *a,
    uint32_t request_id, tb_str_t *payload);


static tb_answer_t *
tb_answer_untagged(tb_bridge_t *b, const char *device)
{
    tb_answer_t  *a;

    for (a = b->answers->untagged; a != NULL; a = a->next) {
        if (strcmp(a->device, device) == 0) {
            return a;
        }
    }

    return NULL;
}


static void
tb_answer_free(tb_bridge_t *b, tb_answer_t *a)
{
    tb_answer_t  **p;

    if (a->untagged) {
        p = &b->answers->untagged;

        while (*p != a) {
            p = &(*p)->next;
        }

        *p = a->next;
    }

    tb_answer_saved(b, a->shard, a->cost, a->epoch);
    free((char *) a->payload.data);
    free(a);
}


/* the first of the device, and those after it that find no call */

static void
tb_answer_next(tb_bridge_t *b, const char *device)
{
    uint32_t      id;
    tb_answer_t  *a;

    while ((a = tb_answer_untagged(b, device)) != NULL) {
        id = tb_wait_take(b, device);

        if (id) {
            tb_answer_pass(b, a, id, &a->payload);
            return;
        }

        b->count->answers_late++;
        tb_log(TB_LOG_DEBUG, "no call waits for an answer of device %s",
               device);
        tb_answer_free(b, a);
    }
}


static void
tb_answer_end(tb_bridge_t *b, tb_answer_t *a)
{
    int   untagged;
    char  device[TB_UUID_LEN + 1];

    strcpy(device, a->device);
    untagged = a->untagged;

    tb_answer_free(b, a);

    if (untagged) {
        tb_answer_next(b, device);
    }
}


static void
tb_answer_taken(tb_bridge_t *b, void *data, redisReply *reply)
{
    char          device[TB_UUID_LEN + 1];
    tb_answer_t  *a = data;

    if (reply->type == REDIS_REPLY_ERROR) {
        b->count->answers_lost++;
        tb_log(TB_LOG_ERROR, "the answer of device %s to request %u was"
               " refused: %s", a->device, (unsigned) a->request_id,
               tb_safe(reply->str, reply->len));

    } else if (a->untagged && reply->type == REDIS_REPLY_INTEGER
               && reply->integer == 0)
    {
        /*
         * That call has ended: it is of the next one, if there is one; else
         * it is freed while the list is gone through.
         */

        strcpy(device, a->device);
        tb_answer_next(b, device);
        return;

    } else if (a->refused) {
        /* void */

    } else if (reply->type != REDIS_REPLY_INTEGER || reply->integer != 0) {
        b->count->answers++;

    } else {
        b->count->answers_late++;
        tb_log(TB_LOG_INFO, "the answer of device %s to request %u was"
               " late, repeated or to no call", a->device,
               (unsigned) a->request_id);
    }

    tb_answer_end(b, a);
}


static void
tb_answer_pass(tb_bridge_t *b, tb_answer_t *a, uint32_t request_id,
    tb_str_t *payload)
{
    int       n;
    char      id[TB_DECIMAL + 1], size[32];
    tb_str_t  args[3];

    a->request_id = request_id;

    n = 2;
    args[0].data = id;
    args[0].len = tb_decimal(id, request_id);
    args[1] = *payload;

    if (payload->len > (size_t) b->conf->max_response) {

        if (!a->refused) {
            a->refused = 1;
            b->count->answers_bad++;
            tb_log(TB_LOG_WARN, "answer of device %s to request %s has %zu"
                   " bytes, at most %d are passed on", a->device, id,
                   payload->len, b->conf->max_response);
        }

        /* with its true size it counts as too large, whatever the limit is */

        n = 3;
        args[1].len = b->conf->max_response;
        args[2].data = size;
        args[2].len = tb_decimal(size, payload->len);
    }

    tb_fcall(b->redis, tb_answer_taken, a, 1, "tb_rpc_respond", a->device, n,
             args);
}


void
tb_answer(tb_bridge_t *b, const char *device, uint32_t request_id,
    tb_str_t *payload)
{
    int            busy, shard;
    size_t         kept;
    tb_answer_t   *a, **p;

    shard = tb_shards(b->redis) ? tb_device_shard(b->redis, device) : -1;

    if (shard == -1 || tb_answers_overfull(b, shard)) {
        b->count->answers_lost++;
        tb_log(TB_LOG_ERROR, "no room for an answer of device %s while Redis"
               " is away", device);
        return;
    }

    tb_log(TB_LOG_DEBUG, "device %s answers request %u, %zu bytes", device,
           (unsigned) request_id, payload->len);

    a = tb_alloc(sizeof(tb_answer_t));
    strcpy(a->device, device);
    a->shard = shard;
    kept = tb_answer_kept(b, payload);
    a->cost = kept + TB_ANSWER_COST;

    if (request_id) {
        a->epoch = tb_answer_unsaved(b, shard, a->cost);

        tb_wait_remove(b, device, request_id);
        tb_answer_pass(b, a, request_id, payload);
        return;
    }

    a->untagged = 1;
    a->payload.data = tb_strndup(payload->data, kept);
    a->payload.len = payload->len;
    a->cost += kept;
    a->epoch = tb_answer_unsaved(b, shard, a->cost);

    busy = tb_answer_untagged(b, device) != NULL;

    p = &b->answers->untagged;

    while (*p != NULL) {
        p = &(*p)->next;
    }

    *p = a;

    if (!busy) {
        tb_answer_next(b, device);
    }
}


/* <device id>/<request id>, as it was sent with the call */

static int
tb_answer_correlation(tb_str_t *text, const char *device, uint32_t *id)
{
    char  other[TB_UUID_LEN + 1];

    if (text->len < TB_UUID_LEN + 2 || text->data[TB_UUID_LEN] != '/'
        || tb_uuid(text->data, TB_UUID_LEN, other) != TB_OK
        || strcmp(other, device) != 0)
    {
        return TB_ERROR;
    }

    return tb_number(text->data + TB_UUID_LEN + 1,
                     text->len - TB_UUID_LEN - 1, 1, 0x7fffffff, id);
}


static void
tb_answer_bad(tb_bridge_t *b, tb_message_t *msg)
{
    b->count->answers_bad++;
    tb_log(TB_LOG_WARN, "a message on %s is no answer: it needs a device id"
           " and a request id from 1 to 2147483647, and the correlation data"
           " of the call if any",
           tb_safe(msg->topic, strlen(msg->topic)));
}


static void
tb_answer_found(tb_bridge_t *b, tb_message_t *msg, const char *device)
{
    uint32_t   id, other;
    tb_str_t   values[TB_VAR_MAX], *text;

    id = 0;
    other = 0;
    tb_template_match(&b->conf->response, msg->topic, values);
    text = &values[TB_VAR_REQUEST_ID];

    if (text->data != NULL
        && tb_number(text->data, text->len, 1, 0x7fffffff, &id) != TB_OK)
    {
        tb_answer_bad(b, msg);
        return;
    }

    if (msg->correlation.data != NULL
        && (tb_answer_correlation(&msg->correlation, device, &other) != TB_OK
            || (id && id != other)))
    {
        tb_answer_bad(b, msg);
        return;
    }

    tb_answer(b, device, id ? id : other, &msg->payload);
}


void
tb_answer_message(tb_bridge_t *b, tb_message_t *msg)
{
    int       tagged;
    tb_str_t  values[TB_VAR_MAX];

    tagged = (b->conf->response.vars & TB_VAR(REQUEST_ID)) != 0;

    /*
     * An old answer that the broker remembers is nobody's answer.  Where
     * answers are states of the device, it is usual that it does.
     */

    if (msg->retain) {
        b->count->answers_bad += tagged;
        tb_log(tagged ? TB_LOG_INFO : TB_LOG_DEBUG,
               "ignored a retained answer on %s",
               tb_safe(msg->topic, strlen(msg->topic)));
        return;
    }

    if (tb_template_match(&b->conf->response, msg->topic, values) != TB_OK
        || tb_message_device(b, msg, values, tb_answer_found) != TB_OK)
    {
        tb_answer_bad(b, msg);
    }
}
