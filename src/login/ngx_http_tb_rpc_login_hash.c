
/*
 * Hashes of passwords, by scrypt of OpenSSL.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "../auth/ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_login_hash.h"


static u_char *ngx_http_tb_rpc_hash_number(u_char *p, u_char *last,
    const char *name, ngx_uint_t *n);
static ssize_t ngx_http_tb_rpc_hash_bytes(u_char *dst, size_t max, u_char *p,
    size_t len);
static u_char *ngx_http_tb_rpc_hash_base64(u_char *dst, u_char *p,
    size_t len);
static ngx_int_t ngx_http_tb_rpc_hash_compute(ngx_http_tb_rpc_hash_t *hash,
    ngx_str_t *password, u_char *key);
static ngx_int_t ngx_http_tb_rpc_hash_renew(ngx_http_tb_rpc_work_t *work,
    ngx_str_t *password);
static ngx_int_t ngx_http_tb_rpc_hash_waste(ngx_http_tb_rpc_scrypt_t *more,
    ngx_http_tb_rpc_scrypt_t *less);
static ngx_int_t ngx_http_tb_rpc_scrypt_run(ngx_http_tb_rpc_scrypt_t *scrypt,
    u_char *password, size_t len, u_char *salt, size_t salt_len, u_char *key);


ngx_uint_t
ngx_http_tb_rpc_scrypt_is_good(ngx_http_tb_rpc_scrypt_t *scrypt)
{
    return scrypt->ln >= 10 && scrypt->ln <= 20
           && scrypt->r >= 1 && scrypt->r <= 32
           && scrypt->p >= 1 && scrypt->p <= 16
           && (uint64_t) 128 * scrypt->r << scrypt->ln
              <= NGX_HTTP_TB_RPC_MAX_SCRYPT;
}


ngx_int_t
ngx_http_tb_rpc_hash_parse(ngx_http_tb_rpc_hash_t *hash, ngx_str_t *text)
{
    u_char   *p, *end, *last;
    ssize_t   n;

    last = text->data + text->len;

    if (text->len > NGX_HTTP_TB_RPC_MAX_HASH) {
        return NGX_DECLINED;
    }

    p = ngx_http_tb_rpc_hash_number(text->data, last, "$scrypt$ln=",
                                    &hash->scrypt.ln);
    p = ngx_http_tb_rpc_hash_number(p, last, ",r=", &hash->scrypt.r);
    p = ngx_http_tb_rpc_hash_number(p, last, ",p=", &hash->scrypt.p);

    if (p == NULL || p == last || *p++ != '$'
        || !ngx_http_tb_rpc_scrypt_is_good(&hash->scrypt))
    {
        return NGX_DECLINED;
    }

    end = ngx_strlchr(p, last, '$');
    if (end == NULL) {
        return NGX_DECLINED;
    }

    n = ngx_http_tb_rpc_hash_bytes(hash->salt, sizeof(hash->salt), p,
                                   end - p);
    if (n < 8) {
        return NGX_DECLINED;
    }

    hash->salt_len = n;

    n = ngx_http_tb_rpc_hash_bytes(hash->key, sizeof(hash->key), end + 1,
                                   last - (end + 1));

    return (n == NGX_HTTP_TB_RPC_HASH_LEN) ? NGX_OK : NGX_DECLINED;
}


/* what is behind the name and the number, NULL if they are not there */

static u_char *
ngx_http_tb_rpc_hash_number(u_char *p, u_char *last, const char *name,
    ngx_uint_t *n)
{
    size_t      len;
    ngx_uint_t  digits;

    len = ngx_strlen(name);

    if (p == NULL || (size_t) (last - p) < len
        || ngx_memcmp(p, name, len) != 0)
    {
        return NULL;
    }

    *n = 0;

    for (p += len, digits = 0;
         p < last && *p >= '0' && *p <= '9' && digits < 3;
         p++, digits++)
    {
        *n = *n * 10 + (*p - '0');
    }

    return digits ? p : NULL;
}


