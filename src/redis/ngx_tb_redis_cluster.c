
/*
 * Asking the nodes of a cluster who has which slot.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_cluster.h"


#define NGX_TB_REDIS_CLUSTER_ASK    500         /* ms */
#define NGX_TB_REDIS_CLUSTER_AWAY   100         /* while a node is away */
#define NGX_TB_REDIS_CLUSTER_SOON   20
#define NGX_TB_REDIS_CLUSTER_SILENT 300
#define NGX_TB_REDIS_CLUSTER_SEED   1000
#define NGX_TB_REDIS_CLUSTER_SEED_MAX  5000
#define NGX_TB_REDIS_CLUSTER_TRUST  10000


static void ngx_tb_redis_cluster_handler(ngx_event_t *ev);
static ngx_uint_t ngx_tb_redis_cluster_ask(ngx_tb_redis_cluster_t *cluster);
static ngx_uint_t ngx_tb_redis_cluster_is_silent(ngx_tb_redis_node_t *node);
static void ngx_tb_redis_cluster_lost(ngx_tb_redis_cluster_t *cluster);
static ngx_int_t ngx_tb_redis_cluster_seeds(ngx_tb_redis_cluster_t *cluster);
static ngx_uint_t ngx_tb_redis_cluster_is_known(
    ngx_tb_redis_cluster_t *cluster, ngx_uint_t n);
