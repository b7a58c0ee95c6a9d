
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Answers of devices: matched by topic, passed on as bytes.  The number and
 * size of answers that Redis has not taken yet are bounded: when the bound is
 * reached the MQTT socket is not read, so the broker keeps the rest.
 */


#include "bridge.h"


/* of the memory of an answer, beside its payload */
#define TB_ANSWER_COST  256


int
tb_answers_full(tb_bridge_t *b)
{
    return b->nanswers >= b->opt.max_answers
           || b->answer_bytes >= TB_MAX_ANSWER_BYTES;
}


static void
tb_answer_taken(tb_bridge_t *b, void *data, redisReply *reply)
{
    b->nanswers--;
    b->answer_bytes -= (size_t) (uintptr_t) data;

    if (reply->type == REDIS_REPLY_ERROR) {
        b->count.answers_lost++;
        tb_log(TB_LOG_ERROR, "an answer was refused: %s",
               tb_safe(reply->str, reply->len));
        return;
    }

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        b->count.answers_late++;
        tb_log(TB_LOG_DEBUG, "an answer was late, repeated or to no call");
        return;
    }

    b->count.answers++;
}


static void
tb_answer_pass(tb_bridge_t *b, const char *device, tb_str_t *id,
    const struct mosquitto_message *msg)
{
    char         error[128];
    size_t       cost;
    tb_str_t     args[2];
    const char  *function;

    function = "tb_rpc_respond";
    args[0] = *id;
    args[1].data = msg->payloadlen > 0 ? msg->payload : "";
    args[1].len = msg->payloadlen > 0 ? (size_t) msg->payloadlen : 0;

    if (args[1].len > (size_t) b->opt.max_response) {
        b->count.answers_bad++;
        tb_log(TB_LOG_WARN, "answer of device %s to request %.*s has %zu"
               " bytes, at most %d are passed on", device, (int) id->len,
               id->data, args[1].len, b->opt.max_response);

        function = "tb_rpc_failed";
        args[1].data = error;
        args[1].len = snprintf(error, sizeof(error), "The answer of the"
                               " device has %d bytes, which is too large",
                               msg->payloadlen);
    }

    cost = args[1].len + TB_ANSWER_COST;
    b->nanswers++;
    b->answer_bytes += cost;

    tb_fcall(b, tb_answer_taken, (void *) (uintptr_t) cost, 1, function,
             device, 2, args);
}


void
tb_answer_message(tb_bridge_t *b, const struct mosquitto_message *msg)
{
    char       device[TB_UUID_LEN + 1];
    uint32_t   n;
    tb_str_t   values[TB_VAR_MAX], *id;

    /* an old answer that the broker remembers is nobody's answer */

    if (msg->retain) {
        b->count.answers_bad++;
        tb_log(TB_LOG_INFO, "ignored a retained answer on %s",
               tb_safe(msg->topic, strlen(msg->topic)));
        return;
    }

    if (tb_template_match(&b->opt.response, msg->topic, values) != TB_OK) {
        goto bad;
    }

    id = &values[TB_VAR_REQUEST_ID];

    if (tb_number(id->data, id->len, 1, 0x7fffffff, &n) != TB_OK
        || tb_uuid(values[TB_VAR_DEVICE_ID].data,
                   values[TB_VAR_DEVICE_ID].len, device) != TB_OK)
    {
        goto bad;
    }

    if (b->shards == 0 || b->nanswers >= 2 * b->opt.max_answers
        || b->answer_bytes >= 2 * TB_MAX_ANSWER_BYTES)
    {
        b->count.answers_lost++;
        tb_log(TB_LOG_ERROR, "no room for the answer of device %s to request"
               " %u while Redis is away", device, (unsigned) n);
        return;
    }

    tb_answer_pass(b, device, id, msg);
    return;

bad:

    b->count.answers_bad++;
    tb_log(TB_LOG_WARN, "a message on %s is no answer: it needs a device id"
           " and a request id from 1 to 2147483647",
           tb_safe(msg->topic, strlen(msg->topic)));
}
