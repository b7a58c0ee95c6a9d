
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What main() was told.
 */


#ifndef _TB_OPTIONS_H_INCLUDED_
#define _TB_OPTIONS_H_INCLUDED_


#include "../mqtt/conf.h"
#include "../redis/conf.h"
#include "../rpc/conf.h"


typedef struct {
    tb_redis_conf_t      redis;
    tb_mqtt_conf_t       mqtt;
    tb_rpc_conf_t        rpc;

    char                *config;
    int                  drain;
    int                  log_level;
    int                  stats_interval;
    char                *metrics_file;
} tb_options_t;


/* exits on --help, --version and errors */
void tb_options(tb_options_t *opt, int argc, char **argv);
void tb_options_free(tb_options_t *opt);


#endif /* _TB_OPTIONS_H_INCLUDED_ */
