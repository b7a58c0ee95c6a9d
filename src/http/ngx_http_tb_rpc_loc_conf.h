
/*
 * The configuration of a location.
 */


#ifndef _NGX_HTTP_TB_RPC_LOC_CONF_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_LOC_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


#define NGX_HTTP_TB_RPC_V1              1
#define NGX_HTTP_TB_RPC_V2              2

#define NGX_HTTP_TB_RPC_PROFILE_OPENAPI      0
#define NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD  1

#define NGX_HTTP_TB_RPC_STRICT          0
#define NGX_HTTP_TB_RPC_LENIENT         1

#define NGX_HTTP_TB_RPC_OFFLINE_WAIT    0
#define NGX_HTTP_TB_RPC_OFFLINE_REJECT  1


#define NGX_HTTP_TB_RPC_STATUS_JSON        1
#define NGX_HTTP_TB_RPC_STATUS_PROMETHEUS  2
#define NGX_HTTP_TB_RPC_STATUS_HTML        3
#define NGX_HTTP_TB_RPC_STATUS_HEALTH      4


/*
 * What rooms below this one have in it: their files tell defaults and
 * inheritance.
 */

typedef struct {
    ngx_flag_t                    on;           /* tb_rpc_auth */

    ngx_http_complex_value_t     *tenant;       /* tb_rpc_identity */
    ngx_http_complex_value_t     *customer;
    ngx_http_complex_value_t     *user;
    ngx_http_complex_value_t     *authority;

    ngx_array_t                  *jwt_keys;     /* ngx_http_tb_rpc_jwt_key_t */
    ngx_uint_t                    jwt_alg;
    time_t                        jwt_leeway;   /* seconds */
    ngx_str_t                     jwt_issuer;

    ngx_flag_t                    api_keys;
} ngx_http_tb_rpc_auth_conf_t;


typedef struct {
    ngx_msec_t                    min_timeout;
    ngx_msec_t                    default_timeout;
    ngx_msec_t                    max_timeout;
    time_t                        max_expiration;  /* seconds, 0 = none */
    ngx_uint_t                    offline;
} ngx_http_tb_rpc_call_conf_t;


typedef struct {
    ngx_uint_t                    ln;           /* N as a power of 2 */
    ngx_uint_t                    r;
    ngx_uint_t                    p;
} ngx_http_tb_rpc_scrypt_t;


typedef struct {
    time_t                        token_time;   /* seconds */
    time_t                        refresh_time;
    ngx_uint_t                    max_sessions; /* of a user */

    ngx_http_tb_rpc_scrypt_t      scrypt;       /* of new hashes */

    /* of the type of numbers all: tb_rpc_login_failures */
    ngx_uint_t                    user_failures;
    ngx_uint_t                    address_failures;
    ngx_msec_t                    window;
    ngx_msec_t                    delay;
    ngx_msec_t                    max_delay;
} ngx_http_tb_rpc_login_conf_t;


typedef struct ngx_http_tb_rpc_docs_conf_s  ngx_http_tb_rpc_docs_conf_t;


/* in each worker: tb_rpc_login_threads; "idle" is a priority below nice 19 */

#define NGX_HTTP_TB_RPC_LOGIN_IDLE  20

typedef struct {
    ngx_uint_t                    max;          /* at a time */
    ngx_uint_t                    waiting;
    ngx_uint_t                    nice;
    ngx_str_t                     pool;
    struct ngx_thread_pool_s     *tp;           /* NULL: nobody logs in */
} ngx_http_tb_rpc_login_threads_t;


typedef struct {
    ngx_uint_t                    api;          /* tb_rpc v1|v2, 0 = off */
    ngx_uint_t                    device_api;   /* tb_rpc_device_api */
    ngx_uint_t                    status;       /* tb_rpc_status, 0 = off */
    ngx_uint_t                    logins;       /* tb_rpc_login */
    ngx_http_tb_rpc_docs_conf_t  *docs;         /* tb_rpc_docs, NULL = off */
    u_char                       *file;         /* where one was said */
    ngx_uint_t                    line;
    ngx_msec_t                    poll_timeout; /* of a poll without one */

    ngx_http_tb_rpc_auth_conf_t   auth;
    ngx_http_tb_rpc_call_conf_t   call;
    ngx_http_tb_rpc_login_conf_t  login;
    ngx_msec_t                    api_key_cache;    /* of tokens, too */

    ngx_uint_t                    profile;
    ngx_uint_t                    validation;
    size_t                        max_payload;
    ngx_flag_t                    ignore_client_abort;
    ngx_flag_t                    intercept_errors;
} ngx_http_tb_rpc_loc_conf_t;


extern ngx_module_t  ngx_http_tb_rpc_module;


/* tb_rpc_validation; unset it is the default of the profile */
ngx_uint_t ngx_http_tb_rpc_lenient(ngx_http_tb_rpc_loc_conf_t *lcf);


#endif /* _NGX_HTTP_TB_RPC_LOC_CONF_H_INCLUDED_ */
