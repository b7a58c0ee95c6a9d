
/*
 * A call on its way to the device that polls: the response, and what Redis
 * is told of its fate.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_polls.h"
#include "ngx_http_tb_rpc_device_deliver.h"


typedef struct {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_worker_t     *worker;
    ngx_http_tb_rpc_handed_t      handed;
    ngx_queue_t                   queue;
    ngx_uint_t                    failed;
} ngx_http_tb_rpc_delivery_t;


/* what of an envelope is for the device: JSON texts */

typedef struct {
    ngx_str_t                     method;
    ngx_str_t                     params;
    ngx_str_t                     traceparent;  /* empty: none */
} ngx_http_tb_rpc_message_t;


static void ngx_http_tb_rpc_delivery_cleanup(void *data);
static void ngx_http_tb_rpc_device_report(ngx_http_tb_rpc_worker_t *w,
    const char *name, ngx_http_tb_rpc_handed_t *handed, ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_device_trace(ngx_http_request_t *r,
    ngx_str_t *traceparent);
static ngx_int_t ngx_http_tb_rpc_device_body(ngx_http_request_t *r,
    int64_t request_id, ngx_http_tb_rpc_message_t *m, ngx_str_t *body);
static ngx_int_t ngx_http_tb_rpc_device_read(ngx_str_t *envelope,
    ngx_http_tb_rpc_message_t *m);
static u_char *ngx_http_tb_rpc_device_member(u_char *p, u_char *last,
    ngx_str_t *name, ngx_str_t *value);
static u_char *ngx_http_tb_rpc_device_string(u_char *p, u_char *last);


ngx_uint_t
ngx_http_tb_rpc_device_listens(ngx_http_request_t *r)
{
    int                n;
    u_char             byte[1];
    ngx_err_t          err;
    ngx_connection_t  *c;

    c = r->connection;

    if (c->error || c->read->eof || c->read->pending_eof) {
        return 0;
    }

#if (NGX_HTTP_V2)
    if (r->stream) {
        return 1;
    }
#endif

#if (NGX_HTTP_V3)
    if (c->quic) {
        return 1;
    }
#endif

    /* its leaving may be behind us in the list of events */

    n = recv(c->fd, (char *) byte, 1, MSG_PEEK);

    if (n > 0) {
        return 1;
    }

    err = ngx_socket_errno;

    return n == -1 && (err == NGX_EAGAIN || err == NGX_EINTR);
}


ngx_int_t
ngx_http_tb_rpc_device_send(ngx_http_request_t *r,
    ngx_http_tb_rpc_worker_t *w, ngx_http_tb_rpc_handed_t *handed,
    ngx_str_t *envelope)
{
    ngx_int_t                    rc;
    ngx_str_t                    body;
    ngx_http_cleanup_t          *cln;
    ngx_http_tb_rpc_message_t    m;
    ngx_http_tb_rpc_delivery_t  *delivery;

    static ngx_str_t  broken =
        ngx_string("{\"error\":\"The call can't be given to the device\"}");

    if (ngx_http_tb_rpc_device_read(envelope, &m) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: the envelope of request %L to device \"%*s\" "
                      "is not valid", handed->request_id,
                      (size_t) NGX_HTTP_TB_RPC_UUID_LEN, handed->device_id);

        ngx_http_tb_rpc_device_report(w, "tb_rpc_failed", handed, &broken);

        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_REQUEST_TIME_OUT,
                                            NULL, NULL);
    }

    rc = ngx_http_tb_rpc_device_body(r, handed->request_id, &m, &body);

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_device_trace(r, &m.traceparent);
    }

    delivery = ngx_palloc(r->pool, sizeof(ngx_http_tb_rpc_delivery_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (rc != NGX_OK || delivery == NULL || cln == NULL) {
        ngx_http_tb_rpc_give_back(w, handed);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    delivery->request = r;
    delivery->worker = w;
    delivery->handed = *handed;

    ngx_queue_insert_tail(&w->polls->deliveries, &delivery->queue);

    cln->handler = ngx_http_tb_rpc_delivery_cleanup;
    cln->data = delivery;

    rc = ngx_http_tb_rpc_send_json(r, &body);

    /* with another code the client gets another response, or none */

    delivery->failed = (rc != NGX_OK);

    return rc;
}


/* the request is over: all was given to the socket, or never will be */

static void
ngx_http_tb_rpc_delivery_cleanup(void *data)
{
    ngx_http_tb_rpc_delivery_t *delivery = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = delivery->request;
    c = r->connection;

    ngx_queue_remove(&delivery->queue);

    if (delivery->failed
        || !r->header_sent
        || c->error
        || c->timedout
        || c->buffered
        || r->buffered
        || r->out)
    {
        ngx_http_tb_rpc_give_back(delivery->worker, &delivery->handed);
        return;
    }

    ngx_http_tb_rpc_device_report(delivery->worker, "tb_rpc_delivered",
                                  &delivery->handed, NULL);
}


/*
 * A poll that was told of again may get its call twice, by the reply and by a
 * message, in any order.  What was reported already Redis knows better.
 */

void
ngx_http_tb_rpc_give_back_late(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_handed_t *handed)
{
    ngx_queue_t                 *q;
    ngx_http_tb_rpc_handed_t    *sent;
    ngx_http_tb_rpc_delivery_t  *delivery;

    for (q = ngx_queue_head(&w->polls->deliveries);
         q != ngx_queue_sentinel(&w->polls->deliveries);
         q = ngx_queue_next(q))
    {
        delivery = ngx_queue_data(q, ngx_http_tb_rpc_delivery_t, queue);
        sent = &delivery->handed;

        if (sent->request_id == handed->request_id
            && sent->attempt == handed->attempt
            && ngx_memcmp(sent->device_id, handed->device_id,
                          NGX_HTTP_TB_RPC_UUID_LEN)
               == 0)
        {
            ngx_log_debug1(NGX_LOG_DEBUG_HTTP, w->log, 0,
                           "tb_rpc: request %L came twice, it is being sent",
                           handed->request_id);
            return;
        }
    }

    ngx_http_tb_rpc_give_back(w, handed);
}


void
ngx_http_tb_rpc_give_back(ngx_http_tb_rpc_worker_t *w,
    ngx_http_tb_rpc_handed_t *handed)
{
    ngx_log_error(NGX_LOG_INFO, w->log, 0,
                  "tb_rpc: request %L did not reach device \"%*s\", which "
                  "has left: it waits again", handed->request_id,
                  (size_t) NGX_HTTP_TB_RPC_UUID_LEN, handed->device_id);

    ngx_http_tb_rpc_device_report(w, "tb_rpc_return", handed, NULL);
}


/* may be said twice: the attempt tells what it is about */

static void
ngx_http_tb_rpc_device_report(ngx_http_tb_rpc_worker_t *w, const char *name,
    ngx_http_tb_rpc_handed_t *handed, ngx_str_t *text)
{
    u_char       id[NGX_INT64_LEN], attempt[NGX_INT64_LEN];
    ngx_str_t    argv[NGX_HTTP_TB_RPC_ARGS + 3], *arg;
    ngx_uint_t   n;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, w->log, 0,
                   "tb_rpc: %s of request %L, attempt %L", name,
                   handed->request_id, handed->attempt);

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];
    n = 0;

    arg[n].data = id;
    arg[n++].len = ngx_sprintf(id, "%L", handed->request_id) - id;

    if (text) {
        arg[n++] = *text;
    }

    arg[n].data = attempt;
    arg[n++].len = ngx_sprintf(attempt, "%L", handed->attempt) - attempt;

    if (ngx_http_tb_rpc_fcall_device(w, handed->device_id, name, argv, n,
                                     NGX_HTTP_TB_RPC_REPORT,
                                     NGX_TB_REDIS_REPEAT
                                     |NGX_TB_REDIS_UNBOUNDED, NULL, NULL)
        == NULL)
    {
        /* tb_rpc_tick will miss it */

        ngx_log_error(NGX_LOG_ERR, w->log, 0,
                      "tb_rpc: %s of request %L could not be sent to Redis",
                      name, handed->request_id);
    }
}


