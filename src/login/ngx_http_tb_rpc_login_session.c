
/*
 * Sessions: they begin with a login, go on by refresh tokens of which each is
 * good for once, and end.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "../auth/ngx_http_tb_rpc_auth.h"
#include "../auth/ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_login_redis.h"
#include "ngx_http_tb_rpc_login_request.h"


#define NGX_HTTP_TB_RPC_LOGIN_SHA256  64


static ngx_int_t ngx_http_tb_rpc_login_session_made(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_jti(ngx_str_t *arg, u_char *hex,
    u_char *jti);
static ngx_int_t ngx_http_tb_rpc_login_open_token(
    ngx_http_tb_rpc_login_t *login, ngx_str_t *token, ngx_uint_t refresh);
static ngx_int_t ngx_http_tb_rpc_login_claims(ngx_http_tb_rpc_login_t *login,
    json_t *claims, ngx_uint_t refresh);
static ngx_int_t ngx_http_tb_rpc_login_claim(json_t *claims, const char *name,
    ngx_str_t *value);
static ngx_int_t ngx_http_tb_rpc_login_public_is(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_not_refreshed(
    ngx_http_tb_rpc_login_t *login, ngx_uint_t result);
static ngx_int_t ngx_http_tb_rpc_login_refreshed(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_left(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_login_show_user(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);


ngx_int_t
ngx_http_tb_rpc_login_session(ngx_http_tb_rpc_login_t *login)
{
    u_char      hex[NGX_HTTP_TB_RPC_LOGIN_SHA256], buf[2 * NGX_INT64_LEN], *p;
    ngx_str_t   argv[NGX_HTTP_TB_RPC_ARGS + 7], *arg;
    ngx_uint_t  n;

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    if (ngx_http_tb_rpc_login_uuid(login->session) != NGX_OK
        || ngx_http_tb_rpc_login_uuid(login->jti) != NGX_OK
        || ngx_http_tb_rpc_login_jti(&arg[1], hex, login->jti) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    arg[0].data = login->session;
    arg[0].len = NGX_HTTP_TB_RPC_UUID_LEN;

    arg[2].data = buf;
    p = ngx_sprintf(buf, "%L", (int64_t) login->conf->refresh_time * 1000);
    arg[2].len = p - buf;

    arg[3].data = p;
    arg[3].len = ngx_sprintf(p, "%ui", login->conf->max_sessions) - p;

    arg[4] = login->password_id;
    arg[5] = login->new_hash;
    n = 6;

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_PASSWORD) {
        ngx_str_set(&arg[6], "1");
        n = 7;
    }

    login->writes = 1;

    return ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_done", argv, n,
                                       ngx_http_tb_rpc_login_session_made);
}


static ngx_int_t
ngx_http_tb_rpc_login_session_made(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    if (!ngx_http_tb_rpc_word(word, "ok")) {

        /* disabled, or with another password, in the meantime */

        ngx_http_tb_rpc_login_end_tries(login, 1);

        return ngx_http_tb_rpc_login_wrong(login);
    }

    /* that of the name has ended with the session's begin */

    login->name_open = 0;

    ngx_http_tb_rpc_login_end_tries(login, 0);

    return ngx_http_tb_rpc_login_send_tokens(login);
}


/* Redis learns of a refresh token that much */

