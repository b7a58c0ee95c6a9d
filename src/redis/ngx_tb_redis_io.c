
/*
 * The bytes of a connection: replies are read in bounded portions, so that
 * a flood of them does not starve the worker's clients, and all commands of
 * one event-loop turn are written together from their own buffers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"
#include "ngx_tb_redis_ssl.h"


static ngx_int_t ngx_tb_redis_test_connect(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_conn_read(ngx_tb_redis_conn_t *conn);
static ngx_int_t ngx_tb_redis_conn_recv(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_io_fail(ngx_tb_redis_conn_t *conn, ngx_err_t err,
    const char *what);
static ngx_int_t ngx_tb_redis_conn_dispatch(ngx_tb_redis_conn_t *conn,
    ngx_uint_t *budget);
static void ngx_tb_redis_conn_write(ngx_tb_redis_conn_t *conn);
static void ngx_tb_redis_conn_send_fail(ngx_tb_redis_conn_t *conn,
    ngx_err_t err);
static ngx_uint_t ngx_tb_redis_conn_fill(ngx_tb_redis_conn_t *conn,
    ngx_buf_t *bufs, ngx_chain_t *links);
static ngx_uint_t ngx_tb_redis_conn_written(ngx_tb_redis_conn_t *conn,
    ngx_buf_t *bufs, ngx_uint_t n);


void
ngx_tb_redis_read_handler(ngx_event_t *rev)
{
    ngx_connection_t      *c;
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    c = rev->data;
    conn = c->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (c->close && state->client->stays) {

        /* its owner has last words, which others' ends are about to be */

        c->close = 0;
        c->error = 0;

    } else if (c->close) {

        /* worker_shutdown_timeout is over */

        ngx_log_error(NGX_LOG_INFO, state->log, 0,
                      "tb_rpc_redis: closed at worker shutdown");

        ngx_tb_redis_stop(state);

    } else if (conn->status == NGX_TB_REDIS_ST_CONNECTING) {
        (void) ngx_tb_redis_test_connect(conn);

    } else if (ngx_tb_redis_conn_read(conn) == NGX_OK
               && ngx_handle_read_event(rev, 0) != NGX_OK)
    {
        ngx_tb_redis_conn_fail(conn, 0, "read event failed");
    }

    ngx_tb_redis_leave(state);
}


static ngx_int_t
ngx_tb_redis_test_connect(ngx_tb_redis_conn_t *conn)
{
    int                err;
    socklen_t          len;
    ngx_connection_t  *c;

    c = conn->connection;

#if (NGX_HAVE_KQUEUE)

    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT)  {

        if (c->write->pending_eof || c->read->pending_eof) {
            err = c->write->pending_eof ? c->write->kq_errno
                                        : c->read->kq_errno;

            ngx_tb_redis_conn_fail(conn, err, "connect() failed");
            return NGX_ERROR;
        }

        return NGX_OK;
    }

#endif

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_tb_redis_conn_fail(conn, err, "connect() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_OK: all for now; NGX_DONE: the connection is gone */

static ngx_int_t
ngx_tb_redis_conn_read(ngx_tb_redis_conn_t *conn)
{
    size_t      total;
    ngx_int_t   rc;
    ngx_uint_t  budget;

    total = 0;
    budget = NGX_TB_REDIS_BATCH;

    for ( ;; ) {

        rc = ngx_tb_redis_conn_dispatch(conn, &budget);

        if (rc == NGX_DONE) {
            return NGX_DONE;
        }

        if (rc == NGX_BUSY || total >= NGX_TB_REDIS_BATCH_BYTES) {

            /* others have their turn first */

            ngx_post_event(conn->connection->read, &ngx_posted_next_events);
            return NGX_OK;
        }

        rc = ngx_tb_redis_conn_recv(conn);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }

        if (rc == NGX_ERROR) {
            return NGX_DONE;
        }

        total += rc;
    }
}


