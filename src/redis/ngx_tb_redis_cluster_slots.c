
/*
 * Which node has which slot: the replies that tell, and what follows.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


#define NGX_TB_REDIS_MISSING_TOLD   10000


typedef struct {
    ngx_uint_t                   first;
    ngx_uint_t                   last;
    ngx_str_t                    host;      /* "": who says so */
    in_port_t                    port;
} ngx_tb_redis_range_t;


static ngx_int_t ngx_tb_redis_slots_check(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static ngx_int_t ngx_tb_redis_slots_range(redisReply *reply,
    ngx_tb_redis_range_t *range);
static ngx_int_t ngx_tb_redis_slots_ip(redisReply *master, ngx_str_t *host);
static void ngx_tb_redis_slots_assign(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_slots_count(ngx_tb_redis_cluster_t *cluster);
static void ngx_tb_redis_slots_nodes(ngx_tb_redis_cluster_t *cluster);
static void ngx_tb_redis_slots_channels(ngx_tb_redis_cluster_t *cluster);


ngx_int_t
ngx_tb_redis_slots_reply(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    ngx_int_t                rc;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;

    rc = ngx_tb_redis_slots_check(conn, reply);
    if (rc != NGX_OK) {
        return rc;
    }

    /* a node that was reset knows nobody: that is not the cluster's end */

    if (reply->elements == 0) {
        return NGX_OK;
    }

    if (conn->node->old) {
        cluster->epoch = conn->node->epoch;
        cluster->confirmed = ngx_current_msec;
    }

    conn->node->told = 0;

    ngx_tb_redis_slots_assign(conn, reply);
    ngx_tb_redis_slots_count(cluster);
    ngx_tb_redis_slots_channels(cluster);
    ngx_tb_redis_slots_nodes(cluster);

    ngx_tb_redis_cluster_retry(cluster);

    return NGX_OK;
}


/* all of it, before anything is changed */

static ngx_int_t
ngx_tb_redis_slots_check(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    size_t                 i;
    socklen_t              socklen;
    ngx_uint_t             n;
    ngx_sockaddr_t         sockaddr;
    ngx_tb_redis_range_t   range;

    n = 0;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > TB_RPC_SLOTS) {
        return NGX_ERROR;
    }

    for (i = 0; i < reply->elements; i++) {

        if (ngx_tb_redis_slots_range(reply->element[i], &range) != NGX_OK) {
            return NGX_ERROR;
        }

        /* none twice */

        n += range.last - range.first + 1;

        if (n > TB_RPC_SLOTS) {
            return NGX_ERROR;
        }

        if (range.host.len == 0
            || ngx_tb_redis_parse_ip(&range.host, range.port, &sockaddr,
                                     &socklen)
               == NGX_OK)
        {
            continue;
        }

        if (conn->node->conf->resolver == NULL) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* [first, last, [host, port, ...], replicas...] */

static ngx_int_t
ngx_tb_redis_slots_range(redisReply *reply, ngx_tb_redis_range_t *range)
{
    int64_t      first, last, port;
    redisReply  *master, *host;

    master = ngx_tb_redis_reply_element(reply, 2);
    host = ngx_tb_redis_reply_element(master, 0);

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0), &first)
        != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &last)
           != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(master, 1), &port)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (first < 0 || last < first || last >= TB_RPC_SLOTS
        || port < 1 || port > 65535 || host == NULL)
    {
        return NGX_ERROR;
    }

    range->first = (ngx_uint_t) first;
    range->last = (ngx_uint_t) last;
    range->port = (in_port_t) port;

    ngx_str_null(&range->host);

    if (host->type == REDIS_REPLY_NIL) {
        return NGX_OK;
    }

    if (ngx_tb_redis_reply_str(host, &range->host) != NGX_OK) {
        return NGX_ERROR;
    }

    if (range->host.len == 0) {
        return NGX_OK;
    }

    if (range->host.len == 1 && range->host.data[0] == '?'
        && ngx_tb_redis_slots_ip(master, &range->host) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_tb_redis_check_host(&range->host);
}


/* a node without the host name that it should have: [..., [ip, address]] */

static ngx_int_t
ngx_tb_redis_slots_ip(redisReply *master, ngx_str_t *host)
{
    ngx_str_t    name;
    ngx_uint_t   i;
    redisReply  *more;

    more = ngx_tb_redis_reply_element(master, 3);

    for (i = 0; ngx_tb_redis_reply_element(more, i + 1); i += 2) {

        if (ngx_tb_redis_reply_str(more->element[i], &name) == NGX_OK
            && name.len == 2
            && ngx_strncmp(name.data, "ip", 2) == 0)
        {
            return ngx_tb_redis_reply_str(more->element[i + 1], host);
        }
    }

    return NGX_ERROR;
}


