
/*
 * TLS towards Redis: the context, the handshake, and whether the server is
 * the one that was meant.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"
#include "ngx_tb_redis_ssl.h"


#if (NGX_SSL)

#define NGX_TB_REDIS_SSL_DEPTH  9


static ngx_int_t ngx_tb_redis_ssl_trust(ngx_conf_t *cf,
    ngx_tb_redis_conf_t *conf);
static ngx_str_t ngx_tb_redis_ssl_host(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_ssl_name(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_ssl_handler(ngx_connection_t *c);
static ngx_int_t ngx_tb_redis_ssl_verify(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_ssl_check_name(ngx_connection_t *c,
    ngx_str_t *name);
static void ngx_tb_redis_ssl_save_session(ngx_connection_t *c);
static void ngx_tb_redis_ssl_writer(ngx_log_t *log, ngx_uint_t level,
    u_char *buf, size_t len);


char *
ngx_tb_redis_ssl_init(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf)
{
    ngx_pool_cleanup_t  *cln;

    conf->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (conf->ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->ssl->log = cf->log;

    if (ngx_ssl_create(conf->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(conf->ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = conf->ssl;

#ifdef SSL_OP_NO_RENEGOTIATION

    /* the certificate is looked at once */

    SSL_CTX_set_options(conf->ssl->ctx, SSL_OP_NO_RENEGOTIATION);

