
/*
 * Shards, ids and keys, see docs/redis-schema.md.
 */


#ifndef _NGX_HTTP_TB_RPC_ID_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_ID_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_worker.h"


#define NGX_HTTP_TB_RPC_MAX_PREFIX      32
#define NGX_HTTP_TB_RPC_TAG_LEN                                               \
    (NGX_HTTP_TB_RPC_MAX_PREFIX + sizeof("{s000}:") - 1)


ngx_uint_t ngx_http_tb_rpc_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *device_id);
/* dst: 36 bytes */
void ngx_http_tb_rpc_new_id(ngx_http_tb_rpc_worker_t *w, ngx_uint_t shard,
    u_char *dst);
/* shard of one of our ids, or NGX_DECLINED: not shaped like ours */
ngx_int_t ngx_http_tb_rpc_id_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *rpc_id);
/* "tb:{s003}:", at most NGX_HTTP_TB_RPC_TAG_LEN bytes; where they end */
u_char *ngx_http_tb_rpc_shard_tag(u_char *dst,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard);
/* "tb:{s003}:<kind><id>"; allocated from pool, NGX_ERROR without memory */
ngx_int_t ngx_http_tb_rpc_key(ngx_pool_t *pool,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard, const char *kind,
    ngx_str_t *id, ngx_str_t *key);


#endif /* _NGX_HTTP_TB_RPC_ID_H_INCLUDED_ */
