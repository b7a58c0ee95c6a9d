
/*
 * The settings of tb_rpc_redis { } that are about Sentinels.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_rpc_block_private.h"


#define NGX_TB_RPC_SENTINEL_PORT  26379


char *
ngx_tb_rpc_block_sentinel(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->sentinel);
}


char *
ngx_tb_rpc_block_sentinel_username(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->sentinel_username);
}


char *
ngx_tb_rpc_block_sentinel_password_file(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_secret(cf, value,
                                   &block->redis->sentinel_password);
}


char *
ngx_tb_rpc_block_sentinel_init(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block)
{
    ngx_uint_t              i, k;
    ngx_tb_redis_conf_t    *redis;
    ngx_tb_redis_server_t  *server;

    redis = block->redis;
    server = redis->servers->elts;

    if (redis->sentinel.len == 0) {

        if (redis->sentinel_username.len || redis->sentinel_password.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"sentinel_...\" without \"sentinel\" in "
                               "\"tb_rpc_redis\"");
            return NGX_CONF_ERROR;
        }

        if (redis->servers->nelts > 1 && !redis->cluster) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "several servers need \"sentinel\" or "
                               "\"cluster on\" in \"tb_rpc_redis\"");
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (redis->sentinel_username.len && redis->sentinel_password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"sentinel_username\" without "
                           "\"sentinel_password_file\" in \"tb_rpc_redis\"");
        return NGX_CONF_ERROR;
    }

    /* the way to the master is as that to the Sentinel that names it */

    if (ngx_tb_rpc_block_ssl_alike(cf, block) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < redis->servers->nelts; i++) {

        if (!server[i].no_port) {
            continue;
        }

        server[i].port = NGX_TB_RPC_SENTINEL_PORT;

        for (k = 0; k < server[i].naddrs; k++) {
            ngx_inet_set_port(server[i].addrs[k].sockaddr, server[i].port);
        }
    }

    return NGX_CONF_OK;
}
