
/*
 * The content handler of tb_rpc_login: what is asked for, and refusals.
 *
 * Nothing of a request that is secret is logged, at no level: no password, no
 * token, and no name, since who is in a hurry types his password there.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/rand.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../auth/ngx_http_tb_rpc_auth.h"
#include "ngx_http_tb_rpc_login_job.h"
#include "ngx_http_tb_rpc_login_redis.h"
#include "ngx_http_tb_rpc_login_request.h"


typedef struct {
    ngx_str_t                     tail;
    ngx_http_tb_rpc_login_op_e    op;
    ngx_http_tb_rpc_operation_e   counted;
    ngx_uint_t                    methods;
    ngx_str_t                     allow;
} ngx_http_tb_rpc_login_operation_t;


static ngx_http_tb_rpc_login_operation_t *ngx_http_tb_rpc_login_operation(
    ngx_http_request_t *r);
static ngx_http_tb_rpc_login_t *ngx_http_tb_rpc_login_create(
    ngx_http_request_t *r, ngx_http_tb_rpc_login_operation_t *op);
static void ngx_http_tb_rpc_login_cleanup(void *data);
static ngx_int_t ngx_http_tb_rpc_login_too_large(ngx_http_request_t *r);
static void ngx_http_tb_rpc_login_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_tb_rpc_login_process(
    ngx_http_tb_rpc_login_t *login);
static ngx_int_t ngx_http_tb_rpc_login_retry_after(ngx_http_request_t *r,
    int64_t seconds);


static ngx_http_tb_rpc_login_operation_t  ngx_http_tb_rpc_login_operations[] =
{
    { ngx_string("/login"), NGX_HTTP_TB_RPC_LOGIN_LOGIN,
      NGX_HTTP_TB_RPC_COUNT_LOGIN, NGX_HTTP_POST,
      ngx_string("POST, OPTIONS") },

    { ngx_string("/login/public"), NGX_HTTP_TB_RPC_LOGIN_PUBLIC,
      NGX_HTTP_TB_RPC_COUNT_PUBLIC, NGX_HTTP_POST,
      ngx_string("POST, OPTIONS") },

    { ngx_string("/token"), NGX_HTTP_TB_RPC_LOGIN_TOKEN,
      NGX_HTTP_TB_RPC_COUNT_REFRESH, NGX_HTTP_POST,
      ngx_string("POST, OPTIONS") },

    { ngx_string("/logout"), NGX_HTTP_TB_RPC_LOGIN_LOGOUT,
      NGX_HTTP_TB_RPC_COUNT_LOGOUT, NGX_HTTP_POST,
      ngx_string("POST, OPTIONS") },

    { ngx_string("/user"), NGX_HTTP_TB_RPC_LOGIN_USER,
      NGX_HTTP_TB_RPC_COUNT_USER, NGX_HTTP_GET|NGX_HTTP_HEAD,
      ngx_string("GET, HEAD, OPTIONS") },

    { ngx_string("/changePassword"), NGX_HTTP_TB_RPC_LOGIN_PASSWORD,
      NGX_HTTP_TB_RPC_COUNT_PASSWORD, NGX_HTTP_POST,
      ngx_string("POST, OPTIONS") },

    { ngx_null_string, NGX_HTTP_TB_RPC_LOGIN_NOTHING,
      NGX_HTTP_TB_RPC_COUNT_OTHER, 0,
      ngx_null_string }
};


ngx_int_t
ngx_http_tb_rpc_login_handler(ngx_http_request_t *r)
{
    ngx_int_t                           rc;
    ngx_http_tb_rpc_login_t            *login;
    ngx_http_tb_rpc_login_operation_t  *op;

    op = ngx_http_tb_rpc_login_operation(r);

    /* a copy of a request (mirror) must not count as another try */

    if (op == NULL || r != r->main) {
        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                          NGX_HTTP_TB_RPC_NOT_FOUND,
                                          "There is no such resource");
    }

    if (!(r->method & op->methods)) {
        return ngx_http_tb_rpc_refuse_method(r, &op->allow);
    }

    if (r->headers_in.content_length_n > NGX_HTTP_TB_RPC_LOGIN_MAX_BODY) {
        return ngx_http_tb_rpc_login_too_large(r);
    }

    login = ngx_http_tb_rpc_login_create(r, op);
    if (login == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "tb_rpc login: %V", &op->tail);

    /* a password has no place on the disk */

    r->request_body_in_single_buf = 1;
    r->request_body_in_file_only = 0;
    r->request_body_in_persistent_file = 0;

    rc = ngx_http_read_client_request_body(r,
                                           ngx_http_tb_rpc_login_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


ngx_http_tb_rpc_operation_e
ngx_http_tb_rpc_login_counted(ngx_http_request_t *r,
    ngx_http_tb_rpc_login_t *login, ngx_uint_t *result)
{
    ngx_http_tb_rpc_login_operation_t  *op;

    if (login == NULL) {
        op = ngx_http_tb_rpc_login_operation(r);

        return op ? op->counted : NGX_HTTP_TB_RPC_COUNT_OTHER;
    }

    if (login->result) {
        *result = login->result;
    }

    return login->counted;
}


/* by the tail of the URI, so that any prefix will do */

static ngx_http_tb_rpc_login_operation_t *
ngx_http_tb_rpc_login_operation(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_login_operation_t  *op;

    for (op = ngx_http_tb_rpc_login_operations; op->tail.len; op++) {

        if (r->uri.len >= op->tail.len
            && ngx_memcmp(r->uri.data + r->uri.len - op->tail.len,
                          op->tail.data, op->tail.len)
               == 0)
        {
            return op;
        }
    }

    return NULL;
}


static ngx_http_tb_rpc_login_t *
ngx_http_tb_rpc_login_create(ngx_http_request_t *r,
    ngx_http_tb_rpc_login_operation_t *op)
{
    ngx_http_cleanup_t           *cln;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_login_t      *login;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ctx = ngx_http_tb_rpc_get_ctx(r);
    login = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_login_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || login == NULL || cln == NULL) {
        return NULL;
    }

    login->request = r;
    login->ctx = ctx;
    login->conf = &lcf->login;
    login->op = op->op;
    login->counted = op->counted;
    login->worker = ngx_http_tb_rpc_worker(mcf);

    if (login->worker == NULL) {
        return NULL;
    }

    login->timer.log = r->connection->log;
    login->timer.data = &login->worker->dummy;

    cln->handler = ngx_http_tb_rpc_login_cleanup;
    cln->data = login;

    ctx->login = login;

    return login;
}


