
/*
 * Pages of a device's records: what is asked for (list_args.c), how it is
 * fetched and streamed out (list.c) and looks (list_chunk.c).
 */


#ifndef _NGX_HTTP_TB_RPC_LIST_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LIST_H_INCLUDED_


#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_query.h"


/* the largest total that a client's double and our sums can hold */

#define NGX_HTTP_TB_RPC_LIST_TOTAL  9007199254740992LL


typedef struct {
    int64_t                      page;
    int64_t                      page_size;
    ngx_str_t                    status;       /* digit, empty: any */
    ngx_str_t                    property;
    ngx_str_t                    order;        /* asc, desc */

    int64_t                      offset;       /* of the next record */
    int64_t                      left;         /* records still to send */
    int64_t                      total;        /* -1: not known yet */

    ngx_str_t                    key;          /* of the device */
    u_char                       key_buf[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_pool_t                  *chunk;        /* of what is being sent */
    ngx_chain_t                 *out;
    ngx_chain_t                **last_out;
    ngx_buf_t                   *last;         /* of out */
    off_t                        len;          /* of out */
    ngx_chain_t                 *free;
    ngx_chain_t                 *busy;

    ngx_int_t                    rc;           /* of an error answer */

    unsigned                     begun:1;      /* a record was sent */
} ngx_http_tb_rpc_page_t;


/* as a content handler, with a reference of its own */
ngx_int_t ngx_http_tb_rpc_list(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/*
 * NGX_OK, or NGX_DECLINED: an error answer was sent and page->rc is what
 * that returned.  Status DELETED is the profile's business.
 */
ngx_int_t ngx_http_tb_rpc_list_args(ngx_http_request_t *r,
    ngx_http_tb_rpc_page_t *page);

/* what this reply adds to the answer becomes page->out; NGX_OK, NGX_ERROR */
ngx_int_t ngx_http_tb_rpc_list_chunk(ngx_http_tb_rpc_query_t *q,
    redisReply *reply, int64_t returned);


#endif /* _NGX_HTTP_TB_RPC_LIST_H_INCLUDED_ */
