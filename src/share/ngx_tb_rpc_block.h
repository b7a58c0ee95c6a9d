
/*
 * The tb_rpc_redis { } block, as it is in http { } and in stream { }: which
 * Redis, and how its keys are named.
 */


#ifndef _NGX_TB_RPC_BLOCK_H_INCLUDED_
#define _NGX_TB_RPC_BLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "../redis/ngx_tb_redis_conf.h"


#define NGX_TB_RPC_MAX_PREFIX  32


typedef struct {
    ngx_tb_redis_conf_t  *redis;            /* NULL without the block */
    ngx_str_t             prefix;           /* "tb:" */
    ngx_uint_t            shards;
} ngx_tb_rpc_block_t;


/* zeroed before: "not set" */
void ngx_tb_rpc_block_create(ngx_tb_rpc_block_t *block);

/* the directive; conf is an ngx_tb_rpc_block_t */
char *ngx_tb_rpc_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * At the end of "level", "http" or "stream", whose resolver that is, NULL or an
 * empty one: none.  Logs and returns NGX_CONF_ERROR if a server needs one.
 */
char *ngx_tb_rpc_block_resolver(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_resolver_t *resolver, ngx_msec_t timeout, const char *level);

/* setter: what is in the file value[1], without its last newline */
char *ngx_tb_rpc_block_secret(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *secret);


#endif /* _NGX_TB_RPC_BLOCK_H_INCLUDED_ */
