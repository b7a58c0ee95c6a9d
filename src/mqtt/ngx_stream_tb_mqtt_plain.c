
/*
 * Buffers that need no rewriting.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_filter.h"
#include "ngx_stream_tb_mqtt_packet.h"


/*
 * Nearly half of all buffers have nothing that we would change: payload, and
 * acknowledgements.  They go on without a piece of ours; 0 if there is anything
 * else in it, which is left to the parser.
 */

ngx_uint_t
ngx_stream_tb_mqtt_as_it_is(ngx_stream_tb_mqtt_filter_t *f,
    ngx_stream_tb_mqtt_side_t *side, ngx_buf_t *buf)
{
    u_char                       *p, *last;
    ngx_stream_tb_mqtt_parser_t  *parser;

    parser = &side->parser;

    if (buf->last_buf || side->own || side->out.fresh
        || parser->len || !parser->started)
    {
        return 0;
    }

    p = buf->pos;
    last = buf->last;

    if (side->rest) {
        if (side->drop || p == last || (size_t) (last - p) > side->rest) {
            return 0;
        }

        side->rest -= last - p;

        return 1;
    }

    if (p == last) {
        return 0;
    }

    while (last - p >= 2) {

        switch (*p) {

        case NGX_STREAM_TB_MQTT_PUBACK << 4:
        case NGX_STREAM_TB_MQTT_PUBREC << 4:
        case NGX_STREAM_TB_MQTT_PUBREL << 4 | 2:
        case NGX_STREAM_TB_MQTT_PUBCOMP << 4:
            if (p[1] != 2 || last - p < 4) {
                return 0;
            }

            break;

        case NGX_STREAM_TB_MQTT_PINGREQ << 4:
            if (p[1] != 0 || parser->broker) {
                return 0;
            }

            break;

        default:
            return 0;
        }

        p += 2 + p[1];
    }

    if (p != last) {
        return 0;
    }

    if (!parser->broker) {
        f->heard = ngx_current_msec;
    }

    return 1;
}
