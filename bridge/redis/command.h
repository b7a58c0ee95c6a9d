
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The command connection.  A command lives until its reply was handled, over
 * reconnects.
 */


#ifndef _TB_COMMAND_H_INCLUDED_
#define _TB_COMMAND_H_INCLUDED_


#include "conn.h"


#define TB_MAX_ARGS          (1 + 2 * 256)


typedef struct tb_commands_s  tb_commands_t;

typedef void (*tb_reply_pt)(tb_bridge_t *b, void *data, redisReply *reply);


/*
 * Errors are counted; b is for the handlers.  NULL, and that was logged: files
 * for TLS cannot be used.
 */
tb_commands_t *tb_command_create(const tb_redis_conf_t *conf,
    const tb_redis_events_t *events, tb_bridge_t *b, tb_counters_t *count);
/* what is not answered is forgotten, its handlers are not called */
void tb_command_free(tb_commands_t *c);

void tb_command_run(tb_commands_t *c, const tb_poll_t *p);
/* what was gathered in the turn is written */
void tb_command_poll(tb_commands_t *c, tb_poll_t *p);
int64_t tb_command_timer(tb_commands_t *c);

/* files for TLS are read again */
void tb_command_reload(tb_commands_t *c);

/* another connection to where the commands go */
void tb_command_redis(tb_commands_t *c, tb_redis_t *r, const char *label);
/*
 * To be called in each turn before its tb_greet_io(): holds it until it is
 * known where it is to go, and leaves what is no master any more; *moves is
 * for this function only, 0 at first.
 */
void tb_command_place(tb_commands_t *c, tb_redis_t *r, unsigned *moves);

int tb_command_up(const tb_commands_t *c);
/* all are answered */
int tb_command_idle(const tb_commands_t *c);
/* when that was written whose reply is handled now */
int64_t tb_command_written(const tb_commands_t *c);

/* patient: OOM and NOPERM are waited out */
void tb_command(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, int argc, const char **argv, const size_t *lens);
/* FCALL <function> 1 <key> <args>, at most TB_MAX_ARGS of them */
void tb_fcall_key(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *key, int argc,
    const tb_str_t *args);
/* the same with the key of a device */
void tb_fcall(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, const char *function, const char *device, int argc,
    const tb_str_t *args);

/* 0 until they are known */
int tb_shards(const tb_commands_t *c);
int tb_device_shard(const tb_commands_t *c, const char *device);
/* <prefix>{s<n>}:<what>:<device> */
void tb_device_key(const tb_commands_t *c, const char *what,
    const char *device, char *out, size_t size);


#endif /* _TB_COMMAND_H_INCLUDED_ */
