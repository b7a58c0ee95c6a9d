
/*
 * Shards and ids, see docs/redis-schema.md.
 *
 * An rpcId is a UUID of version 1: a time that never goes backwards in a
 * worker, the shard as its clock sequence, and the worker's random node with
 * the multicast bit.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../../common/tb_rpc_shard.h"
#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_id.h"


/* from 1582-10-15 to 1970-01-01 in units of 100 ns */

#define NGX_HTTP_TB_RPC_EPOCH  0x01b21dd213814000ULL


static ngx_uint_t ngx_http_tb_rpc_hex(u_char c);


ngx_uint_t
ngx_http_tb_rpc_shard(ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *device_id)
{
    return tb_rpc_shard(device_id->data, device_id->len,
                        (unsigned) mcf->shards);
}


void
ngx_http_tb_rpc_new_id(ngx_http_tb_rpc_worker_t *w, ngx_uint_t shard,
    u_char *dst)
{
    uint64_t     now;
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    now = ((uint64_t) tp->sec * 1000 + tp->msec) * 10000
          + NGX_HTTP_TB_RPC_EPOCH;

    if (now <= w->last_time) {
        now = w->last_time + 1;
    }

    w->last_time = now;

    (void) ngx_sprintf(dst, "%08xD-%04xD-%04xD-%04xD-"
                            "%02xd%02xd%02xd%02xd%02xd%02xd",
                       (uint32_t) now,
                       (uint32_t) (now >> 32) & 0xffff,
                       ((uint32_t) (now >> 48) & 0x0fff) | 0x1000,
                       (uint32_t) ((shard & 0x3fff) | 0x8000),
                       w->node[0] | 0x01, w->node[1], w->node[2],
                       w->node[3], w->node[4], w->node[5]);
}


ngx_int_t
ngx_http_tb_rpc_id_shard(ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *rpc_id)
{
    u_char       id[NGX_HTTP_TB_RPC_UUID_LEN];
    ngx_uint_t   i, seq;

    if (ngx_http_tb_rpc_parse_uuid(id, rpc_id) != NGX_OK) {
        return NGX_DECLINED;
    }

    /* version 1, multicast bit of the node */

    if (id[14] != '1' || !(ngx_http_tb_rpc_hex(id[25]) & 0x1)) {
        return NGX_DECLINED;
    }

    for (seq = 0, i = 19; i < 23; i++) {
        seq = (seq << 4) | ngx_http_tb_rpc_hex(id[i]);
    }

    /* variant 10 */

    if ((seq & 0xc000) != 0x8000) {
        return NGX_DECLINED;
    }

    seq &= 0x3fff;

    if (seq >= mcf->shards) {
        return NGX_DECLINED;
    }

    return seq;
}


static ngx_uint_t
ngx_http_tb_rpc_hex(u_char c)
{
    return (c <= '9') ? c - '0' : c - 'a' + 10;
}