/* whatever it waits for, it waits no more */

static void
ngx_http_tb_rpc_login_cleanup(void *data)
{
    ngx_http_tb_rpc_login_t *login = data;

    ngx_uint_t  failed;

    if (login->command) {
        (void) ngx_tb_redis_detach(login->command);
        login->command = NULL;
    }

    if (login->timer.timer_set) {
        ngx_del_timer(&login->timer);
    }

    if (login->timer.posted) {
        ngx_delete_posted_event(&login->timer);
    }

    /* what was not compared is no failure */

    failed = ngx_http_tb_rpc_login_drop_job(login);

    ngx_http_tb_rpc_login_end_tries(login, failed);

    ngx_http_tb_rpc_login_wipe(login->request);

    if (login->password.len) {
        ngx_explicit_memzero(login->password.data, login->password.len);
    }

    if (login->new_password.len) {
        ngx_explicit_memzero(login->new_password.data,
                             login->new_password.len);
    }
}


static ngx_int_t
ngx_http_tb_rpc_login_too_large(ngx_http_request_t *r)
{
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "tb_rpc: client intended to send too large body to log in: "
                  "more than %d bytes", NGX_HTTP_TB_RPC_LOGIN_MAX_BODY);

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        return ngx_http_tb_rpc_send_limit(r, NGX_HTTP_TB_RPC_LOGIN_MAX_BODY);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Payload size exceeds the limit of %d "
                                      "bytes",
                                      NGX_HTTP_TB_RPC_LOGIN_MAX_BODY);
}


/* it has the reference that reading the body took */

static void
ngx_http_tb_rpc_login_body_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_tb_rpc_ctx_t    *ctx;
    ngx_http_tb_rpc_login_t  *login;

    ctx = ngx_http_tb_rpc_get_ctx(r);

    if (ctx == NULL || ctx->login == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    login = ctx->login;

    r->connection->log->action = "logging in";

    if (ngx_http_tb_rpc_login_body(login, &rc) == NGX_OK) {
        rc = ngx_http_tb_rpc_login_process(login);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_login_too_large(r);
    }

    if (rc == NGX_DONE) {

        /* see if the client leaves meanwhile */

        if (ngx_http_tb_rpc_watch_client(r) == NGX_OK) {
            return;
        }

        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, rc);
}


