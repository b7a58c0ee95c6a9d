
/*
 * JWTs that are made here, by the first key of a location.
 */


#include "ngx_http_tb_rpc_jwt.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


static ngx_str_t  ngx_http_tb_rpc_jwt_headers[] = {
    ngx_string("{\"alg\":\"HS256\"}"),
    ngx_string("{\"alg\":\"HS384\"}"),
    ngx_string("{\"alg\":\"HS512\"}")
};


ngx_int_t
ngx_http_tb_rpc_jwt_sign(ngx_pool_t *pool, ngx_http_tb_rpc_auth_conf_t *conf,
    ngx_str_t *claims, ngx_str_t *token)
{
    u_char                      mac[EVP_MAX_MD_SIZE], *p;
    ngx_str_t                   text, signature, *header;
    unsigned int                len;
    const EVP_MD               *md;
    ngx_http_tb_rpc_jwt_key_t  *key;

    if (conf->jwt_alg > NGX_HTTP_TB_RPC_HS512) {
        return NGX_ERROR;
    }

    key = conf->jwt_keys->elts;
    header = &ngx_http_tb_rpc_jwt_headers[conf->jwt_alg];
    md = ngx_http_tb_rpc_jwt_md(conf->jwt_alg);

    token->data = ngx_pnalloc(pool, ngx_base64_encoded_length(header->len) + 1
                                    + ngx_base64_encoded_length(claims->len)
                                    + 1
                                    + ngx_base64_encoded_length(sizeof(mac)));
    if (token->data == NULL) {
        return NGX_ERROR;
    }

    text.data = token->data;
    ngx_encode_base64url(&text, header);

    p = text.data + text.len;
    *p++ = '.';

    text.data = p;
    ngx_encode_base64url(&text, claims);

    p = text.data + text.len;

    if (HMAC(md, key->secret.data, (int) key->secret.len, token->data,
             p - token->data, mac, &len)
        == NULL)
    {
        ERR_clear_error();
        return NGX_ERROR;
    }

    *p++ = '.';

    signature.data = mac;
    signature.len = len;

    text.data = p;
    ngx_encode_base64url(&text, &signature);

    token->len = text.data + text.len - token->data;

    return NGX_OK;
}
