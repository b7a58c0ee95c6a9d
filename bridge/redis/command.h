
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Commands to Redis, wherever their key lives.  A command lives until its
 * reply was handled, over reconnects and from one master to the next.
 */


#ifndef _TB_COMMAND_H_INCLUDED_
#define _TB_COMMAND_H_INCLUDED_


#include "node.h"


typedef struct tb_commands_s  tb_commands_t;


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

/* there is a connection for each shard */
int tb_command_up(const tb_commands_t *c);
/* all are answered */
int tb_command_idle(const tb_commands_t *c);
/* when that was written whose reply is handled now */
int64_t tb_command_written(const tb_commands_t *c);

/*
 * The key is argv[1], or argv[3] of an FCALL, and of a shard.  patient: OOM
 * and NOPERM are waited out.
 */
void tb_command(tb_commands_t *c, tb_reply_pt handler, void *data,
    int patient, int argc, const char **argv, const size_t *lens);

/* 0 until they are known */
int tb_shards(const tb_commands_t *c);

/* a command of it can be written now */
int tb_shard_up(const tb_commands_t *c, int shard);
/* in events->ready(): it is one of those that this is about */
int tb_shard_fresh(const tb_commands_t *c, int shard);
/* 1: shards are spread over several nodes, of which one may be away */
int tb_shards_spread(const tb_commands_t *c);
/* so it is, and that node is, or is silent */
int tb_shard_away(const tb_commands_t *c, int shard);

const tb_redis_conf_t *tb_command_conf(const tb_commands_t *c);

/* for other connections to the same nodes */

/* another number whenever a shard has another node, or a node is left */
unsigned tb_command_moves(const tb_commands_t *c);
/* the first one, by their next */
tb_node_t *tb_command_nodes(const tb_commands_t *c);
/* NULL: not known */
tb_node_t *tb_command_node(const tb_commands_t *c, int shard);
/* who has which shard is asked for soon */
void tb_command_lost(tb_commands_t *c);

/* as that of the node's commands; closed, to be opened at once */
void tb_command_redis(tb_commands_t *c, const tb_node_t *node, tb_redis_t *r,
    const char *label);
/*
 * To be called in each turn before its tb_greet_io(): holds it until it is
 * known where it is to go, and leaves what is no master any more; *moves is
 * for this function only, 0 at first.
 */
void tb_command_place(tb_commands_t *c, tb_redis_t *r, unsigned *moves);


#endif /* _TB_COMMAND_H_INCLUDED_ */
