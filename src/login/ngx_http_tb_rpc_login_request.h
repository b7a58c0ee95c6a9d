
/*
 * A request to log in, on its way through the files of this room.
 */


#ifndef _NGX_HTTP_TB_RPC_LOGIN_REQUEST_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOGIN_REQUEST_H_INCLUDED_


#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_ctx.h"
#include "ngx_http_tb_rpc_login.h"
#include "ngx_http_tb_rpc_login_hash.h"


#define NGX_HTTP_TB_RPC_LOGIN_MAX_BODY      8192
#define NGX_HTTP_TB_RPC_LOGIN_MAX_NAME      255
#define NGX_HTTP_TB_RPC_LOGIN_MAX_PASSWORD  512
#define NGX_HTTP_TB_RPC_LOGIN_MIN_PASSWORD  8

/* of an address in hex: that of IPv6 by its first 64 bits */
#define NGX_HTTP_TB_RPC_ADDRESS_LEN         16

#define NGX_HTTP_TB_RPC_LOGIN_WRONG  "Invalid username or password"


typedef enum {
    NGX_HTTP_TB_RPC_LOGIN_NOTHING = 0,
    NGX_HTTP_TB_RPC_LOGIN_LOGIN,
    NGX_HTTP_TB_RPC_LOGIN_PUBLIC,
    NGX_HTTP_TB_RPC_LOGIN_TOKEN,
    NGX_HTTP_TB_RPC_LOGIN_LOGOUT,
    NGX_HTTP_TB_RPC_LOGIN_USER,
    NGX_HTTP_TB_RPC_LOGIN_PASSWORD
} ngx_http_tb_rpc_login_op_e;


/* in the order of FIELDS in src/functions/user.lua */

typedef struct {
    ngx_str_t                        id;
    ngx_str_t                        name;
    ngx_str_t                        tenant_id;
    ngx_str_t                        customer_id;   /* may be empty */
    ngx_str_t                        authority;
    ngx_str_t                        first_name;
    ngx_str_t                        last_name;
    ngx_str_t                        created_time;
} ngx_http_tb_rpc_user_t;

#define NGX_HTTP_TB_RPC_USER_FIELDS                                           \
    (sizeof(ngx_http_tb_rpc_user_t) / sizeof(ngx_str_t))


typedef struct ngx_http_tb_rpc_job_s  ngx_http_tb_rpc_job_t;

/* a step that a reply leads to; word: its first element */
typedef ngx_int_t (*ngx_http_tb_rpc_login_reply_pt)(
    ngx_http_tb_rpc_login_t *login, redisReply *reply, ngx_str_t *word);

struct ngx_http_tb_rpc_login_s {
    ngx_http_request_t              *request;
    ngx_http_tb_rpc_ctx_t           *ctx;
    ngx_http_tb_rpc_worker_t        *worker;
    ngx_http_tb_rpc_login_conf_t    *conf;
    ngx_http_tb_rpc_login_op_e       op;
    ngx_http_tb_rpc_operation_e      counted;
    ngx_uint_t                       result;        /* the same, 0: by status */

    /* one that it waits for */
    ngx_tb_redis_command_t          *command;
    ngx_http_tb_rpc_login_reply_pt   next;          /* of that command */
    ngx_http_tb_rpc_job_t           *job;
    ngx_event_t                      timer;

    /* of the request, in its pool */
    ngx_str_t                        name;          /* lower case */
    ngx_str_t                        password;
    ngx_str_t                        new_password;
    ngx_str_t                        refresh_token;