static ngx_int_t
ngx_tb_redis_conn_recv(ngx_tb_redis_conn_t *conn)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = conn->connection;

    n = c->recv(c, conn->buffer, NGX_TB_REDIS_BUFFER);

    if (n == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (n == NGX_ERROR) {
        ngx_tb_redis_io_fail(conn, ngx_socket_errno, "recv() failed");
        return NGX_ERROR;
    }

    if (n == 0) {
        ngx_tb_redis_conn_fail(conn, 0, "closed by the server");
        return NGX_ERROR;
    }

    conn->received = ngx_current_msec;
    conn->silent = ngx_current_msec;
    conn->pinged = 0;

    if (ngx_tb_redis_scan(&conn->scan, conn->buffer, conn->buffer + n)
        != NGX_OK)
    {
        ngx_tb_redis_conn_fail(conn, 0, "%s", conn->scan.error);
        return NGX_ERROR;
    }

    if (redisReaderFeed(conn->reader, (char *) conn->buffer, n) != REDIS_OK) {
        ngx_tb_redis_conn_fail(conn, 0, "%s", conn->reader->errstr);
        return NGX_ERROR;
    }

    return n;
}


static void
ngx_tb_redis_io_fail(ngx_tb_redis_conn_t *conn, ngx_err_t err,
    const char *what)
{
    const char  *hint;

#if (NGX_SSL)

    if (conn->connection->ssl) {
        ngx_tb_redis_conn_fail(conn, 0, "TLS failed%V",
                               &conn->ssl_reason);
        return;
    }

#endif

    /* what a port with TLS does about a first command, or who is killed */

    hint = (conn->status == NGX_TB_REDIS_ST_HANDSHAKE
            && err == NGX_ECONNRESET
            && !conn->known)
           ? ", as if its port had TLS (\"rediss://\")" : "";

    ngx_tb_redis_conn_fail(conn, err, "%s%s", what, hint);
}


static ngx_int_t
ngx_tb_redis_conn_dispatch(ngx_tb_redis_conn_t *conn, ngx_uint_t *budget)
{
    void  *reply;

    while (*budget) {

        reply = NULL;

        if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
            ngx_tb_redis_conn_fail(conn, 0, "%s", conn->reader->errstr);
            return NGX_DONE;
        }

        if (reply == NULL) {
            return NGX_AGAIN;
        }

        (*budget)--;

        conn->reply = reply;

        conn->role->reply(conn, reply);

        if (conn->reply) {
            freeReplyObject(conn->reply);
            conn->reply = NULL;
        }

        if (conn->connection == NULL) {
            return NGX_DONE;
        }
    }

    return NGX_BUSY;
}


void
ngx_tb_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t      *c;
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    c = wev->data;
    conn = c->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (conn->status == NGX_TB_REDIS_ST_CONNECTING) {

        if (ngx_tb_redis_test_connect(conn) == NGX_OK) {
            ngx_tb_redis_connected(conn);
        }

    } else if (!conn->flush.posted) {

        /* otherwise more is to come in this turn */

        ngx_tb_redis_conn_write(conn);
    }

    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_conn_send(ngx_tb_redis_conn_t *conn, ngx_tb_redis_command_t *cmd)
{
    cmd->node = conn->node;
    cmd->list = NGX_TB_REDIS_IN_SENDING;
    ngx_queue_insert_tail(&conn->sending, &cmd->queue);
    conn->nsending++;

    if (cmd->flags & NGX_TB_REDIS_REPLICATED) {
        conn->wait.due = 1;
    }

    ngx_tb_redis_conn_post(conn);
}


ngx_tb_redis_command_t *
ngx_tb_redis_conn_say(ngx_tb_redis_conn_t *conn, ngx_str_t *argv,
    ngx_uint_t argc, ngx_tb_redis_reply_pt handler)
{
    ngx_tb_redis_command_t  *cmd;

    cmd = ngx_tb_redis_encode(conn->node->state, argv, argc);
    if (cmd == NULL) {
        return NULL;
    }

    cmd->internal = 1;
    cmd->handler = handler;
    cmd->data = conn;

    ngx_tb_redis_conn_send(conn, cmd);

    return cmd;
}


void
ngx_tb_redis_conn_post(ngx_tb_redis_conn_t *conn)
{
    ngx_post_event(&conn->flush, &ngx_posted_events);
}


