
/*
 * Shards and ids, see docs/redis-schema.md.
 */


#ifndef _NGX_HTTP_TB_RPC_ID_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_ID_H_INCLUDED_


#include "ngx_http_tb_rpc_worker.h"


ngx_uint_t ngx_http_tb_rpc_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *device_id);

/* dst: 36 bytes */
void ngx_http_tb_rpc_new_id(ngx_http_tb_rpc_worker_t *w, ngx_uint_t shard,
    u_char *dst);

/* shard of one of our ids, or NGX_DECLINED: not shaped like ours */
ngx_int_t ngx_http_tb_rpc_id_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *rpc_id);


#endif /* _NGX_HTTP_TB_RPC_ID_H_INCLUDED_ */
