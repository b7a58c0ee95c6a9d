
/*
 * The HTTP transport of devices: whose token is in the path, and what is
 * asked for.  A token leads to a device by its SHA-256.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/evp.h>

#include "ngx_http_tb_rpc_cache.h"
#include "ngx_http_tb_rpc_device.h"


/* more of a token is hidden in another way */

#define NGX_HTTP_TB_RPC_TOKEN_LEN  255

#define NGX_HTTP_TB_RPC_DO_POLL    1
#define NGX_HTTP_TB_RPC_DO_ANSWER  2


/* the length is 0 for a token that is nobody's */

typedef struct {
    size_t                        len;
    u_char                        id[NGX_HTTP_TB_RPC_UUID_LEN];
} ngx_http_tb_rpc_token_t;


typedef struct {
    ngx_http_request_t           *request;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_worker_t     *worker;
    ngx_tb_redis_command_t       *command;
    ngx_http_cleanup_pt          *cleanup;

    ngx_uint_t                    op;
    int64_t                       value;        /* ms, or a requestId */
    u_char                        digest[EVP_MAX_MD_SIZE];
} ngx_http_tb_rpc_device_t;


static ngx_uint_t ngx_http_tb_rpc_device_op(ngx_http_request_t *r,
    ngx_str_t *token, ngx_str_t *id);
static ngx_int_t ngx_http_tb_rpc_device_refuse_method(ngx_http_request_t *r,
    ngx_uint_t op);
static ngx_int_t ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *id);
static ngx_int_t ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *token);
static void ngx_http_tb_rpc_device_mask(ngx_http_request_t *r,
    ngx_str_t *token);
static void ngx_http_tb_rpc_device_mask_path(ngx_str_t *text, u_char *token,
    size_t len);
static ngx_int_t ngx_http_tb_rpc_device_lookup(
    ngx_http_tb_rpc_device_t *device);