static ngx_int_t
ngx_http_tb_rpc_login_jti(ngx_str_t *arg, u_char *hex, u_char *jti)
{
    u_char  digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(jti, NGX_HTTP_TB_RPC_UUID_LEN, digest, NULL, EVP_sha256(),
                   NULL)
        != 1)
    {
        ERR_clear_error();
        return NGX_ERROR;
    }

    arg->data = hex;
    arg->len = ngx_hex_dump(hex, digest, NGX_HTTP_TB_RPC_LOGIN_SHA256 / 2)
               - hex;

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_login_refresh(ngx_http_tb_rpc_login_t *login)
{
    u_char      hex[NGX_HTTP_TB_RPC_LOGIN_SHA256];
    u_char      new[NGX_HTTP_TB_RPC_LOGIN_SHA256], buf[NGX_INT64_LEN];
    ngx_int_t   rc;
    ngx_str_t   argv[NGX_HTTP_TB_RPC_ARGS + 4], *arg;

    rc = ngx_http_tb_rpc_login_open_token(login, &login->refresh_token, 1);

    if (rc == NGX_HTTP_UNAUTHORIZED) {

        if (login->ctx->auth_cause == NGX_HTTP_TB_RPC_CAUSE_JWT_EXPIRED) {
            login->result = NGX_HTTP_TB_RPC_EXPIRED;

            return ngx_http_tb_rpc_auth_refuse(login->request, login->ctx, rc);
        }

        return ngx_http_tb_rpc_login_not_refreshed(login,
                                                NGX_HTTP_TB_RPC_ENDED_WRONG);
    }

    if (rc == NGX_OK && login->public) {
        return ngx_http_tb_rpc_login_public(login);
    }

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    if (rc != NGX_OK
        || ngx_http_tb_rpc_login_uuid(login->jti) != NGX_OK
        || ngx_http_tb_rpc_login_jti(&arg[1], hex, login->old_jti) != NGX_OK
        || ngx_http_tb_rpc_login_jti(&arg[2], new, login->jti) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    arg[0].data = login->session;
    arg[0].len = NGX_HTTP_TB_RPC_UUID_LEN;

    arg[3].data = buf;
    arg[3].len = ngx_sprintf(buf, "%L",
                             (int64_t) login->conf->refresh_time * 1000)
                 - buf;

    login->writes = 1;

    return ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_refresh", argv, 4,
                                       ngx_http_tb_rpc_login_refreshed);
}


/* NGX_OK, NGX_HTTP_UNAUTHORIZED and its cause, or another status */

static ngx_int_t
ngx_http_tb_rpc_login_open_token(ngx_http_tb_rpc_login_t *login,
    ngx_str_t *token, ngx_uint_t refresh)
{
    json_t     *claims;
    ngx_int_t   rc;

    rc = ngx_http_tb_rpc_jwt_get_claims(login->request, login->ctx, token,
                                        &claims);

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_login_claims(login, claims, refresh);
        json_decref(claims);
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_tb_rpc_auth_error(login->ctx,
                                          NGX_HTTP_TB_RPC_AUTHENTICATION,
                                          NGX_HTTP_TB_RPC_CAUSE_JWT_CLAIMS,
                                          "Invalid token claims");
    }

    return rc;
}


/* neither kind of token serves as the other */

