
/*
 * What is left out, and the packets of our own that its sender gets instead of
 * an answer.
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


/* memory of acknowledgements of ours that their reader has not taken */

#define NGX_STREAM_TB_MQTT_MAX_OWN   65536


static ngx_int_t ngx_stream_tb_mqtt_filter_ping(ngx_stream_tb_mqtt_ctx_t *ctx);
static ngx_int_t ngx_stream_tb_mqtt_filter_later(
    ngx_stream_tb_mqtt_side_t *side, u_char *p, size_t n, ngx_log_t *log);


/* some of its filters are refused: they come back in the answer */

ngx_int_t
ngx_stream_tb_mqtt_filter_refuse(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_stream_tb_mqtt_filter_t   *f;
    ngx_stream_tb_mqtt_refused_t  *refused;

    f = ctx->filter;

    refused = ngx_stream_tb_mqtt_refused(ctx->map, packet,
                                         f->side[0].parser.log);
    if (refused == NULL) {
        return NGX_ERROR;
    }

    /* a byte for each filter: in all no more than one packet could have */

    if (ngx_stream_tb_mqtt_refused_add(&f->refused, refused, ctx->head_size)
        != NGX_OK)
    {
        ngx_free(refused);

        f->side[0].parser.error = "too many subscriptions at once";
        f->side[0].parser.reason = 0x97;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Whoever sends what can't go on gets what it waits for; closing would make
 * it connect again and do the same.
 */

ngx_int_t
ngx_stream_tb_mqtt_filter_drop(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t from,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char                        *p, *last;
    u_char                         ack[NGX_STREAM_TB_MQTT_MAX_ACK];
    size_t                         size;
    ngx_int_t                      rc;
    ngx_log_t                     *log;
    ngx_stream_tb_mqtt_refused_t  *refused;

    log = ctx->session->connection->log;

    if (from == 0 && ngx_stream_tb_mqtt_filter_ping(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, log, 0,
                   "tb_mqtt: left out a packet of type %ui from the %s",
                   packet->type, from ? "broker" : "device");

    if (packet->type == NGX_STREAM_TB_MQTT_PUBLISH) {
        last = ngx_stream_tb_mqtt_ack(ack, packet);

        return ngx_stream_tb_mqtt_filter_inject(ctx, !from, ack, last - ack);
    }

    refused = ngx_stream_tb_mqtt_refused(ctx->map, packet, log);
    if (refused == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;
    size = ngx_stream_tb_mqtt_refused_answer(refused, NULL, NULL);

    p = ngx_alloc(size, log);

    if (p) {
        (void) ngx_stream_tb_mqtt_refused_answer(refused, NULL, p);
        rc = ngx_stream_tb_mqtt_filter_inject(ctx, !from, p, size);
        ngx_free(p);
    }

    ngx_free(refused);

    return rc;
}


/*
 * A client that is answered by us need not ask whether the broker is there, so
 * the broker would take one whose packets are all left out for gone, at one and
 * a half of its keep alive.  A client may be silent for a whole one from now.
 */

static ngx_int_t
ngx_stream_tb_mqtt_filter_ping(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_msec_t                    silent;
    ngx_stream_tb_mqtt_filter_t  *f;

    static u_char  ping[] = { NGX_STREAM_TB_MQTT_PINGREQ << 4, 0 };

    f = ctx->filter;
    silent = ngx_current_msec - f->heard;

    if (f->rewrite.keepalive == 0 || f->pinged
        || silent < f->rewrite.keepalive * 1000 / 4)
    {
        return NGX_OK;
    }

    f->pinged = 1;
    f->heard = ngx_current_msec;

    return ngx_stream_tb_mqtt_filter_inject(ctx, 0, ping, sizeof(ping));
}


/* NGX_DECLINED: it goes on as it is */

ngx_int_t
ngx_stream_tb_mqtt_filter_ack(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    u_char                        *p;
    size_t                         i, size;
    ngx_stream_tb_mqtt_side_t     *side;
    ngx_stream_tb_mqtt_refused_t  *refused;

    if (packet->type == NGX_STREAM_TB_MQTT_SUBACK) {
        for (i = 0; i < packet->list.len; i++) {
            if (packet->list.data[i] < 0x80) {
                ngx_stream_tb_mqtt_subscribed(ctx);
                break;
            }
        }
    }

    refused = ngx_stream_tb_mqtt_refused_take(&ctx->filter->refused, packet);

    if (refused == NULL) {
        return NGX_DECLINED;
    }

    side = &ctx->filter->side[1];
    size = ngx_stream_tb_mqtt_refused_answer(refused, packet, NULL);

    p = ngx_stream_tb_mqtt_output_room(&side->out, size, 0, side->parser.log);

    if (p) {
        (void) ngx_stream_tb_mqtt_refused_answer(refused, packet, p);
    }

    ngx_free(refused);

    return p ? NGX_OK : NGX_ERROR;
}


/* a packet of ours among those of a side */

ngx_int_t
ngx_stream_tb_mqtt_filter_inject(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t from,
    u_char *p, size_t n)
{
    size_t                      size;
    ngx_log_t                  *log;
    ngx_stream_tb_mqtt_side_t  *side, *other;

    if (n == 0) {
        return NGX_OK;
    }

    log = ctx->session->connection->log;
    side = &ctx->filter->side[from];
    size = side->out.own + (side->own ? side->own->len : 0);

    if (size + n > NGX_STREAM_TB_MQTT_MAX_OWN) {
        other = &ctx->filter->side[!from];
        other->parser.error = "more packets than it takes answers to";
        other->parser.reason = 0x97;
        return NGX_ERROR;
    }

    /* nothing is before CONNACK */

    if (side->parser.started && (side->rest == 0 || side->drop)) {
        return ngx_stream_tb_mqtt_output_own(&side->out, p, n, log);
    }

    return ngx_stream_tb_mqtt_filter_later(side, p, n, log);
}


static ngx_int_t
ngx_stream_tb_mqtt_filter_later(ngx_stream_tb_mqtt_side_t *side, u_char *p,
    size_t n, ngx_log_t *log)
{
    size_t                     size;
    ngx_stream_tb_mqtt_own_t  *own;

    own = side->own;
    size = own ? own->len : 0;

    if (own == NULL || own->size - own->len < n) {
        size = 2 * (size + n);

        own = ngx_alloc(sizeof(ngx_stream_tb_mqtt_own_t) + size, log);
        if (own == NULL) {
            return NGX_ERROR;
        }

        own->len = 0;
        own->size = size;

        if (side->own) {
            own->len = side->own->len;
            ngx_memcpy(own->data, side->own->data, own->len);
            ngx_free(side->own);
        }

        side->own = own;
    }

    ngx_memcpy(own->data + own->len, p, n);
    own->len += n;

    return NGX_OK;
}


/* between two packets of a side */

ngx_int_t
ngx_stream_tb_mqtt_filter_boundary(ngx_stream_tb_mqtt_side_t *side,
    ngx_log_t *log)
{
    ngx_int_t  rc;

    if (side->own == NULL || !side->parser.started) {
        return NGX_OK;
    }

    rc = ngx_stream_tb_mqtt_output_own(&side->out, side->own->data,
                                       side->own->len, log);
    ngx_free(side->own);
    side->own = NULL;

    return rc;
}
