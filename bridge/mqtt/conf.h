
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What the room must be told.
 */


#ifndef _TB_MQTT_CONF_H_INCLUDED_
#define _TB_MQTT_CONF_H_INCLUDED_


#include "../base/base.h"


typedef struct {
    char                *host;
    int                  port;
    int                  tls;
    char                *cafile;
    char                *capath;
    char                *cert;
    char                *key;
    int                  version;          /* 311 or 5, as MQTT_PROTOCOL_V* */
    char                *client_id;
    char                *user;
    char                *password;
    int                  keepalive;
    int                  keep_session;     /* --client-id was given */
    int                  qos;
    int                  ack_timeout;      /* for a PUBACK */
    uint32_t             max_packet;       /* that the broker may send */
} tb_mqtt_conf_t;


#endif /* _TB_MQTT_CONF_H_INCLUDED_ */