static void ngx_http_tb_rpc_device_cleanup(void *data);
static void ngx_http_tb_rpc_device_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_device_token(
    ngx_http_tb_rpc_device_t *device, ngx_uint_t status, redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_device_process(
    ngx_http_tb_rpc_device_t *device, ngx_http_tb_rpc_token_t *token);


ngx_http_tb_rpc_cache_t *
ngx_http_tb_rpc_tokens_create(ngx_pool_t *pool)
{
    return ngx_http_tb_rpc_cache_create(pool, sizeof(ngx_http_tb_rpc_token_t),
                                        16384, 4096);
}


ngx_int_t
ngx_http_tb_rpc_device_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_str_t                     token, id;
    ngx_uint_t                    op;
    ngx_http_tb_rpc_device_t     *device;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    op = ngx_http_tb_rpc_device_op(r, &token, &id);

    /* a copy of a request (mirror) must not take calls from the device */

    if (op == 0
        || r != r->main
        || (op == NGX_HTTP_TB_RPC_DO_POLL && r->method == NGX_HTTP_POST))
    {
        if (op) {
            ngx_http_tb_rpc_device_mask(r, &token);
        }

        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                          NGX_HTTP_TB_RPC_NOT_FOUND,
                                          "There is no such resource");
    }

    device = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_device_t));
    if (device == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    device->request = r;
    device->op = op;
    device->ctx = ngx_http_tb_rpc_get_ctx(r);
    device->worker = ngx_http_tb_rpc_worker(mcf);

    if (device->ctx == NULL || device->worker == NULL
        || ngx_http_tb_rpc_device_digest(r, device, &token) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the id stands behind the token, and stays as it is */

    ngx_http_tb_rpc_device_mask(r, &token);

    rc = ngx_http_tb_rpc_device_refuse_method(r, op);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_device_value(r, device, &id);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_tb_rpc_device_lookup(device);
}


/* .../{token}/rpc and .../{token}/rpc/{id}; 0: neither */

static ngx_uint_t
ngx_http_tb_rpc_device_op(ngx_http_request_t *r, ngx_str_t *token,
    ngx_str_t *id)
{
    u_char      *p, *first, *last;
    ngx_str_t    segment[3];
    ngx_uint_t   n;

    first = r->uri.data;
    last = first + r->uri.len;

    for (n = 0; n < 3; n++) {

        for (p = last; p > first && p[-1] != '/'; p--) { /* void */ }

        segment[n].data = p;
        segment[n].len = last - p;

        if (p == first) {
            return 0;
        }

        last = p - 1;
    }

    if (segment[0].len == 3 && ngx_memcmp(segment[0].data, "rpc", 3) == 0) {
        *token = segment[1];
        n = NGX_HTTP_TB_RPC_DO_POLL;

    } else if (segment[1].len == 3
               && ngx_memcmp(segment[1].data, "rpc", 3) == 0)
    {
        *token = segment[2];
        *id = segment[0];
        n = id->len ? NGX_HTTP_TB_RPC_DO_ANSWER : 0;

    } else {
        return 0;
    }

    return token->len ? n : 0;
}


static ngx_int_t
ngx_http_tb_rpc_device_refuse_method(ngx_http_request_t *r, ngx_uint_t op)
{
    static ngx_str_t  poll = ngx_string("GET, OPTIONS");
    static ngx_str_t  answer = ngx_string("POST, OPTIONS");

    /* no HEAD: it would take a call and not show it */

    if (r->method == (op == NGX_HTTP_TB_RPC_DO_POLL ? NGX_HTTP_GET
                                                 : NGX_HTTP_POST))
    {
        return NGX_DECLINED;
    }

    if (ngx_http_tb_rpc_add_header(r, "Allow", op == NGX_HTTP_TB_RPC_DO_POLL
                                                   ? &poll : &answer)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method == NGX_HTTP_OPTIONS) {
        return ngx_http_tb_rpc_send(r, NGX_HTTP_NO_CONTENT, NULL, NULL);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_ALLOWED,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Request method '%*s' is not supported",
                                      ngx_min(r->method_name.len, 32),
                                      r->method_name.data);
}


/* what else the request says: NGX_DECLINED, or it was refused */

static ngx_int_t
ngx_http_tb_rpc_device_value(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *id)
{
    ngx_int_t                    n;
    ngx_str_t                    value;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (device->op == NGX_HTTP_TB_RPC_DO_ANSWER) {

        n = (id->len <= 10) ? ngx_atoi(id->data, id->len) : NGX_ERROR;

        if (n == NGX_ERROR || n > 0x7fffffff) {
            return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                              NGX_HTTP_TB_RPC_BAD_REQUEST,
                                              "Invalid request id: %*s",
                                              ngx_min(id->len, 64), id->data);
        }

        device->value = n;

        return ngx_http_tb_rpc_device_too_large(r,
                                             r->headers_in.content_length_n);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    n = 0;

    if (ngx_http_arg(r, (u_char *) "timeout", 7, &value) == NGX_OK
        && value.len)
    {
        /* larger ones than fit are above the limit anyway */

        n = ngx_atoi(value.data, ngx_min(value.len, 9));

        if (n == NGX_ERROR
            || (value.len > 9
                && ngx_atoi(value.data + 9, ngx_min(value.len - 9, 9))
                   == NGX_ERROR))
        {
            return ngx_http_tb_rpc_send_error(r, NGX_HTTP_BAD_REQUEST,
                                              NGX_HTTP_TB_RPC_BAD_REQUEST,
                                              "Invalid timeout: %*s",
                                              ngx_min(value.len, 64),
                                              value.data);
        }

        if (value.len > 9) {
            n = NGX_HTTP_TB_RPC_POLL_MAX;
        }
    }

    device->value = n ? ngx_min(n, NGX_HTTP_TB_RPC_POLL_MAX)
                      : (ngx_int_t) lcf->poll_timeout;

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_tb_rpc_device_digest(ngx_http_request_t *r,
    ngx_http_tb_rpc_device_t *device, ngx_str_t *token)
{
    ngx_str_t  *key_id;

    if (EVP_Digest(token->data, token->len, device->digest, NULL,
                   EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    key_id = &device->ctx->key_id;

    key_id->data = ngx_pnalloc(r->pool, 16);
    if (key_id->data == NULL) {
        return NGX_ERROR;
    }

    key_id->len = ngx_hex_dump(key_id->data, device->digest, 8)
                  - key_id->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_device_key_id(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_str_t                  token, id;
    ngx_http_tb_rpc_ctx_t     *ctx;
    ngx_http_tb_rpc_device_t   device;

    device.ctx = ngx_http_tb_rpc_get_ctx(r);
    if (device.ctx == NULL) {
        return NGX_ERROR;
    }

    ctx = device.ctx;

    if (ctx->key_id.len == 0) {

        if (ngx_http_tb_rpc_device_op(r, &token, &id) == 0) {
            return NGX_DECLINED;
        }

        if (ngx_http_tb_rpc_device_digest(r, &device, &token) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    *value = ctx->key_id;

    return NGX_OK;
}


/*
 * Nobody who logs the request from now on shows the token.  The texts may be
 * parts of each other.
 */

static void
ngx_http_tb_rpc_device_mask(ngx_http_request_t *r, ngx_str_t *token)
{
    u_char  copy[NGX_HTTP_TB_RPC_TOKEN_LEN];
    size_t  len;

    len = ngx_min(token->len, NGX_HTTP_TB_RPC_TOKEN_LEN);

    ngx_memcpy(copy, token->data, len);
    ngx_memset(token->data, '*', token->len);

    ngx_http_tb_rpc_device_mask_path(&r->main->request_line, copy, len);
    ngx_http_tb_rpc_device_mask_path(&r->main->unparsed_uri, copy, len);
}


static void
ngx_http_tb_rpc_device_mask_path(ngx_str_t *text, u_char *token, size_t len)
{
    u_char      *p, *last, *path;
    ngx_uint_t   masked;

    last = text->data + text->len;

    for (path = text->data; path < last && *path != '/'; path++) {
        /* void */
    }

    masked = 0;

    for (p = path; p < last && *p != '?' && *p != ' '; p++) {

        if (*p != '/' || (size_t) (last - p) <= len + 1) {
            continue;
        }

        if (p[1] == '*') {
            masked = 1;

        } else if (p[len + 1] == '/' && ngx_memcmp(p + 1, token, len) == 0) {
            ngx_memset(p + 1, '*', len);
            masked = 1;
        }
    }

    if (masked) {
        return;
    }

    /* written in another way, with %XX: nothing of the path is left */

    for (p = path; p < last && *p != '?' && *p != ' '; p++) {
        if (*p != '/') {
            *p = '*';
        }
    }
}


static ngx_int_t
ngx_http_tb_rpc_device_lookup(ngx_http_tb_rpc_device_t *device)
{
    u_char                      *p;
    ngx_str_t                    argv[2];
    ngx_http_cleanup_t          *cln;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_token_t     *known;
    ngx_http_tb_rpc_worker_t    *w;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = device->request;
    w = device->worker;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api_key_cache) {
        known = ngx_http_tb_rpc_cache_get(w->tokens, device->digest,
                                          lcf->api_key_cache);
        if (known) {
            return ngx_http_tb_rpc_device_process(device, known);
        }
    }

    argv[1].len = w->conf->prefix.len + sizeof("token:") - 1
                  + 2 * NGX_HTTP_TB_RPC_SHA256_LEN;

    argv[1].data = ngx_pnalloc(r->pool, argv[1].len);
    cln = ngx_http_cleanup_add(r, 0);

    if (argv[1].data == NULL || cln == NULL
        || ngx_http_tb_rpc_watch(r) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(argv[1].data, w->conf->prefix.data, w->conf->prefix.len);
    p = ngx_cpymem(p, "token:", sizeof("token:") - 1);
    (void) ngx_hex_dump(p, device->digest, NGX_HTTP_TB_RPC_SHA256_LEN);

    ngx_str_set(&argv[0], "GET");

    device->command = ngx_tb_redis_command(&w->redis, argv, 2,
                                           w->conf->redis->command_timeout,
                                           NGX_TB_REDIS_REPEAT,
                                           ngx_http_tb_rpc_device_reply,
                                           device);
    if (device->command == NULL) {
        r->read_event_handler = ngx_http_block_reading;

        return ngx_http_tb_rpc_send_result(r, device->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    cln->handler = ngx_http_tb_rpc_device_cleanup;
    cln->data = device;
    device->cleanup = &cln->handler;

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_tb_rpc_device_cleanup(void *data)
{
    ngx_http_tb_rpc_device_t *device = data;

    (void) ngx_tb_redis_detach(device->command);
    device->command = NULL;
}


static void
ngx_http_tb_rpc_device_reply(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_http_tb_rpc_device_t *device = data;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = device->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    device->command = NULL;
    *device->cleanup = NULL;

    r->read_event_handler = ngx_http_block_reading;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else {
        rc = ngx_http_tb_rpc_device_token(device, status, reply);
    }

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_tb_rpc_device_token(ngx_http_tb_rpc_device_t *device,
    ngx_uint_t status, redisReply *reply)
{
    ngx_str_t                    id;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_token_t      token;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = device->request;

    if (status != NGX_TB_REDIS_REPLY || reply->type == REDIS_REPLY_ERROR) {

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "tb_rpc: Redis could not look up a device's token "
                          "by GET: \"%*s\"", ngx_min(reply->len, 128),
                          reply->str);
        }

        return ngx_http_tb_rpc_send_result(r, device->ctx,
                                           NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                           NULL);
    }

    ngx_memzero(&token, sizeof(ngx_http_tb_rpc_token_t));

    if (ngx_tb_redis_reply_str(reply, &id) == NGX_OK
        && ngx_http_tb_rpc_parse_uuid(token.id, &id) == NGX_OK)
    {
        token.len = NGX_HTTP_TB_RPC_UUID_LEN;

    } else if (reply->type != REDIS_REPLY_NIL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "tb_rpc: what Redis has for the token \"%V...\" is "
                      "not a device id; SET it again",
                      &device->ctx->key_id);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (lcf->api_key_cache) {
        ngx_http_tb_rpc_cache_put(device->worker->tokens, device->digest,
                                  &token, token.len ? 0 : 1);
    }

    return ngx_http_tb_rpc_device_process(device, &token);
}


static ngx_int_t
ngx_http_tb_rpc_device_process(ngx_http_tb_rpc_device_t *device,
    ngx_http_tb_rpc_token_t *token)
{
    ngx_str_t           *id;
    ngx_http_request_t  *r;

    r = device->request;

    if (token->len == 0) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: unauthorized: the token \"%V...\" is no "
                      "device's", &device->ctx->key_id);

        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_UNAUTHORIZED, NULL,
                                            NULL);
    }

    id = &device->ctx->device_id;

    id->data = ngx_pnalloc(r->pool, token->len);
    if (id->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(id->data, token->id, token->len);
    id->len = token->len;

    if (device->op == NGX_HTTP_TB_RPC_DO_ANSWER) {
        return ngx_http_tb_rpc_device_answer(r, device->ctx, device->value);
    }

    return ngx_http_tb_rpc_poll(r, device->ctx, device->worker,
                                (ngx_msec_t) device->value);
}
