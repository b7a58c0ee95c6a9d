
/*
 * One connection to Redis: connecting, failing and trying again.  What goes
 * over it is up to its role.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "ngx_tb_redis_cluster.h"
#include "ngx_tb_redis_ssl.h"


static ngx_int_t ngx_tb_redis_conn_connect(ngx_tb_redis_conn_t *conn,
    ngx_peer_connection_t *pc);
static void ngx_tb_redis_timer_handler(ngx_event_t *ev);
static void ngx_tb_redis_watch_handler(ngx_event_t *ev);
static void ngx_tb_redis_conn_log_reason(ngx_tb_redis_conn_t *conn,
    ngx_err_t err, ngx_str_t *reason);


static const char  *ngx_tb_redis_states[] = {
    "idle",
    "resolving",
    "connecting",
    "TLS handshake",
    "handshake",
    "setup",
    "ready",
    "draining",
    "backoff"
};


const char *
ngx_tb_redis_state_name(ngx_uint_t status)
{
    if (status > NGX_TB_REDIS_ST_BACKOFF) {
        return "unknown";
    }

    return ngx_tb_redis_states[status];
}


void
ngx_tb_redis_conn_init(ngx_tb_redis_conn_t *conn, ngx_tb_redis_node_t *node,
    ngx_tb_redis_role_t *role)
{
    conn->node = node;
    conn->role = role;
    conn->ident = -1;
    conn->left = ngx_current_msec;

    ngx_queue_init(&conn->sending);
    ngx_queue_init(&conn->sent);
    ngx_queue_init(&conn->wait.replied);

    conn->timer.handler = ngx_tb_redis_timer_handler;
    conn->watch.handler = ngx_tb_redis_watch_handler;
    conn->flush.handler = ngx_tb_redis_flush_handler;

    conn->timer.data = conn;
    conn->watch.data = conn;
    conn->flush.data = conn;

    conn->timer.log = node->log;
    conn->watch.log = node->log;
    conn->flush.log = node->log;

    /*
     * connections keep no exiting worker: the deadlines of foreground
     * commands do, and while there are any we even reconnect
     */

    conn->timer.cancelable = 1;
    conn->watch.cancelable = 1;

    conn->name.data = conn->name_buf;
    conn->run_id.data = conn->run_id_buf;
}


void
ngx_tb_redis_conn_status(ngx_tb_redis_conn_t *conn,
    ngx_tb_redis_status_e status, ngx_msec_t timeout)
{
    ngx_log_debug4(NGX_LOG_DEBUG_EVENT, conn->node->log, 0,
                   "tb_rpc_redis: %s connection: %s -> %s, timer %M",
                   conn->role->name, ngx_tb_redis_states[conn->status],
                   ngx_tb_redis_states[status], timeout);

    if (conn->status == NGX_TB_REDIS_ST_READY) {
        conn->left = ngx_current_msec;
    }

    conn->status = status;

    if (conn->timer.timer_set) {
        ngx_del_timer(&conn->timer);
    }

    if (timeout) {
        ngx_add_timer(&conn->timer, timeout);
    }
}


void
ngx_tb_redis_conn_start(ngx_tb_redis_conn_t *conn)
{
    if (!conn->node->state->stopped) {
        conn->role->start(conn);
    }
}


void
ngx_tb_redis_conn_open(ngx_tb_redis_conn_t *conn)
{
    ngx_int_t              rc;
    ngx_connection_t      *c;
    ngx_peer_connection_t  pc;

    rc = ngx_tb_redis_conn_connect(conn, &pc);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_tb_redis_conn_fail(conn, (rc == NGX_DECLINED) ? ngx_socket_errno
                                                          : 0,
                               "connect() failed");
        return;
    }

    c = pc.connection;

    conn->connection = c;

    c->data = conn;
    c->pool = ngx_create_pool(NGX_TB_REDIS_POOL, &conn->node->state->quiet);
    if (c->pool == NULL) {
        goto nomem;
    }

    c->read->handler = ngx_tb_redis_read_handler;
    c->write->handler = ngx_tb_redis_write_handler;

    /*
     * c->idle stays 0: at a graceful exit an idle connection is closed at
     * once, while calls that are still held need both of ours until the end
     */

    conn->buffer = ngx_palloc(c->pool, NGX_TB_REDIS_BUFFER);
    if (conn->buffer == NULL) {
        goto nomem;
    }

    conn->reader = redisReaderCreate();
    if (conn->reader == NULL) {
        goto nomem;
    }

    conn->reader->maxbuf = 4 * NGX_TB_REDIS_BUFFER;

    ngx_memzero(&conn->scan, sizeof(ngx_tb_redis_scan_t));

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_CONNECTING,
                             conn->node->conf->connect_timeout);

    if (rc == NGX_OK) {
        ngx_tb_redis_connected(conn);
    }

    return;