#endif

    if (conf->ssl_certificate.len
        && ngx_ssl_certificate(cf, conf->ssl, &conf->ssl_certificate,
                               &conf->ssl_certificate_key, NULL)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->ssl_verify && ngx_tb_redis_ssl_trust(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_ssl_client_session_cache(cf, conf->ssl, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tb_redis_ssl_trust(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf)
{
    if (ngx_ssl_trusted_certificate(cf, conf->ssl,
                                    &conf->ssl_trusted_certificate,
                                    NGX_TB_REDIS_SSL_DEPTH)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (conf->ssl_trusted_certificate.len) {
        return NGX_OK;
    }

    /* the system's */

    if (SSL_CTX_set_default_verify_paths(conf->ssl->ctx) == 0) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "SSL_CTX_set_default_verify_paths() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_tb_redis_ssl_start(ngx_tb_redis_conn_t *conn)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_tb_redis_node_t  *node;

    c = conn->connection;
    node = conn->node;

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_TLS,
                             node->conf->connect_timeout);

    /* OpenSSL's reasons are for our own line, which tells each but once */

    conn->ssl_log = node->state->quiet;
    conn->ssl_log.log_level = NGX_LOG_INFO;
    conn->ssl_log.writer = ngx_tb_redis_ssl_writer;
    conn->ssl_log.wdata = conn;
    conn->ssl_log.next = NULL;

    conn->ssl_reason.len = 0;
    conn->ssl_reason.data = conn->ssl_reason_buf;

    c->log = &conn->ssl_log;
    c->read->log = c->log;
    c->write->log = c->log;

    if (ngx_ssl_create_connection(node->conf->ssl, c,
                                  NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK
        || ngx_tb_redis_ssl_name(conn) != NGX_OK)
    {
        ngx_tb_redis_conn_fail(conn, 0, "TLS failed%V",
                               &conn->ssl_reason);
        return;
    }

    if (conn->role->sessions) {
        c->ssl->save_session = ngx_tb_redis_ssl_save_session;

        if (node->ssl_session
            && ngx_ssl_set_session(c, node->ssl_session) != NGX_OK)
        {
            ngx_tb_redis_ssl_forget(node);
        }
    }

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_tb_redis_ssl_handler;
        return;
    }

    ngx_tb_redis_ssl_handler(c);
}


/* whom it should be: "ssl_name", or the host of the URL */

static ngx_str_t
ngx_tb_redis_ssl_host(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t  host;

    host = conn->node->conf->ssl_name;

    if (host.len == 0) {
        host = conn->server->host;
    }

    if (host.len > 2 && host.data[0] == '[') {
        host.data++;
        host.len -= 2;
    }

    return host;
}


/* which of the names behind an address is wanted; an address is no name */

static ngx_int_t
ngx_tb_redis_ssl_name(ngx_tb_redis_conn_t *conn)
{
    u_char            *p;
    ngx_int_t          rc;
    ngx_str_t          name;
    ngx_addr_t         addr;
    ngx_connection_t  *c;

    c = conn->connection;
    name = ngx_tb_redis_ssl_host(conn);

    rc = ngx_parse_addr(c->pool, &addr, name.data, name.len);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    p = ngx_pnalloc(c->pool, name.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(p, name.data, name.len + 1);

    if (SSL_set_tlsext_host_name(c->ssl->connection, (char *) p) == 0) {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_set_tlsext_host_name(\"%s\") failed", p);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_tb_redis_ssl_handler(ngx_connection_t *c)
{
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    conn = c->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (c->close && state->client->stays) {
        c->close = 0;
        c->error = 0;

    } else if (c->close) {

        /* worker_shutdown_timeout is over */

        ngx_tb_redis_stop(state);

    } else if (!c->ssl->handshaked) {
        ngx_tb_redis_ssl_forget(conn->node);
        ngx_tb_redis_conn_fail(conn, 0, "TLS handshake failed%V",
                               &conn->ssl_reason);

    } else if (!conn->node->conf->ssl_verify
               || ngx_tb_redis_ssl_verify(conn) == NGX_OK)
    {
        ngx_log_debug2(NGX_LOG_DEBUG_EVENT, conn->node->log, 0,
                       "tb_rpc_redis: %s connection: TLS is there, "
                       "session resumed:%d", conn->role->name,
                       SSL_session_reused(c->ssl->connection));

        c->read->handler = ngx_tb_redis_read_handler;
        c->write->handler = ngx_tb_redis_write_handler;

        ngx_tb_redis_established(conn);
    }

    ngx_tb_redis_leave(state);
}


/* nothing was sent yet, the password not either */

static ngx_int_t
ngx_tb_redis_ssl_verify(ngx_tb_redis_conn_t *conn)
{
    long               rc;
    ngx_str_t          name;
    ngx_connection_t  *c;

    c = conn->connection;

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        ngx_tb_redis_ssl_forget(conn->node);
        ngx_tb_redis_conn_fail(conn, 0, "its certificate is refused: %s",
                               X509_verify_cert_error_string(rc));
        return NGX_ERROR;
    }

    name = ngx_tb_redis_ssl_host(conn);

    if (ngx_tb_redis_ssl_check_name(c, &name) != NGX_OK) {
        ngx_tb_redis_ssl_forget(conn->node);
        ngx_tb_redis_conn_fail(conn, 0, "its certificate is not for \"%V\" "
                               "(\"ssl_name\" is the name that it has)",
                               &name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_ssl_check_name(ngx_connection_t *c, ngx_str_t *name)
{
    int         matches;
    X509       *cert;
    u_char     *p;
    size_t      len;
    ngx_addr_t  addr;

    if (ngx_parse_addr(c->pool, &addr, name->data, name->len) != NGX_OK) {
        return ngx_ssl_check_host(c, name);
    }

    switch (addr.sockaddr->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        p = ((struct sockaddr_in6 *) addr.sockaddr)->sin6_addr.s6_addr;
        len = 16;
        break;
#endif

    default: /* AF_INET */
        p = (u_char *) &((struct sockaddr_in *) addr.sockaddr)->sin_addr;
        len = 4;
        break;
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_ERROR;
    }

    matches = X509_check_ip(cert, p, len, 0);

    X509_free(cert);

    return (matches == 1) ? NGX_OK : NGX_ERROR;
}


/* the newest one, for the next connection to this node */

static void
ngx_tb_redis_ssl_save_session(ngx_connection_t *c)
{
    ngx_ssl_session_t    *session;
    ngx_tb_redis_conn_t  *conn;
    ngx_tb_redis_node_t  *node;

    conn = c->data;
    node = conn->node;

    session = ngx_ssl_get_session(c);

    if (session) {
        ngx_tb_redis_ssl_forget(node);
        node->ssl_session = session;
    }
}


void
ngx_tb_redis_ssl_forget(ngx_tb_redis_node_t *node)
{
    if (node->ssl_session) {
        ngx_ssl_free_session(node->ssl_session);
        node->ssl_session = NULL;
    }
}


void
ngx_tb_redis_ssl_close(ngx_tb_redis_conn_t *conn)
{
    ngx_connection_t  *c;

    c = conn->connection;

    c->ssl->no_wait_shutdown = 1;

    if (ngx_ssl_shutdown(c) == NGX_AGAIN) {

        /* the goodbye does not fit into the socket */

        SSL_free(c->ssl->connection);
        c->ssl = NULL;
    }
}


/* from "<time> [<level>] <pid>#<tid>: *<n> SSL_read() failed (SSL: ...)" */

static void
ngx_tb_redis_ssl_writer(ngx_log_t *log, ngx_uint_t level, u_char *buf,
    size_t len)
{
    u_char               *p;
    ngx_str_t            *reason;
    ngx_tb_redis_conn_t  *conn;

    conn = log->wdata;
    reason = &conn->ssl_reason;

    p = ngx_strnstr(buf, "SSL_", len);

    if (p == NULL) {
        p = ngx_strnstr(buf, "peer closed", len);
    }

    if (p == NULL) {
        return;
    }

    len -= p - buf;

    while (len && p[len - 1] <= ' ') {
        len--;
    }

    reason->len = ngx_snprintf(reason->data, NGX_TB_REDIS_SSL_REASON,
                               ": %*s", len, p)
                  - reason->data;
}

#endif
