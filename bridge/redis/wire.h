
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A socket, with TLS or without, and what waits to be written to it.
 */


#ifndef _TB_WIRE_H_INCLUDED_
#define _TB_WIRE_H_INCLUDED_


#include "tls.h"

#include <hiredis/hiredis.h>


typedef struct {
    int                  fd;               /* -1: none */
    SSL                 *ssl;              /* or NULL */
    short                reading;          /* what TLS waits for, to read */
    short                writing;          /* and to write */

    char                *out;
    size_t               len;
    size_t               sent;             /* of len */
    size_t               size;
} tb_wire_t;


/*
 * Those that return an int return TB_OK or TB_ERROR, then with *why, which is
 * valid until the next call.  None of them blocks.
 */

int tb_wire_connect(tb_wire_t *w, const struct addrinfo *ai,
    const char **why);
/* once it can be written to */
int tb_wire_connected(tb_wire_t *w, const char **why);
void tb_wire_close(tb_wire_t *w);

/* copies it */
void tb_wire_append(tb_wire_t *w, const char *data, size_t len);
/* what the socket takes */
int tb_wire_write(tb_wire_t *w, const char **why);
/* what has come, into the reader; all that was decrypted */
int tb_wire_read(tb_wire_t *w, redisReader *reader, const char **why);
/* what to poll for */
short tb_wire_events(const tb_wire_t *w);


#endif /* _TB_WIRE_H_INCLUDED_ */