nomem:

    ngx_tb_redis_conn_fail(conn, 0, "no memory");
}


static ngx_int_t
ngx_tb_redis_conn_connect(ngx_tb_redis_conn_t *conn, ngx_peer_connection_t *pc)
{
    ngx_memzero(pc, sizeof(ngx_peer_connection_t));

    pc->sockaddr = &conn->sockaddr.sockaddr;
    pc->socklen = conn->socklen;
    pc->name = &conn->name;
    pc->get = ngx_event_get_peer;
    pc->so_keepalive = 1;
    pc->log = &conn->node->state->quiet;
    pc->log_error = NGX_ERROR_ERR;

    ngx_set_socket_errno(0);

    return ngx_event_connect_peer(pc);
}


void
ngx_tb_redis_connected(ngx_tb_redis_conn_t *conn)
{
    if (ngx_tcp_nodelay(conn->connection) != NGX_OK) {
        ngx_tb_redis_conn_fail(conn, 0, "setsockopt(TCP_NODELAY) failed");
        return;
    }

#if (NGX_SSL)

    if (conn->server->ssl) {
        ngx_tb_redis_ssl_start(conn);
        return;
    }

#endif

    ngx_tb_redis_established(conn);
}


void
ngx_tb_redis_established(ngx_tb_redis_conn_t *conn)
{
    conn->received = ngx_current_msec;

    ngx_tb_redis_handshake(conn);
}


static void
ngx_tb_redis_timer_handler(ngx_event_t *ev)
{
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    conn = ev->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (conn->status == NGX_TB_REDIS_ST_BACKOFF) {
        ngx_tb_redis_conn_start(conn);

    } else if (conn->status == NGX_TB_REDIS_ST_DRAINING) {
        ngx_tb_redis_node_drained(conn->node);

    } else if (conn->status == NGX_TB_REDIS_ST_TLS) {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no TLS handshake in time, "
                               "as if its port had none");

    } else {
        ngx_tb_redis_conn_fail(conn, NGX_ETIMEDOUT, "no progress in state "
                               "\"%s\"", ngx_tb_redis_states[conn->status]);
    }

    ngx_tb_redis_leave(state);
}


static void
ngx_tb_redis_watch_handler(ngx_event_t *ev)
{
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    conn = ev->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    conn->role->watch(conn);

    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_conn_ready(ngx_tb_redis_conn_t *conn)
{
    ngx_uint_t  level;

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_READY, 0);

    if (!conn->up) {

        /* who was told that it is down is told that it is not */

        level = conn->nreasons ? NGX_LOG_ERR : NGX_LOG_NOTICE;

        ngx_log_error(level, conn->node->log, 0,
                      "tb_rpc_redis: %s connection to %V is ready"
                      ", failed attempts before: %ui",
                      conn->role->name, &conn->name, conn->tries);

        conn->opened++;
        ngx_tb_redis_count(conn->node->state, connected[conn->role->counted]);
    }

    conn->up = 1;
    conn->known = 1;
    conn->tries = 0;
    conn->nreasons = 0;
}


