
/*
 * Credentials.  What ThingsBoard calls MQTT Basic may leave out parts, and the
 * device may say more than was asked for: so each form that fits is looked up.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include <openssl/evp.h>

#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_credential.h"


static ngx_int_t ngx_stream_tb_mqtt_basics(
    ngx_stream_tb_mqtt_connect_t *connect,
    ngx_stream_tb_mqtt_credential_t *credentials);
static ngx_int_t ngx_stream_tb_mqtt_basic(ngx_str_t *client_id,
    ngx_str_t *username, ngx_str_t *password, u_char *digest);
static ngx_int_t ngx_stream_tb_mqtt_basic_part(EVP_MD_CTX *md,
    ngx_str_t *part);
static ngx_int_t ngx_stream_tb_mqtt_fingerprint(ngx_connection_t *c,
    u_char *digest);


ngx_int_t
ngx_stream_tb_mqtt_credentials(ngx_connection_t *c,
    ngx_stream_tb_mqtt_connect_t *connect, ngx_uint_t login,
    ngx_stream_tb_mqtt_credential_t *credentials)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    n = 0;

    if (login & NGX_STREAM_TB_MQTT_BY_CERTIFICATE) {

        rc = ngx_stream_tb_mqtt_fingerprint(c, credentials[0].digest);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK) {
            credentials[n++].kind = NGX_STREAM_TB_MQTT_CERTIFICATE;
        }
    }

    if (login & NGX_STREAM_TB_MQTT_BY_BASIC) {

        rc = ngx_stream_tb_mqtt_basics(connect, &credentials[n]);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        n += rc;
    }

    if ((login & NGX_STREAM_TB_MQTT_BY_TOKEN) && connect->username.len) {

        if (EVP_Digest(connect->username.data, connect->username.len,
                       credentials[n].digest, NULL, EVP_sha256(), NULL)
            != 1)
        {
            return NGX_ERROR;
        }

        credentials[n++].kind = NGX_STREAM_TB_MQTT_TOKEN;
    }

    return n;
}


/* their number */

static ngx_int_t
ngx_stream_tb_mqtt_basics(ngx_stream_tb_mqtt_connect_t *connect,
    ngx_stream_tb_mqtt_credential_t *credentials)
{
    ngx_str_t   *id, *user, *pass;
    ngx_uint_t   i, n;

    /* of a form, which parts it has: the narrowest one counts first */

    static unsigned  forms[][3] = {
        { 1, 1, 1 },
        { 1, 1, 0 },
        { 0, 1, 1 },
        { 0, 1, 0 },
        { 1, 0, 0 }
    };

    id = connect->client_id.len ? &connect->client_id : NULL;
    user = connect->username.len ? &connect->username : NULL;
    pass = connect->password.len ? &connect->password : NULL;

    n = 0;

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {

        if ((forms[i][0] && id == NULL)
            || (forms[i][1] && user == NULL)
            || (forms[i][2] && pass == NULL))
        {
            continue;
        }

        if (ngx_stream_tb_mqtt_basic(forms[i][0] ? id : NULL,
                                     forms[i][1] ? user : NULL,
                                     forms[i][2] ? pass : NULL,
                                     credentials[n].digest)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        credentials[n++].kind = NGX_STREAM_TB_MQTT_BASIC;
    }

    return n;
}


/* "<length>:<bytes>," for each part, "-," for one that does not count */

static ngx_int_t
ngx_stream_tb_mqtt_basic(ngx_str_t *client_id, ngx_str_t *username,
    ngx_str_t *password, u_char *digest)
{
    ngx_int_t    rc;
    EVP_MD_CTX  *md;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1
        && ngx_stream_tb_mqtt_basic_part(md, client_id) == NGX_OK
        && ngx_stream_tb_mqtt_basic_part(md, username) == NGX_OK
        && ngx_stream_tb_mqtt_basic_part(md, password) == NGX_OK
        && EVP_DigestFinal_ex(md, digest, NULL) == 1)
    {
        rc = NGX_OK;
    }

    EVP_MD_CTX_free(md);

    return rc;
}


static ngx_int_t
ngx_stream_tb_mqtt_basic_part(EVP_MD_CTX *md, ngx_str_t *part)
{
    u_char  *p, head[NGX_SIZE_T_LEN + 1];

    if (part == NULL) {
        return EVP_DigestUpdate(md, "-,", 2) == 1 ? NGX_OK : NGX_ERROR;
    }

    p = ngx_sprintf(head, "%uz:", part->len);

    if (EVP_DigestUpdate(md, head, p - head) != 1
        || EVP_DigestUpdate(md, part->data, part->len) != 1
        || EVP_DigestUpdate(md, ",", 1) != 1)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Of a certificate that was asked for and that nginx has verified.  It is no
 * secret, and so it is nothing that an access token could be, too.
 */

static ngx_int_t
ngx_stream_tb_mqtt_fingerprint(ngx_connection_t *c, u_char *digest)
{
#if (NGX_SSL)

    X509       *cert;
    ngx_int_t   rc;

    if (c->ssl == NULL
        || SSL_get_verify_result(c->ssl->connection) != X509_V_OK)
    {
        return NGX_DECLINED;
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_DECLINED;
    }

    rc = X509_digest(cert, EVP_sha256(), digest, NULL) == 1 ? NGX_OK
                                                            : NGX_ERROR;
    X509_free(cert);

    return rc;

#else
    return NGX_DECLINED;
#endif
}


void
ngx_stream_tb_mqtt_credential_key(ngx_stream_tb_mqtt_credential_t *credential,
    ngx_stream_tb_mqtt_worker_t *w, ngx_str_t *key, u_char *buf)
{
    u_char     hex[2 * NGX_TB_RPC_SHA256_LEN];
    ngx_str_t  id;

    static const char  *kinds[] = { "cert:", "basic:", "token:" };

    id.data = hex;
    id.len = ngx_hex_dump(hex, credential->digest, NGX_TB_RPC_SHA256_LEN)
             - hex;

    ngx_tb_rpc_key(key, buf, &w->conf->block.prefix, NGX_TB_RPC_NO_SHARD,
                   kinds[credential->kind], &id);
}
