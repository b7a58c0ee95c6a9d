
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The broker is asked for the presence of single devices.
 */


#ifndef _TB_PROBE_H_INCLUDED_
#define _TB_PROBE_H_INCLUDED_


#include "device.h"


tb_probes_t *tb_probes_create(void);
void tb_probes_free(tb_probes_t *p);

/* of a device of which the broker did not speak: 1 while it is asked */
int tb_probe(tb_bridge_t *b, tb_device_t *dev);
/* there is a call for a device that was never heard of */
void tb_probe_unknown(tb_bridge_t *b, const char *id, const char *tenant);
/* keeps the topic that its presence came on, if it does not follow from id */
void tb_probe_topic(tb_bridge_t *b, tb_device_t *dev, const char *topic);
/* asks for what was gathered */
void tb_probes_run(tb_bridge_t *b);


#endif /* _TB_PROBE_H_INCLUDED_ */
