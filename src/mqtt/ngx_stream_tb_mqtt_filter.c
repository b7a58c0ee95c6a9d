
/*
 * The filter between ngx_stream_proxy_module and the sockets.
 *
 * Heads of packets are rewritten into pieces of our own, payloads follow as
 * they are.  A packet that must not go on is left out, and its sender gets an
 * acknowledgement from us, in between two packets of the other side.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_filter.h"
#include "ngx_stream_tb_mqtt_output.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_refused.h"
#include "ngx_stream_tb_mqtt_rewrite.h"
#include "ngx_stream_tb_mqtt_session.h"


/* so much of a payload is copied rather than a piece of its own */

#define NGX_STREAM_TB_MQTT_COPY      512


static ngx_stream_tb_mqtt_filter_t *ngx_stream_tb_mqtt_filter_create(
    ngx_stream_tb_mqtt_ctx_t *ctx);
static void ngx_stream_tb_mqtt_filter_cleanup(void *data);
static ngx_int_t ngx_stream_tb_mqtt_take_all(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from, ngx_chain_t *chain, ngx_chain_t **last);
static ngx_int_t ngx_stream_tb_mqtt_take(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from, ngx_buf_t *buf);
static ngx_int_t ngx_stream_tb_mqtt_payload(ngx_stream_tb_mqtt_side_t *side,
    u_char **pos, u_char *last, ngx_log_t *log);
static ngx_int_t ngx_stream_tb_mqtt_packet(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from, ngx_stream_tb_mqtt_packet_t *packet, size_t more);
static ngx_int_t ngx_stream_tb_mqtt_send(ngx_stream_session_t *s,
    ngx_stream_tb_mqtt_side_t *side, ngx_uint_t from, ngx_chain_t *last);
static ngx_int_t ngx_stream_tb_mqtt_send_own(ngx_stream_session_t *s,
    ngx_stream_tb_mqtt_side_t *side, ngx_uint_t from);


ngx_stream_filter_pt  ngx_stream_tb_mqtt_next_filter;


ngx_int_t
ngx_stream_tb_mqtt_filter(ngx_stream_session_t *s, ngx_chain_t *chain,
    ngx_uint_t from_upstream)
{
    ngx_int_t                   rc, sent;
    ngx_uint_t                  from;
    ngx_chain_t                *last;
    ngx_stream_tb_mqtt_ctx_t   *ctx;
    ngx_stream_tb_mqtt_side_t  *side;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_tb_mqtt_module);

    if (ctx == NULL || (ctx->filter == NULL && !ctx->accepted)) {
        return ngx_stream_tb_mqtt_next_filter(s, chain, from_upstream);
    }

    if (ctx->filter == NULL) {
        ctx->filter = ngx_stream_tb_mqtt_filter_create(ctx);
        if (ctx->filter == NULL) {
            return NGX_ERROR;
        }
    }

    from = from_upstream ? 1 : 0;
    side = &ctx->filter->side[from];

    if (chain && chain->next == NULL
        && ngx_stream_tb_mqtt_as_it_is(ctx->filter, side, chain->buf))
    {
        return ngx_stream_tb_mqtt_output_through(&side->out, s, chain, from);
    }

    rc = ngx_stream_tb_mqtt_take_all(ctx, from, chain, &last);

    /* what was right goes on, before what was wrong ends all */

    sent = ngx_stream_tb_mqtt_send(s, side, from, last);

    side = &ctx->filter->side[!from];

    if (side->out.fresh
        && ngx_stream_tb_mqtt_send_own(s, side, !from) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    return rc == NGX_OK ? sent : NGX_ERROR;
}


