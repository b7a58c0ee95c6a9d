
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Commands of devices, and calls of functions.
 */


#ifndef _TB_FCALL_H_INCLUDED_
#define _TB_FCALL_H_INCLUDED_


#include "command.h"


#define TB_MAX_ARGS          (1 + 2 * 256)


/* FCALL <function> 1 <key> <args>, at most TB_MAX_ARGS of them */
void tb_fcall_key(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *key, int argc,
    const tb_str_t *args);
/* the same with the key of a device */
void tb_fcall(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *device, int argc,
    const tb_str_t *args);

int tb_device_shard(const tb_commands_t *c, const char *device);
/* <prefix>{s<n>}:<what>:<device> */
void tb_device_key(const tb_commands_t *c, const char *what,
    const char *device, char *out, size_t size);


#endif /* _TB_FCALL_H_INCLUDED_ */
