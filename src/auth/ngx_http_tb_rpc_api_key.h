
#ifndef _NGX_HTTP_TB_RPC_API_KEY_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_API_KEY_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_auth.h"


#define NGX_HTTP_TB_RPC_API_KEY_UNKNOWN   "Invalid username or password"
#define NGX_HTTP_TB_RPC_API_KEY_DISABLED  "User account is not active"


/* what Redis said of a key, of one that is no good too */

typedef struct {
    const char                   *error;        /* NULL: a good key */
    ngx_uint_t                    cause;        /* of the error */
    int64_t                       expiration;   /* epoch ms, 0 = never */
    ngx_http_tb_rpc_authority_e   authority;

    /* the lengths of what follows; an id has its length or none */
    u_char                        tenant;
    u_char                        customer;
    u_char                        user;

    u_char                        tenant_id[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                        customer_id[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                        user_id[NGX_HTTP_TB_RPC_MAX_USER];
} ngx_http_tb_rpc_api_key_t;


/* the worker's cache; NULL without memory */
ngx_tb_rpc_cache_t *ngx_http_tb_rpc_api_keys_create(ngx_pool_t *pool);

/* as ngx_http_tb_rpc_authenticate() */
ngx_int_t ngx_http_tb_rpc_api_key_verify(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_str_t *key);


#endif /* _NGX_HTTP_TB_RPC_API_KEY_H_INCLUDED_ */
