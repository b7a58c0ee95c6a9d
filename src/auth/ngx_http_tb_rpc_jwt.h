
/*
 * JWTs: jwt.c reads them, jwt_key.c has the keys, jwt_signature.c tries these,
 * jwt_sign.c makes tokens.
 */


#ifndef _NGX_HTTP_TB_RPC_JWT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_JWT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "ngx_http_tb_rpc_auth.h"


#define NGX_HTTP_TB_RPC_HS256           0
#define NGX_HTTP_TB_RPC_HS384           1
#define NGX_HTTP_TB_RPC_HS512           2
#define NGX_HTTP_TB_RPC_RS256           3
#define NGX_HTTP_TB_RPC_ES256           4


typedef struct {
    ngx_str_t                     secret;       /* HMAC key, decoded */
    EVP_PKEY                     *pkey;         /* RS256 and ES256 */
    ngx_str_t                     file;         /* for messages */
} ngx_http_tb_rpc_jwt_key_t;


extern ngx_conf_enum_t  ngx_http_tb_rpc_jwt_algs[];


char *ngx_http_tb_rpc_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* keys against jwt_alg, once both are known; logs and NGX_CONF_ERROR */
char *ngx_http_tb_rpc_jwt_check_keys(ngx_conf_t *cf,
    ngx_http_tb_rpc_auth_conf_t *conf);

/* NGX_OK, or NGX_HTTP_UNAUTHORIZED with ctx->auth_code, ctx->auth_error */
ngx_int_t ngx_http_tb_rpc_jwt_verify(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_str_t *token);

/*
 * For those who need more than the identity.  NGX_OK and the claims of a token
 * that is good now, for json_decref(); else a code of ..._jwt_verify()
 */
ngx_int_t ngx_http_tb_rpc_jwt_get_claims(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_str_t *token, json_t **claims);

/* a token of these claims, a JSON text; NGX_OK, NGX_ERROR */
ngx_int_t ngx_http_tb_rpc_jwt_sign(ngx_pool_t *pool,
    ngx_http_tb_rpc_auth_conf_t *conf, ngx_str_t *claims, ngx_str_t *token);

/* the digest of an HMAC algorithm */
const EVP_MD *ngx_http_tb_rpc_jwt_md(ngx_uint_t alg);

/* NGX_OK if one of the location's keys made it, else NGX_DECLINED */
ngx_int_t ngx_http_tb_rpc_jwt_signature(ngx_http_tb_rpc_auth_conf_t *conf,
    ngx_str_t *signature, ngx_str_t *input);

/*
 * Strict Base64: url, without padding, or standard; no foreign characters,
 * no stray bits.  dst (may be src) takes len * 3 / 4 bytes.  The decoded
 * length or NGX_ERROR.
 */
ssize_t ngx_http_tb_rpc_base64(u_char *dst, u_char *src, size_t len,
    ngx_uint_t url);


#endif /* _NGX_HTTP_TB_RPC_JWT_H_INCLUDED_ */
