
/*
 * Copyright (C) tb-rpc contributors.
 *
 * TLS towards Redis.
 */


#ifndef _TB_TLS_H_INCLUDED_
#define _TB_TLS_H_INCLUDED_


#include "conf.h"
#include "lookup.h"

#include <openssl/ssl.h>


/* what one or more connections to the same server have in common */
typedef struct {
    SSL_SESSION         *session;          /* the newest, or NULL */
    unsigned             files;            /* those that verified it */
} tb_tls_peer_t;

typedef struct tb_tls_s  tb_tls_t;


/*
 * Certificate, key and authorities of the configuration; NULL, and that was
 * logged: they cannot be read, or don't fit each other.
 */
tb_tls_t *tb_tls_create(const tb_redis_conf_t *conf);
void tb_tls_free(tb_tls_t *tls);
/* the files again, for connections to come; on error (logged) what was stays */
void tb_tls_reload(tb_tls_t *tls);

/* on a connected socket, for a host; NULL with *why */
SSL *tb_tls_open(tb_tls_t *tls, int fd, const char *host,
    tb_tls_peer_t *peer, const char **why);
/* says goodbye, does not wait for it; ssl may be NULL */
void tb_tls_close(SSL *ssl);
void tb_tls_forget(tb_tls_peer_t *peer);

/*
 * These return TB_OK, or TB_AGAIN with *events of poll() to be waited for, or
 * TB_ERROR with *why, which is valid until the next call of them.
 */
int tb_tls_handshake(SSL *ssl, const char *host, short *events,
    const char **why);
int tb_tls_read(SSL *ssl, char *buf, size_t size, size_t *len,
    short *events, const char **why);
int tb_tls_write(SSL *ssl, const char *buf, size_t size, size_t *len,
    short *events, const char **why);


#endif /* _TB_TLS_H_INCLUDED_ */
