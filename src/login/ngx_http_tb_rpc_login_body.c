
/*
 * The body of a request to log in: a JSON object whose members are texts.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_json.h"
#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_login_request.h"


typedef struct {
    const char                      *name;
    ngx_http_tb_rpc_login_op_e       op;
    size_t                           offset;
    size_t                           min;
    size_t                           max;
} ngx_http_tb_rpc_login_member_t;


static ngx_int_t ngx_http_tb_rpc_login_members(ngx_http_tb_rpc_login_t *login,
    ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_login_set(ngx_http_tb_rpc_login_t *login,
    ngx_http_tb_rpc_json_t *json);
static ngx_int_t ngx_http_tb_rpc_login_missing(
    ngx_http_tb_rpc_login_t *login);
static ngx_int_t ngx_http_tb_rpc_login_bad(ngx_http_tb_rpc_login_t *login,
    const char *name, const char *text);


/* a name that is too long or short is nobody's, see ..._login_name() */

static ngx_http_tb_rpc_login_member_t  ngx_http_tb_rpc_login_all_members[] = {

    { "username", NGX_HTTP_TB_RPC_LOGIN_LOGIN,
      offsetof(ngx_http_tb_rpc_login_t, name),
      1, NGX_HTTP_TB_RPC_LOGIN_MAX_BODY },

    { "password", NGX_HTTP_TB_RPC_LOGIN_LOGIN,
      offsetof(ngx_http_tb_rpc_login_t, password),
      1, NGX_HTTP_TB_RPC_LOGIN_MAX_PASSWORD },

    { "publicId", NGX_HTTP_TB_RPC_LOGIN_PUBLIC,
      offsetof(ngx_http_tb_rpc_login_t, name),
      1, NGX_HTTP_TB_RPC_LOGIN_MAX_BODY },

    { "refreshToken", NGX_HTTP_TB_RPC_LOGIN_TOKEN,
      offsetof(ngx_http_tb_rpc_login_t, refresh_token),
      1, NGX_HTTP_TB_RPC_LOGIN_MAX_BODY },

    { "currentPassword", NGX_HTTP_TB_RPC_LOGIN_PASSWORD,
      offsetof(ngx_http_tb_rpc_login_t, password),
      1, NGX_HTTP_TB_RPC_LOGIN_MAX_PASSWORD },

    { "newPassword", NGX_HTTP_TB_RPC_LOGIN_PASSWORD,
      offsetof(ngx_http_tb_rpc_login_t, new_password),
      NGX_HTTP_TB_RPC_LOGIN_MIN_PASSWORD,
      NGX_HTTP_TB_RPC_LOGIN_MAX_PASSWORD },

    { NULL, NGX_HTTP_TB_RPC_LOGIN_NOTHING, 0, 0, 0 }
};


