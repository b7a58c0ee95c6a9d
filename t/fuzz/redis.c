
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The whole client of Redis, whose connections are memory: a plain Redis, one
 * behind Sentinels, a cluster.  What they say is what a sound one would, or
 * that with some bytes changed, or anything; connections end, time passes,
 * commands come and go.  Each command ends once, and nothing is left behind.
 *
 * fuzz: http, at most 320 bytes
 */


#include "lib/http.h"

#include <ngx_event_connect.h>

#include "../../src/redis/ngx_tb_redis.h"
#include "../../src/store/ngx_http_tb_rpc_worker.h"


#define FUZZ_CONNS     32
#define FUZZ_COMMANDS  64


/* a connection, what was written to it and not replied to */

typedef struct {
    ngx_connection_t         *c;
    ngx_uint_t                number;
    size_t                    len;
    u_char                    out[8192];
} fuzz_conn_t;


typedef struct {
    ngx_tb_redis_command_t   *command;
    ngx_uint_t                ended;
} fuzz_command_t;


static ngx_tb_redis_conf_t    fuzz_confs[3];
static ngx_tb_redis_client_t  fuzz_client;
static fuzz_conn_t            fuzz_conns[FUZZ_CONNS];
static fuzz_command_t         fuzz_commands[FUZZ_COMMANDS];
static ngx_uint_t             fuzz_ncommands;
static ngx_uint_t             fuzz_refuse;
static ngx_uint_t             fuzz_sloppy;
static ngx_uint_t             fuzz_setups;
static ngx_str_t              fuzz_channels[] = {
    ngx_string("tb:{s000}:worker:a"),
    ngx_string("tb:{s001}:worker:a")
};

static const char  fuzz_server[] =
    "location / { tb_rpc v2; tb_rpc_auth off;"
    " tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    ngx_uint_t                    i;
    ngx_http_conf_ctx_t          *ctx;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    fuzz_http_init("username u; password p; command_timeout 3s; queue 24;",
                   fuzz_server);

    ctx = (ngx_http_conf_ctx_t *) ngx_cycle->conf_ctx[ngx_http_module.index];
    mcf = ctx->main_conf[ngx_http_tb_rpc_module.ctx_index];

    for (i = 0; i < 3; i++) {
        fuzz_confs[i] = *mcf->redis;
    }

    ngx_str_set(&fuzz_confs[1].sentinel, "mymaster");
    fuzz_confs[2].cluster = 1;

    return 0;
}


/* --- connections ---------------------------------------------------------- */

static ngx_chain_t *
fuzz_write(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
    size_t        n;
    ngx_uint_t    i;

    for (i = 0; i < FUZZ_CONNS && fuzz_conns[i].c != c; i++) { /* void */ }

    for ( /* void */ ; in; in = in->next) {
        n = in->buf->last - in->buf->pos;

        if (i < FUZZ_CONNS
            && fuzz_conns[i].len + n <= sizeof(fuzz_conns[i].out))
        {
            ngx_memcpy(fuzz_conns[i].out + fuzz_conns[i].len, in->buf->pos, n);
            fuzz_conns[i].len += n;
        }

        in->buf->pos = in->buf->last;
    }

    return NULL;
}


/* in the place of nginx's own */

ngx_int_t
ngx_event_connect_peer(ngx_peer_connection_t *pc)
{
    int                fd;
    ngx_uint_t         i;
    ngx_connection_t  *c;

    for (i = 0; i < FUZZ_CONNS && fuzz_conns[i].c; i++) { /* void */ }

    if (i == FUZZ_CONNS || fuzz_refuse) {
        return NGX_DECLINED;
    }

    /* that it can be closed is all it is for */
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd != -1);

    c = ngx_get_connection(fd, pc->log);
    CHECK(c != NULL);

    fuzz_connection(c);

    c->send_chain = fuzz_write;
    c->type = SOCK_STREAM;
    c->log = pc->log;
    c->read->log = pc->log;
    c->write->log = pc->log;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

    fuzz_conns[i].c = c;
    fuzz_conns[i].number = c->number;
    fuzz_conns[i].len = 0;
    pc->connection = c;

    return NGX_OK;
}


