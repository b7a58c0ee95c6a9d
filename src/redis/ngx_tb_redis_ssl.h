
/*
 * TLS towards Redis, for servers with rediss://.  The bytes go through
 * nginx's own OpenSSL layer, below c->recv and c->send_chain; here are what
 * is configured, the handshake, and whom it was with.
 */


#ifndef _NGX_TB_REDIS_SSL_H_INCLUDED_
#define _NGX_TB_REDIS_SSL_H_INCLUDED_


#include "ngx_tb_redis_node.h"


#if (NGX_SSL)

/* the connection's handshake; it goes on in ngx_tb_redis_established() */
void ngx_tb_redis_ssl_start(ngx_tb_redis_conn_t *conn);

/* says goodbye, without waiting */
void ngx_tb_redis_ssl_close(ngx_tb_redis_conn_t *conn);

/* what can be resumed is forgotten */
void ngx_tb_redis_ssl_forget(ngx_tb_redis_node_t *node);

#endif


#endif /* _NGX_TB_REDIS_SSL_H_INCLUDED_ */
