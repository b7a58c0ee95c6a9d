
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Commands of devices, and calls of functions.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/uuid.h"
#include "fcall.h"
#include "key.h"


int
tb_device_shard(const tb_commands_t *c, const char *device)
{
    return (int) tb_rpc_shard(device, TB_UUID_LEN, (unsigned) tb_shards(c));
}


void
tb_device_key(const tb_commands_t *c, const char *what, const char *device,
    char *out, size_t size)
{
    tb_key(tb_command_conf(c), tb_device_shard(c, device), what, device, out,
           size);
}


void
tb_fcall(tb_commands_t *c, tb_reply_pt handler, void *data, int patient,
    const char *function, const char *device, int argc, const tb_str_t *args)
{
    char  key[TB_MAX_KEY];

    tb_device_key(c, "device", device, key, sizeof(key));
    tb_fcall_key(c, handler, data, patient, function, key, argc, args);
}


void
tb_fcall_key(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *key, int argc,
    const tb_str_t *args)
{
    int          i;
    size_t       lens[4 + TB_MAX_ARGS];
    const char  *argv[4 + TB_MAX_ARGS];

    argv[0] = "FCALL";
    argv[1] = function;
    argv[2] = "1";
    argv[3] = key;

    for (i = 0; i < 4; i++) {
        lens[i] = strlen(argv[i]);
    }

    for (i = 0; i < argc; i++) {
        argv[4 + i] = args[i].data;
        lens[4 + i] = args[i].len;
    }

    tb_command(c, handler, data, patient, 4 + argc, argv, lens);
}
