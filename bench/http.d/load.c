
/*
 * An HTTP/1.1 load generator: keep-alive connections to 127.0.0.1, on each of
 * them one request after the other, without pipelining.
 *
 *     load PORT CONNECTIONS
 *
 * It connects, says "ready", and takes commands by its standard input, a line
 * each.  It answers each by a line:
 *
 *     run N FILE TEXT    N requests, over all connections.  Each must be
 *                        answered by 200 with TEXT, which may be empty, in its
 *                        body: "done <seconds> <p50 us> <p99 us>"
 *     send N FILE        N requests, each on a connection of its own, for
 *                        whose answers nobody waits: "sent"
 *     silent             "silent" if no answer has come to those
 *
 * FILE has requests, each behind a line with its length; they are used in
 * turn, again and again.  Wrong answers are counted; they, or anything else
 * that goes wrong, end the program with the status 1.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <err.h>


#define IN_SIZE      (32 * 1024)
#define MAX_EVENTS   256
#define PATIENCE     10000                 /* ms without any event */


typedef struct {
    const char  *data;
    size_t       len;
} text_t;


typedef struct {
    int          fd;
    int          blocked;                  /* waits for EPOLLOUT, too */
    size_t       sent;
    size_t       got;
    uint64_t     start;
    text_t      *request;                  /* NULL: nothing is under way */
    char        *in;
} conn_t;


typedef struct {
    int          epoll;
    int          nconns;
    conn_t      *conns;

    char        *file;
    text_t      *requests;
    size_t       nrequests;

    const char  *expected;
    size_t       total;                    /* of this run */
    size_t       started;
    size_t       answered;
    size_t       wrong;
    uint32_t    *took;                     /* us, of each answer */
    char         first[512];               /* wrong answer */
} load_t;


static uint64_t
now_ns(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void *
allocate(size_t n, size_t size)
{
    void  *p;

    p = calloc(n, size);
    if (p == NULL) {
        err(1, "calloc");
    }

    return p;
}


static void
say(const char *text)
{
    puts(text);
    fflush(stdout);
}


static void
watch(load_t *load, conn_t *c, int op, uint32_t events)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = c;

    if (epoll_ctl(load->epoll, op, c->fd, &ev) == -1) {
        err(1, "epoll_ctl");
    }
}


static void
connect_all(load_t *load, int port)
{
    int                 i, on;
    conn_t             *c;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    on = 1;

    for (i = 0; i < load->nconns; i++) {
        c = &load->conns[i];
        c->in = allocate(1, IN_SIZE);

        c->fd = socket(AF_INET, SOCK_STREAM, 0);

        if (c->fd == -1
            || connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
            || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
               == -1
            || fcntl(c->fd, F_SETFL, O_NONBLOCK) == -1)
        {
            err(1, "connection %d", i);
        }

        watch(load, c, EPOLL_CTL_ADD, EPOLLIN);
    }
}


/* the requests of a file: its content stays */

static void
read_file(load_t *load, const char *name)
{
    int          fd;
    char        *p, *last;
    size_t       len, room;
    ssize_t      n;
    struct stat  st;

    fd = open(name, O_RDONLY);

    if (fd == -1 || fstat(fd, &st) == -1) {
        err(1, "%s", name);
    }

    free(load->file);
    load->file = allocate(1, st.st_size + 1);

    for (len = 0; len < (size_t) st.st_size; len += n) {
        n = read(fd, load->file + len, st.st_size - len);

        if (n <= 0) {
            err(1, "%s", name);
        }
    }

    (void) close(fd);

    room = 0;
    load->nrequests = 0;
    last = load->file + len;

    for (p = load->file; p < last; p += len) {

        if (load->nrequests == room) {
            room = room ? 2 * room : 1024;
            load->requests = realloc(load->requests, room * sizeof(text_t));

            if (load->requests == NULL) {
                err(1, "realloc");
            }
        }

        len = strtoul(p, &p, 10);

        if (len == 0 || *p++ != '\n' || len > (size_t) (last - p)) {
            errx(1, "%s is broken", name);
        }

        load->requests[load->nrequests].data = p;
        load->requests[load->nrequests++].len = len;
    }

    if (load->nrequests == 0) {
        errx(1, "%s is empty", name);
    }
}


static void
flush_request(load_t *load, conn_t *c)
{
    ssize_t  n;

    while (c->sent < c->request->len) {
        n = send(c->fd, c->request->data + c->sent,
                 c->request->len - c->sent, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno != EAGAIN) {
                err(1, "send");
            }

            if (!c->blocked) {
                c->blocked = 1;
                watch(load, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }

            return;
        }

        c->sent += n;
    }

    if (c->blocked) {
        c->blocked = 0;
        watch(load, c, EPOLL_CTL_MOD, EPOLLIN);
    }
}


static void
start_request(load_t *load, conn_t *c)
{
    c->request = &load->requests[load->started++ % load->nrequests];
    c->sent = 0;
    c->got = 0;
    c->start = now_ns();

    flush_request(load, c);
}


/* the body of the answer that has been read, as a string, or NULL */

