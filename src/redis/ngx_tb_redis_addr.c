
/*
 * Where Redis is: the address of a server as configured, and looking a
 * host name up again in the worker.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


#define NGX_TB_REDIS_PORT  6379


static ngx_int_t ngx_tb_redis_parse_scheme(ngx_tb_redis_server_t *server,
    ngx_str_t *text);
static char *ngx_tb_redis_parse_tcp(ngx_conf_t *cf,
    ngx_tb_redis_server_t *server, ngx_str_t *text, ngx_uint_t *database);
static char *ngx_tb_redis_parse_database(ngx_conf_t *cf,
    ngx_tb_redis_conf_t *conf, ngx_tb_redis_server_t *server,
    ngx_uint_t database);
static char *ngx_tb_redis_parse_addrs(ngx_conf_t *cf,
    ngx_tb_redis_server_t *server, ngx_str_t *text);
static ngx_int_t ngx_tb_redis_addr_get(ngx_tb_redis_node_t *node,
    ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_tb_redis_resolved(ngx_tb_redis_node_t *node,
    ngx_resolver_ctx_t *ctx);


char *
ngx_tb_redis_parse_url(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf,
    ngx_tb_redis_server_t *server, ngx_str_t *url)
{
    char       *rv;
    ngx_str_t   text;
    ngx_uint_t  database;

    server->url = *url;

    text = *url;
    database = 0;

    if (text.len > 5 && ngx_strncmp(text.data, "unix:", 5) == 0) {
        rv = ngx_tb_redis_parse_addrs(cf, server, &text);

    } else if (ngx_strlchr(text.data, text.data + text.len, '@')) {

        /* it may have a password, so it is not quoted here or later */

        ngx_str_set(&server->url, "redis://");

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "user and password are not allowed in a Redis URL; "
                           "use the directives \"username\" and \"password\" "
                           "or \"password_file\"");
        return NGX_CONF_ERROR;

    } else if (ngx_tb_redis_parse_scheme(server, &text) == NGX_OK) {
        rv = ngx_tb_redis_parse_tcp(cf, server, &text, &database);

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid Redis server \"%V\", it must be "
                           "\"redis://host[:port][/database]\", "
                           "\"rediss://host[:port][/database]\" or "
                           "\"unix:/path\"", url);
        return NGX_CONF_ERROR;
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

#if !(NGX_SSL)

    if (server->ssl) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" needs TLS, which this module was built "
                           "without (--with-http_ssl_module)", url);
        return NGX_CONF_ERROR;
    }

#endif

    return ngx_tb_redis_parse_database(cf, conf, server, database);
}


static ngx_int_t
ngx_tb_redis_parse_scheme(ngx_tb_redis_server_t *server, ngx_str_t *text)
{
    size_t  len;

    if (text->len > 9
        && ngx_strncasecmp(text->data, (u_char *) "rediss://", 9) == 0)
    {
        server->ssl = 1;
        len = 9;

    } else if (text->len > 8
               && ngx_strncasecmp(text->data, (u_char *) "redis://", 8) == 0)
    {
        len = 8;

    } else {
        return NGX_DECLINED;
    }

    text->data += len;
    text->len -= len;

    return NGX_OK;
}


static char *
ngx_tb_redis_parse_tcp(ngx_conf_t *cf, ngx_tb_redis_server_t *server,
    ngx_str_t *text, ngx_uint_t *database)
{
    u_char     *p, *last;
    ngx_int_t   n;

    last = text->data + text->len;

    p = ngx_strlchr(text->data, last, '/');

    if (p) {

        text->len = p++ - text->data;

        if (p < last) {
            n = ngx_atoi(p, last - p);

            if (n == NGX_ERROR || n > NGX_MAX_INT32_VALUE) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid database in \"%V\", it must be "
                                   "a number", &server->url);
                return NGX_CONF_ERROR;
            }

            *database = (ngx_uint_t) n;
        }
    }

    return ngx_tb_redis_parse_addrs(cf, server, text);
}


static char *
ngx_tb_redis_parse_database(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf,
    ngx_tb_redis_server_t *server, ngx_uint_t database)
{
    ngx_uint_t    before;
    ngx_array_t  *servers;

    servers = conf->servers;

    /* who has named none means the first one */

    before = (conf->database == NGX_CONF_UNSET_UINT) ? 0 : conf->database;

    if (servers
        && servers->nelts
        && (servers->nelts > 1 || servers->elts != (void *) server)
        && before != database)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" names another database than the server "
                           "before, all must have the same", &server->url);
        return NGX_CONF_ERROR;
    }

    conf->database = database;

    return NGX_CONF_OK;
}


