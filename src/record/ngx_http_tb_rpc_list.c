
/*
 * A page of a device's records.  A reply carries a bounded number of bytes;
 * when the page is larger, the rest is asked for once what was got is sent,
 * so that neither side ever holds the whole page.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_id.h"
#include "../store/ngx_http_tb_rpc_unknown.h"
#include "ngx_http_tb_rpc_list.h"


#define NGX_HTTP_TB_RPC_LIST_BYTES  "262144"


/* FCALL tb_rpc_list, as it is sent: its arguments in the order of list.lua */

typedef struct {
    ngx_str_t                    fcall[NGX_HTTP_TB_RPC_ARGS];
    ngx_str_t                    tenant;
    ngx_str_t                    customer;
    ngx_str_t                    status;
    ngx_str_t                    property;
    ngx_str_t                    order;
    ngx_str_t                    offset;
    ngx_str_t                    count;
    ngx_str_t                    bytes;
} ngx_http_tb_rpc_list_args_t;


static ngx_int_t ngx_http_tb_rpc_list_send(ngx_http_tb_rpc_query_t *q);
static void ngx_http_tb_rpc_list_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_list_refused(ngx_http_tb_rpc_query_t *q,
    redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_list_reply(ngx_http_tb_rpc_query_t *q,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_list_output(ngx_http_tb_rpc_query_t *q);
static void ngx_http_tb_rpc_list_writer(ngx_http_request_t *r);
static void ngx_http_tb_rpc_list_block(ngx_http_tb_rpc_query_t *q);
static void ngx_http_tb_rpc_list_cleanup(void *data);


ngx_int_t
ngx_http_tb_rpc_list(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_tb_rpc_page_t       *page;
    ngx_http_tb_rpc_query_t      *q;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    page = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_page_t));
    if (page == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_tb_rpc_list_args(r, page) != NGX_OK) {
        return page->rc;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    ngx_http_tb_rpc_key(&page->key, page->key_buf, mcf,
                        ngx_http_tb_rpc_shard(mcf, &ctx->device_id),
                        "device:", &ctx->device_id);

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_tb_rpc_list_cleanup;
    cln->data = page;

    page->total = -1;
    page->offset = page->page * page->page_size;
    page->left = page->page_size;

    q = ngx_http_tb_rpc_query(r, ctx, 1);
    if (q == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    q->data = page;

    if (ngx_http_tb_rpc_list_send(q) == NGX_OK) {
        return NGX_DONE;
    }

    r->main->count--;

    return ngx_http_tb_rpc_send_result(r, ctx,
                                       NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                       NULL);
}


static ngx_int_t
ngx_http_tb_rpc_list_send(ngx_http_tb_rpc_query_t *q)
{
    u_char                        offset[NGX_INT64_LEN], left[NGX_INT64_LEN];
    ngx_http_tb_rpc_page_t       *page;
    ngx_http_tb_rpc_list_args_t   args;

    page = q->data;

    ngx_http_tb_rpc_fcall(args.fcall, "tb_rpc_list");

    args.fcall[NGX_HTTP_TB_RPC_KEY] = page->key;

    args.tenant = q->ctx->identity->tenant_id;
    ngx_http_tb_rpc_query_customer(q->ctx, &args.customer);
    args.status = page->status;
    args.property = page->property;
    args.order = page->order;

    /* exact in a Lua number; there can't be that many records */

    args.offset.data = offset;
    args.offset.len = ngx_sprintf(offset, "%L",
                                  ngx_min(page->offset, (int64_t) 1 << 50))
                      - offset;

    args.count.data = left;
    args.count.len = ngx_sprintf(left, "%L", page->left) - left;

    ngx_str_set(&args.bytes, NGX_HTTP_TB_RPC_LIST_BYTES);

    return ngx_http_tb_rpc_query_send(q, (ngx_str_t *) &args,
                                      sizeof(ngx_http_tb_rpc_list_args_t)
                                      / sizeof(ngx_str_t),
                                      ngx_http_tb_rpc_list_done);
}


static void
ngx_http_tb_rpc_list_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_int_t                 rc;
    ngx_str_t                 word;
    ngx_http_tb_rpc_page_t   *page;
    ngx_http_tb_rpc_query_t  *q;

    q = ngx_http_tb_rpc_query_done(data);
    page = q->data;

    if (page->total >= 0) {

        /* the header is sent: what fails now can only end the connection */

        if (status != NGX_TB_REDIS_REPLY
            || ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0),
                                      &word)
               != NGX_OK
            || !ngx_http_tb_rpc_word(&word, "ok"))
        {
            ngx_log_error(NGX_LOG_ERR, q->request->connection->log, 0,
                          "tb_rpc: a page of records of device %V breaks "
                          "off, Redis did not give the rest",
                          &q->ctx->device_id);
            ngx_http_tb_rpc_query_finish(q, NGX_ERROR);
            return;
        }

        rc = ngx_http_tb_rpc_list_reply(q, reply);

    } else if (ngx_http_tb_rpc_query_word(q, status, reply, &word, &rc)
               == NGX_OK)
    {
        rc = ngx_http_tb_rpc_word(&word, "ok")
                 ? ngx_http_tb_rpc_list_reply(q, reply)
                 : ngx_http_tb_rpc_list_refused(q, reply, &word);
    }

    if (rc != NGX_AGAIN) {
        ngx_http_tb_rpc_query_finish(q, rc);
    }
}


