
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The bridge, for this room only: what belongs to a file is known there.
 */


#ifndef _TB_RPC_PRIVATE_H_INCLUDED_
#define _TB_RPC_PRIVATE_H_INCLUDED_


#include "../mqtt/broker.h"
#include "../redis/bell.h"
#include "bridge.h"


typedef struct tb_answers_s   tb_answers_t;
typedef struct tb_ask_s       tb_ask_t;
typedef struct tb_beats_s     tb_beats_t;
typedef struct tb_calls_s     tb_calls_t;
typedef struct tb_delivery_s  tb_delivery_t;
typedef struct tb_devices_s   tb_devices_t;
typedef struct tb_gateways_s  tb_gateways_t;
typedef struct tb_rivals_s    tb_rivals_t;
typedef struct tb_names_s     tb_names_t;
typedef struct tb_presence_s  tb_presence_t;
typedef struct tb_probes_s    tb_probes_t;
typedef struct tb_unsaved_s   tb_unsaved_t;
typedef struct tb_waits_s     tb_waits_t;


struct tb_bridge_s {
    const tb_rpc_conf_t     *conf;
    tb_counters_t           *count;
    int                      stopping;
    int                      mqtt_place;   /* in what is polled */

    tb_commands_t           *redis;
    tb_takes_t              *takes;
    tb_bells_t              *bells;
    tb_mqtt_t               *mqtt;

    tb_calls_t              *calls;
    tb_ask_t                *ask;
    tb_delivery_t           *delivery;
    tb_waits_t              *waits;
    tb_unsaved_t            *unsaved;
    tb_answers_t            *answers;
    tb_names_t              *names;
    tb_devices_t            *devices;
    tb_gateways_t           *gateways;
    tb_rivals_t             *rivals;
    tb_beats_t              *beats;
    tb_presence_t           *presence;
    tb_probes_t             *probes;
};


#endif /* _TB_RPC_PRIVATE_H_INCLUDED_ */
