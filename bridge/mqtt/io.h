
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The socket of the broker, for the loop.
 */


#ifndef _TB_IO_H_INCLUDED_
#define _TB_IO_H_INCLUDED_


#include "broker.h"


/* the fd and events to poll, -1 when closed */
int tb_mqtt_poll(tb_mqtt_t *m, short *events);
/* connects when due, reads and writes */
void tb_mqtt_run(tb_mqtt_t *m, short revents);
int64_t tb_mqtt_timer(tb_mqtt_t *m);


#endif /* _TB_IO_H_INCLUDED_ */
