
/*
 * The command that creates a call.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/sha.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_call.h"
#include "ngx_http_tb_rpc_held.h"


/*
 * FCALL tb_rpc_create, as it is sent: behind the key stand the arguments of
 * src/functions/create_args.lua, in its order from a[1] on
 */

typedef struct {
    ngx_str_t                     fcall[NGX_HTTP_TB_RPC_ARGS];
    ngx_str_t                     rpc_id;
    ngx_str_t                     reply_to;
    ngx_str_t                     oneway;
    ngx_str_t                     persistent;
    ngx_str_t                     tenant;
    ngx_str_t                     customer;
    ngx_str_t                     method;
    ngx_str_t                     params;
    ngx_str_t                     additional_info;
    ngx_str_t                     retries;
    ngx_str_t                     timeout;
    ngx_str_t                     expiration;
    ngx_str_t                     max_hold;
    ngx_str_t                     offline;
    ngx_str_t                     request_uuid;
    ngx_str_t                     hash;
    ngx_str_t                     traceparent;
} ngx_http_tb_rpc_create_args_t;


static void ngx_http_tb_rpc_create_caller(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args);
static void ngx_http_tb_rpc_create_call(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args, u_char *buf, u_char *last);
static u_char *ngx_http_tb_rpc_create_numbers(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args, u_char *buf, u_char *last);
static void ngx_http_tb_rpc_hash_call(ngx_http_tb_rpc_call_t *call,
    u_char *dst);


ngx_int_t
ngx_http_tb_rpc_create(ngx_http_tb_rpc_held_t *held,
    ngx_tb_redis_reply_pt handler)
{
    u_char                          key[NGX_HTTP_TB_RPC_KEY_LEN], buf[256];
    ngx_str_t                      *argv;
    ngx_uint_t                      argc, flags;
    ngx_http_tb_rpc_ctx_t          *ctx;
    ngx_http_tb_rpc_worker_t       *w;
    ngx_http_tb_rpc_create_args_t   args;

    w = held->worker;
    ctx = held->ctx;

    ngx_memzero(&args, sizeof(ngx_http_tb_rpc_create_args_t));

    ngx_http_tb_rpc_fcall(args.fcall, "tb_rpc_create");
    ngx_http_tb_rpc_key(&args.fcall[NGX_HTTP_TB_RPC_KEY], key, w->conf,
                        held->shard, "device:", &ctx->device_id);

    ngx_http_tb_rpc_create_caller(held, &args);
    ngx_http_tb_rpc_create_call(held, &args, buf, buf + sizeof(buf));

    /* those empty at the end are left out */

    argv = (ngx_str_t *) &args;
    argc = sizeof(ngx_http_tb_rpc_create_args_t) / sizeof(ngx_str_t);

    while (argv[argc - 1].len == 0) {
        argc--;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, held->request->connection->log, 0,
                   "tb_rpc call %V: device %V, shard %ui, persistent:%d",
                   &ctx->rpc_id, &ctx->device_id, held->shard,
                   (int) ctx->call->persistent);

    flags = ctx->call->persistent ? NGX_TB_REDIS_REPEAT
                                    |NGX_TB_REDIS_REPLICATED
                                  : NGX_TB_REDIS_SUBSCRIBED;

    ctx->redis_start = ngx_current_msec;

    held->command = ngx_tb_redis_command(&w->redis, argv, argc,
                                         w->conf->redis->command_timeout,
                                         flags, handler, held);

    return held->command ? NGX_OK : NGX_DECLINED;
}


static void
ngx_http_tb_rpc_create_caller(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args)
{
    ngx_http_tb_rpc_worker_t    *w;
    ngx_http_tb_rpc_identity_t  *id;

    w = held->worker;
    id = held->ctx->identity;

    args->rpc_id = held->ctx->rpc_id;

    if (!held->ctx->call->persistent) {
        args->reply_to.data = w->name;
        args->reply_to.len = sizeof(w->name);
    }

    args->tenant = id->tenant_id;

    if (id->authority == NGX_HTTP_TB_RPC_CUSTOMER_USER) {
        args->customer = id->customer_id;

    } else {
        ngx_str_set(&args->customer, "*");
    }
}


