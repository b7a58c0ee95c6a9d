
/*
 * tb_rpc_jwt_key: keys are read and judged at configuration.
 */


#include "ngx_http_tb_rpc_jwt.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>


#define NGX_HTTP_TB_RPC_JWT_MAX_FILE  65536
#define NGX_HTTP_TB_RPC_JWT_RSA_BITS  2048

#define NGX_HTTP_TB_RPC_JWT_DEFAULT   "thingsboardDefaultSigningKey"


typedef struct {
    ngx_str_t   secret;
    EVP_PKEY   *pkey;
} ngx_http_tb_rpc_jwt_cleanup_t;


static void ngx_http_tb_rpc_jwt_cleanup(void *data);
static char *ngx_http_tb_rpc_jwt_load(ngx_conf_t *cf,
    ngx_http_tb_rpc_jwt_key_t *key, ngx_http_tb_rpc_jwt_cleanup_t *cleanup);
static char *ngx_http_tb_rpc_jwt_read(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *text, ngx_uint_t *world);
static char *ngx_http_tb_rpc_jwt_read_fd(ngx_conf_t *cf, ngx_fd_t fd,
    ngx_str_t *file, ngx_str_t *text, ngx_uint_t *world);
static char *ngx_http_tb_rpc_jwt_load_pem(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *text, EVP_PKEY **pkey);
static char *ngx_http_tb_rpc_jwt_load_secret(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *text, ngx_str_t *secret);
static ngx_uint_t ngx_http_tb_rpc_jwt_is_default(u_char *p, size_t len);
static char *ngx_http_tb_rpc_jwt_check_secret(ngx_conf_t *cf,
    ngx_http_tb_rpc_jwt_key_t *key, ngx_str_t *alg, size_t min);
static char *ngx_http_tb_rpc_jwt_check_pkey(ngx_conf_t *cf,
    ngx_http_tb_rpc_jwt_key_t *key, ngx_uint_t alg);
static ngx_uint_t ngx_http_tb_rpc_jwt_is_p256(EVP_PKEY *pkey);