/* of the caller, for a device that traces, and for the log */

static ngx_int_t
ngx_http_tb_rpc_device_trace(ngx_http_request_t *r, ngx_str_t *traceparent)
{
    u_char                 *p;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (traceparent->len < 2) {
        return NGX_OK;
    }

    ctx = ngx_http_tb_rpc_get_ctx(r);
    p = ngx_pnalloc(r->pool, TB_RPC_TRACEPARENT_LEN);

    if (ctx == NULL || p == NULL) {
        return NGX_ERROR;
    }

    /* without its quotes */

    if (tb_rpc_traceparent(p, traceparent->data + 1, traceparent->len - 2)
        != 0)
    {
        return NGX_OK;
    }

    ctx->traceparent.data = p;
    ctx->traceparent.len = TB_RPC_TRACEPARENT_LEN;

    return ngx_http_tb_rpc_add_header(r, "traceparent", &ctx->traceparent);
}


static ngx_int_t
ngx_http_tb_rpc_device_body(ngx_http_request_t *r, int64_t request_id,
    ngx_http_tb_rpc_message_t *m, ngx_str_t *body)
{
    u_char  *p;

    body->data = ngx_pnalloc(r->pool,
                          sizeof("{\"id\":,\"method\":,\"params\":}") - 1
                          + NGX_INT64_LEN + m->method.len + m->params.len);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(body->data, "{\"id\":%L,\"method\":", request_id);
    p = ngx_cpymem(p, m->method.data, m->method.len);
    p = ngx_cpymem(p, ",\"params\":", sizeof(",\"params\":") - 1);
    p = ngx_cpymem(p, m->params.data, m->params.len);
    *p++ = '}';

    body->len = p - body->data;

    return NGX_OK;
}


