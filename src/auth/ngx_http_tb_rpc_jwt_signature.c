
/*
 * Signatures of JWTs by libcrypto.
 */


#include "ngx_http_tb_rpc_jwt.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


static ngx_int_t ngx_http_tb_rpc_jwt_hmac(ngx_uint_t alg,
    ngx_http_tb_rpc_jwt_key_t *key, ngx_str_t *signature, ngx_str_t *input);
static ngx_int_t ngx_http_tb_rpc_jwt_rsa(ngx_http_tb_rpc_jwt_key_t *key,
    ngx_str_t *signature, ngx_str_t *input);
static ngx_int_t ngx_http_tb_rpc_jwt_ecdsa(ngx_http_tb_rpc_jwt_key_t *key,
    ngx_str_t *signature, ngx_str_t *input);
static ngx_int_t ngx_http_tb_rpc_jwt_digest_verify(EVP_PKEY *pkey,
    u_char *sig, size_t len, ngx_str_t *input);


ngx_int_t
ngx_http_tb_rpc_jwt_signature(ngx_http_tb_rpc_auth_conf_t *conf,
    ngx_str_t *signature, ngx_str_t *input)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_http_tb_rpc_jwt_key_t  *key;

    key = conf->jwt_keys->elts;

    for (i = 0; i < conf->jwt_keys->nelts; i++) {

        switch (conf->jwt_alg) {

        case NGX_HTTP_TB_RPC_RS256:
            rc = ngx_http_tb_rpc_jwt_rsa(&key[i], signature, input);
            break;

        case NGX_HTTP_TB_RPC_ES256:
            rc = ngx_http_tb_rpc_jwt_ecdsa(&key[i], signature, input);
            break;

        default:
            rc = ngx_http_tb_rpc_jwt_hmac(conf->jwt_alg, &key[i], signature,
                                          input);
        }

        if (rc == NGX_OK) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_hmac(ngx_uint_t alg, ngx_http_tb_rpc_jwt_key_t *key,
    ngx_str_t *signature, ngx_str_t *input)
{
    u_char         mac[EVP_MAX_MD_SIZE];
    unsigned int   len;
    const EVP_MD  *md;

    md = ngx_http_tb_rpc_jwt_md(alg);

    if (key->secret.len == 0
        || signature->len != (size_t) EVP_MD_size(md)
        || HMAC(md, key->secret.data, (int) key->secret.len,
                input->data, input->len, mac, &len)
           == NULL
        || len != signature->len)
    {
        return NGX_DECLINED;
    }

    return CRYPTO_memcmp(mac, signature->data, len) ? NGX_DECLINED : NGX_OK;
}


const EVP_MD *
ngx_http_tb_rpc_jwt_md(ngx_uint_t alg)
{
    switch (alg) {

    case NGX_HTTP_TB_RPC_HS256:
        return EVP_sha256();

    case NGX_HTTP_TB_RPC_HS384:
        return EVP_sha384();

    default:
        return EVP_sha512();
    }
}


static ngx_int_t
ngx_http_tb_rpc_jwt_rsa(ngx_http_tb_rpc_jwt_key_t *key, ngx_str_t *signature,
    ngx_str_t *input)
{
    if (key->pkey == NULL) {
        return NGX_DECLINED;
    }

    return ngx_http_tb_rpc_jwt_digest_verify(key->pkey, signature->data,
                                             signature->len, input);
}


/* JWS has r and s side by side, OpenSSL wants them in DER */

static ngx_int_t
ngx_http_tb_rpc_jwt_ecdsa(ngx_http_tb_rpc_jwt_key_t *key,
    ngx_str_t *signature, ngx_str_t *input)
{
    int         len;
    u_char     *der;
    BIGNUM     *r, *s;
    ngx_int_t   rc;
    ECDSA_SIG  *sig;

    if (key->pkey == NULL || signature->len != 64) {
        return NGX_DECLINED;
    }

    sig = ECDSA_SIG_new();
    r = BN_bin2bn(signature->data, 32, NULL);
    s = BN_bin2bn(signature->data + 32, 32, NULL);

    if (sig == NULL || r == NULL || s == NULL
        || ECDSA_SIG_set0(sig, r, s) != 1)
    {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        ERR_clear_error();
        return NGX_DECLINED;
    }

    /* r and s belong to sig now */

    der = NULL;
    len = i2d_ECDSA_SIG(sig, &der);

    ECDSA_SIG_free(sig);

    if (len <= 0) {
        ERR_clear_error();
        return NGX_DECLINED;
    }

    rc = ngx_http_tb_rpc_jwt_digest_verify(key->pkey, der, len, input);

    OPENSSL_free(der);

    return rc;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_digest_verify(EVP_PKEY *pkey, u_char *sig, size_t len,
    ngx_str_t *input)
{
    ngx_int_t    rc;
    EVP_MD_CTX  *md;

    rc = NGX_DECLINED;

    md = EVP_MD_CTX_new();

    if (md
        && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, pkey) == 1
        && EVP_DigestVerify(md, sig, len, input->data, input->len) == 1)
    {
        rc = NGX_OK;
    }

    EVP_MD_CTX_free(md);

    if (rc != NGX_OK) {

        /* or nginx would blame the next TLS connection for it */

        ERR_clear_error();
    }

    return rc;
}
