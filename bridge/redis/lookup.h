
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The addresses of a server.
 */


#ifndef _TB_LOOKUP_H_INCLUDED_
#define _TB_LOOKUP_H_INCLUDED_


#include "../base/job.h"
#include "server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>


#define TB_AGAIN            -2


typedef struct {
    tb_job_t             job;
    char                *host;             /* the job's own copy */
    char                 port[8];
    int                  error;            /* of getaddrinfo() */
    struct addrinfo     *list;
    struct addrinfo     *next;             /* to be tried */

    /* a unix socket has no list */
    struct addrinfo      path;
    struct sockaddr_un   sun;
} tb_lookup_t;


/*
 * TB_OK, or TB_AGAIN: a name, the job has been started and tb_lookup_end() is
 * to be called when job.fd can be read; or TB_ERROR with *why.
 */
int tb_lookup_start(tb_lookup_t *l, const tb_server_t *s, const char **why);
/* TB_OK or TB_ERROR with *why */
int tb_lookup_end(tb_lookup_t *l, const char **why);
/* the next one of the addresses; NULL: all have been tried */
const struct addrinfo *tb_lookup_next(tb_lookup_t *l);
/* not while the job is running */
void tb_lookup_clear(tb_lookup_t *l);


#endif /* _TB_LOOKUP_H_INCLUDED_ */