static char *
whole_answer(conn_t *c)
{
    char    *body, *length;
    size_t   len;

    c->in[c->got] = '\0';

    body = strstr(c->in, "\r\n\r\n");
    if (body == NULL) {
        return NULL;
    }

    body += 4;

    length = strcasestr(c->in, "\r\nContent-Length:");

    if (length == NULL || length > body) {
        errx(1, "an answer without a Content-Length: %s", c->in);
    }

    len = strtoul(length + sizeof("\r\nContent-Length:") - 1, NULL, 10);

    if (c->got - (body - c->in) > len) {
        errx(1, "more than one answer: %s", c->in);
    }

    return c->got - (body - c->in) == len ? body : NULL;
}


static void
read_answer(load_t *load, conn_t *c)
{
    char     *body;
    ssize_t   n;

    n = recv(c->fd, c->in + c->got, IN_SIZE - 1 - c->got, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n == -1) {
        err(1, "recv");
    }

    if (n == 0) {
        errx(1, "a connection was closed after %zu bytes of an answer",
             c->got);
    }

    if (c->request == NULL) {
        errx(1, "an answer to nothing");
    }

    c->got += n;

    body = whole_answer(c);

    if (body == NULL) {
        if (c->got == IN_SIZE - 1) {
            errx(1, "an answer of more than %d bytes", IN_SIZE);
        }

        return;
    }

    if (strncmp(c->in, "HTTP/1.1 200 ", sizeof("HTTP/1.1 200 ") - 1) != 0
        || strstr(body, load->expected) == NULL
        || c->sent < c->request->len)
    {
        if (load->wrong++ == 0) {
            (void) snprintf(load->first, sizeof(load->first), "%s", c->in);
        }
    }

    load->took[load->answered++] = (now_ns() - c->start) / 1000;
    c->request = NULL;

    if (load->started < load->total) {
        start_request(load, c);
    }
}


static int
compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = *(const uint32_t *) one;
    b = *(const uint32_t *) two;

    return (a > b) - (a < b);
}


static void
run(load_t *load, size_t total, const char *expected)
{
    int                 i, n;
    char                line[128];
    conn_t             *c;
    uint64_t            start, took;
    struct epoll_event  events[MAX_EVENTS];

    load->expected = expected;
    load->total = total;
    load->started = 0;
    load->answered = 0;
    load->took = allocate(total, sizeof(uint32_t));

    start = now_ns();

    for (i = 0; i < load->nconns && load->started < total; i++) {
        start_request(load, &load->conns[i]);
    }

    while (load->answered < total) {
        n = epoll_wait(load->epoll, events, MAX_EVENTS, PATIENCE);

        if (n <= 0) {
            errx(1, "%zu answers of %zu, then none for %d ms",
                 load->answered, total, PATIENCE);
        }

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            if (events[i].events & EPOLLOUT) {
                flush_request(load, c);
            }

            if (events[i].events & ~EPOLLOUT) {
                read_answer(load, c);
            }
        }
    }

    took = now_ns() - start;

    if (load->wrong) {
        errx(1, "%zu of %zu answers are wrong, the first one: %s",
             load->wrong, total, load->first);
    }

    qsort(load->took, total, sizeof(uint32_t), compare);

    (void) snprintf(line, sizeof(line), "done %.6f %u %u", took / 1e9,
                    load->took[total / 2], load->took[total - 1 - total / 100]);
    free(load->took);
    say(line);
}


/* requests that stay unanswered: small ones, which are sent at once */

static void
send_only(load_t *load, size_t total)
{
    int  i;

    if (total > (size_t) load->nconns) {
        errx(1, "there are %d connections only", load->nconns);
    }

    load->started = 0;

    for (i = 0; load->started < total; i++) {
        start_request(load, &load->conns[i]);

        if (load->conns[i].blocked) {
            errx(1, "connection %d takes no request", i);
        }
    }

    say("sent");
}


static void
silent(load_t *load)
{
    conn_t              *c;
    struct epoll_event   event;

    if (epoll_wait(load->epoll, &event, 1, 0) != 0) {
        c = event.data.ptr;
        (void) recv(c->fd, c->in, IN_SIZE - 1, 0);
        errx(1, "a call was not held: %s", c->in);
    }

    say("silent");
}


int
main(int argc, char **argv)
{
    int      n;
    char     line[1024], name[512], text[256];
    size_t   total;
    load_t   load;

    memset(&load, 0, sizeof(load));

    if (argc != 3 || (load.nconns = atoi(argv[2])) < 1) {
        errx(2, "usage: load PORT CONNECTIONS");
    }

    load.epoll = epoll_create1(0);
    load.conns = allocate(load.nconns, sizeof(conn_t));

    connect_all(&load, atoi(argv[1]));
    say("ready");

    while (fgets(line, sizeof(line), stdin) != NULL) {
        text[0] = '\0';

        n = sscanf(line, "run %zu %511s %255[^\n]", &total, name, text);

        if (n >= 2) {
            read_file(&load, name);
            run(&load, total, text);

        } else if (sscanf(line, "send %zu %511s", &total, name) == 2) {
            read_file(&load, name);
            send_only(&load, total);

        } else if (strcmp(line, "silent\n") == 0) {
            silent(&load);

        } else {
            errx(2, "unknown command: %s", line);
        }
    }

    return 0;
}
