
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The wait for the device that a name in a topic stands for, or for the tenant
 * of the device that an id stands for.
 */


#include "../base/log.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "names.h"
#include "resolve.h"
#include "unsaved.h"


typedef struct {
    tb_message_pt   handler;
    tb_message_t   *msg;
    size_t          cost;
    int             shard;
    unsigned        epoch;
    char            id[TB_UUID_LEN + 1];
    char            tenant[TB_UUID_LEN + 1];
} tb_deferred_t;


size_t
tb_message_size(tb_bridge_t *b, const tb_message_t *msg)
{
    return sizeof(tb_message_t) + strlen(msg->topic) + 1
           + tb_answer_kept(b, &msg->payload) + 1 + msg->correlation.len + 1;
}


/* of a payload that is larger than what is passed on the rest still counts */

tb_message_t *
tb_message_copy(tb_bridge_t *b, const tb_message_t *msg)
{
    char          *p;
    size_t         len;
    tb_message_t  *copy;

    copy = tb_alloc(tb_message_size(b, msg));
    *copy = *msg;
    p = (char *) (copy + 1);

    len = strlen(msg->topic) + 1;
    memcpy(p, msg->topic, len);
    copy->topic = p;
    p += len;

    len = tb_answer_kept(b, &msg->payload);
    memcpy(p, msg->payload.data, len);
    copy->payload.data = p;
    p += len + 1;

    if (msg->correlation.data) {
        memcpy(p, msg->correlation.data, msg->correlation.len);
        copy->correlation.data = p;
    }

    return copy;
}


void
tb_message_release(void *data)
{
    tb_deferred_t  *d = data;

    free(d->msg);
    free(d);
}


static void
tb_message_found(tb_bridge_t *b, void *data, const char *id)
{
    tb_deferred_t  *d = data;

    tb_answer_saved(b, d->shard, d->cost, d->epoch);

    if (id == NULL) {
        b->count->names_unknown++;
        tb_log(TB_LOG_INFO, "a message on %s is of no device that is known"
               " by name", tb_safe(d->msg->topic, strlen(d->msg->topic)));

    } else {
        d->handler(b, d->msg, id);
    }

    tb_message_release(d);
}


/* counted with the answers, so that the broker is not read meanwhile */

static tb_deferred_t *
tb_message_defer(tb_bridge_t *b, tb_message_t *msg, int shard,
    tb_message_pt handler)
{
    tb_deferred_t  *d;

    d = tb_alloc(sizeof(tb_deferred_t));
    d->handler = handler;
    d->msg = tb_message_copy(b, msg);
    d->cost = sizeof(tb_deferred_t) + tb_message_size(b, msg);
    d->shard = shard;
    d->epoch = tb_answer_unsaved(b, shard, d->cost);

    return d;
}


void
tb_message_no_room(tb_bridge_t *b, const tb_message_t *msg)
{
    b->count->answers_lost++;
    tb_log(TB_LOG_ERROR, "no room for a message on %s while Redis is away",
           tb_safe(msg->topic, strlen(msg->topic)));
}


/* 1: it would wait for a master that is away, as too many do already */

static int
tb_message_lost(tb_bridge_t *b, tb_message_t *msg, int shard,
    const char *tenant, const tb_str_t *name)
{
    if (!tb_answers_overfull(b, shard) || !tb_name_waits(b, tenant, name)) {
        return 0;
    }

    tb_message_no_room(b, msg);

    return 1;
}


void
tb_message_named(tb_bridge_t *b, tb_message_t *msg, const char *tenant,
    tb_str_t *name, tb_message_pt handler)
{
    int          shard;
    const char  *of;

    of = tenant ? tenant : b->conf->tenant;
    shard = of ? tb_device_shard(b->redis, of) : 0;

    if (of && (tenant || tb_name_listed(b, name) == NULL)
        && tb_message_lost(b, msg, shard, of, name))
    {
        return;
    }

    tb_name_find(b, tenant, name, tb_message_found,
                 tb_message_defer(b, msg, shard, handler));
}


static void
tb_message_owned(tb_bridge_t *b, void *data, const char *tenant)
{
    tb_deferred_t  *d = data;

    tb_answer_saved(b, d->shard, d->cost, d->epoch);

    if (tenant == NULL || strcmp(tenant, d->tenant) != 0) {
        b->count->foreign++;
        tb_log(TB_LOG_WARN, "a message on %s is refused: its device is not"
               " one of that tenant", tb_safe(d->msg->topic,
                                              strlen(d->msg->topic)));

    } else {
        d->handler(b, d->msg, d->id);
    }

    tb_message_release(d);
}


/* a tenant that may use topics below its own id speaks for its own devices */

static void
tb_message_of_tenant(tb_bridge_t *b, tb_message_t *msg, const char *tenant,
    const char *id, tb_message_pt handler)
{
    int             shard;
    tb_str_t        name;
    tb_deferred_t  *d;

    shard = tb_device_shard(b->redis, id);
    name.data = id;
    name.len = TB_UUID_LEN;

    if (tb_message_lost(b, msg, shard, "", &name)) {
        return;
    }

    d = tb_message_defer(b, msg, shard, handler);
    strcpy(d->id, id);
    strcpy(d->tenant, tenant);

    tb_name_owner(b, d->id, tb_message_owned, d);
}


static int
tb_message_id(tb_bridge_t *b, tb_message_t *msg, tb_str_t *values,
    tb_message_pt handler)
{
    char       id[TB_UUID_LEN + 1], tenant[TB_UUID_LEN + 1];
    tb_str_t  *v;

    v = &values[TB_VAR_DEVICE_ID];

    if (tb_uuid(v->data, v->len, id) != TB_OK) {
        return TB_ERROR;
    }

    v = &values[TB_VAR_TENANT_ID];

    if (v->data == NULL) {
        handler(b, msg, id);
        return TB_OK;
    }

    if (tb_uuid(v->data, v->len, tenant) != TB_OK) {
        return TB_ERROR;
    }

    tb_message_of_tenant(b, msg, tenant, id, handler);

    return TB_OK;
}


int
tb_message_device(tb_bridge_t *b, tb_message_t *msg, tb_str_t *values,
    tb_message_pt handler)
{
    int          has;
    char         tenant[TB_UUID_LEN + 1];
    tb_str_t    *v;
    const char  *id;

    if (values[TB_VAR_DEVICE_ID].data != NULL) {
        return tb_message_id(b, msg, values, handler);
    }

    v = &values[TB_VAR_TENANT_ID];
    has = v->data != NULL;

    if (has && tb_uuid(v->data, v->len, tenant) != TB_OK) {
        return TB_ERROR;
    }

    v = &values[TB_VAR_NAME];
    id = has ? tb_name_listed(b, v) : NULL;

    if (id != NULL) {
        tb_message_of_tenant(b, msg, tenant, id, handler);

    } else {
        tb_message_named(b, msg, has ? tenant : NULL, v, handler);
    }

    return TB_OK;
}
