
/*
 * The MQTT filter with a device and a broker that send anything, in pieces of
 * any size, to sides that read as slowly as they like.
 *
 * What comes out is the same as in one piece; it is packets; nothing but a
 * topic of the device itself reaches the broker, nothing but that the device;
 * and what a topic becomes at the broker is that topic again on its way back.
 *
 * fuzz: http, at most 4096 bytes
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "../../src/mqtt/ngx_stream_tb_mqtt.h"
#include "../../src/mqtt/ngx_stream_tb_mqtt_map.h"
#include "lib/fuzz.h"


#define ID      "784f394c-42b6-435a-983c-b7beff2784f9"
#define BUFFER  512                  /* of the proxy, small */
#define OUT     (1024 * 1024)


/* one direction, as ngx_stream_proxy_module and the write filter have it */

typedef struct {
    ngx_connection_t   dst;
    ngx_event_t        write;
    u_char             buffer[BUFFER];
    ngx_buf_t          bufs[BUFFER];
    ngx_uint_t         nbufs;
    u_char            *last;         /* of buffer, filled */
    ngx_chain_t       *chain;        /* given to the write filter, not sent */
    u_char            *out;
    size_t             len;
} fuzz_side_t;

typedef struct {
    uint64_t           seed;
    ngx_uint_t         version;
    ngx_uint_t         maps;
    unsigned           slow:1;
} fuzz_how_t;


static fuzz_side_t                fuzz_side[2];
static fuzz_how_t                 fuzz_how;
static ngx_pool_t                *fuzz_pool;
static ngx_log_t                  fuzz_mqtt_log;
static ngx_stream_tb_mqtt_map_t  *fuzz_map;

static ngx_stream_tb_mqtt_prefix_t  fuzz_prefixes[][3] = {
    { { ngx_string("v1/devices/me/"), ngx_string("v1/devices/$i/") },
      { ngx_string("v1/gateway/"), ngx_string("v1/gateways/$i/") },
      { ngx_string(""), ngx_string("v1/others/$i/") } },
    { { ngx_string("v1/devices/me/"), ngx_string("v1/devices/$i/") },
      { ngx_string("v1/devices/me/x/"), ngx_null_string },
      { ngx_string(""), ngx_string("o/$i/") } },
    { { ngx_string("v1/devices/me/"), ngx_string("d/$i/") },
      { ngx_string("v1/devices/me/a/long/way/to/there/and/much/more/than/that"
                   "/"), ngx_string("e/$i/") },
      { ngx_string(""), ngx_null_string } },
    { { ngx_string("a/"), ngx_string("x/y/$i/") },
      { ngx_string("a/b/"), ngx_string("x/z/$i/") },
      { ngx_string("b/"), ngx_string("x/w/$i/") } }
};


/* in the place of those of the login */

void
ngx_stream_tb_mqtt_connected(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_uint_t present)
{
}


void
ngx_stream_tb_mqtt_subscribed(ngx_stream_tb_mqtt_ctx_t *ctx)
{
}


static ngx_uint_t
fuzz_random(ngx_uint_t n)
{
    fuzz_how.seed = fuzz_how.seed * 6364136223846793005ULL
                    + 1442695040888963407ULL;

    return (fuzz_how.seed >> 33) % n;
}


/* takes all or, of a slow reader, some bytes at a time */

static ngx_int_t
fuzz_write(ngx_stream_session_t *s, ngx_chain_t *in, ngx_uint_t from)
{
    size_t         n;
    ngx_chain_t   *cl, **ll;
    fuzz_side_t   *side;

    side = &fuzz_side[from];

    for (ll = &side->chain; *ll; ll = &(*ll)->next) { /* void */ }

    for ( /* void */ ; in; in = in->next) {
        CHECK(ngx_buf_size(in->buf) || in->buf->last_buf);

        cl = malloc(sizeof(ngx_chain_t));
        cl->buf = in->buf;
        cl->next = NULL;
        *ll = cl;
        ll = &cl->next;
    }

    CHECK(side->chain);

    while (side->chain) {
        cl = side->chain;
        n = cl->buf->last - cl->buf->pos;

        if (n && fuzz_how.slow) {
            if (fuzz_random(4) == 0) {
                break;
            }

            n = 1 + fuzz_random(n);
        }

        CHECK(side->len + n <= OUT);

        if (n) {
            memcpy(side->out + side->len, cl->buf->pos, n);
        }

        side->len += n;
        cl->buf->pos += n;

        if (cl->buf->pos == cl->buf->last) {
            side->chain = cl->next;
            free(cl);
        }
    }

    side->dst.buffered = side->chain ? NGX_STREAM_WRITE_BUFFERED : 0;

    return side->chain ? NGX_AGAIN : NGX_OK;
}