static ngx_int_t
ngx_http_tb_rpc_login_process(ngx_http_tb_rpc_login_t *login)
{
    ngx_int_t  rc;

    switch (login->op) {

    case NGX_HTTP_TB_RPC_LOGIN_LOGIN:
    case NGX_HTTP_TB_RPC_LOGIN_PUBLIC:
        return ngx_http_tb_rpc_login_try(login);

    case NGX_HTTP_TB_RPC_LOGIN_TOKEN:
        return ngx_http_tb_rpc_login_refresh(login);

    default:
        break;
    }

    if (ngx_http_tb_rpc_login_bearer(login, &rc) != NGX_OK) {
        return rc;
    }

    switch (login->op) {

    case NGX_HTTP_TB_RPC_LOGIN_LOGOUT:
        return ngx_http_tb_rpc_login_logout(login);

    case NGX_HTTP_TB_RPC_LOGIN_USER:
        return ngx_http_tb_rpc_login_user(login);

    default:
        return ngx_http_tb_rpc_login_try(login);
    }
}


ngx_int_t
ngx_http_tb_rpc_login_wrong(ngx_http_tb_rpc_login_t *login)
{
    ngx_int_t  rc;

    login->result = NGX_HTTP_TB_RPC_ENDED_WRONG;

    rc = ngx_http_tb_rpc_auth_error(login->ctx,
                                    NGX_HTTP_TB_RPC_AUTHENTICATION,
                                    NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL,
                                    NGX_HTTP_TB_RPC_LOGIN_WRONG);

    return ngx_http_tb_rpc_auth_refuse(login->request, login->ctx, rc);
}


ngx_int_t
ngx_http_tb_rpc_login_locked(ngx_http_tb_rpc_login_t *login, int64_t ms)
{
    ngx_int_t  rc;

    if (ngx_http_tb_rpc_login_retry_after(login->request, (ms + 999) / 1000)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    login->result = NGX_HTTP_TB_RPC_ENDED_LOCKED;

    rc = ngx_http_tb_rpc_auth_error(login->ctx,
                                    NGX_HTTP_TB_RPC_AUTHENTICATION,
                                    NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL,
                                    "Too many failed logins, try again later");

    return ngx_http_tb_rpc_auth_refuse(login->request, login->ctx, rc);
}


ngx_int_t
ngx_http_tb_rpc_login_busy(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t result)
{
    ngx_log_error(NGX_LOG_INFO, login->request->connection->log, 0,
                  "tb_rpc: too many logins at a time, see \"%s\"",
                  (result == NGX_HTTP_TB_RPC_ENDED_BUSY)
                      ? "tb_rpc_login_threads" : "tb_rpc_login_failures");

    if (ngx_http_tb_rpc_login_retry_after(login->request, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    login->result = result;

    return ngx_http_tb_rpc_send_error(login->request,
                                      NGX_HTTP_SERVICE_UNAVAILABLE,
                                      NGX_HTTP_TB_RPC_GENERAL,
                                      "Too many logins at a time");
}


ngx_int_t
ngx_http_tb_rpc_login_unavailable(ngx_http_tb_rpc_login_t *login)
{
    return ngx_http_tb_rpc_send_result(login->request, login->ctx,
                                       NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                       NULL);
}


ngx_int_t
ngx_http_tb_rpc_login_unknown(ngx_http_tb_rpc_login_t *login)
{
    ngx_http_tb_rpc_result_e  result;

    result = NGX_HTTP_TB_RPC_RESULT_UNKNOWN;

    login->ctx->result = result;

    if (ngx_http_tb_rpc_add_header(login->request, "X-RPC-Result",
                                   &ngx_http_tb_rpc_results[result])
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_tb_rpc_send_error(login->request,
                                      NGX_HTTP_GATEWAY_TIME_OUT,
                                      NGX_HTTP_TB_RPC_GENERAL,
                                      "The connection to Redis was lost, it "
                                      "is not known whether that was done");
}


static ngx_int_t
ngx_http_tb_rpc_login_retry_after(ngx_http_request_t *r, int64_t seconds)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%L", ngx_max(seconds, 1))
                - value.data;

    return ngx_http_tb_rpc_add_header(r, "Retry-After", &value);
}


ngx_int_t
ngx_http_tb_rpc_login_uuid(u_char *dst)
{
    u_char  b[16];

    if (RAND_bytes(b, sizeof(b)) != 1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "tb_rpc: no random bytes to log in, RAND_bytes() "
                      "failed");
        return NGX_ERROR;
    }

    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;

    (void) ngx_sprintf(dst, "%02xd%02xd%02xd%02xd-%02xd%02xd-%02xd%02xd-"
                            "%02xd%02xd-%02xd%02xd%02xd%02xd%02xd%02xd",
                       b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8],
                       b[9], b[10], b[11], b[12], b[13], b[14], b[15]);

    return NGX_OK;
}