static ngx_int_t
ngx_http_tb_rpc_login_claims(ngx_http_tb_rpc_login_t *login, json_t *claims,
    ngx_uint_t refresh)
{
    json_t     *scope;
    ngx_str_t   sub, user, session, jti, authority;

    scope = json_array_get(json_object_get(claims, "scopes"), 0);

    if (!json_is_string(scope)
        || ngx_http_tb_rpc_login_claim(claims, "sub", &sub) != NGX_OK
        || ngx_http_tb_rpc_login_claim(claims, "userId", &user) != NGX_OK
        || ngx_http_tb_rpc_parse_uuid(login->bearer, &user) != NGX_OK
        || ngx_http_tb_rpc_login_claim(claims, "sessionId", &session)
           != NGX_OK
        || ngx_http_tb_rpc_parse_uuid(login->session, &session) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (!refresh) {
        authority.data = (u_char *) json_string_value(scope);
        authority.len = json_string_length(scope);

        /* nor does a token that is for something else */

        if (ngx_http_tb_rpc_authority(&authority)
            == NGX_HTTP_TB_RPC_NO_AUTHORITY)
        {
            return NGX_DECLINED;
        }

        return ngx_http_tb_rpc_login_name(login, sub.data, sub.len);
    }

    if (ngx_strcmp(json_string_value(scope), "REFRESH_TOKEN") != 0) {
        return NGX_DECLINED;
    }

    login->public = json_is_true(json_object_get(claims, "isPublic"));

    if (!login->public
        && (ngx_http_tb_rpc_login_claim(claims, "jti", &jti) != NGX_OK
            || ngx_http_tb_rpc_parse_uuid(login->old_jti, &jti) != NGX_OK))
    {
        return NGX_DECLINED;
    }

    return ngx_http_tb_rpc_login_name(login, sub.data, sub.len);
}


static ngx_int_t
ngx_http_tb_rpc_login_claim(json_t *claims, const char *name,
    ngx_str_t *value)
{
    json_t  *json;

    json = json_object_get(claims, name);

    if (!json_is_string(json)) {
        return NGX_DECLINED;
    }

    value->data = (u_char *) json_string_value(json);
    value->len = json_string_length(json);

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_login_public(ngx_http_tb_rpc_login_t *login)
{
    ngx_str_t  argv[NGX_HTTP_TB_RPC_ARGS];

    return ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_user", argv, 0,
                                       ngx_http_tb_rpc_login_public_is);
}


/* a refresh token gives no more than the id, which is in it */

static ngx_int_t
ngx_http_tb_rpc_login_public_is(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    ngx_int_t   rc;
    ngx_str_t   public, enabled;
    ngx_uint_t  refresh;

    refresh = (login->op == NGX_HTTP_TB_RPC_LOGIN_TOKEN);

    if (ngx_http_tb_rpc_word(word, "ok")
        && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 1),
                                  &public)
           == NGX_OK
        && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 2),
                                  &enabled)
           == NGX_OK
        && ngx_http_tb_rpc_word(&public, "1")
        && ngx_http_tb_rpc_word(&enabled, "1"))
    {
        rc = ngx_http_tb_rpc_login_fields(login, reply, 3);

    } else {
        rc = NGX_DECLINED;
    }

    if (rc == NGX_DECLINED) {
        ngx_http_tb_rpc_login_end_tries(login, 1);

        return refresh ? ngx_http_tb_rpc_login_not_refreshed(login,
                                                NGX_HTTP_TB_RPC_ENDED_WRONG)
                       : ngx_http_tb_rpc_login_wrong(login);
    }

    if (rc != NGX_OK
        || (!refresh && ngx_http_tb_rpc_login_uuid(login->session) != NGX_OK)
        || ngx_http_tb_rpc_login_uuid(login->jti) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_tb_rpc_login_end_tries(login, 0);

    return ngx_http_tb_rpc_login_send_tokens(login);
}


static ngx_int_t
ngx_http_tb_rpc_login_not_refreshed(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t result)
{
    ngx_int_t  rc;

    login->result = result;

    rc = ngx_http_tb_rpc_auth_error(login->ctx,
                                    NGX_HTTP_TB_RPC_AUTHENTICATION,
                                    NGX_HTTP_TB_RPC_CAUSE_JWT_CLAIMS,
                                    "Invalid refresh token");

    return ngx_http_tb_rpc_auth_refuse(login->request, login->ctx, rc);
}


static ngx_int_t
ngx_http_tb_rpc_login_refreshed(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    ngx_int_t   rc;
    ngx_uint_t  result;

    result = NGX_HTTP_TB_RPC_ENDED_WRONG;

    if (ngx_http_tb_rpc_word(word, "ok")) {
        rc = ngx_http_tb_rpc_login_fields(login, reply, 1);

        if (rc == NGX_OK) {
            return ngx_http_tb_rpc_login_send_tokens(login);
        }

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_tb_rpc_word(word, "used")) {
        ngx_log_error(NGX_LOG_NOTICE, login->request->connection->log, 0,
                      "tb_rpc: a refresh token came a second time: session "
                      "%*s is over, somebody may have stolen it",
                      (size_t) NGX_HTTP_TB_RPC_UUID_LEN, login->session);

        result = NGX_HTTP_TB_RPC_ENDED_REUSED;
    }

    return ngx_http_tb_rpc_login_not_refreshed(login, result);
}


/* NGX_OK, and the session and the name of who asks; or refused with rc */

