
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What is counted, for the log and the metrics: app/metrics.c has the words.
 */


#ifndef _TB_COUNT_H_INCLUDED_
#define _TB_COUNT_H_INCLUDED_


#include "base.h"


typedef struct {
    uint64_t             taken;
    uint64_t             malformed;
    uint64_t             repeated;         /* is in hand already */
    uint64_t             returned;
    uint64_t             published;
    uint64_t             delivered;
    uint64_t             failed;
    uint64_t             given_up;
    uint64_t             timeouts;         /* no PUBACK in time */
    uint64_t             unheard;          /* nobody subscribes */
    uint64_t             refused;          /* by the broker, for now */
    uint64_t             answers;
    uint64_t             answers_late;     /* 0 from tb_rpc_respond */
    uint64_t             answers_bad;
    uint64_t             answers_lost;
    uint64_t             presence_bad;
    uint64_t             presence_unknown;
    uint64_t             gateway_bad;
    uint64_t             names_unknown;
    uint64_t             foreign;          /* of another tenant's device */
    uint64_t             redis_errors;
    uint64_t             reconnects;
} tb_counters_t;


#endif /* _TB_COUNT_H_INCLUDED_ */
