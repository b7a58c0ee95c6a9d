
/*
 * Copyright (C) tb-rpc contributors.
 *
 * TLS towards Redis.  Who the server is, chain and name, is found out in the
 * handshake: nothing of ours, the password least of all, is written before.
 */


#include "../base/log.h"
#include "../base/str.h"
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>


#define TB_TLS_DEPTH         9


struct tb_tls_s {
    const tb_redis_conf_t   *conf;
    SSL_CTX                 *ctx;
    unsigned                 files;        /* so often they were read */
};


/* a key with a passphrase must not make OpenSSL ask a terminal for it */

static int
tb_tls_passphrase(char *buf, int size, int writing, void *data)
{
    return 0;
}


/* the newest one, for the next connection to this server */

static int
tb_tls_session(SSL *ssl, SSL_SESSION *session)
{
    tb_tls_peer_t  *peer;

    peer = SSL_get_app_data(ssl);

    tb_tls_forget(peer);
    peer->session = session;

    /* it is ours now */

    return 1;
}


void
tb_tls_forget(tb_tls_peer_t *peer)
{
    if (peer->session) {
        SSL_SESSION_free(peer->session);
        peer->session = NULL;
    }
}


/* what OpenSSL says, of the last error that is not about another one */

static const char *
tb_tls_reason(const char *otherwise)
{
    unsigned long  error, e;
    const char    *text;

    error = 0;

    while ((e = ERR_get_error()) != 0) {
        error = error ? error : e;
    }

    if (error == 0) {
        return otherwise;
    }

#ifdef ERR_SYSTEM_ERROR

    if (ERR_SYSTEM_ERROR(error)) {
        return strerror(ERR_GET_REASON(error));
    }

#endif

    text = ERR_reason_error_string(error);

    return text ? text : otherwise;
}


static int
tb_tls_refused(const char *option, const char *file)
{
    tb_log(TB_LOG_ERROR, "--redis-%s %s cannot be used: %s", option, file,
           tb_tls_reason("it is not what it should be"));

    return TB_ERROR;
}


static int
tb_tls_files(const tb_redis_conf_t *conf, SSL_CTX *ctx)
{
    if (conf->ca == NULL) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
            return tb_tls_refused("ca", "of the system");
        }

    } else if (SSL_CTX_load_verify_locations(ctx, conf->ca, NULL) != 1) {
        return tb_tls_refused("ca", conf->ca);
    }

    if (conf->cert == NULL) {
        return TB_OK;
    }

    if (SSL_CTX_use_certificate_chain_file(ctx, conf->cert) != 1) {
        return tb_tls_refused("cert", conf->cert);
    }

    /* which compares it with the certificate, too */

    if (SSL_CTX_use_PrivateKey_file(ctx, conf->key, SSL_FILETYPE_PEM) != 1) {
        return tb_tls_refused("key", conf->key);
    }

    return TB_OK;
}


static SSL_CTX *
tb_tls_context(const tb_redis_conf_t *conf)
{
    SSL_CTX  *ctx;

    ERR_clear_error();

    ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
    {
        tb_log(TB_LOG_ERROR, "no TLS: %s", tb_tls_reason("no memory"));
        SSL_CTX_free(ctx);
        return NULL;
    }

    /* the certificate is looked at once */

#ifdef SSL_OP_NO_RENEGOTIATION
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
#endif

    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                          |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                          |SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(ctx, tb_tls_passphrase);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(ctx, TB_TLS_DEPTH);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT
                                        |SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tb_tls_session);

    if (tb_tls_files(conf, ctx) != TB_OK) {
        SSL_CTX_free(ctx);
        return NULL;
    }

    return ctx;
}


tb_tls_t *
tb_tls_create(const tb_redis_conf_t *conf)
{
    SSL_CTX   *ctx;
    tb_tls_t  *tls;

    ctx = tb_tls_context(conf);
    if (ctx == NULL) {
        return NULL;
    }

    tls = tb_alloc(sizeof(tb_tls_t));
    tls->conf = conf;
    tls->ctx = ctx;

    return tls;
}


void
tb_tls_free(tb_tls_t *tls)
{
    if (tls != NULL) {
        SSL_CTX_free(tls->ctx);
        free(tls);
    }
}


