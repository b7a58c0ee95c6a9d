
/*
 * How a record looks.
 */


#ifndef _NGX_HTTP_TB_RPC_VIEW_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_VIEW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../redis/ngx_tb_redis.h"


/* of a record, by the digit that Redis has for it; an empty one at the end */

extern ngx_str_t  ngx_http_tb_rpc_statuses[];


/*
 * The record of these field and value replies as JSON, from the pool of a
 * page's part or of the request.  NGX_ERROR without memory, NGX_DECLINED if
 * the record is broken beyond what null can stand for.
 */
ngx_int_t ngx_http_tb_rpc_record_json(ngx_http_request_t *r, ngx_pool_t *pool,
    ngx_str_t *id, redisReply **fields, ngx_uint_t n, ngx_str_t *json);


#endif /* _NGX_HTTP_TB_RPC_VIEW_H_INCLUDED_ */