static ngx_int_t ngx_tb_redis_cluster_send_ask(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_cluster_command(ngx_tb_redis_conn_t *conn,
    const char *what, ngx_tb_redis_reply_pt handler);
static void ngx_tb_redis_cluster_info(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_tb_redis_cluster_slots(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_tb_redis_cluster_denied(ngx_tb_redis_conn_t *conn,
    redisReply *reply);
static void ngx_tb_redis_cluster_unusable(ngx_tb_redis_conn_t *conn,
    ngx_int_t rc);
static ngx_uint_t ngx_tb_redis_cluster_is_stale(ngx_tb_redis_node_t *node);


ngx_int_t
ngx_tb_redis_cluster_init(ngx_tb_redis_state_t *state)
{
    ngx_tb_redis_cluster_t  *cluster;

    cluster = ngx_calloc(sizeof(ngx_tb_redis_cluster_t), state->log);
    if (cluster == NULL) {
        return NGX_ERROR;
    }

    /*
     * set by ngx_calloc():
     *
     *     cluster->slots[] = NULL;
     *     cluster->epoch = 0;
     */

    cluster->state = state;

    ngx_queue_init(&cluster->later);

    cluster->ask.handler = ngx_tb_redis_cluster_handler;
    cluster->ask.data = cluster;
    cluster->ask.log = state->log;
    cluster->ask.cancelable = 1;

    cluster->again.handler = ngx_tb_redis_cluster_retry_handler;
    cluster->again.data = cluster;
    cluster->again.log = state->log;
    cluster->again.cancelable = 1;

    state->cluster = cluster;

    if (ngx_tb_redis_cluster_seeds(cluster) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_add_timer(&cluster->ask, NGX_TB_REDIS_CLUSTER_ASK);

    return NGX_OK;
}


void
ngx_tb_redis_cluster_stop(ngx_tb_redis_cluster_t *cluster)
{
    if (cluster->ask.timer_set) {
        ngx_del_timer(&cluster->ask);
    }

    if (cluster->again.timer_set) {
        ngx_del_timer(&cluster->again);
    }

    ngx_tb_redis_node_end(&cluster->later);
}


ngx_int_t
ngx_tb_redis_cluster_greet(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_cluster_send_ask(conn) != NGX_OK) {
        ngx_tb_redis_conn_fail(conn, 0, "no memory");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_tb_redis_cluster_refresh(ngx_tb_redis_cluster_t *cluster)
{
    ngx_msec_t  passed, delay;

    if (cluster->state->stopped) {
        return;
    }

    passed = ngx_current_msec - cluster->asked;

    delay = (passed < NGX_TB_REDIS_CLUSTER_SOON)
                ? NGX_TB_REDIS_CLUSTER_SOON - passed : 1;

    ngx_tb_redis_timer_sooner(&cluster->ask, delay);
}


static void
ngx_tb_redis_cluster_handler(ngx_event_t *ev)
{
    ngx_uint_t               away;
    ngx_tb_redis_state_t    *state;
    ngx_tb_redis_cluster_t  *cluster;

    cluster = ev->data;
    state = cluster->state;

    ngx_tb_redis_enter(state);

    cluster->asked = ngx_current_msec;

    away = ngx_tb_redis_cluster_ask(cluster);

    ngx_add_timer(&cluster->ask, away ? NGX_TB_REDIS_CLUSTER_AWAY
                                      : NGX_TB_REDIS_CLUSTER_ASK);

    ngx_tb_redis_leave(state);
}


/*
 * Another one each time: who was cut off from the others does not know that,
 * and who hangs does not answer.  Returns how many are away; without anybody
 * to ask the seeds may know more.
 */

static ngx_uint_t
ngx_tb_redis_cluster_ask(ngx_tb_redis_cluster_t *cluster)
{
    ngx_uint_t             away, ready;
    ngx_queue_t           *q, *next;
    ngx_tb_redis_node_t   *node, *ask;
    ngx_tb_redis_state_t  *state;

    state = cluster->state;

    away = 0;
    ready = 0;
    ask = NULL;

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = next)
    {
        next = ngx_queue_next(q);

        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (!ngx_tb_redis_node_is_ready(node, 0)) {
            away++;
            continue;
        }

        ready++;

        if (ngx_tb_redis_cluster_is_silent(node)) {
            away++;
            continue;
        }

        /* who was asked longest ago */

        if (ask == NULL
            || (ngx_msec_int_t) (node->questioned - ask->questioned) < 0)
        {
            ask = node;
        }
    }

    if (ready == 0) {
        ngx_tb_redis_cluster_lost(cluster);
        return away;
    }

    cluster->pause = 0;

    if (ask) {
        (void) ngx_tb_redis_cluster_send_ask(&ask->command);
    }

    return away;
}


/*
 * One that is stopped, or cut off, keeps its connection for long: what else it
 * was sent may be little, and have late deadlines.
 */

static ngx_uint_t
ngx_tb_redis_cluster_is_silent(ngx_tb_redis_node_t *node)
{
    ngx_msec_t            passed;
    ngx_tb_redis_conn_t  *conn;

    conn = &node->command;

    passed = ngx_current_msec - conn->silent;

    if (ngx_queue_empty(&conn->sent)) {
        return node->asking;
    }

    if (node->asking && passed >= node->conf->command_timeout) {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no reply");
        return 1;
    }

    return node->asking || passed >= NGX_TB_REDIS_CLUSTER_SILENT;
}


/* one, two, four, five seconds after the last time */

static void
ngx_tb_redis_cluster_lost(ngx_tb_redis_cluster_t *cluster)
{
    if (cluster->pause
        && ngx_current_msec - cluster->seeded < cluster->pause)
    {
        return;
    }

    cluster->seeded = ngx_current_msec;
    cluster->pause = cluster->pause
                         ? ngx_min(2 * cluster->pause,
                                   NGX_TB_REDIS_CLUSTER_SEED_MAX)
                         : NGX_TB_REDIS_CLUSTER_SEED;

    (void) ngx_tb_redis_cluster_seeds(cluster);
}


static ngx_int_t
ngx_tb_redis_cluster_seeds(ngx_tb_redis_cluster_t *cluster)
{
    ngx_uint_t            i;
    ngx_tb_redis_node_t  *node;

    for (i = 0; i < cluster->state->client->conf->servers->nelts; i++) {

        if (ngx_tb_redis_cluster_is_known(cluster, i)) {
            continue;
        }

        node = ngx_tb_redis_cluster_seed(cluster, i);
        if (node == NULL) {
            return NGX_ERROR;
        }

        ngx_tb_redis_conn_start(&node->command);
    }

    return NGX_OK;
}


/* the server is tried already, by itself or as the master that it is */

static ngx_uint_t
ngx_tb_redis_cluster_is_known(ngx_tb_redis_cluster_t *cluster, ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_queue_t            *q;
    ngx_tb_redis_node_t    *node;
    ngx_tb_redis_state_t   *state;
    ngx_tb_redis_server_t  *server;

    state = cluster->state;

    server = state->client->conf->servers->elts;
    server += n;

    for (q = ngx_queue_head(&state->nodes);
         q != ngx_queue_sentinel(&state->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_tb_redis_node_t, queue);

        if (!node->named) {

            if (node->server == n) {
                return 1;
            }

            continue;
        }

        for (i = 0; i < server->naddrs; i++) {

            if (server->addrs[i].socklen <= (socklen_t) sizeof(ngx_sockaddr_t)
                && ngx_tb_redis_cluster_is_at(node,
                             (ngx_sockaddr_t *) (void *)
                                 server->addrs[i].sockaddr,
                             server->addrs[i].socklen))
            {
                return 1;
            }
        }
    }

    return 0;
}


static ngx_int_t
ngx_tb_redis_cluster_send_ask(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tb_redis_cluster_command(conn, "INFO", ngx_tb_redis_cluster_info)
        != NGX_OK
        || ngx_tb_redis_cluster_command(conn, "SLOTS",
                                        ngx_tb_redis_cluster_slots)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    conn->node->asking = 1;
    conn->node->questioned = ngx_current_msec;

    return NGX_OK;
}


static ngx_int_t
ngx_tb_redis_cluster_command(ngx_tb_redis_conn_t *conn, const char *what,
    ngx_tb_redis_reply_pt handler)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "CLUSTER");
    argv[1].data = (u_char *) what;
    argv[1].len = ngx_strlen(what);

    return ngx_tb_redis_conn_say(conn, argv, 2, handler) ? NGX_OK : NGX_ERROR;
}


/* it may be denied to us: then each node is believed */

static void
ngx_tb_redis_cluster_info(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t *conn = data;

    off_t                 epoch;
    ngx_str_t             info, value;
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    node->epoch = 0;
    node->old = 0;

    if (ngx_tb_redis_reply_str(reply, &info) != NGX_OK
        || ngx_tb_redis_info_value(&info, "cluster_current_epoch:",
                                   NGX_OFF_T_LEN, &value)
           != NGX_OK)
    {
        return;
    }

    epoch = ngx_atoof(value.data, value.len);

    if (epoch != NGX_ERROR) {
        node->epoch = (uint64_t) epoch;
    }

    node->old = 1;
}


static void
ngx_tb_redis_cluster_slots(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_tb_redis_conn_t *conn = data;

    ngx_int_t             rc;
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    node->asking = 0;

    if (node->gone || status != NGX_TB_REDIS_REPLY) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_cluster_denied(conn, reply);
        return;
    }

    if (ngx_tb_redis_cluster_is_stale(node)) {

        if (!node->named) {
            ngx_tb_redis_conn_fail(conn, 0, "it knows the cluster only as it "
                                   "was before");
        }

        return;
    }

    rc = ngx_tb_redis_slots_reply(conn, reply);

    if (rc != NGX_OK) {
        ngx_tb_redis_cluster_unusable(conn, rc);
        return;
    }

    if (!node->gone && !node->named) {
        ngx_tb_redis_conn_fail(conn, 0, "its cluster has no slots yet");
    }
}


/* one that is in use is asked again, others meanwhile */

static void
ngx_tb_redis_cluster_denied(ngx_tb_redis_conn_t *conn, redisReply *reply)
{
    if (conn->status == NGX_TB_REDIS_ST_READY) {
        return;
    }

    if (ngx_tb_redis_reply_is_error(reply, "ERR This instance has cluster "
                                    "support disabled"))
    {
        ngx_tb_redis_conn_fail(conn, 0, "it is no node of a cluster, but "
                               "\"cluster\" is \"on\"");
        return;
    }

    ngx_tb_redis_conn_fail_reply(conn, "CLUSTER SLOTS refused", reply);
}


/* what is known was right, and may still be */

static void
ngx_tb_redis_cluster_unusable(ngx_tb_redis_conn_t *conn, ngx_int_t rc)
{
    const char           *why;
    ngx_tb_redis_node_t  *node;

    node = conn->node;

    why = (rc == NGX_DECLINED)
              ? "it names a host, which needs \"resolve\" at a \"server\""
              : "its CLUSTER SLOTS can't be used";

    if (conn->status != NGX_TB_REDIS_ST_READY) {
        ngx_tb_redis_conn_fail(conn, 0, "%s", why);
        return;
    }

    if (!node->told) {
        node->told = 1;

        ngx_log_error(NGX_LOG_ERR, node->log, 0,
                      "tb_rpc_redis: what %V says of its cluster is left "
                      "alone: %s", &conn->name, why);
    }
}


/*
 * Each failover and each slot that moves makes the epoch greater.  Who was
 * cut off has an old one; after a while it may be a new cluster's.
 */

static ngx_uint_t
ngx_tb_redis_cluster_is_stale(ngx_tb_redis_node_t *node)
{
    ngx_tb_redis_cluster_t  *cluster;

    cluster = node->state->cluster;

    if (!node->old
        || node->epoch >= cluster->epoch
        || ngx_current_msec - cluster->confirmed >= NGX_TB_REDIS_CLUSTER_TRUST)
    {
        return 0;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, node->log, 0,
                   "tb_rpc_redis: epoch %uL of %V is older than %uL",
                   node->epoch, &node->command.name, cluster->epoch);

    return 1;
}
