
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The addresses of a server.  A name is looked up by a thread, since that may
 * take its time; an address is one at once.
 */


#include "../base/str.h"
#include "lookup.h"

#include <arpa/inet.h>


/* in its thread, unless it is an address */

static void
tb_lookup_ask(tb_lookup_t *l, int flags)
{
    struct addrinfo  hints;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;

    l->error = getaddrinfo(l->host, l->port, &hints, &l->list);
    l->next = l->error ? NULL : l->list;
}


static void
tb_lookup_job(void *data)
{
    tb_lookup_ask(data, 0);
}


static int
tb_lookup_path(tb_lookup_t *l, const char *path, const char **why)
{
    if (strlen(path) >= sizeof(l->sun.sun_path)) {
        *why = "the path of its socket is too long";
        return TB_ERROR;
    }

    memset(&l->sun, 0, sizeof(l->sun));
    l->sun.sun_family = AF_UNIX;
    strcpy(l->sun.sun_path, path);

    memset(&l->path, 0, sizeof(l->path));
    l->path.ai_family = AF_UNIX;
    l->path.ai_socktype = SOCK_STREAM;
    l->path.ai_addr = (struct sockaddr *) &l->sun;
    l->path.ai_addrlen = sizeof(l->sun);
    l->next = &l->path;

    return TB_OK;
}


int
tb_lookup_start(tb_lookup_t *l, const tb_server_t *s, const char **why)
{
    unsigned char  addr[16];

    tb_lookup_clear(l);

    if (s->path) {
        return tb_lookup_path(l, s->path, why);
    }

    l->host = tb_strndup(s->host, strlen(s->host));
    snprintf(l->port, sizeof(l->port), "%d", s->port);

    if (inet_pton(AF_INET, l->host, addr) == 1
        || inet_pton(AF_INET6, l->host, addr) == 1)
    {
        tb_lookup_ask(l, AI_NUMERICHOST|AI_NUMERICSERV);

        if (l->error) {
            *why = gai_strerror(l->error);
            return TB_ERROR;
        }

        return TB_OK;
    }

    if (tb_job_start(&l->job, tb_lookup_job, l) != TB_OK) {
        *why = strerror(errno);
        return TB_ERROR;
    }

    return TB_AGAIN;
}


int
tb_lookup_end(tb_lookup_t *l, const char **why)
{
    tb_job_end(&l->job);

    if (l->error) {
        *why = gai_strerror(l->error);
        return TB_ERROR;
    }

    return TB_OK;
}


const struct addrinfo *
tb_lookup_next(tb_lookup_t *l)
{
    struct addrinfo  *ai;

    ai = l->next;

    if (ai != NULL) {
        l->next = ai->ai_next;
    }

    return ai;
}


void
tb_lookup_clear(tb_lookup_t *l)
{
    if (l->list != NULL) {
        freeaddrinfo(l->list);
        l->list = NULL;
    }

    free(l->host);
    l->host = NULL;
    l->next = NULL;
}