void
ngx_tb_redis_conn_close(ngx_tb_redis_conn_t *conn)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *c;

    if (conn->timer.timer_set) {
        ngx_del_timer(&conn->timer);
    }

    if (conn->watch.timer_set) {
        ngx_del_timer(&conn->watch);
    }

    if (conn->flush.posted) {
        ngx_delete_posted_event(&conn->flush);
    }

    c = conn->connection;

    if (c) {

#if (NGX_SSL)

        if (c->ssl) {
            ngx_tb_redis_ssl_close(conn);
        }

#endif

        conn->connection = NULL;
        conn->buffer = NULL;

        pool = c->pool;

        ngx_close_connection(c);

        if (pool) {
            ngx_destroy_pool(pool);
        }
    }

    if (conn->reader) {
        redisReaderFree(conn->reader);
        conn->reader = NULL;
    }

    conn->refused = 0;
    conn->pinged = 0;
    conn->run_id.len = 0;

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_IDLE, 0);
}


void
ngx_tb_redis_conn_drop(ngx_tb_redis_conn_t *conn)
{
    ngx_queue_t             *q, *list;
    ngx_tb_redis_command_t  *cmd;

    for ( ;; ) {

        list = ngx_queue_empty(&conn->sent) ? &conn->sending : &conn->sent;

        if (ngx_queue_empty(list)) {
            break;
        }

        q = ngx_queue_head(list);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_queue_remove(q);
        ngx_tb_redis_free(cmd);
    }

    conn->nsending = 0;
}


void ngx_cdecl
ngx_tb_redis_conn_fail(ngx_tb_redis_conn_t *conn, ngx_err_t err,
    const char *fmt, ...)
{
    u_char                 text[NGX_MAX_CONF_ERRSTR];
    va_list                args;
    ngx_str_t              reason;
    ngx_msec_t             delay;
    ngx_uint_t             shift;

    if (conn->node->gone) {
        ngx_tb_redis_cluster_left(conn->node);
        return;
    }

    va_start(args, fmt);
    reason.data = text;
    reason.len = ngx_vslprintf(text, text + sizeof(text), fmt, args) - text;
    va_end(args);

    ngx_tb_redis_conn_log_reason(conn, err, &reason);

    shift = ngx_min(conn->tries, NGX_TB_REDIS_BACKOFF_SHIFT);
    shift = conn->role->backoff(conn, shift);

    conn->up = 0;

    ngx_tb_redis_conn_close(conn);

    /* half to full: workers do not come back all at once */

    delay = ngx_min((ngx_msec_t) NGX_TB_REDIS_BACKOFF_MIN << shift,
                    NGX_TB_REDIS_BACKOFF_MAX);
    delay = delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2 + 1);

    conn->tries++;
    ngx_tb_redis_count(conn->node->state, failed[conn->role->counted]);

    ngx_tb_redis_conn_status(conn, NGX_TB_REDIS_ST_BACKOFF, delay);

    conn->role->down(conn);

    ngx_tb_redis_notify(conn->node->state);
}


void
ngx_tb_redis_conn_fail_reply(ngx_tb_redis_conn_t *conn, const char *what,
    redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  value;

    ngx_tb_redis_reply_text(reply, text, &value);

    ngx_tb_redis_conn_fail(conn, 0, "%s: \"%V\"", what, &value);
}


/* each reason once while it is down */

static void
ngx_tb_redis_conn_log_reason(ngx_tb_redis_conn_t *conn, ngx_err_t err,
    ngx_str_t *reason)
{
    uint32_t    hash;
    ngx_uint_t  i;

    hash = ngx_crc32_short(reason->data, reason->len) + (uint32_t) err;

    for (i = 0; i < conn->nreasons; i++) {
        if (conn->reasons[i] == hash) {
            break;
        }
    }

    if (i < conn->nreasons || i == NGX_TB_REDIS_REASONS) {
        ngx_log_debug3(NGX_LOG_DEBUG_EVENT, conn->node->log, err,
                       "tb_rpc_redis: %s connection to %V failed again: %V",
                       conn->role->name, &conn->name, reason);
        return;
    }

    conn->reasons[conn->nreasons++] = hash;

    ngx_log_error(NGX_LOG_ERR, conn->node->log, err,
                  "tb_rpc_redis: %s connection to %V failed: %V; "
                  "it is tried again until it succeeds",
                  conn->role->name, &conn->name, reason);
}