/*
 * By the bytes of the envelope, which the function library has put together
 * from texts that were checked.  NGX_DECLINED: it is not one
 */

static ngx_int_t
ngx_http_tb_rpc_device_read(ngx_str_t *envelope, ngx_http_tb_rpc_message_t *m)
{
    u_char     *p, *last;
    ngx_str_t   name, value;

    ngx_memzero(m, sizeof(ngx_http_tb_rpc_message_t));

    p = envelope->data;
    last = p + envelope->len;

    if (p == last || *p != '{') {
        return NGX_DECLINED;
    }

    do {

        /* the first time it stands at the brace, then at a comma */

        p = ngx_http_tb_rpc_device_member(p + 1, last, &name, &value);

        if (p == NULL) {
            return NGX_DECLINED;
        }

        if (ngx_http_tb_rpc_word(&name, "\"method\"")) {
            m->method = value;

        } else if (ngx_http_tb_rpc_word(&name, "\"params\"")) {
            m->params = value;

        } else if (ngx_http_tb_rpc_word(&name, "\"traceparent\"")) {
            m->traceparent = value;
        }

    } while (*p == ',');

    return (m->method.len && m->params.len) ? NGX_OK : NGX_DECLINED;
}


/* where the comma or brace behind the member is; NULL: it has no end */

static u_char *
ngx_http_tb_rpc_device_member(u_char *p, u_char *last, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_uint_t  depth;

    name->data = p;

    p = ngx_http_tb_rpc_device_string(p, last);

    if (p == NULL || last - p < 2 || *p != ':') {
        return NULL;
    }

    name->len = p - name->data;
    value->data = ++p;
    depth = 0;

    while (p < last) {

        switch (*p) {

        case '"':
            p = ngx_http_tb_rpc_device_string(p, last);

            if (p == NULL) {
                return NULL;
            }

            continue;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
        case ',':
            if (depth == 0) {
                value->len = p - value->data;
                return (value->len && p + 1 <= last) ? p : NULL;
            }

            if (*p != ',') {
                depth--;
            }

            break;
        }

        p++;
    }

    return NULL;
}


/* behind its end; NULL: no string */

static u_char *
ngx_http_tb_rpc_device_string(u_char *p, u_char *last)
{
    if (p >= last || *p != '"') {
        return NULL;
    }

    for (p++; p < last; p++) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p == '\\') {
            p++;
        }
    }

    return NULL;
}
