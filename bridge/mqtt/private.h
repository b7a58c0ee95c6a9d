
/*
 * Copyright (C) tb-rpc contributors.
 *
 * For this room only.
 */


#ifndef _TB_MQTT_PRIVATE_H_INCLUDED_
#define _TB_MQTT_PRIVATE_H_INCLUDED_


#include "../base/job.h"
#include "broker.h"


#define TB_MAX_SUBS          6
#define TB_MAX_FILTER        2048


typedef struct {
    const char              *filter;
    const char              *share;        /* NULL: it is not shared */
    int                      qos;
    int                      mid;
    unsigned                 open:1;       /* not acknowledged yet */
    unsigned                 leaving:1;
} tb_sub_t;


typedef struct tb_probe_s  tb_probe_t;


struct tb_mqtt_s {
    const tb_mqtt_conf_t    *conf;
    const tb_mqtt_events_t  *events;
    tb_bridge_t             *bridge;
    tb_counters_t           *count;
    struct mosquitto        *mosq;         /* NULL between connections */
    tb_job_t                 job;          /* has mosq while it runs */
    int                      rc;           /* what came of it */
    int                      err;
    int                      up;
    int                      shares;       /* the broker can do so */
    tb_sub_t                 subs[TB_MAX_SUBS];
    int                      nsubs;
    int                      subs_open;    /* not acknowledged yet */
    int                      subs_leaving;
    tb_probe_t              *probes;       /* not acknowledged yet */
    int64_t                  leave_at;     /* 0: we stay */
    int                      lost;
    int                      failed;       /* a failure was logged */
    int                      backoff;
    unsigned                 epoch;
    int64_t                  retry_at;
    int64_t                  since;
    int64_t                  misc_at;
    int64_t                  heard_at;     /* the last PUBACK */
    int64_t                  held_at;      /* 0: nothing is held back */
    int                      overdue;      /* PUBACKs nobody waits for now */
    int                      queued;       /* packets, about, to be written */
    int                      receive_max;  /* of the broker */
    void                   **by_mid;
    void                    *publishing;
    int                      mid;          /* of it */
};


/* a connection is begun */
void tb_mqtt_open(tb_mqtt_t *m);
/* the job of tb_mqtt_open() is done */
void tb_mqtt_opened(tb_mqtt_t *m);
/* it is useless: a new one is made, later */
void tb_mqtt_drop(tb_mqtt_t *m, const char *why);

/* subs.c */
void tb_mqtt_suback(struct mosquitto *mosq, void *data, int mid, int n,
    const int *granted);
void tb_mqtt_unsuback(struct mosquitto *mosq, void *data, int mid);

/* probe.c: a subscription is acknowledged, perhaps that of a probe */
void tb_mqtt_probed(tb_mqtt_t *m, int mid);
void tb_mqtt_probes_free(tb_mqtt_t *m);

/* io.c: ms since writes are held back, -1 when they are not */
int64_t tb_mqtt_held(tb_mqtt_t *m);


#endif /* _TB_MQTT_PRIVATE_H_INCLUDED_ */
