
/*
 * What the module knows of a request: what it is for, who calls, how it ended.
 */


#ifndef _NGX_HTTP_TB_RPC_CTX_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_CTX_H_INCLUDED_


#include "../redis/ngx_tb_redis.h"
#include "ngx_http_tb_rpc_loc_conf.h"


typedef enum {
    NGX_HTTP_TB_RPC_OP_UNKNOWN = 0,
    NGX_HTTP_TB_RPC_OP_ONEWAY,
    NGX_HTTP_TB_RPC_OP_TWOWAY,
    NGX_HTTP_TB_RPC_OP_RECORD,          /* GET and DELETE of one record */
    NGX_HTTP_TB_RPC_OP_LIST
} ngx_http_tb_rpc_op_e;


typedef enum {
    NGX_HTTP_TB_RPC_NO_AUTHORITY = 0,
    NGX_HTTP_TB_RPC_SYS_ADMIN,
    NGX_HTTP_TB_RPC_TENANT_ADMIN,
    NGX_HTTP_TB_RPC_CUSTOMER_USER
} ngx_http_tb_rpc_authority_e;


/*
 * $tb_rpc_result, and those up to RESULT_UNKNOWN X-RPC-Result; the order is
 * that of tables
 */

typedef enum {
    NGX_HTTP_TB_RPC_NO_RESULT = 0,
    NGX_HTTP_TB_RPC_TIMEOUT,
    NGX_HTTP_TB_RPC_NO_ACTIVE_CONNECTION,
    NGX_HTTP_TB_RPC_NOT_CLAIMED,
    NGX_HTTP_TB_RPC_FAILED,
    NGX_HTTP_TB_RPC_EXPIRED,
    NGX_HTTP_TB_RPC_INVALID_RESPONSE,
    NGX_HTTP_TB_RPC_RESPONSE_TOO_LARGE,
    NGX_HTTP_TB_RPC_TOO_MANY_PENDING,
    NGX_HTTP_TB_RPC_TOO_MANY_HELD,
    NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
    NGX_HTTP_TB_RPC_RESULT_UNKNOWN,

    /* the caller is not told these */
    NGX_HTTP_TB_RPC_UNKNOWN_TOKEN,
    NGX_HTTP_TB_RPC_UNKNOWN_DEVICE,
    NGX_HTTP_TB_RPC_UNKNOWN_RECORD,
    NGX_HTTP_TB_RPC_FOREIGN_DEVICE,
    NGX_HTTP_TB_RPC_FOREIGN_RECORD,
    NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER
} ngx_http_tb_rpc_result_e;


typedef struct {
    ngx_http_tb_rpc_authority_e   authority;
    ngx_str_t                     tenant_id;    /* 36 lower-case characters */
    ngx_str_t                     customer_id;  /* the same, or empty: none */
    ngx_str_t                     user_id;      /* any text, may be empty */
} ngx_http_tb_rpc_identity_t;


/* of rooms that this one does not see */

typedef struct ngx_http_tb_rpc_call_s        ngx_http_tb_rpc_call_t;
typedef struct ngx_http_tb_rpc_held_s        ngx_http_tb_rpc_held_t;
typedef struct ngx_http_tb_rpc_query_s       ngx_http_tb_rpc_query_t;
typedef struct ngx_http_tb_rpc_device_req_s  ngx_http_tb_rpc_device_req_t;
typedef struct ngx_http_tb_rpc_reported_s    ngx_http_tb_rpc_reported_t;
typedef struct ngx_http_tb_rpc_login_s       ngx_http_tb_rpc_login_t;


/*
 * Kept by a pool cleanup too, so that variables survive an internal
 * redirect: always taken by ngx_http_tb_rpc_get_ctx().
 */

typedef struct {
    ngx_http_request_t            *request;

    ngx_http_tb_rpc_op_e           op;
    ngx_str_t                      device_id;   /* lower case; from the path */
    ngx_str_t                      rpc_id;      /* of the path or generated */
    ngx_str_t                      key_id;      /* of a device's token */
    ngx_str_t                      traceparent; /* of a call for a device */

    ngx_http_tb_rpc_identity_t    *identity;    /* NULL: not authenticated */
    ngx_http_tb_rpc_loc_conf_t    *identity_conf; /* that it holds for */
    ngx_http_tb_rpc_identity_t    *preview;     /* for variables only */
    ngx_http_tb_rpc_loc_conf_t    *preview_conf;
    ngx_tb_redis_command_t        *lookup;      /* API key on its way */
    void                         (*lookup_done)(ngx_http_request_t *r,
                                      ngx_int_t rc);
    ngx_int_t                      auth_rc;     /* NGX_AGAIN while waiting */
    ngx_uint_t                     auth_code;   /* errorCode of a refusal */
    const char                    *auth_error;  /* its message */
    ngx_uint_t                     auth_cause;  /* what is counted */

    ngx_http_tb_rpc_call_t        *call;
    ngx_http_tb_rpc_held_t        *held;
    ngx_http_tb_rpc_query_t       *query;       /* list: a page under way */
    ngx_http_tb_rpc_device_req_t  *device_req;  /* what its path says */
    ngx_http_tb_rpc_reported_t    *reported;    /* a device's answer */
    ngx_http_tb_rpc_login_t       *login;

    ngx_http_tb_rpc_result_e       result;
    ngx_msec_t                     redis_start;
    ngx_msec_t                     redis_time;  /* ms, -1 = Redis not asked */
    ngx_msec_t                     device_time; /* ms, -1 = no answer */
    unsigned                       previewing:1;
} ngx_http_tb_rpc_ctx_t;


/* NULL only without memory; a new one after an internal redirect */
ngx_http_tb_rpc_ctx_t *ngx_http_tb_rpc_get_ctx(ngx_http_request_t *r);

/* for variables: the latest one, of another location too; may be NULL */
ngx_http_tb_rpc_ctx_t *ngx_http_tb_rpc_find_ctx(ngx_http_request_t *r);


#endif /* _NGX_HTTP_TB_RPC_CTX_H_INCLUDED_ */
