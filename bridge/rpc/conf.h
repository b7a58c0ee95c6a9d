
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What the room must be told.
 */


#ifndef _TB_RPC_CONF_H_INCLUDED_
#define _TB_RPC_CONF_H_INCLUDED_


#include "../base/topic.h"
#include "../mqtt/conf.h"
#include "../redis/conf.h"


/* of all answers that are waiting for Redis */
#define TB_MAX_ANSWER_BYTES  (16 * 1024 * 1024)


/* the payload of a call */

typedef enum {
    TB_PAYLOAD_JSON = 0,                   /* {"method":..,"params":..} */
    TB_PAYLOAD_PARAMS,                     /* params as they are */
    TB_PAYLOAD_VALUE                       /* a string without its quotes */
} tb_payload_e;


typedef struct {
    const tb_redis_conf_t   *redis;
    const tb_mqtt_conf_t    *mqtt;

    int                      share;        /* answers, with all of our name */
    int                      payload;      /* tb_payload_e */
    tb_template_t            request;
    tb_template_t            response;
    tb_template_t            presence;
    char                    *online;
    char                    *offline;

    int                      gateway;
    char                    *gateway_topic;
    tb_template_t            gateway_rpc;  /* its four topics */
    tb_template_t            gateway_connect;
    tb_template_t            gateway_disconnect;
    tb_template_t            gateway_status;

    char                    *devices;      /* CSV: name,deviceId */
    char                    *tenant;       /* whose names are in Redis */

    int                      fixed;        /* --static: no presence topic */
    int                      attached;     /* none, others attach devices */
    int                      session_ttl;
    int                      presence_grace;
    int                      concurrency;
    int                      max_answers;
    int                      max_response;
    int                      max_devices;
} tb_rpc_conf_t;


#endif /* _TB_RPC_CONF_H_INCLUDED_ */
