
/*
 * What is in a reply of Redis: lengths before pointers, types before both.
 */


#ifndef _NGX_TB_REDIS_REPLY_H_INCLUDED_
#define _NGX_TB_REDIS_REPLY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/hiredis.h>

#include "../../common/tb_rpc_redis_error.h"


#define NGX_TB_REDIS_TEXT        200   /* of an error reply, for logs */


/* NGX_OK and *value for a string or status reply, else NGX_ERROR */
ngx_int_t ngx_tb_redis_reply_str(redisReply *reply, ngx_str_t *value);

/* NGX_OK and *value for an integer or a string of digits, else NGX_ERROR */
ngx_int_t ngx_tb_redis_reply_int(redisReply *reply, int64_t *value);

/* element n of an array reply or NULL */
redisReply *ngx_tb_redis_reply_element(redisReply *reply, ngx_uint_t n);

/* what has become of the command; TB_RPC_REDIS_OTHER if it is no error */
tb_rpc_redis_error_e ngx_tb_redis_reply_error(redisReply *reply);

/* 1 if the reply is an error that starts with prefix */
ngx_uint_t ngx_tb_redis_reply_is_error(redisReply *reply, const char *prefix);

/*
 * For logs: printable bytes only, bounded, without arguments of commands;
 * text has NGX_TB_REDIS_TEXT bytes.
 */
void ngx_tb_redis_reply_text(redisReply *reply, u_char *text,
    ngx_str_t *value);

/*
 * What follows name, the beginning of a line of INFO, as plain text of at most
 * max bytes; NGX_DECLINED: there is none.
 */
ngx_int_t ngx_tb_redis_info_value(ngx_str_t *info, const char *name,
    size_t max, ngx_str_t *value);


#endif /* _NGX_TB_REDIS_REPLY_H_INCLUDED_ */
