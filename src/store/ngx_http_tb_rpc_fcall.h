
/*
 * How commands to Redis begin: the name of a key, and the function that works
 * on it.  See docs/redis-schema.md.
 */


#ifndef _NGX_HTTP_TB_RPC_FCALL_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_FCALL_H_INCLUDED_


#include "ngx_http_tb_rpc_worker.h"
#include "../share/ngx_tb_rpc_key.h"


#define NGX_HTTP_TB_RPC_KEY_LEN         NGX_TB_RPC_KEY_LEN
#define NGX_HTTP_TB_RPC_NO_SHARD        NGX_TB_RPC_NO_SHARD


/* FCALL <function> 1 <key> <arguments> */

enum {
    NGX_HTTP_TB_RPC_FCALL = 0,
    NGX_HTTP_TB_RPC_FUNCTION,
    NGX_HTTP_TB_RPC_NUMKEYS,
    NGX_HTTP_TB_RPC_KEY,
    NGX_HTTP_TB_RPC_ARGS
};


/* ngx_tb_rpc_key(), with the prefix of that configuration */
void ngx_http_tb_rpc_key(ngx_str_t *key, u_char *dst,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard, const char *kind,
    ngx_str_t *id);

/* argv[0] to argv[2]; the key and the arguments are the caller's */
void ngx_http_tb_rpc_fcall(ngx_str_t *argv, const char *function);

/* the device's node, NULL: its shard has none just now */
ngx_tb_redis_node_t *ngx_http_tb_rpc_device_node(ngx_http_tb_rpc_worker_t *w,
    u_char *device_id);

/* 1 if a command on the device would be written now (flags of commands) */
ngx_uint_t ngx_http_tb_rpc_device_is_ready(ngx_http_tb_rpc_worker_t *w,
    u_char *device_id, ngx_uint_t flags);

/* 1: what the functions say when they have not written anything */
ngx_uint_t ngx_http_tb_rpc_unchanged(redisReply *reply);

/* 1 if messages of its shard may have been lost, within "subscribed" */
ngx_uint_t ngx_http_tb_rpc_device_is_new(ngx_http_tb_rpc_worker_t *w,
    u_char *device_id);

/*
 * FCALL of a function on a device, with n arguments from
 * argv[NGX_HTTP_TB_RPC_ARGS] on; what is before them is filled in.  As
 * ngx_tb_redis_command().
 */
ngx_tb_redis_command_t *ngx_http_tb_rpc_fcall_device(
    ngx_http_tb_rpc_worker_t *w, u_char *device_id, const char *function,
    ngx_str_t *argv, ngx_uint_t n, ngx_msec_t timeout, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);


#endif /* _NGX_HTTP_TB_RPC_FCALL_H_INCLUDED_ */