static void
ngx_tb_redis_conn_write(ngx_tb_redis_conn_t *conn)
{
    ngx_err_t          err;
    ngx_buf_t          bufs[NGX_TB_REDIS_IOVS];
    ngx_uint_t         n;
    ngx_chain_t       *out, links[NGX_TB_REDIS_IOVS];
    ngx_connection_t  *c;

    c = conn->connection;

    if (c == NULL || conn->status == NGX_TB_REDIS_ST_CONNECTING) {
        return;
    }

    /* TLS has a buffer of its own, which may be what is left to be sent */

    while ((!ngx_queue_empty(&conn->sending) || c->buffered)
           && c->write->ready)
    {
        n = ngx_tb_redis_conn_fill(conn, bufs, links);

        out = c->send_chain(c, n ? links : NULL, 0);
        err = ngx_socket_errno;

        if (ngx_tb_redis_conn_written(conn, bufs, n) == 0 && n && out == NULL)
        {
            out = NGX_CHAIN_ERROR;
            err = 0;
        }

        if (out == NGX_CHAIN_ERROR) {
            ngx_tb_redis_conn_send_fail(conn, err);
            return;
        }

        /* TLS waits for the socket, maybe to read from it */

        if (c->buffered) {
            break;
        }
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_tb_redis_conn_fail(conn, 0, "write event failed");
    }
}


static void
ngx_tb_redis_conn_send_fail(ngx_tb_redis_conn_t *conn, ngx_err_t err)
{
#if (NGX_SSL)

    ngx_connection_t  *c;

    c = conn->connection;

    /* an alert may be there that says why, such as a missing certificate */

    if (c->ssl) {
        (void) c->recv(c, conn->buffer, NGX_TB_REDIS_BUFFER);
    }

#endif

    ngx_tb_redis_io_fail(conn, err, "send() failed");
}


static ngx_uint_t
ngx_tb_redis_conn_fill(ngx_tb_redis_conn_t *conn, ngx_buf_t *bufs,
    ngx_chain_t *links)
{
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    n = 0;

    for (q = ngx_queue_head(&conn->sending);
         q != ngx_queue_sentinel(&conn->sending) && n < NGX_TB_REDIS_IOVS;
         q = ngx_queue_next(q))
    {
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_memzero(&bufs[n], sizeof(ngx_buf_t));

        bufs[n].memory = 1;
        bufs[n].start = cmd->bytes;
        bufs[n].pos = cmd->pos;
        bufs[n].last = cmd->last;
        bufs[n].end = cmd->last;

        links[n].buf = &bufs[n];
        links[n].next = &links[n + 1];

        n++;
    }

    if (n) {
        bufs[n - 1].flush = 1;
        links[n - 1].next = NULL;
    }

    return n;
}


/* moves what was written; returns how many commands were touched */

static ngx_uint_t
ngx_tb_redis_conn_written(ngx_tb_redis_conn_t *conn, ngx_buf_t *bufs,
    ngx_uint_t n)
{
    ngx_uint_t               i;
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    for (i = 0; i < n; i++) {

        q = ngx_queue_head(&conn->sending);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        if (bufs[i].pos == cmd->pos) {
            break;
        }

        cmd->pos = bufs[i].pos;
        cmd->written = 1;

        if (cmd->pos != cmd->last) {
            return i + 1;
        }

        ngx_queue_remove(q);
        conn->nsending--;

        if (cmd->silent) {
            ngx_tb_redis_free(cmd);
            continue;
        }

        if (ngx_queue_empty(&conn->sent)) {
            conn->silent = ngx_current_msec;
        }

        cmd->list = NGX_TB_REDIS_IN_SENT;
        ngx_queue_insert_tail(&conn->sent, q);
    }

    return i;
}


void
ngx_tb_redis_flush_handler(ngx_event_t *ev)
{
    ngx_tb_redis_conn_t   *conn;
    ngx_tb_redis_state_t  *state;

    conn = ev->data;
    state = conn->node->state;

    ngx_tb_redis_enter(state);

    if (conn->refused) {
        ngx_tb_redis_conn_fail(conn, 0, "its setup did not succeed");

    } else {
        ngx_tb_redis_wait_send(conn);
        ngx_tb_redis_conn_write(conn);
    }

    ngx_tb_redis_leave(state);
}