/* those that are still open keep their places */

static void
fuzz_closed(void)
{
    ngx_uint_t  i;

    for (i = 0; i < FUZZ_CONNS; i++) {
        if (fuzz_conns[i].c
            && (fuzz_conns[i].c->fd == (ngx_socket_t) -1
                || fuzz_conns[i].c->number != fuzz_conns[i].number))
        {
            fuzz_conns[i].c = NULL;
        }
    }
}


static void
fuzz_feed(fuzz_conn_t *conn, const uint8_t *data, size_t size)
{
    ngx_connection_t  *c;

    c = conn->c;

    fuzz_socket.in = fuzz_copy(data, size);
    fuzz_socket.in_len = size;

    c->read->ready = 1;
    c->read->handler(c->read);

    fuzz_socket.in_len = 0;
    fuzz_closed();
}


static ssize_t
fuzz_eof(ngx_connection_t *c, u_char *buf, size_t size)
{
    return 0;
}


/* --- what a sound one says ------------------------------------------------ */

static const char *
fuzz_says(const char *command, const char *argument)
{
    ngx_uint_t  i;

    static const struct {
        const char  *command;
        const char  *reply;
    } says[] = {
        { "PING", "+PONG\r\n" },
        { "INFO", "$56\r\n# Server\r\nrun_id:0123456789012345678901234567"
                  "890123456789\r\n\r\n" },
        { "ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n" },
        { "WAIT", ":1\r\n" },
        { "SENTINEL", "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n" },
        { "FCALL", "*2\r\n$2\r\nok\r\n:1\r\n" },
        { "GET", "$1\r\nx\r\n" },
        { "SLOTS", "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n"
                   ":6379\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1"
                   "\r\n:6380\r\n" },
        { "CLUSTER", "$48\r\ncluster_state:ok\r\ncluster_current_epoch:3\r\n"
                     "x:1\r\n\r\n" }
    };

    if (strcmp(argument, "SLOTS") == 0) {
        command = argument;
    }

    for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        if (strcmp(says[i].command, command) == 0) {
            return says[i].reply;
        }
    }

    return "+OK\r\n";
}


/* one argument behind p, as text; NULL: it is not all there */

static u_char *
fuzz_argument(u_char *p, u_char *last, char *text, size_t size)
{
    size_t  n, len;

    if (p >= last || *p != '$') {
        return NULL;
    }

    for (p++, len = 0; p < last && *p != '\r'; p++) {
        len = len * 10 + (*p - '0');
    }

    p += 2;

    if (p > last || (size_t) (last - p) < len + 2) {
        return NULL;
    }

    n = ngx_min(len, size - 1);
    ngx_memcpy(text, p, n);
    text[n] = '\0';

    return p + len + 2;
}


/* replies to what was written, and forgets that */

static size_t
fuzz_replies(fuzz_conn_t *conn, u_char *reply, size_t size)
{
    char         command[16], arg[64];
    size_t       n, len, argc, i;
    u_char      *p, *last, *next;
    const char  *says;

    n = 0;
    p = conn->out;
    last = p + conn->len;

    while (p < last && *p == '*') {

        for (next = p + 1, argc = 0; next < last && *next != '\r'; next++) {
            argc = argc * 10 + (*next - '0');
        }

        next = fuzz_argument(next + 2, last, command, sizeof(command));
        arg[0] = '\0';

        for (i = 1; next && i < argc; i++) {
            next = fuzz_argument(next, last, arg, sizeof(arg));

            if (next && strcmp(command, "SSUBSCRIBE") == 0
                && n + 100 < size)
            {
                n += snprintf((char *) reply + n, size - n,
                              "*3\r\n$10\r\nssubscribe\r\n$%d\r\n%s\r\n"
                              ":%d\r\n", (int) strlen(arg), arg, (int) i);
            }
        }

        if (next == NULL) {
            break;
        }

        p = next;

        if (strcmp(command, "SSUBSCRIBE") == 0) {
            continue;
        }

        says = fuzz_says(command, argc == 2 ? arg : "");
        len = strlen(says);

        if (n + len > size) {
            break;
        }

        ngx_memcpy(reply + n, says, len);
        n += len;
    }

    conn->len = 0;

    return n;
}


