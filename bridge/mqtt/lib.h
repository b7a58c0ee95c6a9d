
/*
 * Copyright (C) tb-rpc contributors.
 *
 * libmosquitto's headers, as its versions have them.
 */


#ifndef _TB_MQTT_LIB_H_INCLUDED_
#define _TB_MQTT_LIB_H_INCLUDED_


#include <mosquitto.h>

#if (LIBMOSQUITTO_VERSION_NUMBER < 2001000)
#include <mqtt_protocol.h>             /* later it is in mosquitto.h */
#endif


#endif /* _TB_MQTT_LIB_H_INCLUDED_ */
