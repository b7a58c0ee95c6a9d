
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What the room must be told, and what it tells the room above it.
 */


#ifndef _TB_REDIS_CONF_H_INCLUDED_
#define _TB_REDIS_CONF_H_INCLUDED_


#include "../../common/tb_rpc_shard.h"
#include "../base/base.h"
#include "../base/count.h"
#include "server.h"


#define TB_MAX_SHARDS        TB_RPC_SHARDS
#define TB_MAX_SERVERS       32


typedef struct {
    char                *name;             /* of the bridge */
    char                *prefix;
    tb_server_t          servers[TB_MAX_SERVERS];
    int                  nservers;
    int                  db;
    char                *user;
    char                *password;
    int                  cluster;
    char                *sentinel;         /* the master's name, or NULL */
    char                *sentinel_user;
    char                *sentinel_password;
    int                  tls;
    char                *ca;               /* files, or NULL */
    char                *cert;
    char                *key;
    int                  shards;           /* 0: as tb:meta says */
} tb_redis_conf_t;


typedef struct {
    /* there is a connection, perhaps to a Redis that has forgotten */
    void  (*ready)(tb_bridge_t *b);
    /* calls that may be asked for, those that are asked for among them */
    int  (*room)(tb_bridge_t *b);
    /* an envelope that was taken */
    void  (*taken)(tb_bridge_t *b, const char *data, size_t len);
} tb_redis_events_t;


#endif /* _TB_REDIS_CONF_H_INCLUDED_ */