/* what the proxy does when all that it has read is empty: it reads again */

static ngx_uint_t
fuzz_reset(fuzz_side_t *side)
{
    ngx_uint_t  i;

    for (i = 0; i < side->nbufs; i++) {
        CHECK(side->bufs[i].pos <= side->bufs[i].last);

        if (side->bufs[i].pos != side->bufs[i].last) {
            return 0;
        }
    }

    memset(side->buffer, 0xaa, BUFFER);
    side->nbufs = 0;
    side->last = side->buffer;

    return 1;
}


static ngx_int_t
fuzz_feed(ngx_stream_session_t *s, ngx_uint_t from, const uint8_t *data,
    size_t size)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_int_t     rc;
    ngx_chain_t   in;
    fuzz_side_t  *side;

    side = &fuzz_side[from];

    while (size) {

        /* the other reader reads, some time */

        while (!fuzz_reset(side) && side->last == side->buffer + BUFFER) {
            rc = ngx_stream_tb_mqtt_filter(s, NULL, from);
            if (rc == NGX_ERROR) {
                return NGX_ERROR;
            }
        }

        n = ngx_min(size, (size_t) (side->buffer + BUFFER - side->last));

        if (fuzz_how.slow) {
            n = 1 + fuzz_random(n);
        }

        memcpy(side->last, data, n);

        b = &side->bufs[side->nbufs++];
        memset(b, 0, sizeof(ngx_buf_t));
        b->pos = side->last;
        b->last = side->last + n;
        b->start = b->pos;
        b->end = b->last;
        b->temporary = 1;
        b->flush = 1;

        side->last += n;
        data += n;
        size -= n;

        in.buf = b;
        in.next = NULL;

        rc = ngx_stream_tb_mqtt_filter(s, &in, from);
        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
fuzz_greet(ngx_stream_session_t *s)
{
    static u_char  connect[] = "\x10\x11\0\x04MQTT\x04\xc2\0\x3c\0\0\0\1u\0\0";
    static u_char  connect5[] = "\x10\x12\0\x04MQTT\x05\xc2\0\x3c\0\0\0\0\1u\0"
                                "\0";
    static u_char  connect3[] = "\x10\x13\0\x06MQIsdp\x03\xc2\0\x3c\0\0\0\1u\0"
                                "\0";

    switch (fuzz_how.version) {

    case 3:
        (void) fuzz_feed(s, 0, connect3, sizeof(connect3) - 1);
        break;

    case 4:
        (void) fuzz_feed(s, 0, connect, sizeof(connect) - 1);
        break;

    case 5:
        (void) fuzz_feed(s, 0, connect5, sizeof(connect5) - 1);
        (void) fuzz_feed(s, 1, (u_char *) "\x20\x03\0\0\0", 5);
        return;

    default:
        return;
    }

    (void) fuzz_feed(s, 1, (u_char *) "\x20\x02\0\0", 4);
}


static ngx_stream_tb_mqtt_map_t *
fuzz_make_map(void)
{
    u_char                       *p;
    size_t                        k;
    ngx_str_t                     values[3];
    ngx_uint_t                    i, n;
    const char                   *error;
    ngx_stream_tb_mqtt_map_t     *map;
    ngx_stream_tb_mqtt_prefix_t  *prefix, which;

    n = sizeof(fuzz_prefixes) / sizeof(fuzz_prefixes[0]);
    prefix = fuzz_prefixes[fuzz_how.maps % n];

    CHECK(ngx_stream_tb_mqtt_map_check(prefix, 3, &which) == NULL);

    for (i = 0; i < 3; i++) {
        p = ngx_pnalloc(fuzz_pool, prefix[i].remote.len + sizeof(ID));
        values[i].data = p;

        for (k = 0; k < prefix[i].remote.len; k++) {
            if (prefix[i].remote.data[k] == '$') {
                p = ngx_cpymem(p, ID, sizeof(ID) - 1);
                k++;

            } else {
                *p++ = prefix[i].remote.data[k];
            }
        }

        values[i].len = p - values[i].data;
    }

    map = ngx_stream_tb_mqtt_map_create(fuzz_pool, prefix, values, 3, &error);
    CHECK(map);

    return map;
}


/* what the login lets in begins with CONNECT */

static ngx_uint_t
fuzz_let_in(const uint8_t *data, size_t size)
{
    if (fuzz_how.version) {
        return 1;
    }

    while (size > 1) {
        if (!(data[0] & 0x80)) {
            return data[1] == 0x10;
        }

        if (size - 1 < (size_t) (data[0] & 0x7f) + 1) {
            break;
        }

        size -= 2 + (data[0] & 0x7f);
        data += 2 + (data[0] & 0x7f);
    }

    return 0;
}


/* pieces: a byte with the side and how many bytes of it follow */

static void
fuzz_session(const uint8_t *data, size_t size)
{
    size_t                      n;
    void                       *contexts[1];
    ngx_uint_t                  i, from;
    ngx_chain_t                *cl;
    ngx_stream_session_t        s;
    ngx_stream_upstream_t       upstream;
    ngx_stream_tb_mqtt_ctx_t    ctx;

    fuzz_pool = ngx_create_pool(1024, &fuzz_mqtt_log);
    fuzz_map = fuzz_make_map();

    memset(&s, 0, sizeof(s));
    memset(&ctx, 0, sizeof(ctx));
    memset(&upstream, 0, sizeof(upstream));

    for (i = 0; i < 2; i++) {
        fuzz_side[i].len = 0;
        fuzz_side[i].chain = NULL;
        fuzz_side[i].nbufs = 0;
        fuzz_side[i].last = fuzz_side[i].buffer;
        fuzz_side[i].dst.buffered = 0;
        fuzz_side[i].dst.log = &fuzz_mqtt_log;
        fuzz_side[i].dst.pool = fuzz_pool;
        fuzz_side[i].dst.write = &fuzz_side[i].write;
        fuzz_side[i].write.active = 1;
    }

    contexts[0] = &ctx;
    s.ctx = contexts;
    s.connection = &fuzz_side[1].dst;
    s.upstream = &upstream;
    upstream.peer.connection = &fuzz_side[0].dst;

    ctx.session = &s;
    ngx_str_set(&ctx.device_id, ID);
    ngx_str_set(&ctx.username, "nginx");
    ngx_str_set(&ctx.password, "secret");
    ctx.map = fuzz_map;
    ctx.head_size = 1024;
    ctx.max_packet = fuzz_how.maps & 4 ? 2048 : 0;
    ctx.accepted = 1;

    fuzz_greet(&s);

    while (size > 1) {
        from = data[0] >> 7;
        n = ngx_min((size_t) (data[0] & 0x7f) + 1, size - 1);

        if (fuzz_feed(&s, from, data + 1, n) == NGX_ERROR) {
            break;
        }

        data += 1 + n;
        size -= 1 + n;
    }

    /* everybody reads what there is */

    for (i = 0; i < 2; i++) {
        while (fuzz_side[i].chain) {
            (void) fuzz_write(&s, NULL, i);
        }

        while (fuzz_side[i].chain) {
            cl = fuzz_side[i].chain;
            fuzz_side[i].chain = cl->next;
            free(cl);
        }
    }

    ngx_destroy_pool(fuzz_pool);
}


/* --- what came out, read in another way -------------------------------- */

typedef struct {
    u_char      *p;
    u_char      *last;
} fuzz_reader_t;


static ngx_uint_t
fuzz_number(fuzz_reader_t *r, ngx_uint_t bytes)
{
    ngx_uint_t  n;

    CHECK((size_t) (r->last - r->p) >= bytes);

    for (n = 0; bytes; bytes--) {
        n = n * 256 + *r->p++;
    }

    return n;
}


static ngx_uint_t
fuzz_varint(fuzz_reader_t *r)
{
    ngx_uint_t  n, shift, byte;

    n = 0;

    for (shift = 0; shift < 28; shift += 7) {
        byte = fuzz_number(r, 1);
        n |= (byte & 0x7f) << shift;

        if (byte < 0x80) {
            return n;
        }
    }

    CHECK(0);
    return 0;
}


static ngx_str_t
fuzz_string(fuzz_reader_t *r)
{
    ngx_str_t  s;

    s.len = fuzz_number(r, 2);
    CHECK((size_t) (r->last - r->p) >= s.len);
    s.data = r->p;
    r->p += s.len;

    return s;
}


/* a topic or filter at the broker is one of the device's */

static void
fuzz_own(ngx_str_t topic, ngx_uint_t filter)
{
    u_char                       *p, *start;
    ngx_uint_t                    i;
    ngx_stream_tb_mqtt_prefix_t  *prefix;

    start = topic.data;

    if (filter && topic.len > 7 && memcmp(start, "$share/", 7) == 0) {
        p = memchr(start + 7, '/', topic.len - 7);
        CHECK(p && p > start + 7);
        topic.len -= p + 1 - start;
        topic.data = p + 1;
    }

    for (i = 0; i < fuzz_map->n; i++) {
        prefix = &fuzz_map->prefix[i];

        if (prefix->remote.len && topic.len >= prefix->remote.len
            && memcmp(topic.data, prefix->remote.data, prefix->remote.len)
               == 0)
        {
            CHECK(memmem(topic.data, prefix->remote.len, ID "/",
                         sizeof(ID)) != NULL);
            CHECK(filter || topic.len > prefix->remote.len
                  || prefix->local.len);
            return;
        }
    }

    CHECK(0);
}


/* there and back again */

static void
fuzz_round_trip(ngx_str_t topic)
{
    u_char                      *p;
    ngx_str_t                    local;
    ngx_stream_tb_mqtt_topic_t   back, again;
    u_char                       text[65536];

    fuzz_own(topic, 0);

    CHECK(ngx_stream_tb_mqtt_map_back(fuzz_map, &topic, &back) == NGX_OK);

    p = ngx_cpymem(text, back.prefix.data, back.prefix.len);
    p = ngx_cpymem(p, back.rest.data, back.rest.len);
    local.data = text;
    local.len = p - text;

    CHECK(ngx_stream_tb_mqtt_map_topic(fuzz_map, &local, &again) == NGX_OK);
    CHECK(ngx_stream_tb_mqtt_topic_len(&again) == topic.len);
    CHECK(memcmp(again.prefix.data, topic.data, again.prefix.len) == 0);
    CHECK(again.rest.len == 0
          || memcmp(again.rest.data, topic.data + again.prefix.len,
                    again.rest.len) == 0);
}


static void
fuzz_props(fuzz_reader_t *r, ngx_uint_t broker)
{
    ngx_str_t       s;
    ngx_uint_t      id, n;
    fuzz_reader_t   props;

    n = fuzz_varint(r);
    CHECK(n <= (size_t) (r->last - r->p));

    props.p = r->p;
    props.last = r->p + n;
    r->p = props.last;

    while (props.p < props.last) {
        id = fuzz_number(&props, 1);

        switch (id) {

        case 0x01: case 0x17: case 0x19: case 0x24: case 0x25: case 0x28:
        case 0x29: case 0x2a:
            (void) fuzz_number(&props, 1);
            break;

        case 0x13: case 0x21: case 0x22: case 0x23:
            (void) fuzz_number(&props, 2);
            break;

        case 0x02: case 0x11: case 0x18: case 0x27:
            CHECK(fuzz_number(&props, 4) || id != 0x27);
            break;

        case 0x0b:
            (void) fuzz_varint(&props);
            break;

        case 0x26:
            (void) fuzz_string(&props);
            (void) fuzz_string(&props);
            break;

        default:
            s = fuzz_string(&props);

            if (id == 0x08 && !broker) {
                fuzz_round_trip(s);
            }
        }
    }
}


static void
fuzz_connect(fuzz_reader_t *r)
{
    ngx_str_t   s;
    ngx_uint_t  level, flags;

    (void) fuzz_string(r);
    level = fuzz_number(r, 1);
    flags = fuzz_number(r, 1);
    (void) fuzz_number(r, 2);

    if (level == 5) {
        fuzz_props(r, 0);
    }

    s = fuzz_string(r);
    CHECK(s.len == sizeof(ID) - 1 && memcmp(s.data, ID, s.len) == 0);

    if (flags & 0x04) {
        if (level == 5) {
            fuzz_props(r, 0);
        }

        fuzz_round_trip(fuzz_string(r));
        (void) fuzz_string(r);
    }

    CHECK((flags & 0xc0) == 0xc0);
    s = fuzz_string(r);
    CHECK(s.len == 5 && memcmp(s.data, "nginx", 5) == 0);
    s = fuzz_string(r);
    CHECK(s.len == 6 && memcmp(s.data, "secret", 6) == 0);
    CHECK(r->p == r->last);
}


/* packets to the broker, of which the last one may not be whole */

static void
fuzz_check_up(fuzz_side_t *side)
{
    ngx_uint_t      type, five, first, n;
    ngx_str_t       s;
    fuzz_reader_t   r, body;

    r.p = side->out;
    r.last = side->out + side->len;
    five = 0;

    while (r.p < r.last) {
        first = fuzz_number(&r, 1);
        type = first >> 4;
        n = fuzz_varint(&r);

        if (n > (size_t) (r.last - r.p)) {

            /* a payload that is under way */

            CHECK(type != 1 && type != 8 && type != 10);
            n = r.last - r.p;
        }

        body.p = r.p;
        body.last = r.p + n;
        r.p = body.last;

        switch (type) {

        case 1:
            five = body.p[6] == 5;
            fuzz_connect(&body);
            break;

        case 3:
            s = fuzz_string(&body);

            if (s.len) {
                fuzz_round_trip(s);

            } else {
                CHECK(five);
            }

            if (first & 0x06) {
                (void) fuzz_number(&body, 2);
            }

            if (five) {
                fuzz_props(&body, 0);
            }

            break;

        case 8:
        case 10:
            (void) fuzz_number(&body, 2);

            if (five) {
                fuzz_props(&body, 0);
            }

            CHECK(body.p < body.last);

            while (body.p < body.last) {
                fuzz_own(fuzz_string(&body), 1);

                if (type == 8) {
                    (void) fuzz_number(&body, 1);
                }
            }
        }
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_uint_t           i;
    static u_char       *out[2];
    static size_t        len[2];
    static ngx_cycle_t   cycle;

    if (size < 4) {
        return 0;
    }

    if (fuzz_side[0].out == NULL) {
        cycle.log = &fuzz_mqtt_log;
        ngx_cycle = &cycle;
        ngx_pagesize = 4096;
        ngx_cacheline_size = 64;

        ngx_stream_tb_mqtt_module.ctx_index = 0;
        ngx_stream_tb_mqtt_next_filter = fuzz_write;

        for (i = 0; i < 2; i++) {
            fuzz_side[i].out = malloc(OUT);
            out[i] = malloc(OUT);
        }
    }

    fuzz_how.version = (data[0] & 3) == 0 ? 0 : 2 + (data[0] & 3);
    fuzz_how.maps = data[1];

    if (!fuzz_let_in(data + 3, size - 3)) {
        return 0;
    }

    fuzz_how.slow = 0;
    fuzz_session(data + 3, size - 3);

    for (i = 0; i < 2; i++) {
        len[i] = fuzz_side[i].len;
        memcpy(out[i], fuzz_side[i].out, len[i]);
    }

    fuzz_pool = ngx_create_pool(1024, &fuzz_mqtt_log);
    fuzz_map = fuzz_make_map();
    fuzz_check_up(&fuzz_side[0]);
    ngx_destroy_pool(fuzz_pool);

    fuzz_how.seed = data[2];
    fuzz_how.slow = 1;
    fuzz_session(data + 3, size - 3);

    for (i = 0; i < 2; i++) {
        CHECK(len[i] == fuzz_side[i].len);
        CHECK(memcmp(out[i], fuzz_side[i].out, len[i]) == 0);
    }

    return 0;
}
