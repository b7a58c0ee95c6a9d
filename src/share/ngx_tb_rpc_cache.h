
/*
 * What a worker remembers of credentials, by their SHA-256, bounded.
 */


#ifndef _NGX_TB_RPC_CACHE_H_INCLUDED_
#define _NGX_TB_RPC_CACHE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_TB_RPC_SHA256_LEN  32


typedef struct ngx_tb_rpc_cache_s  ngx_tb_rpc_cache_t;


/*
 * For values of that size; as many good and refused credentials at most.
 * NULL without memory.  The others work without a cache (NULL).
 */
ngx_tb_rpc_cache_t *ngx_tb_rpc_cache_create(ngx_pool_t *pool,
    size_t size, ngx_uint_t good, ngx_uint_t refused);

/*
 * The value, valid until the next put; NULL if it is not there or older
 * than valid, in ms
 */
void *ngx_tb_rpc_cache_get(ngx_tb_rpc_cache_t *cache,
    u_char *digest, ngx_msec_t valid);

/* copies value, which is that of a refused credential (1) or not (0) */
void ngx_tb_rpc_cache_put(ngx_tb_rpc_cache_t *cache,
    u_char *digest, void *value, ngx_uint_t refused);


#endif /* _NGX_TB_RPC_CACHE_H_INCLUDED_ */
