
/*
 * What comes from the client while its request is with us: its body, its
 * trace, its leaving.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_client.h"
#include "ngx_http_tb_rpc_loc_conf.h"


static ngx_int_t ngx_http_tb_rpc_copy_body(ngx_http_request_t *r, u_char *p);
static size_t ngx_http_tb_rpc_buf_size(ngx_buf_t *b);


ngx_int_t
ngx_http_tb_rpc_watch_client(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->ignore_client_abort) {
        r->write_event_handler = ngx_http_request_empty_handler;
        return NGX_OK;
    }

    return ngx_http_tb_rpc_watch(r);
}


ngx_int_t
ngx_http_tb_rpc_watch(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    r->write_event_handler = ngx_http_request_empty_handler;

    if (r->discard_body) {
        return NGX_OK;
    }

    c = r->connection;

    r->read_event_handler = ngx_http_test_reading;

    /* the end of the connection may have been read with the body */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(c->read, 0);
}


ngx_int_t
ngx_http_tb_rpc_collect_body(ngx_http_request_t *r, size_t max,
    ngx_str_t *text)
{
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    ngx_str_null(text);

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    len = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        len += ngx_http_tb_rpc_buf_size(cl->buf);

        if (len > max) {
            return NGX_DECLINED;
        }
    }

    if (len == 0) {
        return NGX_OK;
    }

    text->len = len;

    cl = r->request_body->bufs;
    b = cl->buf;

    if (cl->next == NULL && ngx_buf_in_memory(b)) {
        text->data = b->pos;
        return NGX_OK;
    }

    text->data = ngx_pnalloc(r->pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_copy_body(r, text->data);
}


static ngx_int_t
ngx_http_tb_rpc_copy_body(ngx_http_request_t *r, u_char *p)
{
    off_t         offset;
    size_t        size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        b = cl->buf;
        size = ngx_http_tb_rpc_buf_size(b);

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, size);
            continue;
        }

        for (offset = b->file_pos; size; offset += n, size -= n, p += n) {

            n = ngx_read_file(b->file, p, size, offset);

            if (n == NGX_ERROR) {
                return NGX_ERROR;
            }

            if (n == 0) {
                ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                              "tb_rpc: request body file \"%V\" ended at %O",
                              &b->file->name, offset);
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static size_t
ngx_http_tb_rpc_buf_size(ngx_buf_t *b)
{
    if (ngx_buf_in_memory(b)) {
        return b->last - b->pos;
    }

    return b->in_file ? (size_t) (b->file_last - b->file_pos) : 0;
}


ngx_int_t
ngx_http_tb_rpc_traceparent(ngx_http_request_t *r, u_char *dst)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *found;

    found = NULL;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len != sizeof("traceparent") - 1
            || ngx_strncasecmp(h[i].key.data, (u_char *) "traceparent",
                               sizeof("traceparent") - 1)
               != 0)
        {
            continue;
        }

        if (found) {
            /* of two none can be trusted */
            return NGX_DECLINED;
        }

        found = &h[i];
    }

    if (found == NULL
        || tb_rpc_traceparent(dst, found->value.data, found->value.len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}
