
/*
 * What Redis is asked for a login, and what it replies.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_login_redis.h"


#define NGX_HTTP_TB_RPC_LOGIN_KEY                                             \
    (NGX_HTTP_TB_RPC_KEY_LEN + NGX_HTTP_TB_RPC_LOGIN_MAX_NAME)


static ngx_int_t ngx_http_tb_rpc_login_send(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next);
static void ngx_http_tb_rpc_login_address(ngx_http_tb_rpc_login_t *login);
static void ngx_http_tb_rpc_login_end(ngx_http_tb_rpc_login_t *login,
    const char *function, const char *tail, ngx_str_t *id, ngx_uint_t failed);
static void ngx_http_tb_rpc_login_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_login_word(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t status, redisReply *reply, ngx_str_t *word, ngx_int_t *rc);


ngx_int_t
ngx_http_tb_rpc_login_fcall(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next)
{
    u_char  key[NGX_HTTP_TB_RPC_LOGIN_KEY];

    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, login->worker->conf,
                        NGX_HTTP_TB_RPC_NO_SHARD, "user:", &login->name);

    return ngx_http_tb_rpc_login_send(login, function, argv, n, next);
}


ngx_int_t
ngx_http_tb_rpc_login_fcall_address(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next)
{
    u_char     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t  id;

    ngx_http_tb_rpc_login_address(login);

    if (login->address_len == 0) {
        return NGX_DECLINED;
    }

    id.data = login->address;
    id.len = login->address_len;

    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, login->worker->conf,
                        NGX_HTTP_TB_RPC_NO_SHARD, "login:", &id);

    return ngx_http_tb_rpc_login_send(login, function, argv, n, next);
}


/* each is safe to repeat; no argument is logged, nor a key: it has the name */

static ngx_int_t
ngx_http_tb_rpc_login_send(ngx_http_tb_rpc_login_t *login,
    const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_http_tb_rpc_login_reply_pt next)
{
    ngx_uint_t                 flags;
    ngx_http_tb_rpc_worker_t  *w;

    w = login->worker;

    ngx_http_tb_rpc_fcall(argv, function);

    flags = NGX_TB_REDIS_REPEAT;

    if (login->writes) {
        flags |= NGX_TB_REDIS_REPLICATED;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, login->request->connection->log, 0,
                   "tb_rpc login: %s", function);

    login->ctx->redis_start = ngx_current_msec;

    login->next = next;
    login->command = ngx_tb_redis_command(&w->redis, argv,
                                          NGX_HTTP_TB_RPC_ARGS + n,
                                          w->conf->redis->command_timeout,
                                          flags, ngx_http_tb_rpc_login_reply,
                                          login);

    return login->command ? NGX_DONE
                          : ngx_http_tb_rpc_login_unavailable(login);
}


/*
 * Of IPv6 the first 64 bits: who has one address has all of these.  Behind a
 * UNIX socket there is none, unless realip has put one there.
 */

static void
ngx_http_tb_rpc_login_address(ngx_http_tb_rpc_login_t *login)
{
    u_char               *hex, *last;
    struct sockaddr      *sa;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    u_char               *p;
    struct sockaddr_in6  *sin6;
#endif

    sa = login->request->connection->sockaddr;

    hex = login->address;

    switch (sa->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        last = ngx_hex_dump(hex, (u_char *) &sin->sin_addr, 4);
        break;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;
        p = sin6->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            last = ngx_hex_dump(hex, p + 12, 4);

        } else {
            last = ngx_hex_dump(hex, p, NGX_HTTP_TB_RPC_ADDRESS_LEN / 2);
        }

        break;
#endif

    default:
        last = hex;
        break;
    }

    login->address_len = last - hex;
}


void
ngx_http_tb_rpc_login_end_tries(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t failed)
{
    ngx_str_t  id;

    if (login->address_open) {
        login->address_open = 0;

        id.data = login->address;
        id.len = login->address_len;

        ngx_http_tb_rpc_login_end(login, "tb_rpc_login_address_end", "login:",
                                  &id, failed);
    }

    if (login->name_open) {
        login->name_open = 0;

        ngx_http_tb_rpc_login_end(login, "tb_rpc_login_try_end", "user:",
                                  &login->name, failed);
    }
}