char *
ngx_http_tb_rpc_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char *p = conf;

    ngx_str_t                      *value;
    ngx_pool_cleanup_t             *cln;
    ngx_http_tb_rpc_jwt_key_t      *key;
    ngx_http_tb_rpc_auth_conf_t    *acf;
    ngx_http_tb_rpc_jwt_cleanup_t  *cleanup;

    acf = (ngx_http_tb_rpc_auth_conf_t *) (p + cmd->offset);

    value = cf->args->elts;

    if (acf->jwt_keys == NGX_CONF_UNSET_PTR || acf->jwt_keys == NULL) {
        acf->jwt_keys = ngx_array_create(cf->pool, 2,
                                         sizeof(ngx_http_tb_rpc_jwt_key_t));
        if (acf->jwt_keys == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    key = ngx_array_push(acf->jwt_keys);
    if (key == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(key, sizeof(ngx_http_tb_rpc_jwt_key_t));

    key->file = value[1];

    if (key->file.len == 0) {
        return "needs the name of a file";
    }

    if (ngx_conf_full_name(cf->cycle, &key->file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool,
                               sizeof(ngx_http_tb_rpc_jwt_cleanup_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cleanup = cln->data;
    ngx_memzero(cleanup, sizeof(ngx_http_tb_rpc_jwt_cleanup_t));

    cln->handler = ngx_http_tb_rpc_jwt_cleanup;

    return ngx_http_tb_rpc_jwt_load(cf, key, cleanup);
}


static void
ngx_http_tb_rpc_jwt_cleanup(void *data)
{
    ngx_http_tb_rpc_jwt_cleanup_t *cleanup = data;

    if (cleanup->secret.len) {
        ngx_explicit_memzero(cleanup->secret.data, cleanup->secret.len);
    }

    EVP_PKEY_free(cleanup->pkey);
}


static char *
ngx_http_tb_rpc_jwt_load(ngx_conf_t *cf, ngx_http_tb_rpc_jwt_key_t *key,
    ngx_http_tb_rpc_jwt_cleanup_t *cleanup)
{
    char        *rv;
    ngx_str_t    text;
    ngx_uint_t   world;

    rv = ngx_http_tb_rpc_jwt_read(cf, &key->file, &text, &world);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_strnstr(text.data, "-----BEGIN", text.len)) {
        rv = ngx_http_tb_rpc_jwt_load_pem(cf, &key->file, &text,
                                          &cleanup->pkey);
        key->pkey = cleanup->pkey;

    } else {
        rv = ngx_http_tb_rpc_jwt_load_secret(cf, &key->file, &text,
                                             &cleanup->secret);
        key->secret = cleanup->secret;

        if (rv == NGX_CONF_OK && world) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "key file \"%V\" can be read by every user "
                               "of this host; run \"chmod o-r\" on it",
                               &key->file);
        }
    }

    ngx_explicit_memzero(text.data, text.len);

    return rv;
}


static char *
ngx_http_tb_rpc_jwt_read(ngx_conf_t *cf, ngx_str_t *file, ngx_str_t *text,
    ngx_uint_t *world)
{
    char      *rv;
    ngx_fd_t   fd;

    fd = ngx_open_file(file->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "tb_rpc_jwt_key: " ngx_open_file_n " \"%V\" failed",
                           file);
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_tb_rpc_jwt_read_fd(cf, fd, file, text, world);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", file);
    }

    return rv;
}


/* text is zero-terminated; its length does not count the zero */

static char *
ngx_http_tb_rpc_jwt_read_fd(ngx_conf_t *cf, ngx_fd_t fd, ngx_str_t *file,
    ngx_str_t *text, ngx_uint_t *world)
{
    off_t            size;
    ssize_t          n;
    ngx_file_info_t  fi;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "tb_rpc_jwt_key: " ngx_fd_info_n " \"%V\" failed",
                           file);
        return NGX_CONF_ERROR;
    }

    size = ngx_file_size(&fi);

    if (!ngx_is_file(&fi) || size == 0
        || size > NGX_HTTP_TB_RPC_JWT_MAX_FILE)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is empty, above 64k or no file; "
                           "it must hold Base64 text or a PEM public key",
                           file);
        return NGX_CONF_ERROR;
    }

    text->len = (size_t) size;
    text->data = ngx_pcalloc(cf->pool, text->len + 1);
    if (text->data == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, text->data, text->len);

    if (n != (ssize_t) text->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, (n == -1) ? ngx_errno : 0,
                           "tb_rpc_jwt_key: could not read \"%V\"", file);
        ngx_explicit_memzero(text->data, text->len);
        return NGX_CONF_ERROR;
    }

    *world = (fi.st_mode & S_IROTH) ? 1 : 0;

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_jwt_load_pem(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *text, EVP_PKEY **pkey)
{
    BIO     *bio;
    u_char  *p;

    if (ngx_strnstr(text->data, "PRIVATE KEY-----", text->len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" holds a private key, which must "
                           "stay with the issuer; use what \"openssl pkey "
                           "-pubout\" makes of it", file);
        return NGX_CONF_ERROR;
    }

    p = ngx_strnstr(text->data, "-----BEGIN", text->len) + 1;

    if (ngx_strnstr(p, "-----BEGIN", text->data + text->len - p)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" holds several PEM blocks; give "
                           "each key a file and a tb_rpc_jwt_key of its own",
                           file);
        return NGX_CONF_ERROR;
    }

    bio = BIO_new_mem_buf(text->data, (int) text->len);
    if (bio == NULL) {
        return NGX_CONF_ERROR;
    }

    *pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);

    BIO_free(bio);
    ERR_clear_error();

    if (*pkey == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is not a PEM public key; it must "
                           "start with \"-----BEGIN PUBLIC KEY-----\", as "
                           "made by \"openssl pkey -pubout\" or, of a "
                           "certificate, \"openssl x509 -noout -pubkey\"",
                           file);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_jwt_load_secret(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *text, ngx_str_t *secret)
{
    size_t    len;
    u_char   *p;
    ssize_t   n;

    /* tools wrap lines and end them */

    for (p = text->data, len = 0; p < text->data + text->len; p++) {
        if (*p != CR && *p != LF) {
            text->data[len++] = *p;
        }
    }

    secret->data = ngx_pnalloc(cf->pool, text->len);
    if (secret->data == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_http_tb_rpc_base64(secret->data, text->data, len, 0);

    secret->len = (n > 0) ? (size_t) n : 0;

    if (ngx_http_tb_rpc_jwt_is_default(text->data, len)
        || ngx_http_tb_rpc_jwt_is_default(secret->data, secret->len))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" holds ThingsBoard's default key, "
                           "which everybody knows; make one with \"openssl "
                           "rand -base64 64\" and give it to the issuer too",
                           file);
        return NGX_CONF_ERROR;
    }

    if (secret->len == 0) {
        ngx_explicit_memzero(secret->data, text->len);

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is neither standard Base64 text "
                           "nor a PEM public key", file);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_tb_rpc_jwt_is_default(u_char *p, size_t len)
{
    return len == sizeof(NGX_HTTP_TB_RPC_JWT_DEFAULT) - 1
           && ngx_strncmp(p, NGX_HTTP_TB_RPC_JWT_DEFAULT, len) == 0;
}


