
/*
 * The connection to a Sentinel, who says where the master is: whenever the
 * command connection is opened, and every half second, since a master that is
 * none any more goes on answering for seconds.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"
#include "ngx_tb_redis_ssl.h"


#define NGX_TB_REDIS_SENTINEL_ASK   500         /* ms */
#define NGX_TB_REDIS_SENTINEL_TRIES 8           /* some 2 seconds */


static void ngx_tb_redis_sentinel_login(ngx_tb_redis_conf_t *conf,
    ngx_str_t *username, ngx_str_t *password);
static ngx_int_t ngx_tb_redis_sentinel_greet(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sentinel_start(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sentinel_established(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sentinel_reply(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_uint_t ngx_tb_redis_sentinel_backoff(ngx_tb_redis_conn_t *conn,
    ngx_uint_t shift);
static void ngx_tb_redis_sentinel_watch(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sentinel_leave(ngx_tb_redis_conn_t *conn);
static ngx_uint_t ngx_tb_redis_sentinel_next(ngx_tb_redis_node_t *node);
static ngx_uint_t ngx_tb_redis_sentinel_count(ngx_tb_redis_node_t *node);
static void ngx_tb_redis_sentinel_send(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_sentinel_answer(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_sentinel_host(ngx_tb_redis_conn_t *conn,
    ngx_str_t *host, in_port_t port);
static void ngx_tb_redis_sentinel_moved(ngx_tb_redis_node_t *node);


ngx_tb_redis_role_t  ngx_tb_redis_sentinel_role = {
    "sentinel",
    ngx_tb_redis_sentinel_login,
    ngx_tb_redis_sentinel_greet,
    ngx_tb_redis_sentinel_start,
    ngx_tb_redis_sentinel_established,
    ngx_tb_redis_sentinel_reply,
    ngx_tb_redis_sentinel_backoff,
    ngx_tb_redis_conn_drop,
    ngx_tb_redis_sentinel_watch,
    0,
    NGX_TB_REDIS_SENTINEL
};


void
ngx_tb_redis_sentinel_ask(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn;

    conn = &node->sentinel;

    if (conn->status == NGX_TB_REDIS_ST_READY
        && node->command.tries
        && node->command.tries % NGX_TB_REDIS_SENTINEL_TRIES == 0)
    {
        ngx_tb_redis_sentinel_leave(conn);
    }

    if (conn->status == NGX_TB_REDIS_ST_IDLE) {
        ngx_tb_redis_conn_start(conn);
        return;
    }

    /* otherwise it asks by itself */

    if (conn->status == NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_sentinel_send(conn);
    }
}


/* it has users of its own */

static void
ngx_tb_redis_sentinel_login(ngx_tb_redis_conf_t *conf, ngx_str_t *username,
    ngx_str_t *password)
{
    *username = conf->sentinel_username;
    *password = conf->sentinel_password;
}


static ngx_int_t
ngx_tb_redis_sentinel_greet(ngx_tb_redis_conn_t *conn)
{
    return NGX_OK;
}


static void
ngx_tb_redis_sentinel_start(ngx_tb_redis_conn_t *conn)
{
    ngx_uint_t              n;
    ngx_addr_t             *addr;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_server_t  *server;

    node = conn->node;

    /* the addresses of all of them in a row */

    n = node->asked % ngx_tb_redis_sentinel_count(node);

    for (server = node->conf->servers->elts; n >= server->naddrs; server++) {
        n -= server->naddrs;
    }

    conn->server = server;
    addr = &server->addrs[n];

    ngx_memcpy(&conn->sockaddr, addr->sockaddr, addr->socklen);
    conn->socklen = addr->socklen;

    conn->name.len = ngx_sock_ntop(&conn->sockaddr.sockaddr, conn->socklen,
                                   conn->name_buf, NGX_SOCKADDR_STRLEN, 1);

    ngx_tb_redis_conn_open(conn);
}


static void
ngx_tb_redis_sentinel_established(ngx_tb_redis_conn_t *conn)
{
    ngx_tb_redis_sentinel_send(conn);
    ngx_add_timer(&conn->watch, NGX_TB_REDIS_SENTINEL_ASK);
}


static void
ngx_tb_redis_sentinel_reply(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    ngx_tb_redis_command_t  *cmd;

    cmd = ngx_tb_redis_next_sent(conn, reply);

    if (cmd) {
        ngx_tb_redis_finish(cmd, NGX_TB_REDIS_REPLY, reply);
    }
}


/* the next one, at once until all have been tried */

static ngx_uint_t
ngx_tb_redis_sentinel_backoff(ngx_tb_redis_conn_t *conn, ngx_uint_t shift)
{
    ngx_uint_t  n;

    n = ngx_tb_redis_sentinel_next(conn->node);

    return ngx_min(conn->tries / n, NGX_TB_REDIS_SENTINEL_SHIFT);
}


/*
 * Whom it names is not there, or is no master: one that is cut off from the
 * others does not know what they have done.
 */

static void
ngx_tb_redis_sentinel_leave(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_sentinel_next(conn->node) == 1) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, conn->node->log, 0,
                   "tb_rpc_redis: sentinel %V does not lead to a master",
                   &conn->name);

    ngx_tb_redis_conn_close(conn);
    conn->role->down(conn);
}


/* how many there are */

static ngx_uint_t
ngx_tb_redis_sentinel_next(ngx_tb_redis_node_t *node)
{
    ngx_uint_t  n;

    n = ngx_tb_redis_sentinel_count(node);

    node->asked = (node->asked + 1) % n;

    return n;
}


/* at least one: a server without an address is refused at configuration */

static ngx_uint_t
ngx_tb_redis_sentinel_count(ngx_tb_redis_node_t *node)
{
    ngx_uint_t              i, n;
    ngx_tb_redis_server_t  *server;

    n = 0;
    server = node->conf->servers->elts;

    for (i = 0; i < node->conf->servers->nelts; i++) {
        n += server[i].naddrs;
    }

    return n;
}


static void
ngx_tb_redis_sentinel_watch(ngx_tb_redis_conn_t *conn)
{
    ngx_msec_t  silence;

    silence = ngx_current_msec - conn->received;

    if (!ngx_queue_empty(&conn->sent)
        && silence >= conn->node->conf->command_timeout)
    {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no reply");
        return;
    }

    ngx_tb_redis_sentinel_send(conn);
    ngx_add_timer(&conn->watch, NGX_TB_REDIS_SENTINEL_ASK);
}


static void
ngx_tb_redis_sentinel_send(ngx_tb_redis_conn_t *conn)
{
    ngx_str_t  argv[3];

    /* one that is under way will do */

    if (!ngx_queue_empty(&conn->sending) || !ngx_queue_empty(&conn->sent)) {
        return;
    }

    ngx_str_set(&argv[0], "SENTINEL");
    ngx_str_set(&argv[1], "GET-MASTER-ADDR-BY-NAME");
    argv[2] = conn->node->conf->sentinel;

    /* without memory the watch asks again */

    (void) ngx_tb_redis_conn_say(conn, argv, 3, ngx_tb_redis_sentinel_answer);
}


static void
ngx_tb_redis_sentinel_answer(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t *conn = data;

    int64_t               port;
    ngx_str_t             host;
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    if (reply->type == REDIS_REPLY_NIL) {
        ngx_tb_redis_conn_fail(conn, 0, "it does not know the master \"%V\"",
                               &node->conf->sentinel);
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_conn_fail_reply(conn, "refused", reply);
        return;
    }

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &host)
        != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &port)
           != NGX_OK
        || ngx_tb_redis_check_host(&host) != NGX_OK
        || port < 1 || port > 65535)
    {
        ngx_tb_redis_conn_fail(conn, 0, "its answer is no address");
        return;
    }

    if (ngx_tb_redis_sentinel_host(conn, &host, (in_port_t) port) != NGX_OK
        || conn->connection == NULL)
    {
        return;
    }

    if (conn->status != NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_conn_ready(conn);
    }

    if (node->command.status == NGX_TB_REDIS_ST_RESOLVING
        && node->resolving == NULL)
    {
        ngx_tb_redis_command_resolve(node);
    }
}


/* NGX_DECLINED: the connection is gone, and that was logged */

static ngx_int_t
ngx_tb_redis_sentinel_host(ngx_tb_redis_conn_t *conn, ngx_str_t *host,
    in_port_t port)
{
    socklen_t               socklen;
    ngx_sockaddr_t          sockaddr;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_server_t  *master;

    node = conn->node;
    master = &node->master;

    /* the resolver makes the letters of a name small */

    if (master->port == port
        && master->host.len == host->len
        && ngx_strncasecmp(master->host.data, host->data, host->len) == 0)
    {
        return NGX_OK;
    }

    if (ngx_tb_redis_parse_ip(host, port, &sockaddr, &socklen) != NGX_OK) {

        if (node->conf->resolver == NULL) {
            ngx_tb_redis_conn_fail(conn, 0, "it names a host, which needs "
                                   "\"resolve\" at its \"server\"");
            return NGX_DECLINED;
        }

        socklen = 0;
    }

    ngx_tb_redis_node_name(node, host, port, conn->server->ssl, &sockaddr,
                           socklen);

    ngx_tb_redis_sentinel_moved(node);

    return NGX_OK;
}


/* whatever the one before still says, it is not the master */

static void
ngx_tb_redis_sentinel_moved(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *command, *pubsub;

    command = &node->command;
    pubsub = &node->pubsub;

    ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                  "tb_rpc_redis: sentinel %V says that the master \"%V\" is "
                  "%V port %ui", &node->sentinel.name, &node->conf->sentinel,
                  &node->master.host, (ngx_uint_t) node->master.port);

#if (NGX_SSL)
    ngx_tb_redis_ssl_forget(node);
#endif

    /* it would look for the new name in the old one's certificate */

    if (pubsub->status == NGX_TB_REDIS_ST_CONNECTING
        || pubsub->status == NGX_TB_REDIS_ST_TLS)
    {
        ngx_tb_redis_conn_fail(pubsub, 0, "it is the master no more");
    }

    if (command->connection) {
        ngx_tb_redis_conn_fail(command, 0, "it is the master no more");
    }

    if (command->status == NGX_TB_REDIS_ST_BACKOFF) {
        ngx_tb_redis_conn_status(command, NGX_TB_REDIS_ST_RESOLVING, 0);
    }
}