ngx_int_t
ngx_http_tb_rpc_login_body(ngx_http_tb_rpc_login_t *login, ngx_int_t *rc)
{
    ngx_str_t            text;
    ngx_http_request_t  *r;

    r = login->request;

    if (login->op == NGX_HTTP_TB_RPC_LOGIN_LOGOUT
        || login->op == NGX_HTTP_TB_RPC_LOGIN_USER)
    {
        return NGX_OK;
    }

    *rc = ngx_http_tb_rpc_collect_body(r, NGX_HTTP_TB_RPC_LOGIN_MAX_BODY,
                                       &text);

    if (*rc == NGX_ERROR) {
        *rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else if (*rc == NGX_OK) {
        *rc = text.len ? ngx_http_tb_rpc_login_members(login, &text)
                       : ngx_http_tb_rpc_login_bad(login, NULL,
                                                   "it is missing");
        if (text.len) {
            ngx_memset(text.data, '*', text.len);
        }
    }

    ngx_http_tb_rpc_login_wipe(r);

    return (*rc == NGX_AGAIN) ? NGX_OK : NGX_ERROR;
}


/* NGX_AGAIN: all are there, or it was refused */

static ngx_int_t
ngx_http_tb_rpc_login_members(ngx_http_tb_rpc_login_t *login, ngx_str_t *text)
{
    ngx_int_t               rc;
    ngx_http_tb_rpc_json_t  json;

    ngx_memzero(&json, sizeof(ngx_http_tb_rpc_json_t));

    json.start = text->data;
    json.last = text->data + text->len;

    rc = ngx_http_tb_rpc_json_open(&json);

    while (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_json_next(&json);

        if (rc != NGX_OK) {
            break;
        }

        rc = ngx_http_tb_rpc_login_set(login, &json);

        if (rc != NGX_AGAIN) {
            ngx_http_tb_rpc_json_close(&json);
            return rc;
        }

        rc = NGX_OK;
    }

    ngx_http_tb_rpc_json_close(&json);

    if (rc == NGX_DECLINED) {

        /* what is wrong with it may quote a name only */

        return ngx_http_tb_rpc_login_bad(login, NULL, "it is not valid JSON");
    }

    return (rc == NGX_DONE) ? ngx_http_tb_rpc_login_missing(login)
                            : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* the same of one member: what is secret is not left in what jansson frees */

static ngx_int_t
ngx_http_tb_rpc_login_set(ngx_http_tb_rpc_login_t *login,
    ngx_http_tb_rpc_json_t *json)
{
    size_t                           len;
    u_char                          *p;
    ngx_str_t                       *value;
    ngx_http_tb_rpc_login_member_t  *m;

    for (m = ngx_http_tb_rpc_login_all_members; m->name; m++) {
        if (m->op == login->op
            && json_string_length(json->name) == ngx_strlen(m->name)
            && ngx_strcmp(json_string_value(json->name), m->name) == 0)
        {
            break;
        }
    }

    if (m->name == NULL) {
        return NGX_AGAIN;
    }

    if (!json_is_string(json->value)) {
        return ngx_http_tb_rpc_login_bad(login, m->name, "is not a text");
    }

    p = (u_char *) json_string_value(json->value);
    len = json_string_length(json->value);

    if (len < m->min || len > m->max) {
        ngx_explicit_memzero(p, len);

        return ngx_http_tb_rpc_login_bad(login, m->name,
                          len > m->max ? "is too long"
                          : len ? "must have 8 bytes at least" : "is empty");
    }

    /* scrypt takes a password for the same with zeros behind it */

    if (ngx_strlchr(p, p + len, '\0')) {
        ngx_explicit_memzero(p, len);

        return ngx_http_tb_rpc_login_bad(login, m->name, "has a zero byte");
    }

    value = (ngx_str_t *) ((u_char *) login + m->offset);

    value->data = ngx_pnalloc(login->request->pool, len);
    if (value->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(value->data, p, len);
    value->len = len;

    ngx_explicit_memzero(p, len);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_tb_rpc_login_missing(ngx_http_tb_rpc_login_t *login)
{
    ngx_int_t                        rc;
    ngx_str_t                       *value;
    ngx_http_tb_rpc_login_member_t  *m;

    for (m = ngx_http_tb_rpc_login_all_members; m->name; m++) {
        value = (ngx_str_t *) ((u_char *) login + m->offset);

        if (m->op == login->op && value->len == 0) {
            return ngx_http_tb_rpc_login_bad(login, m->name, "is missing");
        }
    }

    if (login->name.len) {
        rc = ngx_http_tb_rpc_login_name(login, login->name.data,
                                        login->name.len);

        if (rc == NGX_DECLINED) {
            return ngx_http_tb_rpc_login_wrong(login);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_AGAIN;
}


/* as src/functions/user.lua has it */

ngx_int_t
ngx_http_tb_rpc_login_name(ngx_http_tb_rpc_login_t *login, u_char *p,
    size_t len)
{
    size_t  i;

    if (len == 0 || len > NGX_HTTP_TB_RPC_LOGIN_MAX_NAME) {
        return NGX_DECLINED;
    }

    for (i = 0; i < len; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f || p[i] == '{' || p[i] == '}') {
            return NGX_DECLINED;
        }
    }

    login->name.data = ngx_pnalloc(login->request->pool, len);
    if (login->name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(login->name.data, p, len);
    login->name.len = len;

    return NGX_OK;
}


void
ngx_http_tb_rpc_login_wipe(ngx_http_request_t *r)
{
    ngx_chain_t  *cl;

    if (r->request_body == NULL) {
        return;
    }

    /* all of it, or what has come before the client left */

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        if (ngx_buf_in_memory(cl->buf)) {
            ngx_memset(cl->buf->pos, '*', cl->buf->last - cl->buf->pos);
        }
    }
}


static ngx_int_t
ngx_http_tb_rpc_login_bad(ngx_http_tb_rpc_login_t *login, const char *name,
    const char *text)
{
    ngx_log_error(NGX_LOG_INFO, login->request->connection->log, 0,
                  "tb_rpc: the body of a login is not valid: %s%s%s",
                  name ? name : "", name ? " " : "", text);

    if (name) {
        return ngx_http_tb_rpc_send_error(login->request,
                                          NGX_HTTP_BAD_REQUEST,
                                          NGX_HTTP_TB_RPC_BAD_REQUEST,
                                          "Invalid request body: member "
                                          "\"%s\" %s", name, text);
    }

    return ngx_http_tb_rpc_send_error(login->request, NGX_HTTP_BAD_REQUEST,
                                      NGX_HTTP_TB_RPC_BAD_REQUEST,
                                      "Invalid request body: %s", text);
}
