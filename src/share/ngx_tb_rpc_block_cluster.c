
/*
 * The setting of tb_rpc_redis { } that makes its servers seeds of a cluster.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_rpc_block_private.h"


char *
ngx_tb_rpc_block_cluster(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    return ngx_tb_rpc_block_flag(value, &block->redis->cluster);
}


char *
ngx_tb_rpc_block_cluster_init(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block)
{
    ngx_uint_t              i;
    ngx_tb_redis_conf_t    *redis;
    ngx_tb_redis_server_t  *server;

    redis = block->redis;
    server = redis->servers->elts;

    ngx_conf_init_value(redis->cluster, 0);

    if (!redis->cluster) {
        return NGX_CONF_OK;
    }

    if (redis->sentinel.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "both \"cluster\" and \"sentinel\" in "
                           "\"tb_rpc_redis\": a cluster elects its masters "
                           "itself");
        return NGX_CONF_ERROR;
    }

    if (redis->database) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a cluster has no database but 0, not %ui as in "
                           "\"tb_rpc_redis\"", redis->database);
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < redis->servers->nelts; i++) {

        if (server[i].host.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" can't be a node of a cluster in "
                               "\"tb_rpc_redis\"", &server[i].url);
            return NGX_CONF_ERROR;
        }
    }

    return ngx_tb_rpc_block_ssl_alike(cf, block);
}
