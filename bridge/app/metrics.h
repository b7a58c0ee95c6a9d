
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Counters in the log, and in a file.
 */


#ifndef _TB_METRICS_H_INCLUDED_
#define _TB_METRICS_H_INCLUDED_


#include "../rpc/bridge.h"
#include "conf.h"


typedef struct tb_metrics_s  tb_metrics_t;


tb_metrics_t *tb_metrics_create(const tb_options_t *opt, tb_bridge_t *b,
    const tb_counters_t *count);
void tb_metrics_free(tb_metrics_t *m);

/* writes what is due */
void tb_metrics_run(tb_metrics_t *m);
/* a line of the log, now */
void tb_metrics_log(tb_metrics_t *m);


#endif /* _TB_METRICS_H_INCLUDED_ */
