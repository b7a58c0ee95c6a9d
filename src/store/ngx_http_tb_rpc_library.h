
/*
 * The handshake: shared by library.c, which goes through its steps, and
 * settings.c, which is the last of them.
 */


#ifndef _NGX_HTTP_TB_RPC_LIBRARY_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LIBRARY_H_INCLUDED_


#include "ngx_http_tb_rpc_worker.h"


typedef struct ngx_http_tb_rpc_library_s  ngx_http_tb_rpc_library_t;


struct ngx_http_tb_rpc_library_s {
    ngx_http_tb_rpc_worker_t  *worker;
    ngx_tb_redis_node_t       *node;            /* the handshake is with it */

    int64_t                    version;         /* of the embedded library */
    ngx_uint_t                 loads;           /* in this handshake */
    ngx_uint_t                 configs;         /* replies awaited */

    ngx_str_t                  error;           /* why "tb:meta" could not be
                                                   written */
    u_char                     text[NGX_TB_REDIS_TEXT];

    uint32_t                   told_failed;     /* the hash of an error,
                                                   0: none */

    unsigned                   waiting:1;       /* for another node, which
                                                   has "tb:meta" */
    unsigned                   moved:1;         /* a shard did, meanwhile */

    /* said once, until it changes */
    unsigned                   told_version:1;
    unsigned                   told_meta:1;
    unsigned                   told_write:1;
    unsigned                   told_role:1;
    unsigned                   told_info:1;
    unsigned                   told_config:1;
};


/* NULL without memory */
ngx_http_tb_rpc_library_t *ngx_http_tb_rpc_library_create(
    ngx_http_tb_rpc_worker_t *w);

/* its node has gone */
void ngx_http_tb_rpc_library_reset(ngx_http_tb_rpc_library_t *lib);

/* the handshake with that node; at its end that is ready, or refused */
void ngx_http_tb_rpc_setup(ngx_http_tb_rpc_library_t *lib,
    ngx_tb_redis_node_t *node);

/* 1: the command called "what" has failed and the handshake ends here */
ngx_uint_t ngx_http_tb_rpc_setup_failed(ngx_http_tb_rpc_library_t *lib,
    ngx_uint_t status, redisReply *reply, const char *what);

/* the settings for the functions of its shards; then the node is ready */
void ngx_http_tb_rpc_settings_send(ngx_http_tb_rpc_library_t *lib);

/* "not set", and what each is by default; zeroed before */
void ngx_http_tb_rpc_settings_create(ngx_http_tb_rpc_settings_t *settings);
void ngx_http_tb_rpc_settings_init(ngx_http_tb_rpc_settings_t *settings);

/* tb_rpc_strategy */
extern ngx_conf_enum_t  ngx_http_tb_rpc_strategies[];

/* post handler: a time that functions work with, at least 10 ms */
char *ngx_http_tb_rpc_check_due(ngx_conf_t *cf, void *post, void *data);


#endif /* _NGX_HTTP_TB_RPC_LIBRARY_H_INCLUDED_ */
