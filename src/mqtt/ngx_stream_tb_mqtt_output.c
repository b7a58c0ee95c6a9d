
/*
 * Pieces of output.  Each is one allocation of its own, which is given back as
 * soon as it is sent: what is idle has none.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_output.h"


#define NGX_STREAM_TB_MQTT_PIECE  4000
#define NGX_STREAM_TB_MQTT_OWN    128


struct ngx_stream_tb_mqtt_piece_s {
    ngx_chain_t                  link;      /* to the next piece's, of buf */
    ngx_buf_t                    buf;
    ngx_buf_t                   *source;    /* is empty when this is sent */
    ngx_stream_tb_mqtt_piece_t  *next;
    size_t                       own;
};


static ngx_stream_tb_mqtt_piece_t *ngx_stream_tb_mqtt_piece(
    ngx_stream_tb_mqtt_output_t *out, size_t size, ngx_log_t *log);
static void ngx_stream_tb_mqtt_output_sent(ngx_stream_tb_mqtt_output_t *out);


static ngx_stream_tb_mqtt_piece_t *
ngx_stream_tb_mqtt_piece(ngx_stream_tb_mqtt_output_t *out, size_t size,
    ngx_log_t *log)
{
    ngx_stream_tb_mqtt_piece_t  *piece;

    piece = ngx_alloc(sizeof(ngx_stream_tb_mqtt_piece_t) + size, log);
    if (piece == NULL) {
        return NULL;
    }

    ngx_memzero(piece, sizeof(ngx_stream_tb_mqtt_piece_t));

    piece->link.buf = &piece->buf;
    piece->buf.start = (u_char *) &piece[1];
    piece->buf.pos = piece->buf.start;
    piece->buf.last = piece->buf.start;
    piece->buf.end = piece->buf.start + size;
    piece->buf.tag = (ngx_buf_tag_t) &ngx_stream_tb_mqtt_module;
    piece->buf.memory = 1;
    piece->buf.flush = 1;

    if (out->last) {
        out->last->next = piece;
        out->last->link.next = &piece->link;

    } else {
        out->first = piece;
    }

    out->last = piece;

    if (out->fresh == NULL) {
        out->fresh = piece;
    }

    return piece;
}


u_char *
ngx_stream_tb_mqtt_output_room(ngx_stream_tb_mqtt_output_t *out, size_t size,
    size_t more, ngx_log_t *log)
{
    u_char                      *p;
    ngx_stream_tb_mqtt_piece_t  *piece;

    piece = out->open;

    /* what is of a buffer and what is of none are counted by piece */

    if (piece == NULL || piece->own
        || (size_t) (piece->buf.end - piece->buf.last) < size)
    {
        /* what follows are other packets, which get longer too */

        more = ngx_min(2 * more, NGX_STREAM_TB_MQTT_PIECE);

        piece = ngx_stream_tb_mqtt_piece(out, size + more, log);
        if (piece == NULL) {
            return NULL;
        }

        out->open = piece;
    }

    out->made = piece;

    p = piece->buf.last;
    piece->buf.last += size;

    return p;
}


ngx_int_t
ngx_stream_tb_mqtt_output_pass(ngx_stream_tb_mqtt_output_t *out, u_char *p,
    size_t n, ngx_log_t *log)
{
    ngx_stream_tb_mqtt_piece_t  *piece;

    piece = ngx_stream_tb_mqtt_piece(out, 0, log);
    if (piece == NULL) {
        return NGX_ERROR;
    }

    piece->buf.start = p;
    piece->buf.pos = p;
    piece->buf.last = p + n;
    piece->buf.end = p + n;

    out->open = NULL;
    out->made = piece;

    return NGX_OK;
}


void
ngx_stream_tb_mqtt_output_begin(ngx_stream_tb_mqtt_output_t *out)
{
    out->open = NULL;
    out->made = NULL;
}


void
ngx_stream_tb_mqtt_output_end(ngx_stream_tb_mqtt_output_t *out, ngx_buf_t *buf)
{
    if (out->made) {
        out->made->source = buf;
        out->made = NULL;

    } else {
        buf->pos = buf->last;
    }

    out->open = NULL;
}


ngx_int_t
ngx_stream_tb_mqtt_output_own(ngx_stream_tb_mqtt_output_t *out, u_char *p,
    size_t n, ngx_log_t *log)
{
    ngx_stream_tb_mqtt_piece_t  *piece;

    piece = out->open;

    if (piece == NULL || piece->own == 0
        || (size_t) (piece->buf.end - piece->buf.last) < n)
    {
        piece = ngx_stream_tb_mqtt_piece(out, n + NGX_STREAM_TB_MQTT_OWN, log);
        if (piece == NULL) {
            return NGX_ERROR;
        }

        /* what it takes, since it may never have more than these bytes */

        piece->own = sizeof(ngx_stream_tb_mqtt_piece_t)
                     + n + NGX_STREAM_TB_MQTT_OWN;

        out->own += piece->own;
        out->open = piece;
    }

    piece->buf.last = ngx_cpymem(piece->buf.last, p, n);

    return NGX_OK;
}


ngx_int_t
ngx_stream_tb_mqtt_output_send(ngx_stream_tb_mqtt_output_t *out,
    ngx_stream_session_t *s, ngx_uint_t from_upstream)
{
    ngx_int_t     rc;
    ngx_chain_t  *chain;

    chain = out->fresh ? &out->fresh->link : NULL;

    out->fresh = NULL;
    out->open = NULL;

    rc = ngx_stream_tb_mqtt_next_filter(s, chain, from_upstream);

    ngx_stream_tb_mqtt_output_sent(out);

    return rc;
}


ngx_int_t
ngx_stream_tb_mqtt_output_through(ngx_stream_tb_mqtt_output_t *out,
    ngx_stream_session_t *s, ngx_chain_t *chain, ngx_uint_t from_upstream)
{
    ngx_int_t  rc;

    rc = ngx_stream_tb_mqtt_next_filter(s, chain, from_upstream);

    if (out->first) {
        ngx_stream_tb_mqtt_output_sent(out);
    }

    return rc;
}


static void
ngx_stream_tb_mqtt_output_sent(ngx_stream_tb_mqtt_output_t *out)
{
    ngx_stream_tb_mqtt_piece_t  *piece;

    for ( ;; ) {
        piece = out->first;

        if (piece == NULL || ngx_buf_size(&piece->buf)) {
            return;
        }

        if (piece->source) {
            piece->source->pos = piece->source->last;
        }

        out->own -= piece->own;
        out->first = piece->next;

        if (out->first == NULL) {
            out->last = NULL;
        }

        ngx_free(piece);
    }
}


void
ngx_stream_tb_mqtt_output_free(ngx_stream_tb_mqtt_output_t *out)
{
    ngx_stream_tb_mqtt_piece_t  *piece;

    while (out->first) {
        piece = out->first;
        out->first = piece->next;

        ngx_free(piece);
    }

    ngx_memzero(out, sizeof(ngx_stream_tb_mqtt_output_t));
}