static ssize_t
ngx_http_tb_rpc_hash_bytes(u_char *dst, size_t max, u_char *p, size_t len)
{
    if (len == 0 || len * 3 / 4 > max || p[len - 1] == '=') {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_base64(dst, p, len, 0);
}


u_char *
ngx_http_tb_rpc_hash_text(u_char *dst, ngx_http_tb_rpc_hash_t *hash)
{
    dst = ngx_sprintf(dst, "$scrypt$ln=%ui,r=%ui,p=%ui$", hash->scrypt.ln,
                      hash->scrypt.r, hash->scrypt.p);

    dst = ngx_http_tb_rpc_hash_base64(dst, hash->salt, hash->salt_len);
    *dst++ = '$';

    return ngx_http_tb_rpc_hash_base64(dst, hash->key,
                                       NGX_HTTP_TB_RPC_HASH_LEN);
}


static u_char *
ngx_http_tb_rpc_hash_base64(u_char *dst, u_char *p, size_t len)
{
    ngx_str_t  src, text;

    src.data = p;
    src.len = len;
    text.data = dst;

    ngx_encode_base64(&text, &src);

    while (text.len && text.data[text.len - 1] == '=') {
        text.len--;
    }

    return text.data + text.len;
}


/*
 * Every password that is wrong costs the same, whatever the hash, unless that
 * costs more than new ones; one that is right may cost more.
 */

void
ngx_http_tb_rpc_hash_work(ngx_http_tb_rpc_work_t *work)
{
    u_char  key[NGX_HTTP_TB_RPC_HASH_LEN];

    if (ngx_http_tb_rpc_hash_compute(&work->hash, &work->password, key)
        != NGX_OK)
    {
        work->failed = 1;
        return;
    }

    work->match = CRYPTO_memcmp(key, work->hash.key, sizeof(key)) == 0
                  && !work->dummy;

    if (!work->match) {

        if (ngx_http_tb_rpc_hash_waste(&work->scrypt, &work->hash.scrypt)
            != NGX_OK)
        {
            work->failed = 1;
        }

        return;
    }

    if (work->new_password.len) {

        if (ngx_http_tb_rpc_hash_renew(work, &work->new_password) != NGX_OK) {
            work->failed = 1;
        }

        return;
    }

    /* a login does not fail for want of a better hash */

    if (work->hash.scrypt.ln != work->scrypt.ln
        || work->hash.scrypt.r != work->scrypt.r
        || work->hash.scrypt.p != work->scrypt.p)
    {
        (void) ngx_http_tb_rpc_hash_renew(work, &work->password);
    }
}


static ngx_int_t
ngx_http_tb_rpc_hash_compute(ngx_http_tb_rpc_hash_t *hash,
    ngx_str_t *password, u_char *key)
{
    return ngx_http_tb_rpc_scrypt_run(&hash->scrypt, password->data,
                                      password->len, hash->salt,
                                      hash->salt_len, key);
}


static ngx_int_t
ngx_http_tb_rpc_hash_renew(ngx_http_tb_rpc_work_t *work, ngx_str_t *password)
{
    ngx_http_tb_rpc_hash_t  *hash;

    hash = &work->new_hash;

    hash->scrypt = work->scrypt;
    hash->salt_len = NGX_HTTP_TB_RPC_SALT_LEN;

    if (RAND_bytes(hash->salt, NGX_HTTP_TB_RPC_SALT_LEN) != 1
        || ngx_http_tb_rpc_hash_compute(hash, password, hash->key) != NGX_OK)
    {
        return NGX_ERROR;
    }

    work->renewed = 1;

    return NGX_OK;
}


/*
 * Whoever measures how long a wrong password takes must not learn that there
 * is a user, of an old hash: time goes by the product of the parameters.
 */

static ngx_int_t
ngx_http_tb_rpc_hash_waste(ngx_http_tb_rpc_scrypt_t *more,
    ngx_http_tb_rpc_scrypt_t *less)
{
    u_char                    key[NGX_HTTP_TB_RPC_HASH_LEN], none[1];
    uint64_t                  left, all, cost;
    ngx_http_tb_rpc_scrypt_t  run;

    all = ngx_http_tb_rpc_scrypt_cost(more);
    cost = ngx_http_tb_rpc_scrypt_cost(less);

    left = (all > cost) ? all - cost : 0;

    run = *more;
    run.p = 1;
    none[0] = 0;

    while (left > all / 16) {
        cost = ngx_http_tb_rpc_scrypt_cost(&run);

        if (cost > left) {
            if (run.ln == 10) {
                break;
            }

            run.ln--;
            continue;
        }

        if (ngx_http_tb_rpc_scrypt_run(&run, none, 1, none, 1, key)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        left -= cost;
    }

    return NGX_OK;
}


uint64_t
ngx_http_tb_rpc_scrypt_cost(ngx_http_tb_rpc_scrypt_t *scrypt)
{
    return (uint64_t) scrypt->r * scrypt->p << scrypt->ln;
}


ngx_int_t
ngx_http_tb_rpc_scrypt_is_there(void)
{
    u_char                    key[NGX_HTTP_TB_RPC_HASH_LEN], none[1];
    ngx_http_tb_rpc_scrypt_t  scrypt;

    scrypt.ln = 10;
    scrypt.r = 1;
    scrypt.p = 1;
    none[0] = 0;

    return ngx_http_tb_rpc_scrypt_run(&scrypt, none, 1, none, 1, key);
}


static ngx_int_t
ngx_http_tb_rpc_scrypt_run(ngx_http_tb_rpc_scrypt_t *scrypt, u_char *password,
    size_t len, u_char *salt, size_t salt_len, u_char *key)
{
    uint64_t  n;

    n = (uint64_t) 1 << scrypt->ln;

    /* the limit is OpenSSL's own: twice of what is needed is above it */

    if (EVP_PBE_scrypt((char *) password, len, salt, salt_len, n, scrypt->r,
                       scrypt->p, 2 * (uint64_t) NGX_HTTP_TB_RPC_MAX_SCRYPT,
                       key, NGX_HTTP_TB_RPC_HASH_LEN)
        != 1)
    {
        ERR_clear_error();
        return NGX_ERROR;
    }

    return NGX_OK;
}
