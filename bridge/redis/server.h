
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Where a Redis is.
 */


#ifndef _TB_SERVER_H_INCLUDED_
#define _TB_SERVER_H_INCLUDED_


#include "../base/base.h"


typedef struct {
    char                *path;             /* of a unix socket, or NULL */
    char                *host;
    int                  port;
    char                *text;             /* for the log */
} tb_server_t;


/* both replace what was there, and copy what they are given */
void tb_server_set(tb_server_t *s, const char *host, size_t len, int port);
void tb_server_set_path(tb_server_t *s, const char *path);
void tb_server_clear(tb_server_t *s);

/* 1 if it is that host, whose letters may be large or small, and port */
int tb_server_is(const tb_server_t *s, const char *host, size_t len,
    int port);


#endif /* _TB_SERVER_H_INCLUDED_ */
