
/*
 * A try to log in: it is counted before it is looked at, it waits if there were
 * others before it, and its password is compared.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/crypto.h>

#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_login_job.h"
#include "ngx_http_tb_rpc_login_redis.h"
#include "ngx_http_tb_rpc_login_request.h"


static ngx_int_t ngx_http_tb_rpc_login_address(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_try_name(
    ngx_http_tb_rpc_login_t *login);
static ngx_int_t ngx_http_tb_rpc_login_tried(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_known(ngx_http_tb_rpc_login_t *login,
    redisReply *reply);
static void ngx_http_tb_rpc_login_delayed(ngx_event_t *ev);
static ngx_int_t ngx_http_tb_rpc_login_is_locked(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);


ngx_int_t
ngx_http_tb_rpc_login_try(ngx_http_tb_rpc_login_t *login)
{
    u_char     *p, buf[2 * NGX_INT64_LEN];
    ngx_int_t   rc;
    ngx_str_t   argv[NGX_HTTP_TB_RPC_ARGS + 2], *arg;

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_PASSWORD
        && login->password.len == login->new_password.len
        && CRYPTO_memcmp(login->password.data, login->new_password.data,
                         login->password.len)
           == 0)
    {
        return ngx_http_tb_rpc_send_error(login->request,
                                          NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "New password should be different "
                                          "from existing!");
    }

    /* rather than have it counted for nothing */

    if (login->op != NGX_HTTP_TB_RPC_LOGIN_PUBLIC
        && ngx_http_tb_rpc_login_is_full(login))
    {
        return ngx_http_tb_rpc_login_busy(login, NGX_HTTP_TB_RPC_ENDED_BUSY);
    }

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = buf;
    p = ngx_sprintf(buf, "%ui", login->conf->address_failures);
    arg[0].len = p - buf;

    arg[1].data = p;
    arg[1].len = ngx_sprintf(p, "%M", login->conf->window) - p;

    rc = ngx_http_tb_rpc_login_fcall_address(login, "tb_rpc_login_address",
                                          argv, 2,
                                          ngx_http_tb_rpc_login_address);

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_login_try_name(login);
    }

    /* whether there is a reply or not, unless that says another thing */

    login->address_open = (rc == NGX_DONE);

    return rc;
}


static ngx_int_t
ngx_http_tb_rpc_login_address(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    if (!ngx_http_tb_rpc_word(word, "ok")) {
        login->address_open = 0;
        return ngx_http_tb_rpc_login_is_locked(login, reply, word);
    }

    /* an address that is locked locks no names */

    return ngx_http_tb_rpc_login_try_name(login);
}


static ngx_int_t
ngx_http_tb_rpc_login_try_name(ngx_http_tb_rpc_login_t *login)
{
    u_char                        *p, buf[4 * NGX_INT64_LEN];
    ngx_int_t                      rc;
    ngx_str_t                      argv[NGX_HTTP_TB_RPC_ARGS + 4], *arg;
    ngx_http_tb_rpc_login_conf_t  *conf;

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_PUBLIC) {
        return ngx_http_tb_rpc_login_public(login);
    }

    conf = login->conf;
    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = buf;
    p = ngx_sprintf(buf, "%ui", conf->user_failures);
    arg[0].len = p - buf;

    arg[1].data = p;
    p = ngx_sprintf(p, "%M", conf->window);
    arg[1].len = p - arg[1].data;

    arg[2].data = p;
    p = ngx_sprintf(p, "%M", conf->delay);
    arg[2].len = p - arg[2].data;

    arg[3].data = p;
    arg[3].len = ngx_sprintf(p, "%M", conf->max_delay) - p;

    rc = ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_try", argv, 4,
                                     ngx_http_tb_rpc_login_tried);

    login->name_open = (rc == NGX_DONE);

    return rc;
}


static ngx_int_t
ngx_http_tb_rpc_login_tried(ngx_http_tb_rpc_login_t *login, redisReply *reply,
    ngx_str_t *word)
{
    int64_t  delay;

    if (!ngx_http_tb_rpc_word(word, "ok")
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &delay)
           != NGX_OK)
    {
        login->name_open = 0;
        return ngx_http_tb_rpc_login_is_locked(login, reply, word);
    }

    if (reply->elements > 2
        && ngx_http_tb_rpc_login_known(login, reply) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_PASSWORD && login->user.id.len
        && !ngx_http_tb_rpc_login_is_bearer(login))
    {
        return ngx_http_tb_rpc_login_inactive(login);
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, login->request->connection->log, 0,
                   "tb_rpc login: after %L ms", delay);

    if (delay <= 0) {
        return ngx_http_tb_rpc_login_compute(login);
    }

    /* the right password waits as long: nothing is learnt by leaving early */

    login->timer.handler = ngx_http_tb_rpc_login_delayed;
    ngx_add_timer(&login->timer,
                  ngx_min((ngx_msec_t) delay, login->conf->max_delay));

    return NGX_DONE;
}


static ngx_int_t
ngx_http_tb_rpc_login_known(ngx_http_tb_rpc_login_t *login, redisReply *reply)
{
    ngx_int_t  rc;
    ngx_str_t  hash, enabled, password;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 2), &hash)
            != NGX_OK
        || ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 3),
                                  &enabled)
           != NGX_OK
        || ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 4),
                                  &password)
           != NGX_OK)
    {
        return NGX_OK;
    }

    rc = ngx_http_tb_rpc_login_fields(login, reply, 5);

    if (rc != NGX_OK) {

        /* as if there was nobody, and with as much work */

        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    login->enabled = ngx_http_tb_rpc_word(&enabled, "1") ? 1 : 0;

    if (ngx_http_tb_rpc_login_copy(login, &login->hash, &hash) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_login_copy(login, &login->password_id, &password);
}


static void
ngx_http_tb_rpc_login_delayed(ngx_event_t *ev)
{
    ngx_int_t                 rc;
    ngx_http_tb_rpc_login_t  *login;

    login = (ngx_http_tb_rpc_login_t *)
                ((u_char *) ev - offsetof(ngx_http_tb_rpc_login_t, timer));

    ngx_http_set_log_request(login->request->connection->log,
                             login->request);

    rc = ngx_http_tb_rpc_login_compute(login);

    if (rc != NGX_DONE) {
        ngx_http_tb_rpc_finalize(login->request, rc);
    }
}


static ngx_int_t
ngx_http_tb_rpc_login_is_locked(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    int64_t  ms;

    if (ngx_http_tb_rpc_word(word, "busy")) {
        return ngx_http_tb_rpc_login_busy(login, NGX_HTTP_TB_RPC_ENDED_LOCKED);
    }

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &ms)
        != NGX_OK)
    {
        return ngx_http_tb_rpc_login_invalid(login);
    }

    return ngx_http_tb_rpc_login_locked(login, ms);
}


ngx_int_t
ngx_http_tb_rpc_login_computed(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t match)
{
    if (match && login->enabled) {
        return ngx_http_tb_rpc_login_session(login);
    }

    ngx_http_tb_rpc_login_end_tries(login, 1);

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_PASSWORD && login->enabled) {
        login->result = NGX_HTTP_TB_RPC_ENDED_WRONG;

        return ngx_http_tb_rpc_send_error(login->request,
                                          NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Current password doesn't match!");
    }

    return ngx_http_tb_rpc_login_wrong(login);
}
