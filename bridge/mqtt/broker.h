
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection to the broker.
 */


#ifndef _TB_BROKER_H_INCLUDED_
#define _TB_BROKER_H_INCLUDED_


#include "../base/count.h"
#include "conf.h"
#include "lib.h"


/* what a device has published */

typedef struct {
    const char              *topic;
    tb_str_t                 payload;
    tb_str_t                 correlation;  /* data NULL: there is none */
    int                      retain;
} tb_message_t;


typedef struct tb_mqtt_s  tb_mqtt_t;


/* what the room tells the one above it */

typedef struct {
    /* there is a connection: the time to subscribe; or TB_ERROR */
    int  (*up)(tb_bridge_t *b);
    /* it has ended: nothing that was published will be acknowledged */
    void  (*down)(tb_bridge_t *b);
    void  (*message)(tb_bridge_t *b, tb_message_t *msg);
    /* what was published; with a reason the broker has not passed it on */
    void  (*acked)(tb_bridge_t *b, void *data, int reason);
    /* 1: messages are to be left to the broker */
    int  (*full)(tb_bridge_t *b);
    /*
     * Messages of this connection that are to be in Redis before anything is
     * written; all: and those that are not there, but are not waited for.
     */
    int  (*unsaved)(tb_bridge_t *b, int all);
} tb_mqtt_events_t;


/* connections are counted; b is for the events */
tb_mqtt_t *tb_mqtt_create(const tb_mqtt_conf_t *conf,
    const tb_mqtt_events_t *events, tb_bridge_t *b, tb_counters_t *count);
/* the broker is told */
void tb_mqtt_free(tb_mqtt_t *m);

int tb_mqtt_up(const tb_mqtt_t *m);
/* when the connection, or the attempt at one, has begun */
int64_t tb_mqtt_since(const tb_mqtt_t *m);
/* connections so far */
unsigned tb_mqtt_epoch(const tb_mqtt_t *m);

/* filter and share stay where they are; share is the name of those that get
   one copy of each message, or NULL */
int tb_mqtt_subscribe(tb_mqtt_t *m, const char *filter, int qos,
    const char *share);
/* what is retained there comes as events->message() once more */
void tb_mqtt_probe(tb_mqtt_t *m, char *const *topics, int n);
/* all subscriptions are acknowledged, or will not be */
int tb_mqtt_subscribed(const tb_mqtt_t *m);
/* 1 when nothing more comes that others would get; the broker is asked */
int tb_mqtt_left(tb_mqtt_t *m);

/* so many that are not acknowledged leave at once when they are published */
int tb_mqtt_room(tb_mqtt_t *m);
/* a MOSQ_ERR_*; data is for events->acked(), *mid for tb_mqtt_forget() */
int tb_mqtt_publish(tb_mqtt_t *m, void *data, int *mid, const char *topic,
    const tb_str_t *payload, int qos, const mosquitto_property *properties);
/* its PUBACK is no longer waited for */
void tb_mqtt_forget(tb_mqtt_t *m, void *data, int mid);
/* leaves a broker that owes more than max of those, or all for too long */
void tb_mqtt_check(tb_mqtt_t *m, int max);


#endif /* _TB_BROKER_H_INCLUDED_ */
