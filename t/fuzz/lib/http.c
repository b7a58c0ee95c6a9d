
/*
 * Copyright (C) tb-rpc contributors.
 *
 * An nginx without a socket: see http.h.  All that is not nginx's own is here,
 * the reading and writing of a connection and the setting of events.
 */


#include "http.h"

#include <jansson.h>


/* of AddressSanitizer, where there is one */
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));

static ngx_int_t fuzz_event(ngx_event_t *ev, ngx_int_t event,
    ngx_uint_t flags);
static ssize_t fuzz_recv(ngx_connection_t *c, u_char *buf, size_t size);
static ssize_t fuzz_send(ngx_connection_t *c, u_char *buf, size_t size);
static ngx_chain_t *fuzz_send_chain(ngx_connection_t *c, ngx_chain_t *in,
    off_t limit);
static void fuzz_log(ngx_log_t *log, ngx_uint_t level, u_char *buf,
    size_t len);


fuzz_socket_t  fuzz_socket;

static ngx_log_t               fuzz_stderr;
static ngx_open_file_t         fuzz_stderr_file;
static ngx_cycle_t            *fuzz_cycle;
static ngx_connection_t       *fuzz_client;
static ngx_http_connection_t  *fuzz_hc;
static ngx_http_request_t     *fuzz_r;


static void
fuzz_die(const char *what)
{
    fprintf(stderr, "fuzzing cannot begin: %s\n", what);
    exit(1);
}


/* a file of that configuration, and a socket that nobody connects to */

static u_char *
fuzz_conf(const char *redis, const char *server)
{
    FILE         *f;
    static char   path[64];

    snprintf(path, sizeof(path), "/tmp/tb-rpc-fuzz.%d.conf", (int) getpid());

    f = fopen(path, "w");
    if (f == NULL) {
        fuzz_die(path);
    }

    fprintf(f, "daemon off; master_process off; pid /dev/null;\n"
               "error_log /dev/null info;\n"
               "events { worker_connections 128; }\n"
               "http { tb_rpc_max_held 64; access_log off; server_tokens off;\n"
               "client_body_temp_path /tmp;\n"
               "tb_rpc_redis { server redis://127.0.0.1:6379; %s }\n"
               "server { listen unix:%s.sock;\n%s } }\n",
            redis, path, server);
    fclose(f);

    return (u_char *) path;
}


static void
fuzz_cycle_init(const char *redis, const char *server)
{
    char         *argv[] = { "fuzz", NULL };
    ngx_cycle_t   init;

    fuzz_stderr_file.fd = STDERR_FILENO;
    fuzz_stderr.file = &fuzz_stderr_file;
    fuzz_stderr.log_level = NGX_LOG_WARN;

    if (ngx_strerror_init() != NGX_OK) {
        fuzz_die("strerror");
    }

    ngx_time_init();
    ngx_pid = ngx_getpid();
    ngx_argc = 1;
    ngx_argv = argv;
    ngx_os_argv = argv;

    ngx_ssl_init(&fuzz_stderr);

    ngx_memzero(&init, sizeof(ngx_cycle_t));
    init.log = &fuzz_stderr;
    ngx_cycle = &init;

    init.pool = ngx_create_pool(1024, &fuzz_stderr);
    init.conf_file.data = fuzz_conf(redis, server);
    init.conf_file.len = ngx_strlen(init.conf_file.data);
    ngx_str_set(&init.conf_prefix, "/tmp/");
    ngx_str_set(&init.prefix, "/tmp/");
    ngx_str_set(&init.error_log, "/dev/null");

    if (ngx_os_init(&fuzz_stderr) != NGX_OK
        || ngx_crc32_table_init() != NGX_OK)
    {
        fuzz_die("the system");
    }

    ngx_slab_sizes_init();

    if (ngx_preinit_modules() != NGX_OK) {
        fuzz_die("modules");
    }

    fuzz_cycle = ngx_init_cycle(&init);
    (void) unlink((char *) init.conf_file.data);

    if (fuzz_cycle == NULL) {
        fuzz_die("the configuration");
    }

    ngx_cycle = fuzz_cycle;
}


static void
fuzz_listening(void)
{
    ngx_uint_t        i;
    ngx_listening_t  *ls;

    ls = fuzz_cycle->listening.elts;

    for (i = 0; i < fuzz_cycle->listening.nelts; i++) {
        if (ls[i].sockaddr->sa_family == AF_UNIX) {
            (void) unlink((char *) ls[i].addr_text.data
                          + sizeof("unix:") - 1);
        }
    }
}