ngx_int_t
ngx_http_tb_rpc_login_bearer(ngx_http_tb_rpc_login_t *login, ngx_int_t *rc)
{
    ngx_http_request_t            *r;
    ngx_http_tb_rpc_ctx_t         *ctx;
    ngx_http_tb_rpc_credential_t   credential;

    r = login->request;
    ctx = login->ctx;

    *rc = ngx_http_tb_rpc_get_credential(r, &credential);

    if (*rc == NGX_ABORT) {
        *rc = ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                         NGX_HTTP_TB_RPC_CAUSE_DUPLICATE,
                                         "Duplicate authorization header");

    } else if (*rc != NGX_OK || credential.scheme != NGX_HTTP_TB_RPC_BEARER) {
        *rc = ngx_http_tb_rpc_auth_error(ctx, NGX_HTTP_TB_RPC_AUTHENTICATION,
                                         NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL,
                                         NGX_HTTP_TB_RPC_AUTH_FAILED);

    } else {
        *rc = ngx_http_tb_rpc_login_open_token(login, &credential.text, 0);
    }

    if (*rc == NGX_OK) {
        return NGX_OK;
    }

    *rc = ngx_http_tb_rpc_auth_refuse(r, ctx, *rc);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_login_logout(ngx_http_tb_rpc_login_t *login)
{
    ngx_str_t  argv[NGX_HTTP_TB_RPC_ARGS + 1];

    argv[NGX_HTTP_TB_RPC_ARGS].data = login->session;
    argv[NGX_HTTP_TB_RPC_ARGS].len = NGX_HTTP_TB_RPC_UUID_LEN;

    login->writes = 1;

    return ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_logout", argv, 1,
                                       ngx_http_tb_rpc_login_left);
}


static ngx_int_t
ngx_http_tb_rpc_login_left(ngx_http_tb_rpc_login_t *login, redisReply *reply,
    ngx_str_t *word)
{
    return ngx_http_tb_rpc_send(login->request, NGX_HTTP_OK, NULL, NULL);
}


ngx_int_t
ngx_http_tb_rpc_login_user(ngx_http_tb_rpc_login_t *login)
{
    ngx_str_t  argv[NGX_HTTP_TB_RPC_ARGS];

    return ngx_http_tb_rpc_login_fcall(login, "tb_rpc_login_user", argv, 0,
                                       ngx_http_tb_rpc_login_show_user);
}


static ngx_int_t
ngx_http_tb_rpc_login_show_user(ngx_http_tb_rpc_login_t *login,
    redisReply *reply, ngx_str_t *word)
{
    ngx_int_t  rc;
    ngx_str_t  enabled;

    if (ngx_http_tb_rpc_word(word, "ok")
        && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 2),
                                  &enabled)
           == NGX_OK
        && ngx_http_tb_rpc_word(&enabled, "1"))
    {
        rc = ngx_http_tb_rpc_login_fields(login, reply, 3);

        /* somebody else may be called so by now */

        if (rc == NGX_OK && ngx_http_tb_rpc_login_is_bearer(login)) {
            return ngx_http_tb_rpc_login_send_user(login);
        }

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    /* the token outlives who it was made for */

    return ngx_http_tb_rpc_login_inactive(login);
}


ngx_uint_t
ngx_http_tb_rpc_login_is_bearer(ngx_http_tb_rpc_login_t *login)
{
    return login->user.id.len == NGX_HTTP_TB_RPC_UUID_LEN
           && ngx_strncasecmp(login->user.id.data, login->bearer,
                              NGX_HTTP_TB_RPC_UUID_LEN)
              == 0;
}


ngx_int_t
ngx_http_tb_rpc_login_inactive(ngx_http_tb_rpc_login_t *login)
{
    ngx_int_t  rc;

    rc = ngx_http_tb_rpc_auth_error(login->ctx,
                                    NGX_HTTP_TB_RPC_AUTHENTICATION,
                                    NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL,
                                    "User account is not active");

    return ngx_http_tb_rpc_auth_refuse(login->request, login->ctx, rc);
}