static void
ngx_tb_redis_slots_assign(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    size_t                   i;
    ngx_uint_t               slot;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_range_t     range;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = conn->node->state->cluster;

    ngx_memzero(cluster->slots, sizeof(cluster->slots));

    for (i = 0; i < reply->elements; i++) {

        (void) ngx_tb_redis_slots_range(reply->element[i], &range);

        node = ngx_tb_redis_cluster_node(conn, &range.host, range.port);

        for (slot = range.first; slot <= range.last; slot++) {
            cluster->slots[slot] = node;
        }
    }
}


static void
ngx_tb_redis_slots_count(ngx_tb_redis_cluster_t *cluster)
{
    ngx_uint_t            slot, missing;
    ngx_queue_t          *q;
    ngx_tb_redis_node_t  *node;

    for (q = ngx_queue_head(&cluster->state->nodes);
         q != ngx_queue_sentinel(&cluster->state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);
        node->nslots = 0;
    }

    missing = 0;

    for (slot = 0; slot < TB_RPC_SLOTS; slot++) {

        if (cluster->slots[slot]) {
            cluster->slots[slot]->nslots++;

        } else {
            missing++;
        }
    }

    if (missing == cluster->missing) {
        return;
    }

    /* nodes that differ in that take turns */

    if (missing && cluster->missing
        && ngx_current_msec - cluster->missed < NGX_TB_REDIS_MISSING_TOLD)
    {
        return;
    }

    if (missing) {
        ngx_log_error(NGX_LOG_ERR, cluster->state->log, 0,
                      "tb_rpc_redis: %ui slots of the cluster have no master, "
                      "calls to their devices are refused until they have "
                      "one: see \"redis-cli --cluster check\"", missing);

    } else {
        ngx_log_error(NGX_LOG_ERR, cluster->state->log, 0,
                      "tb_rpc_redis: all slots of the cluster have a master");
    }

    cluster->missing = missing;
    cluster->missed = ngx_current_msec;
}


/* who is new is connected, who has no slot leaves */

static void
ngx_tb_redis_slots_nodes(ngx_tb_redis_cluster_t *cluster)
{
    ngx_queue_t          *q, *next;
    ngx_tb_redis_node_t  *node;

    for (q = ngx_queue_head(&cluster->state->nodes);
         q != ngx_queue_sentinel(&cluster->state->nodes);
         q = next)
    {
        next = ngx_queue_next(q);

        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (node->nslots == 0) {
            ngx_tb_redis_cluster_leave(node);
            continue;
        }

        ngx_tb_redis_cluster_sort(node, &node->waiting);

        if (node->command.status == NGX_TB_REDIS_ST_IDLE) {
            ngx_tb_redis_conn_start(&node->command);
        }
    }
}


static void
ngx_tb_redis_slots_channels(ngx_tb_redis_cluster_t *cluster)
{
    ngx_uint_t               i;
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_channel_t  *channel;

    state = cluster->state;

    /* what is told of a channel may end the client */

    for (i = 0; i < state->nchannels && !state->stopped; i++) {
        channel = &state->channels[i];

        ngx_tb_redis_channel_move(channel, cluster->slots[channel->slot]);
    }
}


/* MOVED <slot> <host>:<port>, maybe without a host */

ngx_int_t
ngx_tb_redis_slots_moved(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    u_char                  *p, *last;
    ngx_int_t                slot, port;
    ngx_str_t                host;
    ngx_tb_redis_node_t     *node;
    ngx_tb_redis_cluster_t  *cluster;

    if (!ngx_tb_redis_reply_is_error(reply, "MOVED ")) {
        return NGX_DECLINED;
    }

    cluster = conn->node->state->cluster;

    p = (u_char *) reply->str + sizeof("MOVED ") - 1;
    last = (u_char *) reply->str + reply->len;

    host.data = ngx_strlchr(p, last, ' ');
    if (host.data == NULL) {
        return NGX_DECLINED;
    }

    slot = ngx_atoi(p, host.data++ - p);

    for (p = last; p > host.data && p[-1] != ':'; p--) { /* void */ }

    if (p == host.data) {
        return NGX_DECLINED;
    }

    port = ngx_atoi(p, last - p);
    host.len = p - 1 - host.data;

    if (slot == NGX_ERROR || slot >= TB_RPC_SLOTS
        || port == NGX_ERROR || port < 1 || port > 65535)
    {
        return NGX_DECLINED;
    }

    node = ngx_tb_redis_cluster_find(conn, &host, (in_port_t) port);

    if (node == NULL || !node->named || node == conn->node) {
        return NGX_DECLINED;
    }

    cluster->slots[slot] = node;

    ngx_tb_redis_slots_channels(cluster);

    return NGX_OK;
}
