
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The frame of all harnesses that are linked with nginx: one cycle of a real
 * configuration, one connection whose socket is memory, and for each run a
 * request, made and freed by nginx itself.
 */


#ifndef _TB_FUZZ_HTTP_H_INCLUDED_
#define _TB_FUZZ_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "../../../src/http/ngx_http_tb_rpc_ctx.h"
#include "fuzz.h"


/* what was read, and what was sent: of one connection */

typedef struct {
    const uint8_t  *in;
    size_t          in_len;
    u_char          out[65536];
    size_t          out_len;           /* what is beyond is not kept */
} fuzz_socket_t;


extern fuzz_socket_t  fuzz_socket;


/* before all others: what is in tb_rpc_redis {} and in server {} */
void fuzz_http_init(const char *redis, const char *server);

/* the location of the server with that very name; init only */
void **fuzz_location(const char *name);

/* a request to it; what else it has is up to the caller */
ngx_http_request_t *fuzz_request(void **location);
void fuzz_request_free(ngx_http_request_t *r);

/* a request line, read by nginx; NGX_DECLINED: it is none, or was refused */
ngx_int_t fuzz_line(ngx_http_request_t *r, const uint8_t *data, size_t size);

/* its body, in as many buffers as there are bits set in "cuts", and one */
void fuzz_body(ngx_http_request_t *r, u_char *data, size_t size,
    unsigned cuts);

/* a piece of the socket's memory, for a connection of the caller's own */
void fuzz_connection(ngx_connection_t *c);

/*
 * What was sent is nothing, or a whole answer: of that status or, if it is 0,
 * of any but 500, with a body that is as long as its header says and, where
 * that says so, JSON.  The status.
 */
ngx_uint_t fuzz_answer(ngx_uint_t status);

/* by fuzz_copy() */
ngx_str_t fuzz_str(const uint8_t *data, size_t size);


#endif /* _TB_FUZZ_HTTP_H_INCLUDED_ */
