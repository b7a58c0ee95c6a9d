
/*
 * The names of keys, see docs/redis-schema.md.
 */


#ifndef _NGX_TB_RPC_KEY_H_INCLUDED_
#define _NGX_TB_RPC_KEY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* bytes enough for any key; the longest has a SHA-256 in hex */
#define NGX_TB_RPC_KEY_LEN   128

/* of no shard: "tb:<kind><id>" */
#define NGX_TB_RPC_NO_SHARD  ((ngx_uint_t) -1)


/*
 * "tb:{s003}:<kind><id>" into dst, of NGX_TB_RPC_KEY_LEN bytes; kind is a
 * literal, id a UUID, a worker's name, a digest in hex or NULL: none.  The
 * configuration bounds the length of the prefix.
 */
void ngx_tb_rpc_key(ngx_str_t *key, u_char *dst, ngx_str_t *prefix,
    ngx_uint_t shard, const char *kind, ngx_str_t *id);


#endif /* _NGX_TB_RPC_KEY_H_INCLUDED_ */
