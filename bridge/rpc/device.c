
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The table of the devices that are present, and the lists that they are in.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "device.h"


#define TB_BUCKETS       65536


typedef struct {
    tb_device_t  *head;                /* the longest ago */
    tb_device_t  *tail;
    int           n;
} tb_list_t;


struct tb_devices_s {
    int           n;
    tb_list_t     dirty;
    tb_list_t     late;
    tb_list_t     unknown;
    tb_list_t     beat[TB_MAX_SHARDS];
    tb_device_t  *table[TB_BUCKETS];   /* by id */
};


tb_devices_t *
tb_devices_create(void)
{
    return tb_alloc(sizeof(tb_devices_t));
}


static void
tb_device_free(tb_device_t *dev)
{
    free(dev->topic);
    free(dev->gateway);
    free(dev->name);
    free(dev);
}


void
tb_devices_free(tb_devices_t *devices)
{
    size_t        i;
    tb_device_t  *dev;

    for (i = 0; i < TB_BUCKETS; i++) {
        while (devices->table[i] != NULL) {
            dev = devices->table[i];
            devices->table[i] = dev->chain;
            tb_device_free(dev);
        }
    }

    free(devices);
}


int
tb_devices_count(const tb_bridge_t *b)
{
    return b->devices->n;
}


static tb_list_t *
tb_list_of(const tb_bridge_t *b, unsigned list, int shard)
{
    switch (list) {

    case TB_LIST_DIRTY:
        return &b->devices->dirty;

    case TB_LIST_LATE:
        return &b->devices->late;

    case TB_LIST_UNKNOWN:
        return &b->devices->unknown;

    default:
        return &b->devices->beat[shard];
    }
}


tb_device_t *
tb_list_first(const tb_bridge_t *b, unsigned list, int shard)
{
    return tb_list_of(b, list, shard)->head;
}


int
tb_list_beats(const tb_bridge_t *b, int shard)
{
    return b->devices->beat[shard].n;
}


void
tb_list(tb_bridge_t *b, tb_device_t *dev, unsigned list)
{
    tb_list_t  *l;

    if (dev->list != TB_LIST_NONE) {
        l = tb_list_of(b, dev->list, dev->shard);

        *(dev->prev ? &dev->prev->next : &l->head) = dev->next;
        *(dev->next ? &dev->next->prev : &l->tail) = dev->prev;
        l->n--;
    }

    dev->list = list;

    if (list == TB_LIST_NONE) {
        return;
    }

    if (list == TB_LIST_BEAT) {
        dev->shard = tb_device_shard(b->redis, dev->id);
    }

    l = tb_list_of(b, list, dev->shard);

    dev->prev = l->tail;
    dev->next = NULL;
    *(l->tail ? &l->tail->next : &l->head) = dev;
    l->tail = dev;
    l->n++;
}


static tb_device_t **
tb_device_bucket(tb_bridge_t *b, const char *id)
{
    return &b->devices->table[tb_rpc_crc32(id, TB_UUID_LEN) % TB_BUCKETS];
}


void
tb_device_late(tb_bridge_t *b, tb_device_t *dev)
{
    dev->due = tb_now() + b->conf->session_ttl / 3;
    tb_list(b, dev, dev->unknown ? TB_LIST_UNKNOWN : TB_LIST_LATE);
}


tb_device_t *
tb_device_find(tb_bridge_t *b, const char *id)
{
    tb_device_t  *dev;

    dev = *tb_device_bucket(b, id);

    while (dev != NULL && strcmp(dev->id, id) != 0) {
        dev = dev->chain;
    }

    return dev;
}


void
tb_device_forget(tb_bridge_t *b, tb_device_t *dev)
{
    tb_device_t  **p;

    tb_list(b, dev, TB_LIST_NONE);

    p = tb_device_bucket(b, dev->id);

    while (*p != dev) {
        p = &(*p)->chain;
    }

    *p = dev->chain;
    b->devices->n--;
    tb_device_free(dev);
}


tb_device_t *
tb_device_get(tb_bridge_t *b, const char *id)
{
    tb_device_t  *dev, **bucket;

    dev = tb_device_find(b, id);

    if (dev != NULL) {
        return dev;
    }

    if (b->devices->n == b->conf->max_devices) {
        dev = tb_list_first(b, TB_LIST_UNKNOWN, 0);

        if (dev == NULL) {
            return NULL;
        }

        tb_device_forget(b, dev);
    }

    bucket = tb_device_bucket(b, id);

    dev = tb_alloc(sizeof(tb_device_t));
    strcpy(dev->id, id);
    dev->chain = *bucket;
    *bucket = dev;
    b->devices->n++;

    return dev;
}


void
tb_device_gone(tb_bridge_t *b, tb_device_t *dev)
{
    if (dev->online) {
        tb_log(TB_LOG_INFO, "device %s: the broker no longer knows it",
               dev->id);
    }

    tb_device_forget(b, dev);
}


void
tb_devices_behind(tb_bridge_t *b, tb_str_t *gateway,
    void (*handler)(tb_bridge_t *b, const char *id))
{
    size_t        i;
    tb_device_t  *dev;

    for (i = 0; i < TB_BUCKETS; i++) {
        for (dev = b->devices->table[i]; dev != NULL; dev = dev->chain) {
            if (dev->gateway && dev->online
                && strlen(dev->gateway) == gateway->len
                && strncmp(dev->gateway, gateway->data ? gateway->data : "",
                           gateway->len) == 0)
            {
                handler(b, dev->id);
            }
        }
    }
}


int
tb_device_idle(tb_bridge_t *b, tb_device_t *dev)
{
    dev->busy = 0;

    if (dev->again) {
        dev->again = 0;
        tb_list(b, dev, TB_LIST_DIRTY);
        return 1;
    }

    return 0;
}


void
tb_device_superseded(tb_bridge_t *b, tb_device_t *dev)
{
    tb_log(TB_LOG_INFO, "device %s: session \"%s\" is superseded", dev->id,
           dev->session);

    dev->moved = 1;

    if (!dev->again) {
        dev->stopped = dev->given[0] != '\0';
    }

    if (tb_device_idle(b, dev) || dev->stopped) {
        return;
    }

    /* perhaps by another process of our name */
    tb_list(b, dev, TB_LIST_DIRTY);
}
