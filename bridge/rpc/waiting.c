
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Calls whose answers come without a request id: an answer is of the oldest
 * call of the device that was published and is not answered.  Only this
 * process knows them.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/clock.h"
#include "../base/str.h"
#include "waiting.h"


#define TB_WAIT_BUCKETS  65536
#define TB_MAX_WAITING   100000


typedef struct tb_wait_s  tb_wait_t;

struct tb_wait_s {
    tb_wait_t   *chain;                /* the oldest first */
    tb_wait_t   *prev;
    tb_wait_t   *next;
    int64_t      until;
    uint32_t     request_id;
    char         device_id[TB_UUID_LEN + 1];
};


struct tb_waits_s {
    tb_wait_t  **table;                /* by device; NULL until it is needed */
    tb_wait_t   *head;
    tb_wait_t   *tail;
    int          n;
};


tb_waits_t *
tb_waits_create(void)
{
    return tb_alloc(sizeof(tb_waits_t));
}


void
tb_waits_free(tb_waits_t *waits)
{
    tb_wait_t  *w;

    while (waits->head != NULL) {
        w = waits->head;
        waits->head = w->next;
        free(w);
    }

    free(waits->table);
    free(waits);
}


static tb_wait_t **
tb_wait_bucket(tb_bridge_t *b, const char *device)
{
    uint32_t  hash;

    hash = tb_rpc_crc32(device, TB_UUID_LEN);

    return &b->waits->table[hash % TB_WAIT_BUCKETS];
}


/* of the device, with that id or with any */

static tb_wait_t *
tb_wait_find(tb_bridge_t *b, const char *device, uint32_t request_id)
{
    tb_wait_t  *w;

    if (b->waits->table == NULL) {
        return NULL;
    }

    for (w = *tb_wait_bucket(b, device); w != NULL; w = w->chain) {
        if (strcmp(w->device_id, device) == 0
            && (request_id == 0 || w->request_id == request_id))
        {
            return w;
        }
    }

    return NULL;
}


static void
tb_wait_drop(tb_bridge_t *b, tb_wait_t *w)
{
    tb_wait_t  **p;

    p = tb_wait_bucket(b, w->device_id);

    while (*p != w) {
        p = &(*p)->chain;
    }

    *p = w->chain;

    *(w->prev ? &w->prev->next : &b->waits->head) = w->next;
    *(w->next ? &w->next->prev : &b->waits->tail) = w->prev;

    b->waits->n--;
    free(w);
}


void
tb_wait_add(tb_bridge_t *b, tb_call_t *call)
{
    tb_wait_t  *w, **p;

    if (call->oneway || (b->conf->response.vars & TB_VAR(REQUEST_ID))
        || tb_wait_find(b, call->device_id, call->request_id))
    {
        return;
    }

    if (b->waits->table == NULL) {
        b->waits->table = tb_alloc(TB_WAIT_BUCKETS * sizeof(tb_wait_t *));
    }

    if (b->waits->n == TB_MAX_WAITING) {
        tb_wait_drop(b, b->waits->head);
    }

    w = tb_alloc(sizeof(tb_wait_t));
    strcpy(w->device_id, call->device_id);
    w->request_id = call->request_id;

    w->until = call->dies_at;

    p = tb_wait_bucket(b, call->device_id);

    while (*p != NULL) {
        p = &(*p)->chain;
    }

    *p = w;

    w->prev = b->waits->tail;
    *(b->waits->tail ? &b->waits->tail->next : &b->waits->head) = w;
    b->waits->tail = w;
    b->waits->n++;
}


uint32_t
tb_wait_take(tb_bridge_t *b, const char *device)
{
    int64_t     until;
    uint32_t    id;
    tb_wait_t  *w;

    while ((w = tb_wait_find(b, device, 0)) != NULL) {
        id = w->request_id;
        until = w->until;
        tb_wait_drop(b, w);

        if (tb_now() < until) {
            return id;
        }
    }

    return 0;
}


void
tb_wait_remove(tb_bridge_t *b, const char *device, uint32_t request_id)
{
    tb_wait_t  *w;

    w = tb_wait_find(b, device, request_id);

    if (w != NULL) {
        tb_wait_drop(b, w);
    }
}


void
tb_waits_run(tb_bridge_t *b)
{
    int64_t  now;

    now = tb_now();

    while (b->waits->head != NULL && b->waits->head->until <= now) {
        tb_wait_drop(b, b->waits->head);
    }
}
