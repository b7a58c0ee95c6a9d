
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The table of the devices that are present, and the lists that they are in.
 */


#include "presence.h"


#define TB_BUCKETS       65536


static void
tb_list_of(tb_bridge_t *b, tb_device_t *dev, tb_device_t ***head,
    tb_device_t ***tail)
{
    tb_shard_t  *s;

    switch (dev->list) {

    case TB_LIST_DIRTY:
        *head = &b->dirty_head;
        *tail = &b->dirty_tail;
        return;

    case TB_LIST_LATE:
        *head = &b->late_head;
        *tail = &b->late_tail;
        return;

    default:
        s = &b->shard[dev->shard];
        *head = &s->beat_head;
        *tail = &s->beat_tail;
    }
}


void
tb_list(tb_bridge_t *b, tb_device_t *dev, unsigned list)
{
    tb_device_t  **head, **tail;

    if (dev->list != TB_LIST_NONE) {
        tb_list_of(b, dev, &head, &tail);

        *(dev->prev ? &dev->prev->next : head) = dev->next;
        *(dev->next ? &dev->next->prev : tail) = dev->prev;

        b->shard[dev->shard].nbeats -= dev->list == TB_LIST_BEAT;
    }

    dev->list = list;

    if (list == TB_LIST_NONE) {
        return;
    }

    if (list == TB_LIST_BEAT) {
        dev->shard = tb_device_shard(b->redis, dev->id);
        b->shard[dev->shard].nbeats++;
    }

    tb_list_of(b, dev, &head, &tail);

    dev->prev = *tail;
    dev->next = NULL;
    *(*tail ? &(*tail)->next : head) = dev;
    *tail = dev;
}


void
tb_device_late(tb_bridge_t *b, tb_device_t *dev)
{
    dev->due = tb_now() + b->conf->session_ttl / 3;
    tb_list(b, dev, TB_LIST_LATE);
}


tb_device_t *
tb_device_find(tb_bridge_t *b, const char *id)
{
    tb_device_t  *dev;

    dev = b->devices[tb_crc32(id, TB_UUID_LEN) % TB_BUCKETS];

    while (dev != NULL && strcmp(dev->id, id) != 0) {
        dev = dev->chain;
    }

    return dev;
}


tb_device_t *
tb_device_get(tb_bridge_t *b, const char *id)
{
    tb_device_t  *dev, **bucket;

    dev = tb_device_find(b, id);

    if (dev != NULL || b->ndevices == b->conf->max_devices) {
        return dev;
    }

    bucket = &b->devices[tb_crc32(id, TB_UUID_LEN) % TB_BUCKETS];

    dev = tb_alloc(sizeof(tb_device_t));
    strcpy(dev->id, id);
    dev->chain = *bucket;
    *bucket = dev;
    b->ndevices++;

    return dev;
}


void
tb_device_forget(tb_bridge_t *b, tb_device_t *dev)
{
    tb_device_t  **p;

    tb_list(b, dev, TB_LIST_NONE);

    p = &b->devices[tb_crc32(dev->id, TB_UUID_LEN) % TB_BUCKETS];

    while (*p != dev) {
        p = &(*p)->chain;
    }

    *p = dev->chain;
    b->ndevices--;
    free(dev->gateway);
    free(dev->name);
    free(dev);
}


void
tb_device_gone(tb_bridge_t *b, tb_device_t *dev)
{
    tb_log(TB_LOG_INFO, "device %s: the broker no longer knows it", dev->id);
    tb_device_forget(b, dev);
}


void
tb_presence_behind(tb_bridge_t *b, tb_str_t *gateway,
    void (*handler)(tb_bridge_t *b, const char *id))
{
    size_t        i;
    tb_device_t  *dev;

    for (i = 0; i < TB_BUCKETS; i++) {
        for (dev = b->devices[i]; dev != NULL; dev = dev->chain) {
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


void
tb_presence_free(tb_bridge_t *b)
{
    size_t        i;
    tb_device_t  *dev;

    for (i = 0; i < TB_BUCKETS; i++) {
        while (b->devices[i] != NULL) {
            dev = b->devices[i];
            b->devices[i] = dev->chain;
            free(dev->gateway);
            free(dev->name);
            free(dev);
        }
    }
}