void
fuzz_http_init(const char *redis, const char *server)
{
    ngx_uint_t  i;

    /* what a process keeps until its end is no leak */

    if (__lsan_disable) {
        __lsan_disable();
    }

    fuzz_cycle_init(redis, server);
    fuzz_listening();

    ngx_process = NGX_PROCESS_SINGLE;
    ngx_use_stderr = 0;

    for (i = 0; fuzz_cycle->modules[i]; i++) {
        if (fuzz_cycle->modules[i] == &ngx_event_core_module
            && ngx_event_core_module.init_process(fuzz_cycle) != NGX_OK)
        {
            fuzz_die("events");
        }
    }

    /* from here on events are what the harness says they are */

    ngx_event_actions.add = fuzz_event;
    ngx_event_actions.del = fuzz_event;
    ngx_event_actions.enable = fuzz_event;
    ngx_event_actions.disable = fuzz_event;
    ngx_event_flags = NGX_USE_CLEAR_EVENT;
    ngx_use_accept_mutex = 0;

    /* messages are made, and go nowhere */

    fuzz_cycle->log->writer = fuzz_log;
    fuzz_cycle->new_log.writer = fuzz_log;

    if (getenv("FUZZ_QUIET")) {
        fuzz_cycle->log->log_level = NGX_LOG_ALERT;
        fuzz_cycle->new_log.log_level = NGX_LOG_ALERT;
    }

    fuzz_client = ngx_get_connection(STDIN_FILENO, fuzz_cycle->log);
    fuzz_client->pool = ngx_create_pool(1024, fuzz_cycle->log);
    fuzz_client->listening = fuzz_cycle->listening.elts;
    fuzz_client->sockaddr = fuzz_client->listening->sockaddr;
    fuzz_client->socklen = fuzz_client->listening->socklen;
    fuzz_client->local_sockaddr = fuzz_client->listening->sockaddr;
    fuzz_client->local_socklen = fuzz_client->listening->socklen;
    ngx_str_set(&fuzz_client->addr_text, "unix:");

    fuzz_connection(fuzz_client);

    fuzz_client->log = ngx_palloc(fuzz_client->pool, sizeof(ngx_log_t));
    *fuzz_client->log = *fuzz_cycle->log;
    fuzz_client->read->log = fuzz_client->log;
    fuzz_client->write->log = fuzz_client->log;

    ngx_http_init_connection(fuzz_client);
    fuzz_hc = fuzz_client->data;

    /* nobody waits for its first byte */
    if (fuzz_client->read->timer_set) {
        ngx_del_timer(fuzz_client->read);
    }

    fuzz_client->buffer = ngx_create_temp_buf(fuzz_client->pool, 1024);

    if (__lsan_enable) {
        __lsan_enable();
    }
}


void
fuzz_connection(ngx_connection_t *c)
{
    c->recv = fuzz_recv;
    c->send = fuzz_send;
    c->send_chain = fuzz_send_chain;
    c->write->ready = 1;
}


static ngx_int_t
fuzz_event(ngx_event_t *ev, ngx_int_t event, ngx_uint_t flags)
{
    return NGX_OK;
}


static ssize_t
fuzz_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    if (fuzz_socket.in_len == 0) {
        c->read->ready = 0;
        return NGX_AGAIN;
    }

    size = ngx_min(size, fuzz_socket.in_len);
    ngx_memcpy(buf, fuzz_socket.in, size);

    fuzz_socket.in += size;
    fuzz_socket.in_len -= size;

    return size;
}


static ssize_t
fuzz_send(ngx_connection_t *c, u_char *buf, size_t size)
{
    size_t  n;

    n = ngx_min(size, sizeof(fuzz_socket.out) - fuzz_socket.out_len);
    ngx_memcpy(fuzz_socket.out + fuzz_socket.out_len, buf, n);

    fuzz_socket.out_len += n;
    c->sent += size;

    return size;
}


static ngx_chain_t *
fuzz_send_chain(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
    for ( /* void */ ; in; in = in->next) {

        if (ngx_buf_special(in->buf)) {
            continue;
        }

        (void) fuzz_send(c, in->buf->pos, in->buf->last - in->buf->pos);
        in->buf->pos = in->buf->last;
    }

    return NULL;
}


static void
fuzz_log(ngx_log_t *log, ngx_uint_t level, u_char *buf, size_t len)
{
    if (level <= NGX_LOG_ALERT) {
        fprintf(stderr, "nginx says: %.*s\n", (int) len, buf);
        abort();
    }
}


static void **
fuzz_find(ngx_http_location_tree_node_t *node, const char *name)
{
    void  **found;

    if (node == NULL) {
        return NULL;
    }

    if (node->inclusive
        && ngx_strcmp(node->inclusive->name.data, name) == 0)
    {
        return node->inclusive->loc_conf;
    }

    found = fuzz_find(node->left, name);

    if (found == NULL) {
        found = fuzz_find(node->right, name);
    }

    return found ? found : fuzz_find(node->tree, name);
}


void **
fuzz_location(const char *name)
{
    void                      **found;
    ngx_http_core_loc_conf_t   *clcf;

    clcf = fuzz_hc->conf_ctx->loc_conf[ngx_http_core_module.ctx_index];

    found = fuzz_find(clcf->static_locations, name);
    if (found == NULL) {
        fuzz_die(name);
    }

    return found;
}


