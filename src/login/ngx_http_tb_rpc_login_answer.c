
/*
 * Good answers to logins: tokens as ThingsBoard makes them, and the user.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../auth/ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_login_request.h"


#define NGX_HTTP_TB_RPC_LOGIN_ISSUER  "thingsboard.io"

/* all that is in the texts below besides what is put into them */
#define NGX_HTTP_TB_RPC_LOGIN_TEXT    1024


static ngx_int_t ngx_http_tb_rpc_login_token(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t refresh, ngx_str_t *token);
static u_char *ngx_http_tb_rpc_login_member(u_char *p, const char *name,
    ngx_str_t *value);
static size_t ngx_http_tb_rpc_login_size(ngx_http_tb_rpc_login_t *login);
static ngx_str_t *ngx_http_tb_rpc_login_id(ngx_str_t *id);


ngx_int_t
ngx_http_tb_rpc_login_send_tokens(ngx_http_tb_rpc_login_t *login)
{
    ngx_str_t  access, refresh, body;

    if (ngx_http_tb_rpc_login_token(login, 0, &access) != NGX_OK
        || ngx_http_tb_rpc_login_token(login, 1, &refresh) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = ngx_pnalloc(login->request->pool,
                            sizeof("{\"token\":\"\",\"refreshToken\":\"\","
                                   "\"scope\":null}") - 1
                            + access.len + refresh.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.len = ngx_sprintf(body.data, "{\"token\":\"%V\",\"refreshToken\":"
                           "\"%V\",\"scope\":null}", &access, &refresh)
               - body.data;

    return ngx_http_tb_rpc_send_json(login->request, &body);
}


/* members in the order of the original */

static ngx_int_t
ngx_http_tb_rpc_login_token(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t refresh, ngx_str_t *token)
{
    u_char                      *p;
    time_t                       now, lifetime;
    ngx_str_t                    claims, *issuer;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_user_t      *user;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  none = ngx_string(NGX_HTTP_TB_RPC_LOGIN_ISSUER);

    r = login->request;
    user = &login->user;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    issuer = lcf->auth.jwt_issuer.len ? &lcf->auth.jwt_issuer : &none;

    now = ngx_time();
    lifetime = refresh ? lcf->login.refresh_time : lcf->login.token_time;

    claims.data = ngx_pnalloc(r->pool, ngx_http_tb_rpc_login_size(login)
                                       + ngx_http_tb_rpc_escape_len(issuer));
    if (claims.data == NULL) {
        return NGX_ERROR;
    }

    p = claims.data;
    *p++ = '{';
    p = ngx_http_tb_rpc_login_member(p, "sub", &user->name);
    p = ngx_http_tb_rpc_login_member(p, "userId", &user->id);

    p = ngx_sprintf(p, "\"scopes\":[\"");
    p = refresh ? ngx_sprintf(p, "REFRESH_TOKEN")
                : ngx_http_tb_rpc_escape(p, &user->authority);

    p = ngx_sprintf(p, "\"],\"sessionId\":\"%*s\",\"exp\":%T,",
                    (size_t) NGX_HTTP_TB_RPC_UUID_LEN, login->session,
                    now + lifetime);
    p = ngx_http_tb_rpc_login_member(p, "iss", issuer);
    p = ngx_sprintf(p, "\"iat\":%T,", now);

    if (refresh) {
        p = ngx_sprintf(p, "\"isPublic\":%s,\"jti\":\"%*s\"}",
                        login->public ? "true" : "false",
                        (size_t) NGX_HTTP_TB_RPC_UUID_LEN, login->jti);

    } else {
        if (user->first_name.len) {
            p = ngx_http_tb_rpc_login_member(p, "firstName",
                                             &user->first_name);
        }

        if (user->last_name.len) {
            p = ngx_http_tb_rpc_login_member(p, "lastName", &user->last_name);
        }

        p = ngx_sprintf(p, "\"enabled\":true,\"isPublic\":%s,",
                        login->public ? "true" : "false");
        p = ngx_http_tb_rpc_login_member(p, "tenantId", &user->tenant_id);
        p = ngx_http_tb_rpc_login_member(p, "customerId",
                             ngx_http_tb_rpc_login_id(&user->customer_id));
        p[-1] = '}';
    }

    claims.len = p - claims.data;

    return ngx_http_tb_rpc_jwt_sign(r->pool, &lcf->auth, &claims, token);
}


/* with a comma behind it */

static u_char *
ngx_http_tb_rpc_login_member(u_char *p, const char *name, ngx_str_t *value)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);
    p = ngx_http_tb_rpc_escape(p, value);
    *p++ = '"';
    *p++ = ',';

    return p;
}


static size_t
ngx_http_tb_rpc_login_size(ngx_http_tb_rpc_login_t *login)
{
    size_t       size;
    ngx_str_t   *field;
    ngx_uint_t   i;

    size = NGX_HTTP_TB_RPC_LOGIN_TEXT;
    field = (ngx_str_t *) &login->user;

    for (i = 0; i < NGX_HTTP_TB_RPC_USER_FIELDS; i++) {

        /* the name is shown twice */

        size += 2 * ngx_http_tb_rpc_escape_len(&field[i]);
    }

    return size;
}


static ngx_str_t *
ngx_http_tb_rpc_login_id(ngx_str_t *id)
{
    static ngx_str_t  none = ngx_string(NGX_HTTP_TB_RPC_NULL_UUID);

    return id->len ? id : &none;
}


ngx_int_t
ngx_http_tb_rpc_login_send_user(ngx_http_tb_rpc_login_t *login)
{
    u_char                  *p;
    ngx_int_t                created;
    ngx_str_t                body;
    ngx_http_request_t      *r;
    ngx_http_tb_rpc_user_t  *user;

    r = login->request;
    user = &login->user;

    created = ngx_atoi(user->created_time.data, user->created_time.len);

    body.data = ngx_pnalloc(r->pool, ngx_http_tb_rpc_login_size(login));
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(body.data, "{\"id\":{\"entityType\":\"USER\",");
    p = ngx_http_tb_rpc_login_member(p, "id", &user->id);
    p = ngx_sprintf(p - 1, "},\"createdTime\":%i,\"additionalInfo\":null,"
                    "\"tenantId\":{\"entityType\":\"TENANT\",",
                    ngx_max(created, 0));
    p = ngx_http_tb_rpc_login_member(p, "id", &user->tenant_id);
    p = ngx_sprintf(p - 1, "},\"customerId\":{\"entityType\":\"CUSTOMER\",");
    p = ngx_http_tb_rpc_login_member(p, "id",
                             ngx_http_tb_rpc_login_id(&user->customer_id));
    p = ngx_sprintf(p - 1, "},");
    p = ngx_http_tb_rpc_login_member(p, "email", &user->name);
    p = ngx_http_tb_rpc_login_member(p, "authority", &user->authority);

    if (user->first_name.len) {
        p = ngx_http_tb_rpc_login_member(p, "firstName", &user->first_name);

    } else {
        p = ngx_sprintf(p, "\"firstName\":null,");
    }

    if (user->last_name.len) {
        p = ngx_http_tb_rpc_login_member(p, "lastName", &user->last_name);

    } else {
        p = ngx_sprintf(p, "\"lastName\":null,");
    }

    p = ngx_sprintf(p, "\"phone\":null,");
    p = ngx_http_tb_rpc_login_member(p, "name", &user->name);
    p[-1] = '}';

    body.len = p - body.data;

    return ngx_http_tb_rpc_send_json(r, &body);
}
