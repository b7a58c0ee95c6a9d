
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Reports on calls: the reply to one is the end of the call.
 */


#include "../base/log.h"
#include "../base/str.h"
#include "calls.h"
#include "report.h"
#include "waiting.h"


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


void
tb_call_failed(tb_bridge_t *b, tb_call_t *call, const char *why)
{
    char      id[TB_DECIMAL + 1], attempt[TB_DECIMAL + 1];
    tb_str_t  args[3];

    tb_log(TB_LOG_WARN, "request %u of device %s failed: %s",
           (unsigned) call->request_id, call->device_id, why);

    b->count->failed++;
    tb_call_to(b, call, TB_CALL_REPORTING);
    tb_wait_remove(b, call->device_id, call->request_id);

    args[0].data = id;
    args[0].len = tb_decimal(id, call->request_id);
    args[1].data = why;
    args[1].len = strlen(why);
    args[2].data = attempt;
    args[2].len = tb_decimal(attempt, call->attempt);

    tb_fcall(b->redis, tb_call_reported, call, 1, "tb_rpc_failed",
             call->device_id, 3, args);
}


void
tb_call_report(tb_bridge_t *b, tb_call_t *call, const char *function)
{
    char      id[TB_DECIMAL + 1], attempt[TB_DECIMAL + 1];
    tb_str_t  args[2];

    tb_call_to(b, call, TB_CALL_REPORTING);

    args[0].data = id;
    args[0].len = tb_decimal(id, call->request_id);
    args[1].data = attempt;
    args[1].len = tb_decimal(attempt, call->attempt);

    tb_fcall(b->redis, tb_call_reported, call, 1, function, call->device_id, 2,
             args);
}


static void
tb_call_hand_back(tb_bridge_t *b, tb_call_t *call, const char *session)
{
    int       n;
    char      id[TB_DECIMAL + 1], attempt[TB_DECIMAL + 1];
    tb_str_t  args[3];

    tb_log(TB_LOG_INFO, "request %u of device %s is returned",
           (unsigned) call->request_id, call->device_id);

    b->count->returned++;
    tb_call_to(b, call, TB_CALL_REPORTING);
    tb_wait_remove(b, call->device_id, call->request_id);

    n = 2;
    args[0].data = id;
    args[0].len = tb_decimal(id, call->request_id);
    args[1].data = attempt;
    args[1].len = tb_decimal(attempt, call->attempt);

    if (session) {
        n = 3;
        args[2].data = session;
        args[2].len = strlen(session);
    }

    tb_fcall(b->redis, tb_call_reported, call, 1, "tb_rpc_return",
             call->device_id, n, args);
}


void
tb_call_return(tb_bridge_t *b, tb_call_t *call, const char *session)
{
    tb_call_t  *c;

    tb_call_hand_back(b, call, session);

    for (c = call->next; c != NULL; c = c->next) {
        if (strcmp(c->device_id, call->device_id) != 0) {
            continue;
        }

        if (c->state == TB_CALL_TAKEN) {
            tb_call_hand_back(b, c, session);

        } else if (c->state == TB_CALL_ASKING) {
            c->back = 1;
        }
    }
}