static char *
ngx_tb_redis_parse_addrs(ngx_conf_t *cf, ngx_tb_redis_server_t *server,
    ngx_str_t *text)
{
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *text;
    u.default_port = NGX_TB_REDIS_PORT;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in Redis server \"%V\"",
                           u.err ? u.err : "invalid address", &server->url);
        return NGX_CONF_ERROR;
    }

    if (u.naddrs == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no address of Redis server \"%V\"",
                           &server->url);
        return NGX_CONF_ERROR;
    }

    if (u.family != AF_UNIX) {
        server->host = u.host;
        server->port = u.port;
        server->no_port = u.no_port;
    }

    server->addrs = u.addrs;
    server->naddrs = u.naddrs;

    return NGX_CONF_OK;
}


ngx_tb_redis_server_t *
ngx_tb_redis_server(ngx_tb_redis_node_t *node)
{
    ngx_array_t            *servers;
    ngx_tb_redis_server_t  *server;

    if (node->named || node->conf->sentinel.len) {
        return &node->master;
    }

    servers = node->conf->servers;

    if (servers == NULL || servers->nelts == 0) {
        return NULL;
    }

    server = servers->elts;

    return &server[node->server % servers->nelts];
}


void
ngx_tb_redis_node_name(ngx_tb_redis_node_t *node, ngx_str_t *host,
    in_port_t port, ngx_uint_t ssl, ngx_sockaddr_t *sockaddr,
    socklen_t socklen)
{
    ngx_tb_redis_server_t  *master;

    master = &node->master;

    ngx_tb_redis_resolve_cancel(node);

    master->host.data = node->master_host;
    master->host.len = ngx_min(host->len, NGX_TB_REDIS_MASTER);
    ngx_memmove(node->master_host, host->data, master->host.len);

    master->port = port;
    master->ssl = ssl;
    master->naddrs = 0;
    master->resolve = 1;

    if (socklen) {
        ngx_memcpy(&node->master_sockaddr, sockaddr, sizeof(ngx_sockaddr_t));

        node->master_addr.sockaddr = &node->master_sockaddr.sockaddr;
        node->master_addr.socklen = socklen;

        master->addrs = &node->master_addr;
        master->naddrs = 1;
        master->resolve = 0;
    }

    node->named = 1;
}


ngx_int_t
ngx_tb_redis_parse_ip(ngx_str_t *host, in_port_t port,
    ngx_sockaddr_t *sockaddr, socklen_t *socklen)
{
    in_addr_t  inaddr;

    ngx_memzero(sockaddr, sizeof(ngx_sockaddr_t));

    inaddr = ngx_inet_addr(host->data, host->len);

    if (inaddr != INADDR_NONE) {
        sockaddr->sockaddr_in.sin_family = AF_INET;
        sockaddr->sockaddr_in.sin_addr.s_addr = inaddr;
        *socklen = sizeof(struct sockaddr_in);

#if (NGX_HAVE_INET6)

    } else if (ngx_inet6_addr(host->data, host->len,
                              sockaddr->sockaddr_in6.sin6_addr.s6_addr)
               == NGX_OK)
    {
        sockaddr->sockaddr_in6.sin6_family = AF_INET6;
        *socklen = sizeof(struct sockaddr_in6);

#endif

    } else {
        return NGX_DECLINED;
    }

    ngx_inet_set_port(&sockaddr->sockaddr, port);

    return NGX_OK;
}


/* it goes to the resolver and into the log */

ngx_int_t
ngx_tb_redis_check_host(ngx_str_t *host)
{
    size_t  i;

    for (i = 0; i < host->len; i++) {
        if (host->data[i] <= ' ' || host->data[i] >= 0x7f) {
            return NGX_ERROR;
        }
    }

    return (host->len && host->len <= NGX_TB_REDIS_MASTER) ? NGX_OK
                                                           : NGX_ERROR;
}


void
ngx_tb_redis_addr_open(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn;

    conn = &node->command;
    conn->server = ngx_tb_redis_server(node);

    if (ngx_tb_redis_addr_get(node, conn) != NGX_OK) {
        ngx_tb_redis_conn_fail(conn, 0, "connect() failed");
        return;
    }

    ngx_tb_redis_conn_open(conn);
}


static ngx_int_t
ngx_tb_redis_addr_get(ngx_tb_redis_node_t *node, ngx_tb_redis_conn_t *conn)
{
    ngx_addr_t             *addrs;
    ngx_uint_t              naddrs;
    ngx_tb_redis_server_t  *server;

    if (node->naddrs) {
        addrs = node->addrs;
        naddrs = node->naddrs;

    } else {
        server = ngx_tb_redis_server(node);

        if (server == NULL || server->naddrs == 0) {
            return NGX_ERROR;
        }

        addrs = server->addrs;
        naddrs = server->naddrs;
    }

    addrs += node->addr % naddrs;

    if (addrs->socklen > (socklen_t) sizeof(ngx_sockaddr_t)) {
        return NGX_ERROR;
    }

    ngx_memcpy(&conn->sockaddr, addrs->sockaddr, addrs->socklen);
    conn->socklen = addrs->socklen;

    conn->name.len = ngx_sock_ntop(&conn->sockaddr.sockaddr, conn->socklen,
                                   conn->name_buf, NGX_SOCKADDR_STRLEN, 1);

    return NGX_OK;
}


