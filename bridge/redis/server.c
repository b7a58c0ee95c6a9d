
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Where a Redis is.
 */


#include "../base/str.h"
#include "server.h"

#include <strings.h>


void
tb_server_clear(tb_server_t *s)
{
    free(s->path);
    free(s->host);
    free(s->text);

    memset(s, 0, sizeof(tb_server_t));
}


void
tb_server_set(tb_server_t *s, const char *host, size_t len, int port)
{
    tb_server_clear(s);

    s->host = tb_strndup(host, len);
    s->port = port;

    s->text = tb_alloc(len + sizeof("[]:65535"));
    sprintf(s->text, strchr(s->host, ':') ? "[%s]:%d" : "%s:%d", s->host,
            port);
}


void
tb_server_set_path(tb_server_t *s, const char *path)
{
    tb_server_clear(s);

    s->path = tb_strndup(path, strlen(path));
    s->text = tb_strndup(path, strlen(path));
}


int
tb_server_is(const tb_server_t *s, const char *host, size_t len, int port)
{
    return s->host != NULL && s->port == port && strlen(s->host) == len
           && strncasecmp(s->host, host, len) == 0;
}