static ngx_stream_tb_mqtt_filter_t *
ngx_stream_tb_mqtt_filter_create(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_uint_t                    i;
    ngx_connection_t             *c;
    ngx_pool_cleanup_t           *cln;
    ngx_stream_tb_mqtt_filter_t  *f;
    ngx_stream_tb_mqtt_parser_t  *parser;

    c = ctx->session->connection;

    if (ctx->session->upstream == NULL) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "tb_mqtt: a server of devices needs \"proxy_pass\"");
        return NULL;
    }

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_stream_tb_mqtt_filter_t));
    if (cln == NULL) {
        return NULL;
    }

    f = cln->data;
    ngx_memzero(f, sizeof(ngx_stream_tb_mqtt_filter_t));

    for (i = 0; i < 2; i++) {
        parser = &f->side[i].parser;

        parser->log = c->log;
    }

    f->side[0].parser.head_size = ctx->head_size;
    f->side[0].parser.max_packet = ctx->max_packet;
    f->side[1].parser.head_size = NGX_STREAM_TB_MQTT_BROKER_HEAD;
    f->side[1].parser.broker = 1;
    f->side[1].parser.acks = 1;

    f->rewrite.ctx = ctx;
    f->rewrite.map = ctx->map;

    cln->handler = ngx_stream_tb_mqtt_filter_cleanup;

    return f;
}


static void
ngx_stream_tb_mqtt_filter_cleanup(void *data)
{
    ngx_stream_tb_mqtt_filter_t *f = data;

    ngx_uint_t                  i;
    ngx_stream_tb_mqtt_side_t  *side;

    for (i = 0; i < 2; i++) {
        side = &f->side[i];

        ngx_stream_tb_mqtt_parser_free(&side->parser);
        ngx_stream_tb_mqtt_output_free(&side->out);

        if (side->own) {
            ngx_free(side->own);
            side->own = NULL;
        }
    }

    ngx_stream_tb_mqtt_refused_free(&f->refused);
}


/* last: the end of what that side sends, or NULL */

static ngx_int_t
ngx_stream_tb_mqtt_take_all(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t from,
    ngx_chain_t *chain, ngx_chain_t **last)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    *last = NULL;
    rc = NGX_OK;

    for (cl = chain; cl && rc == NGX_OK; cl = cl->next) {
        if (cl->buf->last_buf) {
            *last = cl;
        }

        rc = ngx_stream_tb_mqtt_take(ctx, from, cl->buf);
    }

    if (rc != NGX_OK) {
        ngx_stream_tb_mqtt_filter_malformed(ctx, from);
    }

    if (from && *last) {

        /* it is offline, even if it reads nothing and the proxy waits */

        ngx_stream_tb_mqtt_leave(ctx);
    }

    return rc;
}


/* all of a buffer; NGX_ERROR: the connection must end */

static ngx_int_t
ngx_stream_tb_mqtt_take(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t from,
    ngx_buf_t *buf)
{
    u_char                       *p, *last;
    ngx_int_t                     rc;
    ngx_log_t                    *log;
    ngx_stream_tb_mqtt_side_t    *side;
    ngx_stream_tb_mqtt_packet_t   packet;

    log = ctx->session->connection->log;
    side = &ctx->filter->side[from];

    p = buf->pos;
    last = buf->last;
    rc = NGX_OK;

    ngx_stream_tb_mqtt_output_begin(&side->out);

    /* the header of proxy_protocol comes before, in a buffer of its own */

    if (from == 0 && !side->parser.started && side->parser.len == 0
        && p < last && *p != NGX_STREAM_TB_MQTT_CONNECT << 4)
    {
        rc = ngx_stream_tb_mqtt_output_pass(&side->out, p, last - p, log);
        p = last;
    }

    while (p < last && rc == NGX_OK) {

        if (side->rest) {
            rc = ngx_stream_tb_mqtt_payload(side, &p, last, log);
            continue;
        }

        rc = ngx_stream_tb_mqtt_filter_boundary(side, log);

        if (rc == NGX_OK) {
            rc = ngx_stream_tb_mqtt_parse(&side->parser, &packet, &p, last);
        }

        if (rc == NGX_OK) {
            rc = ngx_stream_tb_mqtt_packet(ctx, from, &packet, last - p);

            ngx_stream_tb_mqtt_parser_free(&side->parser);

        } else if (rc == NGX_AGAIN) {
            rc = NGX_OK;
            break;
        }
    }

    if (rc == NGX_OK && side->rest == 0) {
        rc = ngx_stream_tb_mqtt_filter_boundary(side, log);
    }

    ngx_stream_tb_mqtt_output_end(&side->out, buf);

    return rc;
}


