
/*
 * What a packet means for the connection, beside its rewriting: it has begun,
 * it ends, something is lost.
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


static ngx_int_t ngx_stream_tb_mqtt_lose(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet);
static void ngx_stream_tb_mqtt_connack_seen(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet);
static void ngx_stream_tb_mqtt_free_preread(ngx_stream_tb_mqtt_ctx_t *ctx);


ngx_int_t
ngx_stream_tb_mqtt_filter_seen(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_stream_tb_mqtt_filter_t  *f;

    f = ctx->filter;

    switch (packet->type) {

    case NGX_STREAM_TB_MQTT_CONNECT:
        f->side[1].parser.version = packet->version;
        break;

    case NGX_STREAM_TB_MQTT_CONNACK:
        ngx_stream_tb_mqtt_connack_seen(ctx, packet);
        break;

    case NGX_STREAM_TB_MQTT_PUBLISH:
        if (packet->large) {
            f->side[1].drop = 1;
            return ngx_stream_tb_mqtt_lose(ctx, packet);
        }

        break;

    case NGX_STREAM_TB_MQTT_SUBACK:
    case NGX_STREAM_TB_MQTT_UNSUBACK:
        return ngx_stream_tb_mqtt_filter_ack(ctx, packet);

    case NGX_STREAM_TB_MQTT_PINGRESP:
        if (f->pinged) {
            f->pinged = 0;
            return NGX_OK;
        }

        break;
    }

    return NGX_DECLINED;
}


/* what is too large to be rewritten, and to be told of its alias */

static ngx_int_t
ngx_stream_tb_mqtt_lose(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ngx_log_error(NGX_LOG_WARN, ctx->session->connection->log, 0,
                  "tb_mqtt: a message for device %V is left out, its "
                  "properties are larger than %d bytes", &ctx->device_id,
                  NGX_STREAM_TB_MQTT_BROKER_HEAD);

    if (packet->topic.len
        && ngx_stream_tb_mqtt_rewrite_forget(&ctx->filter->rewrite) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_stream_tb_mqtt_filter_drop(ctx, 1, packet);
}


static void
ngx_stream_tb_mqtt_connack_seen(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_packet_t *packet)
{
    ctx->connack = 1;

    ngx_stream_tb_mqtt_free_preread(ctx);

    if (packet->code == 0) {
        ngx_stream_tb_mqtt_connected(ctx, packet->present);
        return;
    }

    ctx->refused = "broker";

    ngx_log_error(NGX_LOG_ERR, ctx->session->connection->log, 0,
                  "tb_mqtt: the broker has refused device %V with code %ui",
                  &ctx->device_id, packet->code);
}


/*
 * The CONNECT has gone on: its buffer, of preread_buffer_size, is not needed
 * any more.
 */

static void
ngx_stream_tb_mqtt_free_preread(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = ctx->session->connection;

    if (c->buffer && ctx->filter->side[0].out.first == NULL
        && ngx_pfree(c->pool, c->buffer->start) == NGX_OK)
    {
        c->buffer = NULL;
    }
}


void
ngx_stream_tb_mqtt_filter_malformed(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_uint_t from)
{
    u_char                       *last;
    u_char                        packet[NGX_STREAM_TB_MQTT_MAX_ACK];
    ngx_log_t                    *log;
    ngx_stream_tb_mqtt_parser_t  *parser;

    log = ctx->session->connection->log;
    parser = &ctx->filter->side[from].parser;

    if (parser->error == NULL) {
        return;
    }

    if (from) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "tb_mqtt: the broker sent %s",
                      parser->error);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, log, 0, "tb_mqtt: device %V sent %s",
                  &ctx->device_id, parser->error);

    ctx->refused = parser->reason == 0x95 ? "too_large" : "malformed";
    ctx->reason = parser->reason;

    if (ctx->connack) {
        last = ngx_stream_tb_mqtt_disconnect(packet, parser->version,
                                             parser->reason);

        (void) ngx_stream_tb_mqtt_filter_inject(ctx, 1, packet, last - packet);
    }
}