void
tb_tls_reload(tb_tls_t *tls)
{
    SSL_CTX  *ctx;

    ctx = tb_tls_context(tls->conf);

    if (ctx == NULL) {
        tb_log(TB_LOG_ERROR, "TLS to Redis: what was read before stays");
        return;
    }

    /* each connection holds the one that it was made with */

    SSL_CTX_free(tls->ctx);
    tls->ctx = ctx;
    tls->files++;
}


/* whom it should be; an address is no name that a server chooses by */

static int
tb_tls_expect(SSL *ssl, const char *host)
{
    unsigned char  addr[16];

    if (inet_pton(AF_INET, host, addr) == 1
        || inet_pton(AF_INET6, host, addr) == 1)
    {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }

    return SSL_set_tlsext_host_name(ssl, host) == 1
           && SSL_set1_host(ssl, host) == 1;
}


SSL *
tb_tls_open(tb_tls_t *tls, int fd, const char *host, tb_tls_peer_t *peer,
    const char **why)
{
    SSL  *ssl;

    ERR_clear_error();

    ssl = SSL_new(tls->ctx);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1
        || tb_tls_expect(ssl, host) == 0)
    {
        *why = tb_tls_reason("no memory");
        SSL_free(ssl);
        return NULL;
    }

    SSL_set_app_data(ssl, peer);

    /* who resumes a session verifies nothing */

    if (peer->files != tls->files) {
        tb_tls_forget(peer);
        peer->files = tls->files;
    }

    if (peer->session && SSL_set_session(ssl, peer->session) != 1) {
        tb_tls_forget(peer);
    }

    SSL_set_connect_state(ssl);

    return ssl;
}


void
tb_tls_close(SSL *ssl)
{
    if (ssl == NULL) {
        return;
    }

    /* a session stays one to be resumed whatever ends the connection */

    SSL_set_quiet_shutdown(ssl, !SSL_is_init_finished(ssl));
    ERR_clear_error();
    (void) SSL_shutdown(ssl);
    ERR_clear_error();
    SSL_free(ssl);
}


/* of a call that returned rc */

static int
tb_tls_result(SSL *ssl, int rc, short *events, const char **why)
{
    int  error, err;

    err = errno;
    error = SSL_get_error(ssl, rc);

    switch (error) {

    case SSL_ERROR_WANT_READ:
        *events = POLLIN;
        return TB_AGAIN;

    case SSL_ERROR_WANT_WRITE:
        *events = POLLOUT;
        return TB_AGAIN;

    case SSL_ERROR_ZERO_RETURN:
        *why = "the server closed the connection";
        return TB_ERROR;

    default:
        *why = tb_tls_reason(err && error == SSL_ERROR_SYSCALL
                             ? strerror(err)
                             : "the server closed the connection");
        return TB_ERROR;
    }
}


int
tb_tls_handshake(SSL *ssl, const char *host, short *events, const char **why)
{
    int    rc;
    long   verified;

    static char  text[512];

    ERR_clear_error();
    errno = 0;

    rc = SSL_do_handshake(ssl);

    if (rc == 1) {
        return TB_OK;
    }

    if (tb_tls_result(ssl, rc, events, why) == TB_AGAIN) {
        return TB_AGAIN;
    }

    verified = SSL_get_verify_result(ssl);

    if (verified == X509_V_ERR_HOSTNAME_MISMATCH
        || verified == X509_V_ERR_IP_ADDRESS_MISMATCH)
    {
        snprintf(text, sizeof(text), "its certificate is not for \"%s\"",
                 host);

    } else if (verified != X509_V_OK) {
        snprintf(text, sizeof(text), "its certificate is refused: %s",
                 X509_verify_cert_error_string(verified));

    } else {
        snprintf(text, sizeof(text), "TLS handshake failed: %s", *why);
    }

    *why = text;

    return TB_ERROR;
}


int
tb_tls_read(SSL *ssl, char *buf, size_t size, size_t *len, short *events,
    const char **why)
{
    int  rc;

    ERR_clear_error();
    errno = 0;

    rc = SSL_read_ex(ssl, buf, size, len);

    return rc == 1 ? TB_OK : tb_tls_result(ssl, rc, events, why);
}


int
tb_tls_write(SSL *ssl, const char *buf, size_t size, size_t *len,
    short *events, const char **why)
{
    int  rc;

    ERR_clear_error();
    errno = 0;

    rc = SSL_write_ex(ssl, buf, size, len);

    return rc == 1 ? TB_OK : tb_tls_result(ssl, rc, events, why);
}