/* --- the client's handlers ------------------------------------------------ */

static void
fuzz_setup_reply(void *data, ngx_uint_t status, redisReply *reply)
{
    if (status != NGX_TB_REDIS_REPLY) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_node_refuse(data);

    } else {
        ngx_tb_redis_node_ready(data);
    }
}


static void
fuzz_setup(void *data, ngx_tb_redis_node_t *node)
{
    ngx_str_t  argv[2] = { ngx_string("GET"), ngx_string("tb:{s000}:meta") };

    fuzz_setups++;

    if (fuzz_sloppy) {
        ngx_tb_redis_node_ready(node);
        return;
    }

    if (ngx_tb_redis_node_command(node, argv, 2, 3000,
                                  NGX_TB_REDIS_SETUP|NGX_TB_REDIS_BACKGROUND,
                                  fuzz_setup_reply, node)
        == NULL)
    {
        ngx_tb_redis_node_refuse(node);
    }
}


static void
fuzz_message(void *data, ngx_str_t *channel, u_char *p, size_t len)
{
    size_t  i, sum;

    CHECK(channel->data == fuzz_channels[0].data
          || channel->data == fuzz_channels[1].data
          || channel->len == fuzz_channels[0].len);

    for (i = 0, sum = 0; i < len; i++) {
        sum += p[i];
    }

    CHECK(sum < 1000000);
}


static void
fuzz_subscribed(void *data)
{
    (void) ngx_tb_redis_channel_is_new(&fuzz_client, 0);
    (void) ngx_tb_redis_channel_node(&fuzz_client, 1);
}


static void
fuzz_gone(void *data, ngx_tb_redis_node_t *node)
{
    (void) ngx_tb_redis_node_addr(node);
}


static ngx_uint_t
fuzz_unchanged(redisReply *reply)
{
    return reply->type == REDIS_REPLY_NIL;
}


static void
fuzz_ended(void *data, ngx_uint_t status, redisReply *reply)
{
    fuzz_command_t *command = data;

    CHECK(status <= NGX_TB_REDIS_LOST);
    CHECK((status == NGX_TB_REDIS_REPLY) == (reply != NULL));
    CHECK(command->ended == 0);

    command->ended = 1;
    command->command = NULL;
}


/* --- what happens --------------------------------------------------------- */

static void
fuzz_issue(unsigned kind)
{
    ngx_str_t        argv[4];
    fuzz_command_t  *command;

    if (fuzz_ncommands == FUZZ_COMMANDS) {
        return;
    }

    ngx_str_set(&argv[0], "FCALL");
    ngx_str_set(&argv[1], "tb_rpc_get");
    ngx_str_set(&argv[2], "1");

    if (kind & 0x80) {
        ngx_str_set(&argv[3], "tb:{s000}:rpc:1");
    } else {
        ngx_str_set(&argv[3], "tb:{s001}:rpc:1");
    }

    command = &fuzz_commands[fuzz_ncommands];
    command->ended = 0;
    command->command = ngx_tb_redis_command(&fuzz_client, argv, 4,
                                            1 + (kind & 0x40) * 40,
                                            kind & 0x37 & ~NGX_TB_REDIS_SETUP,
                                            fuzz_ended, command);

    CHECK(command->ended == 0);

    if (command->command) {
        fuzz_ncommands++;
    }
}


static void
fuzz_detach(unsigned n)
{
    fuzz_command_t  *command;

    if (fuzz_ncommands == 0) {
        return;
    }

    command = &fuzz_commands[n % fuzz_ncommands];

    if (command->command) {
        (void) ngx_tb_redis_detach(command->command);
        command->command = NULL;
        command->ended = 1;
    }
}


