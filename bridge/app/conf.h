
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What the process was told.
 */


#ifndef _TB_APP_CONF_H_INCLUDED_
#define _TB_APP_CONF_H_INCLUDED_


#include "../mqtt/conf.h"
#include "../redis/conf.h"
#include "../rpc/conf.h"


typedef enum {
    TB_FROM_DEFAULTS = 0,
    TB_FROM_FILE,
    TB_FROM_FLAGS
} tb_source_e;


typedef struct {
    tb_redis_conf_t      redis;
    tb_mqtt_conf_t       mqtt;
    tb_rpc_conf_t        rpc;

    tb_source_e          source;           /* of what is being read */
    tb_source_e          redis_source;     /* of redis.servers */
    char                *config;
    char                *redis_password_file;
    char                *sentinel_password_file;
    char                *mqtt_password_file;
    int                  drain;
    int                  log_level;
    int                  stats_interval;
    char                *metrics_file;
} tb_options_t;


#endif /* _TB_APP_CONF_H_INCLUDED_ */
