
/*
 * The setting of tb_rpc_redis { } that is about replicas.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_rpc_block_private.h"


#define NGX_TB_RPC_MAX_REPLICAS  100


char *
ngx_tb_rpc_block_wait(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    char       *rv;
    ngx_str_t   args[2];

    if (cf->args->nelts != 3) {
        return "needs a number of replicas and a time";
    }

    rv = ngx_tb_rpc_block_number(cf, value, 1,
                                 NGX_TB_RPC_MAX_REPLICAS,
                                      &block->redis->wait_replicas);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    args[0] = value[0];
    args[1] = value[2];

    return ngx_tb_rpc_block_msec(cf, args, &block->redis->wait_timeout);
}


char *
ngx_tb_rpc_block_wait_init(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block)
{
    ngx_tb_redis_conf_t  *redis;

    redis = block->redis;

    ngx_conf_init_uint_value(redis->wait_replicas, 0);
    ngx_conf_init_msec_value(redis->wait_timeout, 0);

    /* a command may come just behind the wait for others, and then waits */

    if (redis->wait_timeout > redis->command_timeout / 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the time in \"wait\", %Mms, is more than half of "
                           "\"command_timeout\", %Mms, in \"tb_rpc_redis\"",
                           redis->wait_timeout, redis->command_timeout);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