static void
fuzz_turn(void)
{
    ngx_event_process_posted((ngx_cycle_t *) ngx_cycle, &ngx_posted_events);
    ngx_event_move_posted_next((ngx_cycle_t *) ngx_cycle);
    fuzz_closed();
}


/* op, and a byte; the number of bytes used beyond these */

static size_t
fuzz_step(unsigned op, unsigned arg, const uint8_t *data, size_t size)
{
    size_t        n;
    fuzz_conn_t  *conn;

    static u_char  reply[16384];

    conn = &fuzz_conns[arg % 8];

    switch (op % 8) {

    case 0:
    case 1:
        /* a sound reply, some bytes of which are others if it is 1 */

        if (conn->c == NULL) {
            return 0;
        }

        n = fuzz_replies(conn, reply, sizeof(reply));

        if (n && op % 8 == 1 && size >= 2) {
            reply[data[0] % n] ^= data[1];
            fuzz_feed(conn, reply, n);
            return 2;
        }

        if (n) {
            fuzz_feed(conn, reply, n);
        }

        return 0;

    case 2:
        /* anything */

        n = ngx_min(size, (size_t) (arg >> 3));

        if (conn->c && n) {
            fuzz_feed(conn, data, n);
        }

        return n;

    case 3:
        if (conn->c) {
            conn->c->recv = fuzz_eof;
            fuzz_feed(conn, data, 0);
        }

        return 0;

    case 4:
        ngx_current_msec += arg * 20;
        ngx_event_expire_timers();
        break;

    case 5:
        fuzz_issue(arg);
        return 0;

    case 6:
        fuzz_detach(arg);
        return 0;

    default:
        fuzz_refuse = arg & 1;
        fuzz_sloppy = arg & 2;
    }

    fuzz_turn();

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       n;
    ngx_uint_t   i, free;

    if (size < 2) {
        return 0;
    }

    free = ngx_cycle->free_connection_n;
    fuzz_ncommands = 0;
    fuzz_refuse = 0;
    fuzz_sloppy = 0;

    ngx_memzero(&fuzz_client, sizeof(ngx_tb_redis_client_t));

    fuzz_client.conf = &fuzz_confs[data[0] % 3];
    fuzz_client.conf->wait_replicas = (data[0] >> 4) & 1;
    fuzz_client.conf->wait_timeout = 100;
    fuzz_client.log = ngx_cycle->log;
    fuzz_client.pool = ngx_create_pool(1024, ngx_cycle->log);
    fuzz_client.setup = fuzz_setup;
    fuzz_client.message = fuzz_message;
    fuzz_client.subscribed = fuzz_subscribed;
    fuzz_client.gone = fuzz_gone;
    fuzz_client.unchanged = fuzz_unchanged;
    ngx_str_set(&fuzz_client.name, "fuzz");

    CHECK(ngx_array_init(&fuzz_client.channels, fuzz_client.pool, 2,
                         sizeof(ngx_str_t)) == NGX_OK);

    for (i = 0; i < 2; i++) {
        *(ngx_str_t *) ngx_array_push(&fuzz_client.channels)
            = fuzz_channels[i];
    }

    CHECK(ngx_tb_redis_client_init(&fuzz_client) == NGX_OK);
    fuzz_turn();

    data++;
    size--;

    while (size >= 2) {
        n = fuzz_step(data[0], data[1], data + 2, size - 2);

        if (data[0] & 0x80) {
            fuzz_turn();
        }

        data += 2 + n;
        size -= 2 + n;
    }

    ngx_tb_redis_client_close(&fuzz_client);
    fuzz_turn();
    fuzz_turn();

    /* each has ended; no timer, no connection, no posted event is left */

    for (i = 0; i < fuzz_ncommands; i++) {
        CHECK(fuzz_commands[i].ended);
    }

    CHECK(ngx_event_timer_rbtree.root == ngx_event_timer_rbtree.sentinel);
    CHECK(ngx_queue_empty(&ngx_posted_events));
    CHECK(ngx_queue_empty(&ngx_posted_next_events));
    CHECK(ngx_cycle->free_connection_n == free);

    ngx_destroy_pool(fuzz_client.pool);

    return 0;
}