static ngx_int_t
ngx_stream_tb_mqtt_payload(ngx_stream_tb_mqtt_side_t *side, u_char **pos,
    u_char *last, ngx_log_t *log)
{
    u_char  *p, *dst;
    size_t   n;

    p = *pos;
    n = ngx_min(side->rest, (size_t) (last - p));

    *pos = p + n;
    side->rest -= n;

    if (side->drop) {
        return NGX_OK;
    }

    if (n > NGX_STREAM_TB_MQTT_COPY) {
        return ngx_stream_tb_mqtt_output_pass(&side->out, p, n, log);
    }

    dst = ngx_stream_tb_mqtt_output_room(&side->out, n, last - *pos, log);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst, p, n);

    return NGX_OK;
}


/* more: bytes that are there behind the head */

static ngx_int_t
ngx_stream_tb_mqtt_packet(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t from,
    ngx_stream_tb_mqtt_packet_t *packet, size_t more)
{
    u_char                        *p;
    ngx_int_t                      rc;
    ngx_stream_tb_mqtt_side_t     *side;
    ngx_stream_tb_mqtt_filter_t   *f;
    ngx_stream_tb_mqtt_rewrite_t  *rw;

    f = ctx->filter;
    rw = &f->rewrite;
    side = &f->side[from];

    side->rest = packet->rest;
    side->drop = 0;

    rc = ngx_stream_tb_mqtt_filter_seen(ctx, packet);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_stream_tb_mqtt_rewrite(rw, packet, from);

    if (rc == NGX_DECLINED) {
        side->drop = 1;
        return ngx_stream_tb_mqtt_filter_drop(ctx, from, packet);
    }

    if (from == 0) {
        f->heard = ngx_current_msec;
    }

    if (rc == NGX_ERROR) {
        side->parser.error = rw->error;
        side->parser.reason = rw->reason;
        return NGX_ERROR;
    }

    if (rw->refused
        && ngx_stream_tb_mqtt_filter_refuse(ctx, packet) != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_stream_tb_mqtt_output_room(&side->out, rw->size, more,
                                       side->parser.log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_stream_tb_mqtt_rewrite_write(rw, packet, p);

    return NGX_OK;
}


/* last: the end of what that side sends, or NULL */

static ngx_int_t
ngx_stream_tb_mqtt_send(ngx_stream_session_t *s,
    ngx_stream_tb_mqtt_side_t *side, ngx_uint_t from, ngx_chain_t *last)
{
    ngx_buf_t         *b;
    ngx_chain_t        end;
    ngx_connection_t  *dst;

    dst = from ? s->connection : s->upstream->peer.connection;

    if (side->out.fresh || dst->buffered) {
        return ngx_stream_tb_mqtt_output_send(&side->out, s, from);
    }

    if (last == NULL) {
        return NGX_OK;
    }

    /* it has no bytes, so that nobody keeps it */

    b = ngx_calloc_buf(s->connection->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last_buf = 1;

    end.buf = b;
    end.next = NULL;

    return ngx_stream_tb_mqtt_next_filter(s, &end, from);
}


/*
 * The proxy works in the other direction now, and does not look whether this
 * one has been written.
 */

static ngx_int_t
ngx_stream_tb_mqtt_send_own(ngx_stream_session_t *s,
    ngx_stream_tb_mqtt_side_t *side, ngx_uint_t from)
{
    ngx_int_t          rc;
    ngx_connection_t  *dst;

    dst = from ? s->connection : s->upstream->peer.connection;

    rc = ngx_stream_tb_mqtt_output_send(&side->out, s, from);

    if (rc == NGX_AGAIN && ngx_handle_write_event(dst->write, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return rc;
}
