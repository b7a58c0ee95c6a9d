
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The names of devices.
 */


#ifndef _TB_NAMES_H_INCLUDED_
#define _TB_NAMES_H_INCLUDED_


#include "private.h"


#define TB_MAX_NAME          255


typedef void (*tb_name_handler_pt)(tb_bridge_t *b, void *data,
    const char *id);


tb_names_t *tb_names_create(void);
/* whoever waits for a name is told nothing: its data is given to release */
void tb_names_free(tb_bridge_t *b, void (*release)(void *data));
/* reads --devices; on errors what was read before stays */
int tb_names_load(tb_bridge_t *b);

/* the device that the file calls so, whoever it is of, or NULL */
const char *tb_name_listed(tb_bridge_t *b, const tb_str_t *name);

/*
 * The device of that name among those of the tenant; without a tenant (NULL)
 * in the file, or among those of --tenant.  The handler is called once, now or
 * later; id is NULL when there is no such device.  Of one name they are called
 * in order.
 */
void tb_name_find(tb_bridge_t *b, const char *tenant, tb_str_t *name,
    tb_name_handler_pt handler, void *data);
/* the same with the tenant that the device is of, instead of an id */
void tb_name_owner(tb_bridge_t *b, const char *id, tb_name_handler_pt handler,
    void *data);
/* 1: Redis is to be asked for it; tenant "" is that of tb_name_owner() */
int tb_name_waits(const tb_bridge_t *b, const char *tenant,
    const tb_str_t *name);
/* what the file calls the device, or NULL */
const char *tb_name_of(tb_bridge_t *b, const char *id);


#endif /* _TB_NAMES_H_INCLUDED_ */