static void
ngx_http_tb_rpc_create_call(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args, u_char *buf, u_char *last)
{
    ngx_http_tb_rpc_call_t      *call;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  flags[] = { ngx_string("0"), ngx_string("1") };

    call = held->ctx->call;

    lcf = ngx_http_get_module_loc_conf(held->request, ngx_http_tb_rpc_module);

    args->oneway = flags[call->oneway];
    args->persistent = flags[call->persistent];

    args->method = call->method;
    args->params = call->params;
    args->additional_info = call->additional_info;

    buf = ngx_http_tb_rpc_create_numbers(held, args, buf, last);

    /* a persistent call waits for its device */

    if (!call->persistent
        && lcf->call.offline == NGX_HTTP_TB_RPC_OFFLINE_REJECT)
    {
        ngx_str_set(&args->offline, "reject");
    }

    if (call->persistent && call->request_uuid.len) {
        args->request_uuid = call->request_uuid;
        args->hash.data = buf;
        args->hash.len = 2 * SHA256_DIGEST_LENGTH;
        ngx_http_tb_rpc_hash_call(call, buf);
        buf += args->hash.len;
    }

    if (ngx_http_tb_rpc_traceparent(held->request, buf) == NGX_OK) {
        args->traceparent.data = buf;
        args->traceparent.len = TB_RPC_TRACEPARENT_LEN;
    }
}


static u_char *
ngx_http_tb_rpc_create_numbers(ngx_http_tb_rpc_held_t *held,
    ngx_http_tb_rpc_create_args_t *args, u_char *buf, u_char *last)
{
    ngx_http_tb_rpc_call_t      *call;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    call = held->ctx->call;

    lcf = ngx_http_get_module_loc_conf(held->request, ngx_http_tb_rpc_module);

    if (call->retries >= 0) {
        args->retries.data = buf;
        buf = ngx_slprintf(buf, last, "%L", call->retries);
        args->retries.len = buf - args->retries.data;
    }

    if (call->expiration < 0) {
        args->timeout.data = buf;
        buf = ngx_slprintf(buf, last, "%L", call->timeout);
        args->timeout.len = buf - args->timeout.data;

    } else {
        args->expiration.data = buf;
        buf = ngx_slprintf(buf, last, "%L", call->expiration);
        args->expiration.len = buf - args->expiration.data;
    }

    if (!call->persistent) {
        args->max_hold.data = buf;
        buf = ngx_slprintf(buf, last, "%M", lcf->call.max_timeout);
        args->max_hold.len = buf - args->max_hold.data;
    }

    return buf;
}


/* what makes two calls with one requestUUID the same call */

static void
ngx_http_tb_rpc_hash_call(ngx_http_tb_rpc_call_t *call, u_char *dst)
{
    size_t       len;
    u_char      *p, digest[4][SHA256_DIGEST_LENGTH], text[128];
    ngx_uint_t   i;

    /* each text by its own digest: no two lists of texts look alike */

    (void) SHA256(call->method.data, call->method.len, digest[0]);
    (void) SHA256(call->params.data, call->params.len, digest[1]);
    (void) SHA256(call->additional_info.data, call->additional_info.len,
                  digest[2]);

    len = ngx_snprintf(text, sizeof(text), "%d %L %L %L", (int) call->oneway,
                       call->retries, call->sent_timeout, call->expiration)
          - text;

    (void) SHA256(text, len, digest[3]);
    (void) SHA256((u_char *) digest, sizeof(digest), digest[0]);

    for (p = dst, i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        p = ngx_hex_dump(p, &digest[0][i], 1);
    }
}
