
/*
 * Nodes that come to a cluster and leave it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"
#include "ngx_tb_redis_ssl.h"


#define NGX_TB_REDIS_LEAVE          1000        /* ms, for the last replies */
#define NGX_TB_REDIS_LEAVE_SILENT   1500

/* more than that is not a cluster, and would take all of our connections */

#define NGX_TB_REDIS_NODES          500


static ngx_int_t ngx_tb_redis_cluster_addr(ngx_tb_redis_conn_t *conn,
    ngx_str_t *host, in_port_t port, ngx_sockaddr_t *sockaddr,
    socklen_t *socklen);
static ngx_uint_t ngx_tb_redis_cluster_count(ngx_tb_redis_state_t *state);
static void ngx_tb_redis_cluster_name(ngx_tb_redis_node_t *node,
    ngx_tb_redis_conn_t *conn, ngx_str_t *host, in_port_t port);


ngx_tb_redis_node_t *
ngx_tb_redis_cluster_seed(ngx_tb_redis_cluster_t *cluster, ngx_uint_t server)
{
    ngx_tb_redis_node_t  *node;

    node = ngx_tb_redis_node_create(cluster->state);

    if (node) {
        node->server = server;
    }

    return node;
}


ngx_tb_redis_node_t *
ngx_tb_redis_cluster_find(ngx_tb_redis_conn_t *conn, ngx_str_t *host,
    in_port_t port)
{
    ngx_queue_t            *q;
    socklen_t               socklen;
    ngx_sockaddr_t          sockaddr;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_state_t   *state;

    state = conn->node->state;

    if (ngx_tb_redis_cluster_addr(conn, host, port, &sockaddr, &socklen)
        != NGX_OK)
    {
        socklen = 0;
    }

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (node->named
            && node->master.port == port
            && node->master.host.len == host->len
            && ngx_strncasecmp(node->master.host.data, host->data, host->len)
               == 0)
        {
            return node;
        }

        /* the same one by another name, such as the one in "server" */

        if (socklen && ngx_tb_redis_cluster_is_at(node, &sockaddr, socklen)) {
            return node;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_tb_redis_cluster_is_at(ngx_tb_redis_node_t *node, ngx_sockaddr_t *sockaddr,
    socklen_t socklen)
{
    ngx_tb_redis_conn_t  *conn;

    if (node->named && node->master.naddrs) {
        return ngx_cmp_sockaddr(&node->master_sockaddr.sockaddr,
                                node->master_addr.socklen,
                                &sockaddr->sockaddr, socklen, 1)
               == NGX_OK;
    }

    conn = &node->command;

    return conn->connection
           && ngx_cmp_sockaddr(&conn->sockaddr.sockaddr, conn->socklen,
                               &sockaddr->sockaddr, socklen, 1)
              == NGX_OK;
}


/* NGX_DECLINED: it is a name */

static ngx_int_t
ngx_tb_redis_cluster_addr(ngx_tb_redis_conn_t *conn, ngx_str_t *host,
    in_port_t port, ngx_sockaddr_t *sockaddr, socklen_t *socklen)
{
    if (host->len) {
        return ngx_tb_redis_parse_ip(host, port, sockaddr, socklen);
    }

    ngx_memcpy(sockaddr, &conn->sockaddr, sizeof(ngx_sockaddr_t));
    *socklen = conn->socklen;

    ngx_inet_set_port(&sockaddr->sockaddr, port);

    return NGX_OK;
}


ngx_tb_redis_node_t *
ngx_tb_redis_cluster_node(ngx_tb_redis_conn_t *conn, ngx_str_t *host,
    in_port_t port)
{
    ngx_tb_redis_node_t  *node;

    node = ngx_tb_redis_cluster_find(conn, host, port);

    if (node && node->named) {
        return node;
    }

    if (node) {
        ngx_tb_redis_cluster_name(node, conn, host, port);
        return node;
    }

    if (ngx_tb_redis_cluster_count(conn->node->state) >= NGX_TB_REDIS_NODES) {
        return NULL;
    }

    node = ngx_tb_redis_node_create(conn->node->state);

    if (node) {
        ngx_tb_redis_cluster_name(node, conn, host, port);

        ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                      "tb_rpc_redis: %V says that %V port %ui is a master of "
                      "the cluster", &conn->name, &node->master.host,
                      (ngx_uint_t) port);
    }

    return node;
}


static ngx_uint_t
ngx_tb_redis_cluster_count(ngx_tb_redis_state_t *state)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    n = 0;

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        n++;
    }

    return n;
}


static void
ngx_tb_redis_cluster_name(ngx_tb_redis_node_t *node, ngx_tb_redis_conn_t *conn,
    ngx_str_t *host, in_port_t port)
{
    socklen_t       socklen;
    ngx_sockaddr_t  sockaddr;

    if (ngx_tb_redis_cluster_addr(conn, host, port, &sockaddr, &socklen)
        != NGX_OK)
    {
        socklen = 0;
    }

    /* the name of who said it is that of its certificate, too */

    ngx_tb_redis_node_name(node, host->len ? host : &conn->server->host, port,
                           conn->server->ssl, &sockaddr, socklen);

    node->addr = 0;
}


void
ngx_tb_redis_cluster_leave(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_conn_t  *conn;

    conn = &node->command;

    if (node->named) {
        ngx_log_error(NGX_LOG_NOTICE, node->log, 0,
                      "tb_rpc_redis: %V port %ui has no slot of the cluster "
                      "any more", &node->master.host,
                      (ngx_uint_t) node->master.port);
    }

    node->gone = 1;

    ngx_queue_remove(&node->queue);
    ngx_queue_insert_tail(&node->state->gone, &node->queue);

    ngx_tb_redis_conn_close(&node->pubsub);
    node->pubsub.role->down(&node->pubsub);

    /*
     * it may have answered before it left, and a master that hands over is
     * silent for a while; who is silent for longer was deposed, and what it
     * says then is worth nothing
     */

    if (conn->status == NGX_TB_REDIS_ST_READY
        && ngx_current_msec - conn->silent < NGX_TB_REDIS_LEAVE_SILENT)
    {
        ngx_tb_redis_unsend(conn);

        if (!ngx_queue_empty(&conn->sent)
            || !ngx_queue_empty(&conn->sending))
        {
            ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_DRAINING,
                                     NGX_TB_REDIS_LEAVE);
            ngx_tb_redis_cluster_sort(node, &node->waiting);
            return;
        }
    }

    ngx_tb_redis_cluster_left(node);
}


void
ngx_tb_redis_cluster_left(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_resolve_cancel(node);

    ngx_tb_redis_conn_close(&node->command);
    node->command.role->down(&node->command);

#if (NGX_SSL)
    ngx_tb_redis_ssl_forget(node);
#endif

    ngx_tb_redis_cluster_sort(node, &node->waiting);
    ngx_tb_redis_cluster_sort(node, &node->later);
    ngx_tb_redis_notify(node->state);
}
