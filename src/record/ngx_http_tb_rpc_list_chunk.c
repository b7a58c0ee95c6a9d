
/*
 * A page of records as JSON, as far as one reply has them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_list.h"
#include "ngx_http_tb_rpc_view.h"


#define NGX_HTTP_TB_RPC_LIST_TAIL                                             \
    (sizeof("],\"totalPages\":,\"totalElements\":,\"hasNext\":false}")        \
     + 2 * NGX_INT64_LEN)


static ngx_int_t ngx_http_tb_rpc_list_records(ngx_http_tb_rpc_query_t *q,
    redisReply *reply, int64_t returned);
static ngx_int_t ngx_http_tb_rpc_list_record(ngx_http_tb_rpc_query_t *q,
    ngx_str_t *id, redisReply **fields, ngx_uint_t n);
static ngx_int_t ngx_http_tb_rpc_list_buf(ngx_http_tb_rpc_query_t *q,
    u_char *p, size_t len);
static ngx_int_t ngx_http_tb_rpc_list_tail(ngx_http_tb_rpc_query_t *q);


ngx_int_t
ngx_http_tb_rpc_list_chunk(ngx_http_tb_rpc_query_t *q, redisReply *reply,
    int64_t returned)
{
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_page_t  *page;

    r = q->request;
    page = q->data;

    page->chunk = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, r->connection->log);
    if (page->chunk == NULL) {
        return NGX_ERROR;
    }

    page->out = NULL;
    page->last_out = &page->out;
    page->len = 0;

    if (!r->header_sent
        && ngx_http_tb_rpc_list_buf(q, (u_char *) "{\"data\":[",
                                    sizeof("{\"data\":[") - 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_tb_rpc_list_records(q, reply, returned) != NGX_OK) {
        return NGX_ERROR;
    }

    page->offset += returned;
    page->left -= returned;

    if (returned == 0) {

        /* records have gone meanwhile */

        page->left = 0;
    }

    return page->left ? NGX_OK : ngx_http_tb_rpc_list_tail(q);
}


/* each record is its number of field replies, its id, and the fields */

static ngx_int_t
ngx_http_tb_rpc_list_records(ngx_http_tb_rpc_query_t *q, redisReply *reply,
    int64_t returned)
{
    size_t     i;
    int64_t    n;
    ngx_str_t  id;

    for (i = 3; returned; returned--, i += n) {

        if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, i), &n)
            != NGX_OK
            || ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, i + 1),
                                      &id)
               != NGX_OK
            || n < 0 || (uint64_t) n > reply->elements - (i + 2))
        {
            ngx_log_error(NGX_LOG_ERR, q->request->connection->log, 0,
                          "tb_rpc: invalid record in a reply to tb_rpc_list");
            return NGX_ERROR;
        }

        i += 2;

        if (ngx_http_tb_rpc_list_record(q, &id, reply->element + i, n)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_list_record(ngx_http_tb_rpc_query_t *q, ngx_str_t *id,
    redisReply **fields, ngx_uint_t n)
{
    u_char                   dst[NGX_HTTP_TB_RPC_UUID_LEN];
    ngx_int_t                rc;
    ngx_str_t                json;
    ngx_http_tb_rpc_page_t  *page;

    page = q->data;

    rc = ngx_http_tb_rpc_parse_uuid(dst, id);

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_record_json(q->request, page->chunk, id, fields,
                                         n, &json);
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, q->request->connection->log, 0,
                      "tb_rpc: a record of device %V is broken in Redis "
                      "and left out", &q->ctx->device_id);
        return NGX_OK;
    }

    if (page->begun
        && ngx_http_tb_rpc_list_buf(q, (u_char *) ",", 1) != NGX_OK)
    {
        return NGX_ERROR;
    }

    page->begun = 1;

    return ngx_http_tb_rpc_list_buf(q, json.data, json.len);
}


/*
 * The text is of the chunk, which goes when it is sent; the buffer is not:
 * filters may keep pointers to buffers that they are done with.
 */

static ngx_int_t
ngx_http_tb_rpc_list_buf(ngx_http_tb_rpc_query_t *q, u_char *p, size_t len)
{
    ngx_buf_t               *b;
    ngx_chain_t             *cl;
    ngx_http_tb_rpc_page_t  *page;

    page = q->data;

    cl = ngx_chain_get_free_buf(q->request->pool, &page->free);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    b = cl->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->start = p;
    b->pos = p;
    b->last = p + len;
    b->end = b->last;
    b->memory = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_tb_rpc_module;

    *page->last_out = cl;
    page->last_out = &cl->next;
    page->last = b;
    page->len += len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_list_tail(ngx_http_tb_rpc_query_t *q)
{
    u_char                  *p, *last;
    int64_t                  pages;
    ngx_http_tb_rpc_page_t  *page;

    page = q->data;

    p = ngx_pnalloc(page->chunk, NGX_HTTP_TB_RPC_LIST_TAIL);
    if (p == NULL) {
        return NGX_ERROR;
    }

    pages = (page->total + page->page_size - 1) / page->page_size;

    last = ngx_sprintf(p, "],\"totalPages\":%L,\"totalElements\":%L,"
                          "\"hasNext\":%s}",
                       pages, page->total,
                       page->page + 1 < pages ? "true" : "false");

    if (ngx_http_tb_rpc_list_buf(q, p, last - p) != NGX_OK) {
        return NGX_ERROR;
    }

    page->last->last_buf = (q->request == q->request->main) ? 1 : 0;
    page->last->last_in_chain = 1;

    return NGX_OK;
}