    u_char                           session[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                           jti[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                           old_jti[NGX_HTTP_TB_RPC_UUID_LEN];
    u_char                           bearer[NGX_HTTP_TB_RPC_UUID_LEN];

    /* in hex, of the caller */
    size_t                           address_len;
    u_char                           address[NGX_HTTP_TB_RPC_ADDRESS_LEN];

    /* of Redis, copied */
    ngx_str_t                        hash;          /* empty: none */
    ngx_str_t                        password_id;   /* whatever its hash */
    ngx_http_tb_rpc_user_t           user;          /* id empty: nobody */

    ngx_str_t                        new_hash;      /* empty: it stays */

    unsigned                         enabled:1;
    unsigned                         public:1;

    unsigned                         address_open:1; /* tries to be ended */
    unsigned                         name_open:1;
    unsigned                         writes:1;      /* it matters if a reply
                                                       is lost */
};


/* steps return NGX_DONE, when they go on later, or what finalizes a request */

/* ngx_http_tb_rpc_login.c */

/* 401, code 10, and "Invalid username or password" */
ngx_int_t ngx_http_tb_rpc_login_wrong(ngx_http_tb_rpc_login_t *login);

/* 401 with Retry-After, after so many ms */
ngx_int_t ngx_http_tb_rpc_login_locked(ngx_http_tb_rpc_login_t *login,
    int64_t ms);

/*
 * 503: too much is under way already; result, which is counted: _ENDED_BUSY
 * (threads) or _LOCKED (by that name, or from that address)
 */
ngx_int_t ngx_http_tb_rpc_login_busy(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t result);

ngx_int_t ngx_http_tb_rpc_login_unavailable(ngx_http_tb_rpc_login_t *login);

/* 504: a reply was lost, of a command that may have done something */
ngx_int_t ngx_http_tb_rpc_login_unknown(ngx_http_tb_rpc_login_t *login);

/* a random UUID, of version 4; NGX_ERROR without random bytes */
ngx_int_t ngx_http_tb_rpc_login_uuid(u_char *dst);


/* ngx_http_tb_rpc_login_body.c */

/* NGX_OK and the members that the operation needs, or it was refused */
ngx_int_t ngx_http_tb_rpc_login_body(ngx_http_tb_rpc_login_t *login,
    ngx_int_t *rc);

/* whoever logs $request_body from now on shows no password */
void ngx_http_tb_rpc_login_wipe(ngx_http_request_t *r);

/* NGX_OK and login->name, NGX_DECLINED: nobody is called so, NGX_ERROR */
ngx_int_t ngx_http_tb_rpc_login_name(ngx_http_tb_rpc_login_t *login,
    u_char *p, size_t len);


/* ngx_http_tb_rpc_login_try.c */

/* with a password: counted, delayed, compared */
ngx_int_t ngx_http_tb_rpc_login_try(ngx_http_tb_rpc_login_t *login);

/* what has become of login->job */
ngx_int_t ngx_http_tb_rpc_login_computed(ngx_http_tb_rpc_login_t *login,
    ngx_uint_t match);


/* ngx_http_tb_rpc_login_session.c */

/* a new session, for whom login->user says */
ngx_int_t ngx_http_tb_rpc_login_session(ngx_http_tb_rpc_login_t *login);
ngx_int_t ngx_http_tb_rpc_login_refresh(ngx_http_tb_rpc_login_t *login);

/* a public customer has none: whoever knows its id gets tokens at any time */
ngx_int_t ngx_http_tb_rpc_login_public(ngx_http_tb_rpc_login_t *login);

/* 401: the bearer is disabled, gone, or another one by now */
ngx_int_t ngx_http_tb_rpc_login_inactive(ngx_http_tb_rpc_login_t *login);

/* 1: login->user is whom the token was made for */
ngx_uint_t ngx_http_tb_rpc_login_is_bearer(ngx_http_tb_rpc_login_t *login);

/* of the bearer of a token */
ngx_int_t ngx_http_tb_rpc_login_bearer(ngx_http_tb_rpc_login_t *login,
    ngx_int_t *rc);
ngx_int_t ngx_http_tb_rpc_login_logout(ngx_http_tb_rpc_login_t *login);
ngx_int_t ngx_http_tb_rpc_login_user(ngx_http_tb_rpc_login_t *login);


/* ngx_http_tb_rpc_login_answer.c */

/* 200 and a pair of tokens */
ngx_int_t ngx_http_tb_rpc_login_send_tokens(ngx_http_tb_rpc_login_t *login);
ngx_int_t ngx_http_tb_rpc_login_send_user(ngx_http_tb_rpc_login_t *login);


#endif /* _NGX_HTTP_TB_RPC_LOGIN_REQUEST_H_INCLUDED_ */
