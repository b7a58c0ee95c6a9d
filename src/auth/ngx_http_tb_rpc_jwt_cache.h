
/*
 * JWTs that a worker has verified lately: the whole token, and the location
 * whose keys and claims it was checked against.
 */


#ifndef _NGX_HTTP_TB_RPC_JWT_CACHE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_JWT_CACHE_H_INCLUDED_


#include "ngx_http_tb_rpc_auth.h"


/* of the claims, what must be looked at again, or is the identity */

typedef struct {
    double                      exp;            /* s since the epoch */
    double                      nbf;            /* the same; 0: none */
    ngx_http_tb_rpc_identity_t  identity;
} ngx_http_tb_rpc_jwt_known_t;


/* NULL without memory; what it has allocated goes with the pool */
ngx_http_tb_rpc_jwt_cache_t *ngx_http_tb_rpc_jwt_cache_create(
    ngx_pool_t *pool);

/* NULL if it is not known; else valid until the next put */
ngx_http_tb_rpc_jwt_known_t *ngx_http_tb_rpc_jwt_cache_get(
    ngx_http_tb_rpc_jwt_cache_t *cache, void *conf, ngx_str_t *token);

/* copies all; a token that was not known */
void ngx_http_tb_rpc_jwt_cache_put(ngx_http_tb_rpc_jwt_cache_t *cache,
    void *conf, ngx_str_t *token, ngx_http_tb_rpc_jwt_known_t *known);


#endif /* _NGX_HTTP_TB_RPC_JWT_CACHE_H_INCLUDED_ */