static ngx_int_t
ngx_http_tb_rpc_list_refused(ngx_http_tb_rpc_query_t *q, redisReply *reply,
    ngx_str_t *word)
{
    ngx_http_tb_rpc_page_t  *page;

    page = q->data;

    if (ngx_http_tb_rpc_word(word, "toomany")) {
        return ngx_http_tb_rpc_send_error(q->request, NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "too many records to sort by %V",
                                          &page->property);
    }

    return ngx_http_tb_rpc_send_unknown_device(q->request, q->ctx, reply);
}


/* NGX_AGAIN: there is more; anything else is for finalize_request() */

static ngx_int_t
ngx_http_tb_rpc_list_reply(ngx_http_tb_rpc_query_t *q, redisReply *reply)
{
    int64_t                  total, returned;
    ngx_int_t                rc;
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_page_t  *page;

    r = q->request;
    page = q->data;

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &total)
        != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 2),
                                  &returned)
           != NGX_OK
        || total < 0 || total > NGX_HTTP_TB_RPC_LIST_TOTAL
        || returned < 0)
    {
        goto invalid;
    }

    if (page->total < 0) {
        page->total = total;
        page->left = ngx_max(ngx_min(page->left, total - page->offset), 0);
    }

    if (returned > page->left) {
        goto invalid;
    }

    if (ngx_http_tb_rpc_list_chunk(q, reply, returned) != NGX_OK) {
        goto failed;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc: a page gets %L records, %O bytes, %L to come",
                   returned, page->len, page->left);

    if (!r->header_sent) {
        rc = ngx_http_tb_rpc_send_json_header(r, page->left ? -1 : page->len);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            return rc;
        }
    }

    return ngx_http_tb_rpc_list_output(q);

invalid:

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "tb_rpc: invalid reply to tb_rpc_list");

failed:

    return r->header_sent ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_tb_rpc_list_output(ngx_http_tb_rpc_query_t *q)
{
    ngx_int_t                rc;
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_page_t  *page;

    r = q->request;
    page = q->data;

    if (page->left == 0) {

        /* what stays buffered is the business of finalize_request() */

        rc = ngx_http_output_filter(r, page->out);

        return (rc == NGX_AGAIN) ? NGX_OK : rc;
    }

    /* nothing is there if all records were left out */

    if (page->out) {
        page->last->flush = 1;

        if (ngx_http_output_filter(r, page->out) == NGX_ERROR) {
            return NGX_ERROR;
        }

        ngx_chain_update_chains(r->pool, &page->free, &page->busy, &page->out,
                                (ngx_buf_tag_t) &ngx_http_tb_rpc_module);
    }

    q->ctx->query = q;

    ngx_http_tb_rpc_list_writer(r);

    return NGX_AGAIN;
}


/* asks for more once the client has taken what there was */

static void
ngx_http_tb_rpc_list_writer(ngx_http_request_t *r)
{
    ngx_chain_t              *out;
    ngx_event_t              *wev;
    ngx_connection_t         *c;
    ngx_http_tb_rpc_ctx_t    *ctx;
    ngx_http_tb_rpc_page_t   *page;
    ngx_http_tb_rpc_query_t  *q;

    ctx = ngx_http_tb_rpc_get_ctx(r);
    q = ctx->query;
    page = q->data;

    c = r->connection;
    wev = c->write;

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_tb_rpc_query_finish(q, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    /* gzip has taken all that is ours long before the client has */

    if (page->busy || r->buffered || c->buffered) {

        if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
            ngx_http_tb_rpc_query_finish(q, NGX_ERROR);
            return;
        }

        out = NULL;

        ngx_chain_update_chains(r->pool, &page->free, &page->busy, &out,
                                (ngx_buf_tag_t) &ngx_http_tb_rpc_module);
    }

    /* the timer of a delayed event is that of limit_rate */

    if (page->busy || wev->delayed || r->buffered || r->postponed
        || (r == r->main && c->buffered))
    {
        ngx_http_tb_rpc_list_block(q);
        return;
    }

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_tb_rpc_list_cleanup(page);

    if (ngx_http_tb_rpc_list_send(q) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "tb_rpc: a page of records of device %V breaks off, "
                      "Redis can't be asked for the rest", &ctx->device_id);
        ngx_http_tb_rpc_query_finish(q, NGX_ERROR);
    }
}


static void
ngx_http_tb_rpc_list_block(ngx_http_tb_rpc_query_t *q)
{
    ngx_event_t               *wev;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = q->request;
    wev = r->connection->write;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->write_event_handler = ngx_http_tb_rpc_list_writer;

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        ngx_http_tb_rpc_query_finish(q, NGX_ERROR);
    }
}


static void
ngx_http_tb_rpc_list_cleanup(void *data)
{
    ngx_http_tb_rpc_page_t *page = data;

    if (page->chunk) {
        ngx_destroy_pool(page->chunk);
        page->chunk = NULL;
    }
}