ngx_http_request_t *
fuzz_request(void **location)
{
    ngx_http_request_t  *r;

    fuzz_socket.out_len = 0;
    fuzz_socket.in_len = 0;

    fuzz_client->data = fuzz_hc;
    fuzz_client->buffer->pos = fuzz_client->buffer->start;
    fuzz_client->buffer->last = fuzz_client->buffer->start;

    r = ngx_http_create_request(fuzz_client);
    if (r == NULL) {
        fuzz_die("a request");
    }

    fuzz_client->data = r;
    fuzz_r = r;

    /* one is ours: whoever finalizes it does not free it */
    r->count++;

    r->loc_conf = location;
    r->http_version = NGX_HTTP_VERSION_11;
    r->header_only = 0;
    ngx_str_set(&r->http_protocol, "HTTP/1.1");
    ngx_str_set(&r->request_line, "POST / HTTP/1.1");
    ngx_str_set(&r->method_name, "POST");
    r->method = NGX_HTTP_POST;

    (void) ngx_list_init(&r->headers_in.headers, r->pool, 4,
                         sizeof(ngx_table_elt_t));

    return r;
}


void
fuzz_request_free(ngx_http_request_t *r)
{
    ngx_http_free_request(r, 0);
    fuzz_client->destroyed = 0;
}


void
fuzz_body(ngx_http_request_t *r, u_char *data, size_t size, unsigned cuts)
{
    size_t         n, at;
    ngx_buf_t     *b;
    ngx_chain_t   *cl, **last;

    r->request_body = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));
    r->headers_in.content_length_n = size;
    last = &r->request_body->bufs;

    for (at = 0; at < size; at += n, cuts >>= 1) {
        n = (cuts && size - at > 1) ? (size - at) / 2 : size - at;

        cl = ngx_alloc_chain_link(r->pool);
        b = ngx_calloc_buf(r->pool);

        /* each in memory of its own */

        b->start = ngx_pnalloc(r->pool, n);
        b->pos = b->start;
        b->last = ngx_cpymem(b->pos, data + at, n);
        b->end = b->last;
        b->temporary = 1;

        cl->buf = b;
        cl->next = NULL;
        *last = cl;
        last = &cl->next;
    }
}


ngx_uint_t
fuzz_answer(ngx_uint_t wanted)
{
    long          status, len;
    char         *head, *end, *p;
    size_t        left;
    json_t       *json;
    ngx_uint_t    is_json;

    if (fuzz_socket.out_len == 0) {
        return 0;
    }

    CHECK(fuzz_socket.out_len < sizeof(fuzz_socket.out));

    fuzz_socket.out[fuzz_socket.out_len] = '\0';
    head = (char *) fuzz_socket.out;

    CHECK(strncmp(head, "HTTP/1.1 ", 9) == 0);

    status = strtol(head + 9, NULL, 10);
    CHECK(status >= 200 && status <= 599);

    if (wanted) {
        CHECK((ngx_uint_t) status == wanted);

    } else {
        CHECK(status != 500);
    }

    end = strstr(head, "\r\n\r\n");
    CHECK(end != NULL);

    left = fuzz_socket.out_len - (end + 4 - head);
    *end = '\0';

    p = strstr(head, "\r\nContent-Length: ");
    if (p == NULL) {
        return status;
    }

    len = strtol(p + sizeof("\r\nContent-Length: ") - 1, NULL, 10);
    CHECK(len >= 0);

    if (fuzz_r->method == NGX_HTTP_HEAD) {
        CHECK(left == 0);
        return status;
    }

    CHECK((size_t) len == left);

    is_json = strstr(head, "\r\nContent-Type: application/json") != NULL;

    if (is_json) {
        json = json_loadb(end + 4, left, JSON_DECODE_ANY
                                         |JSON_DECODE_INT_AS_REAL
                                         |JSON_REJECT_DUPLICATES, NULL);
        CHECK(json != NULL);
        json_decref(json);
    }

    return status;
}


/* nginx compares methods by words of four bytes: its buffers are never full */

ngx_int_t
fuzz_line(ngx_http_request_t *r, const uint8_t *data, size_t size)
{
    ngx_buf_t  b;

    static u_char  line[4096];

    CHECK(size + 8 <= sizeof(line));

    ngx_memcpy(line, data, size);
    ngx_memzero(line + size, 8);

    ngx_memzero(&b, sizeof(ngx_buf_t));
    b.start = fuzz_copy(line, size + 8);
    b.pos = b.start;
    b.last = b.start + size;
    b.end = b.last + 8;

    r->method = 0;
    r->http_version = 0;

    if (ngx_http_parse_request_line(r, &b) != NGX_OK
        || r->uri_start == NULL
        || ngx_http_process_request_uri(r) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    r->http_version = NGX_HTTP_VERSION_11;
    r->method_name.len = r->method_end - r->request_start + 1;
    r->method_name.data = r->request_start;
    r->request_line.data = r->request_start;
    r->request_line.len = r->request_end - r->request_start;

    return NGX_OK;
}


ngx_str_t
fuzz_str(const uint8_t *data, size_t size)
{
    ngx_str_t  str;

    str.data = fuzz_copy(data, size);
    str.len = size;

    return str;
}
