
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What <prefix>meta says of all that is in a Redis: shards, schema.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/log.h"
#include "../base/str.h"
#include "meta.h"


void
tb_meta_command(const tb_redis_conf_t *conf, char *key, const char **argv)
{
    /* a prefix has at most 64 bytes */

    snprintf(key, TB_META_KEY, "%.64smeta", conf->prefix);

    argv[0] = "HMGET";
    argv[1] = key;
    argv[2] = "shards";
    argv[3] = "schema";
}


int
tb_meta_reply(const tb_redis_conf_t *conf, const redisReply *reply,
    int *shards, char *why, size_t size)
{
    uint32_t           n;
    const redisReply  *said, *schema;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        snprintf(why, size, "%smeta: a reply of another kind", conf->prefix);
        return TB_ERROR;
    }

    said = reply->element[0];
    schema = reply->element[1];

    if (schema->type == REDIS_REPLY_STRING
        && atoi(schema->str) != TB_RPC_SCHEMA)
    {
        snprintf(why, size, "%smeta says schema %s: this Redis has calls of"
                 " another version, which this one cannot read; use another"
                 " --prefix or an empty Redis", conf->prefix,
                 tb_safe(schema->str, schema->len));
        return TB_ERROR;
    }

    if (said->type == REDIS_REPLY_NIL || schema->type == REDIS_REPLY_NIL) {
        if (conf->shards == 0) {
            snprintf(why, size, "%smeta is not there yet, it is made by nginx"
                     " or tb-rpc-admin; or use --shards", conf->prefix);
            return TB_ERROR;
        }

        *shards = conf->shards;
        return TB_OK;
    }

    if (said->type != REDIS_REPLY_STRING
        || tb_number(said->str, said->len, 1, TB_MAX_SHARDS, &n) != TB_OK)
    {
        snprintf(why, size, "%smeta has a wrong number of shards",
                 conf->prefix);
        return TB_ERROR;
    }

    if (conf->shards && conf->shards != (int) n) {
        snprintf(why, size, "%smeta says %u shards, --shards %d",
                 conf->prefix, (unsigned) n, conf->shards);
        return TB_ERROR;
    }

    *shards = (int) n;

    return TB_OK;
}