ngx_int_t
ngx_tb_redis_addr_next(ngx_tb_redis_node_t *node)
{
    ngx_uint_t              naddrs, nservers;
    ngx_tb_redis_server_t  *server;

    server = ngx_tb_redis_server(node);

    if (server == NULL) {
        return NGX_DECLINED;
    }

    naddrs = node->naddrs ? node->naddrs : server->naddrs;

    if (++node->addr < naddrs) {
        return NGX_OK;
    }

    node->addr = 0;

    nservers = node->conf->cluster ? 1 : node->conf->servers->nelts;

    if (nservers == 1) {
        return (naddrs > 1) ? NGX_OK : NGX_DECLINED;
    }

    node->server = (node->server + 1) % nservers;

    if (node->addrs) {
        ngx_free(node->addrs);
        node->addrs = NULL;
        node->naddrs = 0;
    }

    return NGX_OK;
}


ngx_int_t
ngx_tb_redis_resolve(ngx_tb_redis_node_t *node)
{
    ngx_resolver_ctx_t     *ctx;
    ngx_tb_redis_conf_t    *conf;
    ngx_tb_redis_server_t  *server;

    conf = node->conf;
    server = ngx_tb_redis_server(node);

    if (server == NULL
        || !server->resolve
        || server->host.len == 0
        || conf->resolver == NULL)
    {
        return NGX_DECLINED;
    }

    ctx = ngx_resolve_start(conf->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_DECLINED;
    }

    ctx->name = server->host;
    ctx->handler = ngx_tb_redis_resolve_handler;
    ctx->data = node;
    ctx->timeout = conf->resolver_timeout;
    ctx->cancelable = 1;

    node->resolving = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {

        /* the context is freed */

        node->resolving = NULL;
        return NGX_DECLINED;
    }

    return NGX_AGAIN;
}


void
ngx_tb_redis_resolve_cancel(ngx_tb_redis_node_t *node)
{
    if (node->resolving) {
        ngx_resolve_name_done(node->resolving);
        node->resolving = NULL;
    }

    if (node->addrs) {
        ngx_free(node->addrs);
        node->addrs = NULL;
        node->naddrs = 0;
    }
}


static void
ngx_tb_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t             level;
    ngx_tb_redis_node_t   *node;
    ngx_tb_redis_state_t  *state;

    node = ctx->data;
    state = node->state;

    ngx_tb_redis_enter(state);

    if (ctx->state || ngx_tb_redis_resolved(node, ctx) != NGX_OK) {

        level = node->command.tries ? NGX_LOG_INFO : NGX_LOG_WARN;

        ngx_log_error(level, node->log, 0,
                      "tb_rpc_redis: %V could not be resolved (%i: %s), "
                      "the addresses known are used", &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state));
    }

    ngx_resolve_name_done(ctx);
    node->resolving = NULL;

    ngx_tb_redis_addr_open(node);

    ngx_tb_redis_leave(state);
}


/* the resolver keeps its addresses, so they are copied, in one piece */

static ngx_int_t
ngx_tb_redis_resolved(ngx_tb_redis_node_t *node, ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t              i;
    ngx_addr_t             *addrs;
    ngx_sockaddr_t         *sockaddrs;
    ngx_tb_redis_server_t  *server;

    if (ctx->naddrs == 0) {
        return NGX_ERROR;
    }

    addrs = ngx_calloc(ctx->naddrs
                       * (sizeof(ngx_addr_t) + sizeof(ngx_sockaddr_t)),
                       node->log);
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    server = ngx_tb_redis_server(node);
    sockaddrs = (ngx_sockaddr_t *) (addrs + ctx->naddrs);

    for (i = 0; i < ctx->naddrs; i++) {

        if (ctx->addrs[i].socklen > (socklen_t) sizeof(ngx_sockaddr_t)) {
            ngx_free(addrs);
            return NGX_ERROR;
        }

        ngx_memcpy(&sockaddrs[i], ctx->addrs[i].sockaddr,
                   ctx->addrs[i].socklen);

        addrs[i].sockaddr = &sockaddrs[i].sockaddr;
        addrs[i].socklen = ctx->addrs[i].socklen;

        ngx_inet_set_port(addrs[i].sockaddr, server->port);
    }

    if (node->addrs) {
        ngx_free(node->addrs);
    }

    node->addrs = addrs;
    node->naddrs = ctx->naddrs;

    return NGX_OK;
}
