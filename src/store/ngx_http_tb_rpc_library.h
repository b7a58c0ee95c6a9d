
/*
 * The handshake: shared by meta.c, which is its first step, library.c, and
 * settings.c, which is the last of them.
 */


#ifndef _NGX_HTTP_TB_RPC_LIBRARY_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LIBRARY_H_INCLUDED_


#include "../../common/tb_rpc_shard.h"
#include "ngx_http_tb_rpc_worker.h"


typedef struct ngx_http_tb_rpc_library_s  ngx_http_tb_rpc_library_t;


struct ngx_http_tb_rpc_library_s {
    ngx_http_tb_rpc_worker_t  *worker;
    ngx_tb_redis_node_t       *node;            /* the handshake is with it */

    int64_t                    version;         /* of the embedded library */
    ngx_uint_t                 loads;           /* in this handshake */
    ngx_uint_t                 configs;         /* replies awaited */
    ngx_uint_t                 sent;            /* shards, in their order */
    uint16_t                   shards[TB_RPC_SHARDS];
    ngx_uint_t                 nmoved;          /* shards, meanwhile */
    uint16_t                   moved[TB_RPC_SHARDS];

    ngx_str_t                  error;           /* why "tb:meta" could not be
                                                   written */
    u_char                     text[NGX_TB_REDIS_TEXT];

    uint32_t                   told_failed;     /* the hash of an error,
                                                   0: none */

    unsigned                   waiting:1;       /* for another node, which
                                                   has "tb:meta" */
    unsigned                   told_moved:1;

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

/* SETUP of its node; without memory that is refused */
void ngx_http_tb_rpc_setup_command(ngx_http_tb_rpc_library_t *lib,
    ngx_str_t *argv, ngx_uint_t argc, ngx_tb_redis_reply_pt handler);

/* the steps: "tb:meta", the library and all that it needs */
void ngx_http_tb_rpc_setup_meta(ngx_http_tb_rpc_library_t *lib);
void ngx_http_tb_rpc_setup_version(ngx_http_tb_rpc_library_t *lib);

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
