
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A socket, with TLS or without, and what waits to be written to it.
 */


#include "../base/str.h"
#include "wire.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>


/* of one read: a record of TLS has no more */
#define TB_WIRE_READ         16384
/* what is kept of a buffer that has become empty */
#define TB_WIRE_KEEP         65536


/* a peer that has vanished without a word is found out within half a minute */

static void
tb_wire_tcp(int fd)
{
    int  on, idle, interval, count;

    on = 1;
    idle = 15;
    interval = 5;
    count = 3;

    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(int));
    (void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(int));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(int));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(int));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(int));
}


int
tb_wire_connect(tb_wire_t *w, const struct addrinfo *ai, const char **why)
{
    w->fd = socket(ai->ai_family, ai->ai_socktype|SOCK_NONBLOCK|SOCK_CLOEXEC,
                   ai->ai_protocol);

    if (w->fd == -1) {
        *why = strerror(errno);
        return TB_ERROR;
    }

    if (ai->ai_family != AF_UNIX) {
        tb_wire_tcp(w->fd);
    }

    if (connect(w->fd, ai->ai_addr, ai->ai_addrlen) == -1
        && errno != EINPROGRESS)
    {
        *why = strerror(errno);
        tb_wire_close(w);
        return TB_ERROR;
    }

    return TB_OK;
}


int
tb_wire_connected(tb_wire_t *w, const char **why)
{
    int        err;
    socklen_t  len;

    len = sizeof(int);

    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
        err = errno;
    }

    if (err) {
        *why = strerror(err);
        return TB_ERROR;
    }

    return TB_OK;
}


void
tb_wire_close(tb_wire_t *w)
{
    tb_tls_close(w->ssl);

    if (w->fd != -1) {
        close(w->fd);
    }

    free(w->out);

    memset(w, 0, sizeof(tb_wire_t));
    w->fd = -1;
}


void
tb_wire_append(tb_wire_t *w, const char *data, size_t len)
{
    char    *out;
    size_t   size;

    if (w->sent == w->len) {
        w->sent = 0;
        w->len = 0;

    } else if (w->sent > w->len / 2) {
        memmove(w->out, w->out + w->sent, w->len - w->sent);
        w->len -= w->sent;
        w->sent = 0;
    }

    if (w->size - w->len < len) {
        size = 2 * w->size + len + 1024;

        out = tb_alloc(size);

        if (w->out != NULL) {
            memcpy(out, w->out, w->len);
            free(w->out);
        }

        w->out = out;
        w->size = size;
    }

    memcpy(w->out + w->len, data, len);
    w->len += len;
}


/* TB_AGAIN: the socket is full */

static int
tb_wire_send(tb_wire_t *w, size_t *n, const char **why)
{
    ssize_t  rc;

    if (w->ssl) {
        return tb_tls_write(w->ssl, w->out + w->sent, w->len - w->sent, n,
                            &w->writing, why);
    }

    rc = send(w->fd, w->out + w->sent, w->len - w->sent, MSG_NOSIGNAL);

    if (rc == -1) {
        if (errno == EAGAIN || errno == EINTR) {
            return TB_AGAIN;
        }

        *why = strerror(errno);
        return TB_ERROR;
    }

    *n = (size_t) rc;

    return TB_OK;
}


int
tb_wire_write(tb_wire_t *w, const char **why)
{
    int     rc;
    size_t  n;

    w->writing = 0;

    while (w->sent < w->len) {
        rc = tb_wire_send(w, &n, why);

        if (rc != TB_OK) {
            return rc == TB_AGAIN ? TB_OK : TB_ERROR;
        }

        w->sent += n;
    }

    if (w->size > TB_WIRE_KEEP) {
        free(w->out);
        w->out = NULL;
        w->size = 0;
        w->sent = 0;
        w->len = 0;
    }

    return TB_OK;
}


static int
tb_wire_receive(tb_wire_t *w, char *buf, size_t *n, const char **why)
{
    ssize_t  rc;

    if (w->ssl) {
        return tb_tls_read(w->ssl, buf, TB_WIRE_READ, n, &w->reading, why);
    }

    rc = recv(w->fd, buf, TB_WIRE_READ, 0);

    if (rc == -1) {
        if (errno == EAGAIN || errno == EINTR) {
            return TB_AGAIN;
        }

        *why = strerror(errno);
        return TB_ERROR;
    }

    if (rc == 0) {
        *why = "the server closed the connection";
        return TB_ERROR;
    }

    *n = (size_t) rc;

    return TB_OK;
}


int
tb_wire_read(tb_wire_t *w, redisReader *reader, const char **why)
{
    int     rc;
    char    buf[TB_WIRE_READ];
    size_t  n;

    w->reading = 0;

    do {
        rc = tb_wire_receive(w, buf, &n, why);

        if (rc != TB_OK) {
            return rc == TB_AGAIN ? TB_OK : TB_ERROR;
        }

        if (redisReaderFeed(reader, buf, n) != REDIS_OK) {
            *why = reader->errstr;
            return TB_ERROR;
        }

        /* what is decrypted already is nothing that poll() knows of */

    } while (w->ssl && SSL_pending(w->ssl) > 0);

    return TB_OK;
}


short
tb_wire_events(const tb_wire_t *w)
{
    if (w->ssl) {
        return POLLIN | w->reading | w->writing;
    }

    return w->sent < w->len ? POLLIN | POLLOUT : POLLIN;
}