static void
ngx_http_tb_rpc_login_end(ngx_http_tb_rpc_login_t *login,
    const char *function, const char *tail, ngx_str_t *id, ngx_uint_t failed)
{
    u_char                     *p, key[NGX_HTTP_TB_RPC_LOGIN_KEY];
    u_char                      buf[2 * NGX_INT64_LEN];
    ngx_str_t                   argv[NGX_HTTP_TB_RPC_ARGS + 3], *arg;
    ngx_http_tb_rpc_worker_t   *w;

    w = login->worker;

    ngx_http_tb_rpc_fcall(argv, function);
    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf,
                        NGX_HTTP_TB_RPC_NO_SHARD, tail, id);

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = buf;
    p = ngx_sprintf(buf, "%ui", (id->data == login->address)
                                ? login->conf->address_failures
                                : login->conf->user_failures);
    arg[0].len = p - buf;

    arg[1].data = p;
    arg[1].len = ngx_sprintf(p, "%M", login->conf->window) - p;

    arg[2].data = (u_char *) (failed ? "1" : "0");
    arg[2].len = 1;

    (void) ngx_tb_redis_command(&w->redis, argv, NGX_HTTP_TB_RPC_ARGS + 3,
                                w->conf->redis->command_timeout,
                                NGX_TB_REDIS_BACKGROUND, NULL, NULL);
}


static void
ngx_http_tb_rpc_login_reply(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_login_t *login = data;

    ngx_int_t           rc;
    ngx_str_t           word;
    ngx_http_request_t  *r;

    r = login->request;

    login->command = NULL;

    ngx_http_set_log_request(r->connection->log, r);

    if (ngx_http_tb_rpc_login_word(login, status, reply, &word, &rc)
        == NGX_OK)
    {
        rc = login->next(login, reply, &word);
    }

    if (rc != NGX_DONE) {
        ngx_http_tb_rpc_finalize(r, rc);
    }
}


static ngx_int_t
ngx_http_tb_rpc_login_word(ngx_http_tb_rpc_login_t *login, ngx_uint_t status,
    redisReply *reply, ngx_str_t *word, ngx_int_t *rc)
{
    u_char                  text[NGX_TB_REDIS_TEXT];
    ngx_str_t               error;
    ngx_http_tb_rpc_ctx_t  *ctx;

    ctx = login->ctx;

    /* of all its commands, without delays and passwords between them */

    if (ctx->redis_time == (ngx_msec_t) -1) {
        ctx->redis_time = 0;
    }

    ctx->redis_time += ngx_current_msec - ctx->redis_start;

    if (status == NGX_TB_REDIS_LOST && login->writes) {
        *rc = ngx_http_tb_rpc_login_unknown(login);
        return NGX_DECLINED;
    }

    if (status != NGX_TB_REDIS_REPLY || reply == NULL) {
        *rc = ngx_http_tb_rpc_login_unavailable(login);
        return NGX_DECLINED;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_reply_text(reply, text, &error);

        ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                      "tb_rpc: Redis refused what a login needs: \"%V\"",
                      &error);

        *rc = ngx_http_tb_rpc_login_unavailable(login);
        return NGX_DECLINED;
    }

    ngx_str_null(word);

    if (reply->type == REDIS_REPLY_INTEGER
        || ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), word)
           == NGX_OK)
    {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, login->request->connection->log, 0,
                       "tb_rpc login: Redis says \"%V\" after %M ms", word,
                       ctx->redis_time);
        return NGX_OK;
    }

    *rc = ngx_http_tb_rpc_login_invalid(login);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_login_invalid(ngx_http_tb_rpc_login_t *login)
{
    ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                  "tb_rpc: invalid reply to a login");

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_tb_rpc_login_fields(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_uint_t n)
{
    u_char       id[NGX_HTTP_TB_RPC_UUID_LEN];
    ngx_str_t   *field, value;
    ngx_uint_t   i;

    field = (ngx_str_t *) &login->user;

    for (i = 0; i < NGX_HTTP_TB_RPC_USER_FIELDS; i++) {

        if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, n + i),
                                   &value)
            != NGX_OK)
        {
            return NGX_DECLINED;
        }

        if (value.len == 0) {
            continue;
        }

        if (ngx_http_tb_rpc_login_copy(login, &field[i], &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_tb_rpc_parse_uuid(id, &login->user.id) != NGX_OK
        || ngx_http_tb_rpc_parse_uuid(id, &login->user.tenant_id) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, login->request->connection->log, 0,
                      "tb_rpc: the record of a user in Redis is not valid; "
                      "put it again with \"tb-rpc-admin user\"");
        return NGX_DECLINED;
    }

    login->public = ngx_http_tb_rpc_word(&login->user.id,
                                         NGX_HTTP_TB_RPC_NULL_UUID);

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_login_copy(ngx_http_tb_rpc_login_t *login, ngx_str_t *dst,
    ngx_str_t *value)
{
    dst->data = ngx_pstrdup(login->request->pool, value);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = value->len;

    return NGX_OK;
}
