
/*
 * Keys, and the beginning of FCALLs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_id.h"


static ngx_uint_t ngx_http_tb_rpc_device_shard(ngx_http_tb_rpc_worker_t *w,
    u_char *device_id);


void
ngx_http_tb_rpc_key(ngx_str_t *key, u_char *dst,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard, const char *kind,
    ngx_str_t *id)
{
    ngx_tb_rpc_key(key, dst, &mcf->prefix, shard, kind, id);
}


void
ngx_http_tb_rpc_fcall(ngx_str_t *argv, const char *function)
{
    ngx_str_set(&argv[NGX_HTTP_TB_RPC_FCALL], "FCALL");

    argv[NGX_HTTP_TB_RPC_FUNCTION].data = (u_char *) function;
    argv[NGX_HTTP_TB_RPC_FUNCTION].len = ngx_strlen(function);

    ngx_str_set(&argv[NGX_HTTP_TB_RPC_NUMKEYS], "1");
}


/* each shard has a channel, in their order */

ngx_tb_redis_node_t *
ngx_http_tb_rpc_device_node(ngx_http_tb_rpc_worker_t *w, u_char *device_id)
{
    return ngx_tb_redis_channel_node(&w->redis,
                                   ngx_http_tb_rpc_device_shard(w, device_id));
}


static ngx_uint_t
ngx_http_tb_rpc_device_shard(ngx_http_tb_rpc_worker_t *w, u_char *device_id)
{
    ngx_str_t  id;

    id.data = device_id;
    id.len = NGX_HTTP_TB_RPC_UUID_LEN;

    return ngx_http_tb_rpc_shard(w->conf, &id);
}


ngx_uint_t
ngx_http_tb_rpc_device_is_ready(ngx_http_tb_rpc_worker_t *w,
    u_char *device_id, ngx_uint_t flags)
{
    ngx_tb_redis_node_t  *node;

    node = ngx_http_tb_rpc_device_node(w, device_id);

    return node && ngx_tb_redis_node_is_ready(node, flags);
}


ngx_uint_t
ngx_http_tb_rpc_device_is_new(ngx_http_tb_rpc_worker_t *w, u_char *device_id)
{
    return ngx_tb_redis_channel_is_new(&w->redis,
                                   ngx_http_tb_rpc_device_shard(w, device_id));
}


ngx_uint_t
ngx_http_tb_rpc_unchanged(redisReply *reply)
{
    ngx_str_t   word;
    ngx_uint_t  i;

    static ngx_str_t  words[] = {
        ngx_string("unknown"),
        ngx_string("tenant"),
        ngx_string("customer"),
        ngx_string("conflict"),
        ngx_string("pending"),
        ngx_string("records")
    };

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
        != NGX_OK)
    {
        return 0;
    }

    for (i = 0; i < sizeof(words) / sizeof(ngx_str_t); i++) {

        if (word.len == words[i].len
            && ngx_memcmp(word.data, words[i].data, word.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_tb_redis_command_t *
ngx_http_tb_rpc_fcall_device(ngx_http_tb_rpc_worker_t *w, u_char *device_id,
    const char *function, ngx_str_t *argv, ngx_uint_t n, ngx_msec_t timeout,
    ngx_uint_t flags, ngx_tb_redis_reply_pt handler, void *data)
{
    u_char     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t  id;

    id.data = device_id;
    id.len = NGX_HTTP_TB_RPC_UUID_LEN;

    ngx_http_tb_rpc_fcall(argv, function);
    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf,
                        ngx_http_tb_rpc_shard(w->conf, &id), "device:", &id);

    return ngx_tb_redis_command(&w->redis, argv, NGX_HTTP_TB_RPC_ARGS + n,
                                timeout, flags, handler, data);
}
