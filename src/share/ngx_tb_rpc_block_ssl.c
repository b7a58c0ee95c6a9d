
/*
 * The settings of tb_rpc_redis { } that are about TLS.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_rpc_block_private.h"


static ngx_uint_t ngx_tb_rpc_block_ssl_any(ngx_tb_redis_conf_t *redis);


char *
ngx_tb_rpc_block_ssl_verify(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_flag(value, &block->redis->ssl_verify);
}


char *
ngx_tb_rpc_block_ssl_name(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->ssl_name);
}


char *
ngx_tb_rpc_block_ssl_trusted_certificate(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value,
                                 &block->redis->ssl_trusted_certificate);
}


char *
ngx_tb_rpc_block_ssl_certificate(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->ssl_certificate);
}


char *
ngx_tb_rpc_block_ssl_certificate_key(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value,
                                 &block->redis->ssl_certificate_key);
}


char *
ngx_tb_rpc_block_ssl_init(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block)
{
    ngx_uint_t              i;
    ngx_tb_redis_conf_t    *redis;
    ngx_tb_redis_server_t  *server;

    redis = block->redis;
    server = redis->servers->elts;

    for (i = 0; i < redis->servers->nelts; i++) {
        if (server[i].ssl) {
            break;
        }
    }

    if (i == redis->servers->nelts) {

        /* who sets them believes that it is encrypted */

        if (ngx_tb_rpc_block_ssl_any(redis)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"ssl_...\" without a \"rediss://\" server in "
                               "\"tb_rpc_redis\"");
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if ((redis->ssl_certificate.len == 0)
        != (redis->ssl_certificate_key.len == 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"ssl_certificate\" and \"ssl_certificate_key\" "
                           "in \"tb_rpc_redis\" need each other");
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_value(redis->ssl_verify, 1);

#if (NGX_SSL)
    return ngx_tb_redis_ssl_init(cf, redis);
#else
    return NGX_CONF_OK;
#endif
}


char *
ngx_tb_rpc_block_ssl_alike(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block)
{
    ngx_uint_t              i;
    ngx_tb_redis_server_t  *server;

    server = block->redis->servers->elts;

    for (i = 1; i < block->redis->servers->nelts; i++) {

        if (server[i].ssl != server[0].ssl) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" has TLS or not, unlike the server "
                               "before it in \"tb_rpc_redis\"",
                               &server[i].url);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_tb_rpc_block_ssl_any(ngx_tb_redis_conf_t *redis)
{
    return redis->ssl_verify != NGX_CONF_UNSET
           || redis->ssl_name.len
           || redis->ssl_trusted_certificate.len
           || redis->ssl_certificate.len
           || redis->ssl_certificate_key.len;
}
