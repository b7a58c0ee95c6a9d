
/*
 * The connection to a Sentinel, who says where the master is: whenever the
 * command connection is opened, and every half second, since a master that is
 * none any more goes on answering for seconds.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


#define NGX_TB_REDIS_SENTINEL_ASK  500          /* ms */


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
    ngx_tb_redis_sentinel_watch
};


void
ngx_tb_redis_sentinel_ask(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn;

    conn = &node->sentinel;

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
    ngx_addr_t             *addr;
    ngx_array_t            *servers;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_server_t  *server;

    node = conn->node;
    servers = node->conf->servers;
    server = servers->elts;

    conn->server = &server[node->asked % servers->nelts];
    addr = &conn->server->addrs[0];

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
    ngx_uint_t            n;
    ngx_tb_redis_node_t  *node;

    node = conn->node;
    n = node->conf->servers->nelts;

    node->asked = (node->asked + 1) % n;

    return ngx_min(conn->tries / n, NGX_TB_REDIS_SENTINEL_SHIFT);
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
    ngx_str_t                argv[3];
    ngx_tb_redis_command_t  *cmd;

    /* one that is under way will do */

    if (!ngx_queue_empty(&conn->sending) || !ngx_queue_empty(&conn->sent)) {
        return;
    }

    ngx_str_set(&argv[0], "SENTINEL");
    ngx_str_set(&argv[1], "GET-MASTER-ADDR-BY-NAME");
    argv[2] = conn->node->conf->sentinel;

    cmd = ngx_tb_redis_encode(conn->node, argv, 3);
    if (cmd == NULL) {
        /* the watch asks again */
        return;
    }

    cmd->internal = 1;
    cmd->handler = ngx_tb_redis_sentinel_answer;
    cmd->data = conn;

    ngx_tb_redis_conn_send(conn, cmd);
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
        || host.len == 0 || host.len > NGX_TB_REDIS_MASTER
        || port < 1 || port > 65535)
    {
        ngx_tb_redis_conn_fail(conn, 0, "its answer is no address");
        return;
    }

    if (ngx_tb_redis_sentinel_host(conn, &host, (in_port_t) port) != NGX_OK) {
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
    ngx_int_t               rc;
    ngx_addr_t              addr;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_server_t  *master;

    node = conn->node;
    master = &node->master;

    if (master->port == port
        && master->host.len == host->len
        && ngx_memcmp(master->host.data, host->data, host->len) == 0)
    {
        return NGX_OK;
    }

    rc = ngx_parse_addr(conn->connection->pool, &addr, host->data, host->len);

    if (rc == NGX_ERROR) {
        ngx_tb_redis_conn_fail(conn, 0, "no memory");
        return NGX_DECLINED;
    }

    if (rc == NGX_DECLINED && node->conf->resolver == NULL) {
        ngx_tb_redis_conn_fail(conn, 0, "it names a host, which needs "
                               "\"resolve\" at its \"server\"");
        return NGX_DECLINED;
    }

    if (rc == NGX_OK) {
        ngx_inet_set_port(addr.sockaddr, port);

        ngx_memcpy(&node->master_sockaddr, addr.sockaddr, addr.socklen);
        node->master_addr.sockaddr = &node->master_sockaddr.sockaddr;
        node->master_addr.socklen = addr.socklen;

        master->addrs = &node->master_addr;
    }

    ngx_memcpy(node->master_host, host->data, host->len);

    master->host.data = node->master_host;
    master->host.len = host->len;
    master->port = port;
    master->naddrs = (rc == NGX_OK);
    master->resolve = (rc == NGX_DECLINED);
    master->ssl = conn->server->ssl;

    ngx_tb_redis_sentinel_moved(node);

    return NGX_OK;
}


/* whatever the one before still says, it is not the master */

static void
ngx_tb_redis_sentinel_moved(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *command;

    command = &node->command;

    ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                  "tb_rpc_redis: sentinel %V says that the master \"%V\" is "
                  "%V port %ui", &node->sentinel.name, &node->conf->sentinel,
                  &node->master.host, (ngx_uint_t) node->master.port);

    ngx_tb_redis_resolve_cancel(node);

    if (command->connection) {
        ngx_tb_redis_conn_fail(command, 0, "it is the master no more");
    }

    if (command->status == NGX_TB_REDIS_ST_BACKOFF) {
        ngx_tb_redis_conn_status(command, NGX_TB_REDIS_ST_RESOLVING, 0);
    }
}

