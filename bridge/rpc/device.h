
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The devices that are present, and the lists that they are in.
 */


#ifndef _TB_DEVICE_H_INCLUDED_
#define _TB_DEVICE_H_INCLUDED_


#include "../base/uuid.h"
#include "payload.h"
#include "private.h"


/*
 * Every device is in one of four lists, or busy (a command is on its way), or
 * at rest: dirty (something is to be done now), late (by time: it is tried
 * again), unknown (the same, but Redis does not know it, so it makes room for
 * others), beat (of its shard: it has a session that goes on).
 */

#define TB_LIST_NONE     0
#define TB_LIST_DIRTY    1
#define TB_LIST_LATE     2
#define TB_LIST_BEAT     3
#define TB_LIST_UNKNOWN  4


typedef struct tb_device_s  tb_device_t;

struct tb_device_s {
    tb_device_t  *chain;
    tb_device_t  *prev;
    tb_device_t  *next;
    int64_t       due;                 /* of a late one */
    int64_t       returned_at;         /* a call of it, with its session */
    int64_t       asked_at;            /* the broker, for its presence */
    int           shard;               /* in whose list it is */
    unsigned      epoch;
    unsigned      list:3;
    unsigned      online:1;
    unsigned      live:1;              /* said so just now, not remembered */
    unsigned      busy:1;
    unsigned      again:1;             /* changed while busy */
    unsigned      stopped:1;           /* superseded */
    unsigned      moved:1;             /* its session here is not current */
    unsigned      doubted:1;           /* another bridge may have it by now */
    unsigned      told:1;              /* a refusal was logged */
    unsigned      unknown:1;           /* to Redis */
    char          id[TB_UUID_LEN + 1];
    char          given[TB_MAX_SESSION + 1];
    char          session[TB_MAX_SESSION + 1];
    char         *topic;               /* of its presence, if not the usual */
    char         *gateway;             /* NULL: it is not behind one */
    char         *name;                /* there */
};


/* the broker has spoken of it since the last connect, or need not */
#define tb_device_fresh(b, dev)                                               \
    ((dev)->epoch == tb_mqtt_epoch((b)->mqtt) || (dev)->gateway != NULL)


tb_devices_t *tb_devices_create(void);
void tb_devices_free(tb_devices_t *devices);

tb_device_t *tb_device_find(tb_bridge_t *b, const char *id);
/* makes one if there is none; NULL when there are too many */
tb_device_t *tb_device_get(tb_bridge_t *b, const char *id);
void tb_device_forget(tb_bridge_t *b, tb_device_t *dev);
int tb_devices_count(const tb_bridge_t *b);
/* calls handler for each device behind that gateway, "" is any */
void tb_devices_behind(tb_bridge_t *b, tb_str_t *gateway,
    void (*handler)(tb_bridge_t *b, const char *id));

void tb_list(tb_bridge_t *b, tb_device_t *dev, unsigned list);
/* the longest ago, or NULL; the shard counts for TB_LIST_BEAT only */
tb_device_t *tb_list_first(const tb_bridge_t *b, unsigned list, int shard);
/* how many have a heartbeat in that shard */
int tb_list_beats(const tb_bridge_t *b, int shard);

/* what it has to do is tried again at its next heartbeat */
void tb_device_late(tb_bridge_t *b, tb_device_t *dev);
/* the broker did not speak of it after the last connect */
void tb_device_gone(tb_bridge_t *b, tb_device_t *dev);
/* a reply came: 1 if things have changed meanwhile and are done again */
int tb_device_idle(tb_bridge_t *b, tb_device_t *dev);
/* Redis has another session of it */
void tb_device_superseded(tb_bridge_t *b, tb_device_t *dev);


#endif /* _TB_DEVICE_H_INCLUDED_ */
