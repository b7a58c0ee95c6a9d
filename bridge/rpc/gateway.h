
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Devices behind ThingsBoard gateways.
 */


#ifndef _TB_GATEWAY_H_INCLUDED_
#define _TB_GATEWAY_H_INCLUDED_


#include "private.h"


tb_gateways_t *tb_gateways_create(void);
void tb_gateways_free(tb_gateways_t *gateways);

/* asks Redis for the devices that were behind gateways before our start */
void tb_gateway_start(tb_bridge_t *b);
/* 1 if it was a message of a gateway */
int tb_gateway_message(tb_bridge_t *b, tb_message_t *msg);


#endif /* _TB_GATEWAY_H_INCLUDED_ */
