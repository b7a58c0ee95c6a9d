
/*
 * Who calls.
 */


#ifndef _NGX_HTTP_TB_RPC_AUTH_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_AUTH_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"
#include "../store/ngx_http_tb_rpc_worker.h"


#define NGX_HTTP_TB_RPC_AUTH_FAILED     "Authentication failed"
#define NGX_HTTP_TB_RPC_MAX_USER        255


extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_auth_part;


/* in the ACCESS phase, last of all */
ngx_int_t ngx_http_tb_rpc_access_handler(ngx_http_request_t *r);

/*
 * Sets ctx->identity.
 *   NGX_OK        authenticated
 *   NGX_AGAIN     Redis is asked; done(r, rc) is called later with one of
 *                 the other codes, never from within this call; afterwards
 *                 the caller runs posted requests
 *   NGX_HTTP_UNAUTHORIZED, ctx->auth_code and ctx->auth_error are set
 *   NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_INTERNAL_SERVER_ERROR
 */
ngx_int_t ngx_http_tb_rpc_authenticate(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx,
    void (*done)(ngx_http_request_t *r, ngx_int_t rc));

/*
 * For variables: what a JWT or tb_rpc_identity says by now, or NULL; never
 * asks Redis and leaves ctx->identity alone.  NGX_ERROR without memory
 */
ngx_int_t ngx_http_tb_rpc_preview(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t **preview);

/*
 * Notes code and message (static text), and the cause under which it is
 * counted; NGX_HTTP_UNAUTHORIZED
 */
ngx_int_t ngx_http_tb_rpc_auth_error(ngx_http_tb_rpc_ctx_t *ctx,
    ngx_uint_t code, ngx_uint_t cause, const char *message);

/* sends the 401 or 503 that belongs to a code of ..._authenticate() */
ngx_int_t ngx_http_tb_rpc_auth_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc);


/* ngx_http_tb_rpc_identity.c */

/*
 * Under "tb_rpc_auth off": what tb_rpc_identity says.  NGX_OK, or a code of
 * ngx_http_tb_rpc_authenticate(); a preview changes no variable and logs
 * nothing
 */
ngx_int_t ngx_http_tb_rpc_identity_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id);
ngx_int_t ngx_http_tb_rpc_identity_preview(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id);

/*
 * All is copied; ids are validated and lowered, the null UUID is none, only
 * SYS_ADMIN may have no tenant.  NGX_OK, NGX_DECLINED: refused, NGX_ERROR
 */
ngx_int_t ngx_http_tb_rpc_set_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t *id, ngx_str_t *tenant, ngx_str_t *customer,
    ngx_str_t *user, ngx_str_t *authority);

/* NGX_HTTP_TB_RPC_NO_AUTHORITY: it is none */
ngx_http_tb_rpc_authority_e ngx_http_tb_rpc_authority(ngx_str_t *name);

/* all strings of an identity, one behind the other: their length, and a copy */
size_t ngx_http_tb_rpc_identity_len(ngx_http_tb_rpc_identity_t *id);
u_char *ngx_http_tb_rpc_copy_identity(u_char *p,
    ngx_http_tb_rpc_identity_t *dst, ngx_http_tb_rpc_identity_t *src);


/* ngx_http_tb_rpc_credential.c */

#define NGX_HTTP_TB_RPC_BEARER          1
#define NGX_HTTP_TB_RPC_API_KEY         2

typedef struct {
    ngx_uint_t                    scheme;
    ngx_str_t                     text;
} ngx_http_tb_rpc_credential_t;

/*
 * Selects by precedence.  NGX_DECLINED: there is none, NGX_ABORT: a header
 * comes twice
 */
ngx_int_t ngx_http_tb_rpc_get_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_credential_t *credential);

/*
 * 16 hex digits of the SHA-256 of the credential that was presented;
 * NGX_DECLINED if there is none
 */
ngx_int_t ngx_http_tb_rpc_key_id(ngx_http_request_t *r, ngx_str_t *value);


#endif /* _NGX_HTTP_TB_RPC_AUTH_H_INCLUDED_ */
