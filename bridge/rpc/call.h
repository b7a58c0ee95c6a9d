
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A call that was taken.
 */


#ifndef _TB_CALL_H_INCLUDED_
#define _TB_CALL_H_INCLUDED_


#include "../../common/tb_rpc_trace.h"
#include "../base/base.h"
#include "../base/uuid.h"


typedef enum {
    TB_CALL_TAKEN = 0,                     /* waits to be published */
    TB_CALL_ASKING,                        /* Redis is asked about it */
    TB_CALL_PUBLISHED,                     /* waits for its PUBACK */
    TB_CALL_REPORTING
} tb_call_state_e;


typedef struct tb_call_s  tb_call_t;

struct tb_call_s {
    tb_call_t           *prev;
    tb_call_t           *next;
    tb_call_t           *chain;            /* by rpcId */
    tb_call_state_e      state;
    int64_t              taken_at;         /* not later than the take */
    int64_t              dies_at;
    int64_t              published_at;
    unsigned             epoch;            /* published without asking in it */
    int                  asks;             /* replies to come */
    int                  publishes;
    int                  mid;
    int                  shard;
    unsigned             named:1;          /* its name was asked for */
    unsigned             ended:1;          /* Redis says so */
    unsigned             back:1;           /* it is to be returned */

    char                *envelope;
    size_t               len;
    tb_str_t             method;           /* raw JSON texts, inside it */
    tb_str_t             params;
    char                *method_name;      /* decoded */
    char                *name;             /* of the device, when needed */
    int                  oneway;
    int                  persistent;
    int64_t              expiration_time;
    int64_t              taken_time;       /* both by the clock of Redis */
    uint32_t             request_id;
    uint32_t             attempt;
    char                 rpc_id[TB_UUID_LEN + 1];
    char                 device_id[TB_UUID_LEN + 1];
    char                 tenant_id[TB_UUID_LEN + 1];
    char                 traceparent[TB_RPC_TRACEPARENT_LEN + 1];
};


#endif /* _TB_CALL_H_INCLUDED_ */