char *
ngx_http_tb_rpc_jwt_check_keys(ngx_conf_t *cf,
    ngx_http_tb_rpc_auth_conf_t *conf)
{
    char                       *rv;
    ngx_str_t                  *alg;
    ngx_uint_t                  i;
    ngx_http_tb_rpc_jwt_key_t  *key;

    static size_t  min[] = { 32, 48, 64 };

    if (conf->jwt_keys == NULL || conf->jwt_keys == NGX_CONF_UNSET_PTR) {
        return NGX_CONF_OK;
    }

    alg = &ngx_http_tb_rpc_jwt_algs[conf->jwt_alg].name;
    key = conf->jwt_keys->elts;

    for (i = 0; i < conf->jwt_keys->nelts; i++) {

        if (conf->jwt_alg <= NGX_HTTP_TB_RPC_HS512) {
            rv = ngx_http_tb_rpc_jwt_check_secret(cf, &key[i], alg,
                                                  min[conf->jwt_alg]);

        } else {
            rv = ngx_http_tb_rpc_jwt_check_pkey(cf, &key[i], conf->jwt_alg);
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_jwt_check_secret(ngx_conf_t *cf,
    ngx_http_tb_rpc_jwt_key_t *key, ngx_str_t *alg, size_t min)
{
    if (key->pkey) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is a public key, but "
                           "tb_rpc_jwt_alg %V needs a secret as Base64 text",
                           &key->file, alg);
        return NGX_CONF_ERROR;
    }

    if (key->secret.len < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" decodes to %uz bytes, but "
                           "tb_rpc_jwt_alg %V needs at least %uz; make one "
                           "with \"openssl rand -base64 %uz\"",
                           &key->file, key->secret.len, alg, min, min);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_jwt_check_pkey(ngx_conf_t *cf, ngx_http_tb_rpc_jwt_key_t *key,
    ngx_uint_t alg)
{
    ngx_uint_t  ok;

    if (alg == NGX_HTTP_TB_RPC_RS256) {
        ok = key->pkey
             && EVP_PKEY_base_id(key->pkey) == EVP_PKEY_RSA
             && EVP_PKEY_bits(key->pkey) >= NGX_HTTP_TB_RPC_JWT_RSA_BITS;

    } else {
        ok = key->pkey
             && EVP_PKEY_base_id(key->pkey) == EVP_PKEY_EC
             && ngx_http_tb_rpc_jwt_is_p256(key->pkey);
    }

    if (!ok) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" does not fit tb_rpc_jwt_alg %V, "
                           "which needs the PEM public key of %s",
                           &key->file, &ngx_http_tb_rpc_jwt_algs[alg].name,
                           (alg == NGX_HTTP_TB_RPC_RS256)
                           ? "an RSA key of at least 2048 bits"
                           : "an EC key on the curve P-256 (prime256v1)");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_tb_rpc_jwt_is_p256(EVP_PKEY *pkey)
{
#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)

    char    name[64];
    size_t  len;

    return EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) == 1
           && ngx_strcmp(name, SN_X9_62_prime256v1) == 0;

#else

    const EC_KEY    *ec;
    const EC_GROUP  *group;

    ec = EVP_PKEY_get0_EC_KEY(pkey);
    group = ec ? EC_KEY_get0_group(ec) : NULL;

    return group && EC_GROUP_get_curve_name(group) == NID_X9_62_prime256v1;

#endif
}
