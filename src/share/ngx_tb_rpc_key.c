
/*
 * The names of keys.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "../../common/tb_rpc_shard.h"
#include "ngx_tb_rpc_key.h"


void
ngx_tb_rpc_key(ngx_str_t *key, u_char *dst, ngx_str_t *prefix,
    ngx_uint_t shard, const char *kind, ngx_str_t *id)
{
    u_char  *p;

    p = ngx_cpymem(dst, prefix->data, prefix->len);

    if (shard != NGX_TB_RPC_NO_SHARD) {
        p = (u_char *) tb_rpc_shard_tag((char *) p, (unsigned) shard);
    }

    p = ngx_cpymem(p, kind, ngx_strlen(kind));

    if (id) {
        p = ngx_cpymem(p, id->data, id->len);
    }

    key->data = dst;
    key->len = p - dst;
}
