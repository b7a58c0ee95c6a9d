
#ifndef _NGX_HTTP_TB_RPC_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <jansson.h>

#include "redis/ngx_tb_redis.h"


#define NGX_HTTP_TB_RPC_MAX_PREFIX      32
#define NGX_HTTP_TB_RPC_TAG_LEN                                               \
    (NGX_HTTP_TB_RPC_MAX_PREFIX + sizeof("{s000}:") - 1)

#define NGX_HTTP_TB_RPC_UUID_LEN        36
#define NGX_HTTP_TB_RPC_SHA256_LEN      32
#define NGX_HTTP_TB_RPC_MAX_USER        255

/* an answer above this is not published, the worker fetches it */
#define NGX_HTTP_TB_RPC_MAX_DEPTH       64


/* how long a device's poll is held, ms: without a timeout, and at most */

#define NGX_HTTP_TB_RPC_POLL_TIMEOUT    60000
#define NGX_HTTP_TB_RPC_POLL_MAX        300000


/* tb_rpc */

#define NGX_HTTP_TB_RPC_V1              1
#define NGX_HTTP_TB_RPC_V2              2

#define NGX_HTTP_TB_RPC_PROFILE_OPENAPI      0
#define NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD  1

#define NGX_HTTP_TB_RPC_STRICT          0
#define NGX_HTTP_TB_RPC_LENIENT         1

#define NGX_HTTP_TB_RPC_HS256           0
#define NGX_HTTP_TB_RPC_HS384           1
#define NGX_HTTP_TB_RPC_HS512           2
#define NGX_HTTP_TB_RPC_RS256           3
#define NGX_HTTP_TB_RPC_ES256           4

#define NGX_HTTP_TB_RPC_OFFLINE_WAIT    0
#define NGX_HTTP_TB_RPC_OFFLINE_REJECT  1


/* errorCode of the error body */

#define NGX_HTTP_TB_RPC_GENERAL         2
#define NGX_HTTP_TB_RPC_AUTHENTICATION  10
#define NGX_HTTP_TB_RPC_TOKEN_EXPIRED   11
#define NGX_HTTP_TB_RPC_PERMISSION      20
#define NGX_HTTP_TB_RPC_BAD_REQUEST     31
#define NGX_HTTP_TB_RPC_NOT_FOUND       32
#define NGX_HTTP_TB_RPC_TOO_MANY        33


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


/* worker.c: what a worker keeps; made on first use, from its own pool */

typedef struct ngx_http_tb_rpc_worker_s  ngx_http_tb_rpc_worker_t;


/*
 * What a room has in each worker: the worker calls it, and knows no room.
 * A message on the worker's channels is "<uuid><kind>...", and is of the part
 * that has its kind; "subscribed" says that messages may have been lost.
 * Each may be NULL.
 */

typedef struct {
    ngx_str_t                     kinds;
    ngx_int_t                   (*create)(ngx_http_tb_rpc_worker_t *w);
    void                        (*message)(ngx_http_tb_rpc_worker_t *w,
                                      u_char *p, size_t len);
    void                        (*subscribed)(ngx_http_tb_rpc_worker_t *w);
    void                        (*close)(ngx_http_tb_rpc_worker_t *w);
} ngx_http_tb_rpc_part_t;


typedef struct ngx_http_tb_rpc_cache_s  ngx_http_tb_rpc_cache_t;
typedef struct ngx_http_tb_rpc_jwt_cache_s  ngx_http_tb_rpc_jwt_cache_t;
typedef struct ngx_http_tb_rpc_polls_s  ngx_http_tb_rpc_polls_t;
typedef struct ngx_http_tb_rpc_tick_s  ngx_http_tb_rpc_tick_t;


typedef struct {
    ngx_tb_redis_conf_t          *redis;        /* NULL without the block */
    ngx_str_t                     prefix;       /* "tb:" */
    ngx_uint_t                    shards;

    /* settings that the functions need: http level only */
    ngx_uint_t                    max_retries;
    ngx_msec_t                    ack_timeout;
    ngx_msec_t                    response_timeout;
    time_t                        record_ttl;
    ngx_uint_t                    strategy;
    ngx_flag_t                    events;
    ngx_uint_t                    max_pending;
    ngx_uint_t                    max_records;
    ngx_uint_t                    max_queue;
    size_t                        max_response;

    ngx_uint_t                    max_held;     /* per worker */
    ngx_msec_t                    longest_hold; /* max of tb_rpc_max_timeout */

    ngx_uint_t                    used;         /* a location has tb_rpc or
                                                   tb_rpc_device_api */
    uint64_t                      stamp;        /* epoch ms of this
                                                   configuration */

    ngx_http_tb_rpc_part_t      **parts;        /* the last one is NULL */
    ngx_http_tb_rpc_worker_t     *worker;       /* set in the worker only */
} ngx_http_tb_rpc_main_conf_t;


typedef struct {
    ngx_str_t                     secret;       /* HMAC key, decoded */
    void                         *pkey;         /* EVP_PKEY, RS256 and ES256 */
    ngx_str_t                     file;         /* for messages */
} ngx_http_tb_rpc_jwt_key_t;


typedef struct {
    ngx_uint_t                    api;          /* tb_rpc v1|v2, 0 = off */
    ngx_uint_t                    device_api;   /* tb_rpc_device_api */
    u_char                       *file;         /* where one was said */
    ngx_uint_t                    line;
    ngx_msec_t                    poll_timeout; /* of a poll without one */

    ngx_flag_t                    auth;
    ngx_http_complex_value_t     *tenant;       /* tb_rpc_identity */
    ngx_http_complex_value_t     *customer;
    ngx_http_complex_value_t     *user;
    ngx_http_complex_value_t     *authority;

    ngx_array_t                  *jwt_keys;     /* ngx_http_tb_rpc_jwt_key_t */
    ngx_uint_t                    jwt_alg;
    time_t                        jwt_leeway;   /* seconds */
    ngx_str_t                     jwt_issuer;

    ngx_flag_t                    api_keys;
    ngx_msec_t                    api_key_cache;

    ngx_uint_t                    profile;
    ngx_uint_t                    validation;
    ngx_msec_t                    min_timeout;
    ngx_msec_t                    default_timeout;
    ngx_msec_t                    max_timeout;
    time_t                        max_expiration;  /* seconds, 0 = none */
    size_t                        max_payload;
    ngx_uint_t                    offline;
    ngx_flag_t                    ignore_client_abort;
    ngx_flag_t                    intercept_errors;
} ngx_http_tb_rpc_loc_conf_t;


typedef struct {
    ngx_http_tb_rpc_authority_e   authority;
    ngx_str_t                     tenant_id;    /* 36 lower-case characters */
    ngx_str_t                     customer_id;  /* the same, or empty: none */
    ngx_str_t                     user_id;      /* any text, may be empty */
} ngx_http_tb_rpc_identity_t;


/*
 * A validated call.  Strings point into the request's body or its pool and
 * are the sender's bytes; method, params and additional_info are JSON texts.
 */

typedef struct {
    ngx_str_t                     method;       /* with its quotes */
    ngx_str_t                     method_name;  /* decoded, for logs */
    ngx_str_t                     params;
    ngx_str_t                     additional_info;  /* empty: none */
    ngx_str_t                     request_uuid; /* 36 lower-case or empty */
    int64_t                       timeout;      /* ms, already bounded below;
                                                   0 if expiration is given */
    int64_t                       sent_timeout; /* INT64_MIN = not given */
    int64_t                       expiration;   /* epoch ms, -1 = not given */
    int64_t                       retries;      /* -1 = null */
    unsigned                      oneway:1;
    unsigned                      persistent:1;
} ngx_http_tb_rpc_call_t;


typedef struct ngx_http_tb_rpc_held_s  ngx_http_tb_rpc_held_t;
typedef struct ngx_http_tb_rpc_device_s  ngx_http_tb_rpc_device_t;


/*
 * Kept by a pool cleanup too, so that variables survive an internal
 * redirect: always taken by ngx_http_tb_rpc_get_ctx().
 */

typedef struct {
    ngx_http_request_t           *request;

    ngx_http_tb_rpc_op_e          op;
    ngx_str_t                     device_id;    /* lower case; from the path */
    ngx_str_t                     rpc_id;       /* of the path or generated */
    ngx_str_t                     key_id;       /* of a device's token */

    ngx_http_tb_rpc_identity_t   *identity;     /* NULL: not authenticated */
    void                         *identity_conf;  /* location that holds for */
    ngx_http_tb_rpc_identity_t   *preview;      /* for variables only */
    void                         *preview_conf;
    ngx_tb_redis_command_t       *lookup;       /* API key on its way */
    void                        (*lookup_done)(ngx_http_request_t *r,
                                      ngx_int_t rc);
    ngx_int_t                     auth_rc;      /* NGX_AGAIN while waiting */
    ngx_uint_t                    auth_code;    /* errorCode of a refusal */
    const char                   *auth_error;   /* its message */

    ngx_http_tb_rpc_call_t       *call;
    ngx_http_tb_rpc_held_t       *held;
    ngx_http_tb_rpc_device_t     *device;       /* what its path says */
    void                         *query;        /* list: a page under way */

    ngx_http_tb_rpc_result_e      result;
    ngx_msec_t                    redis_start;
    ngx_msec_t                    redis_time;   /* ms, -1 = Redis not asked */
    unsigned                      previewing:1;
} ngx_http_tb_rpc_ctx_t;


extern ngx_module_t  ngx_http_tb_rpc_module;


/* 1 if the reply's word is this literal */

#define ngx_http_tb_rpc_word(s, w)                                            \
    ((s)->len == sizeof(w) - 1                                                \
     && ngx_memcmp((s)->data, w, sizeof(w) - 1) == 0)


/* ngx_http_tb_rpc_handler.c */

ngx_int_t ngx_http_tb_rpc_handler(ngx_http_request_t *r);


/* ngx_http_tb_rpc_ctx.c */

/* NULL only without memory; a new one after an internal redirect */
ngx_http_tb_rpc_ctx_t *ngx_http_tb_rpc_get_ctx(ngx_http_request_t *r);

/* for variables: the latest one, of another location too; may be NULL */
ngx_http_tb_rpc_ctx_t *ngx_http_tb_rpc_find_ctx(ngx_http_request_t *r);


/* ngx_http_tb_rpc_conf.c */

void *ngx_http_tb_rpc_create_main_conf(ngx_conf_t *cf);
char *ngx_http_tb_rpc_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_http_tb_rpc_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_tb_rpc_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

char *ngx_http_tb_rpc(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_device_api(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_tb_rpc_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tb_rpc_identity(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* post handlers: neither zero nor, sizes, above 1m; at least 10 ms */
char *ngx_http_tb_rpc_check_time(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_tb_rpc_check_due(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_tb_rpc_check_size(ngx_conf_t *cf, void *post, void *data);


/* ngx_http_tb_rpc_route.c */

/*
 * Sets ctx->op and the ids, and answers everything that needs no identity:
 * OPTIONS, 404, 405, 400 for a malformed id.
 * NGX_DECLINED: go on; anything else is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_route(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/*
 * Sets ctx->op and the id of the path, whatever the method.  NGX_OK,
 * NGX_DECLINED: no such path or a malformed id, NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_tb_rpc_parse_uri(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/* 36 characters, 8-4-4-4-12 hex; dst gets them in lower case */
ngx_int_t ngx_http_tb_rpc_parse_uuid(u_char *dst, ngx_str_t *text);


/* ngx_http_tb_rpc_auth.c */

#define NGX_HTTP_TB_RPC_AUTH_FAILED     "Authentication failed"

/* in the ACCESS phase, last of all */
ngx_int_t ngx_http_tb_rpc_access_handler(ngx_http_request_t *r);

/*
 * Sets ctx->identity.
 *   NGX_OK        authenticated
 *   NGX_AGAIN     Redis is asked; done(r, rc) is called later with one of
 *                 the other codes, never from within this call; afterwards
 *                 the caller runs posted requests
 *   NGX_HTTP_UNAUTHORIZED, ctx->auth_code and ctx->auth_error are set
 *   NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_INTERNAL_SERVER_ERROR
 */
ngx_int_t ngx_http_tb_rpc_authenticate(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx,
    void (*done)(ngx_http_request_t *r, ngx_int_t rc));

/*
 * For variables: what a JWT or tb_rpc_identity says by now, or NULL; never
 * asks Redis and leaves ctx->identity alone.  NGX_ERROR without memory
 */
ngx_int_t ngx_http_tb_rpc_preview(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t **preview);

/* notes code and message (static text); NGX_HTTP_UNAUTHORIZED */
ngx_int_t ngx_http_tb_rpc_auth_error(ngx_http_tb_rpc_ctx_t *ctx,
    ngx_uint_t code, const char *message);

/* sends the 401 or 503 that belongs to a code of ..._authenticate() */
ngx_int_t ngx_http_tb_rpc_auth_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_int_t rc);


/* ngx_http_tb_rpc_identity.c */

/*
 * Under "tb_rpc_auth off": what tb_rpc_identity says.  NGX_OK, or a code of
 * ngx_http_tb_rpc_authenticate(); a preview changes no variable and logs
 * nothing
 */
ngx_int_t ngx_http_tb_rpc_identity_values(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id);
ngx_int_t ngx_http_tb_rpc_identity_preview(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id);

/*
 * All is copied; ids are validated and lowered, the null UUID is none, only
 * SYS_ADMIN may have no tenant.  NGX_OK, NGX_DECLINED: refused, NGX_ERROR
 */
ngx_int_t ngx_http_tb_rpc_set_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t *id, ngx_str_t *tenant, ngx_str_t *customer,
    ngx_str_t *user, ngx_str_t *authority);


/* ngx_http_tb_rpc_credential.c */

#define NGX_HTTP_TB_RPC_BEARER          1
#define NGX_HTTP_TB_RPC_API_KEY         2

typedef struct {
    ngx_uint_t                    scheme;
    ngx_str_t                     text;
} ngx_http_tb_rpc_credential_t;

/*
 * Selects by precedence.  NGX_DECLINED: there is none, NGX_ABORT: a header
 * comes twice
 */
ngx_int_t ngx_http_tb_rpc_get_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_credential_t *credential);

/*
 * 16 hex digits of the SHA-256 of the credential that was presented;
 * NGX_DECLINED if there is none
 */
ngx_int_t ngx_http_tb_rpc_key_id(ngx_http_request_t *r, ngx_str_t *value);


/* ngx_http_tb_rpc_jwt.c */

char *ngx_http_tb_rpc_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* keys against jwt_alg, once both are known; logs and NGX_CONF_ERROR */
char *ngx_http_tb_rpc_jwt_check_keys(ngx_conf_t *cf,
    ngx_http_tb_rpc_loc_conf_t *lcf);
/* NGX_OK, or NGX_HTTP_UNAUTHORIZED with ctx->auth_code, ctx->auth_error */
ngx_int_t ngx_http_tb_rpc_jwt_verify(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_str_t *token);
/* NGX_OK if one of the location's keys made it, else NGX_DECLINED */
ngx_int_t ngx_http_tb_rpc_jwt_signature(ngx_http_tb_rpc_loc_conf_t *lcf,
    ngx_str_t *signature, ngx_str_t *input);
extern ngx_conf_enum_t  ngx_http_tb_rpc_jwt_algs[];
/*
 * Strict Base64: url, without padding, or standard; no foreign characters,
 * no stray bits.  dst (may be src) takes len * 3 / 4 bytes.  The decoded
 * length or NGX_ERROR.
 */
ssize_t ngx_http_tb_rpc_base64(u_char *dst, u_char *src, size_t len,
    ngx_uint_t url);


/* ngx_http_tb_rpc_api_key.c */

/* the worker's cache; NULL without memory */
ngx_http_tb_rpc_cache_t *ngx_http_tb_rpc_api_keys_create(ngx_pool_t *pool);
/* as ngx_http_tb_rpc_authenticate() */
ngx_int_t ngx_http_tb_rpc_api_key_verify(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_identity_t *id,
    ngx_str_t *key);


/*
 * ngx_http_tb_rpc_record.c: as a content handler, with a reference of its
 * own
 */

ngx_int_t ngx_http_tb_rpc_record(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


/* ngx_http_tb_rpc_body.c, _json.c */

/*
 * Called when the request's body was read.  NGX_OK and ctx->call; or
 * ctx->call is NULL, and what an error answer (already sent, so maybe NGX_OK)
 * returned is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_parse_body(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);

/*
 * The bytes of a body that was read, wherever they are.  NGX_OK,
 * NGX_DECLINED: more than max, NGX_ERROR
 */
ngx_int_t ngx_http_tb_rpc_collect_body(ngx_http_request_t *r, size_t max,
    ngx_str_t *text);

/* tb_rpc_validation; unset it is the default of the profile */
ngx_uint_t ngx_http_tb_rpc_lenient(ngx_http_tb_rpc_loc_conf_t *lcf);

/*
 * The rules for a value of a call, for one JSON text: an answer, a text of a
 * record.  NGX_OK or NGX_DECLINED.
 */
ngx_int_t ngx_http_tb_rpc_check_json(u_char *p, size_t len,
    ngx_uint_t lenient);


/* ngx_http_tb_rpc_call.c */

/*
 * Sends the call to Redis.  NGX_DONE: the request is held or waits for its
 * reply (the caller has taken the reference: it returns NGX_DONE too);
 * anything else is for ngx_http_finalize_request().
 */
ngx_int_t ngx_http_tb_rpc_call(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);


/*
 * ngx_http_tb_rpc_respond.c, _outcome.c: all return what
 * ngx_http_finalize_request() takes, never NGX_AGAIN; NGX_OK after an error
 * answer too
 */

/* body may be NULL or empty: Content-Length: 0 and no Content-Type */
ngx_int_t ngx_http_tb_rpc_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body);
ngx_int_t ngx_http_tb_rpc_send_json(ngx_http_request_t *r, ngx_str_t *body);

/* only the header of a JSON answer; a len of -1 is not known yet */
ngx_int_t ngx_http_tb_rpc_send_json_header(ngx_http_request_t *r, off_t len);

/*
 * {"status":..,"message":..,"errorCode":..,"timestamp":..}, the message
 * escaped; honours tb_rpc_intercept_errors
 */
ngx_int_t ngx_http_tb_rpc_send_error(ngx_http_request_t *r,
    ngx_uint_t status, ngx_uint_t code, const char *fmt, ...);

/* any other answer of 400 and above; honours tb_rpc_intercept_errors */
ngx_int_t ngx_http_tb_rpc_send_failure(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body);

/*
 * The answer to a call that failed with this result: status by tb_rpc
 * v1|v2, body by profile, X-RPC-Result, Retry-After.  text (may be NULL)
 * is added to the message.
 */
ngx_int_t ngx_http_tb_rpc_send_result(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_http_tb_rpc_result_e result,
    ngx_str_t *text);

/* the device's answer: 200 with its bytes, or 406 */
ngx_int_t ngx_http_tb_rpc_send_answer(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_str_t *answer);

/*
 * Device unknown, foreign or another customer's: by profile; which of these
 * it is, as {unknown}, {unknown, tenant} or {customer} tell, is logged.
 */
ngx_int_t ngx_http_tb_rpc_send_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, redisReply *reply);
void ngx_http_tb_rpc_log_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx);
ngx_int_t ngx_http_tb_rpc_send_forbidden(ngx_http_request_t *r,
    ngx_uint_t sys_admin_calls);

/* 413 for a body above tb_rpc_max_payload */
ngx_int_t ngx_http_tb_rpc_send_too_large(ngx_http_request_t *r);

/*
 * ngx_http_tb_rpc_escape.c: the inside of a JSON string, invalid UTF-8 as
 * U+FFFD
 */
size_t ngx_http_tb_rpc_escape_len(ngx_str_t *text);
u_char *ngx_http_tb_rpc_escape(u_char *dst, ngx_str_t *text);


/* replaces a header of that name */
ngx_int_t ngx_http_tb_rpc_add_header(ngx_http_request_t *r, const char *key,
    ngx_str_t *value);
extern ngx_str_t  ngx_http_tb_rpc_results[];    /* "TIMEOUT", ... */


/* ngx_http_tb_rpc_device.c: the content handler of tb_rpc_device_api */

ngx_int_t ngx_http_tb_rpc_device_handler(ngx_http_request_t *r);

/* ngx_http_tb_rpc_device_path.c: these see to it that no token is logged */

ngx_int_t ngx_http_tb_rpc_device_preaccess_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_tb_rpc_device_log_handler(ngx_http_request_t *r);

/* 16 hex digits of the SHA-256 of the token; NGX_DECLINED: there is none */
ngx_int_t ngx_http_tb_rpc_device_key_id(ngx_http_request_t *r,
    ngx_str_t *value);


/* ngx_http_tb_rpc_vars.c */

ngx_int_t ngx_http_tb_rpc_add_variables(ngx_conf_t *cf);


/* ngx_http_tb_rpc_worker.c */

/* what the worker keeps; NULL without memory */
ngx_http_tb_rpc_worker_t *ngx_http_tb_rpc_worker(
    ngx_http_tb_rpc_main_conf_t *mcf);
void ngx_http_tb_rpc_worker_close(ngx_http_tb_rpc_main_conf_t *mcf);


struct ngx_http_tb_rpc_worker_s {
    ngx_pool_t                   *pool;
    ngx_log_t                    *log;
    ngx_http_tb_rpc_main_conf_t  *conf;

    ngx_tb_redis_client_t         redis;
    u_char                        name[32];     /* random, hex: replyTo */

    ngx_rbtree_t                  held;         /* by rpcId */
    ngx_rbtree_node_t             sentinel;
    ngx_uint_t                    nheld;

    uint64_t                      last_time;    /* of the last rpcId */
    u_char                        node[6];

    ngx_http_tb_rpc_jwt_cache_t  *jwts;
    ngx_http_tb_rpc_cache_t      *api_keys;
    ngx_http_tb_rpc_cache_t      *tokens;       /* of devices */
    ngx_http_tb_rpc_polls_t      *polls;        /* device_polls.c */

    ngx_http_tb_rpc_tick_t       *tick;         /* tick.c */
    ngx_connection_t              dummy;        /* data of our timers */

    void                         *library;      /* handshake state */
};


/* ngx_http_tb_rpc_tick.c: one worker of a Redis calls tb_rpc_tick */

/* NULL without memory */
ngx_http_tb_rpc_tick_t *ngx_http_tb_rpc_tick_create(
    ngx_http_tb_rpc_worker_t *w);
void ngx_http_tb_rpc_tick_start(ngx_http_tb_rpc_tick_t *tick);
/* before the client is closed, and after that */
void ngx_http_tb_rpc_tick_stop(ngx_http_tb_rpc_tick_t *tick);
void ngx_http_tb_rpc_tick_close(ngx_http_tb_rpc_tick_t *tick);


/* ngx_http_tb_rpc_library.c: handshake: functions, tb:meta, settings, INFO */

void ngx_http_tb_rpc_setup(void *data);         /* worker */


/* ngx_http_tb_rpc_id.c: ids and shards */

ngx_uint_t ngx_http_tb_rpc_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *device_id);
/* dst: 36 bytes */
void ngx_http_tb_rpc_new_id(ngx_http_tb_rpc_worker_t *w, ngx_uint_t shard,
    u_char *dst);
/* shard of one of our ids, or NGX_DECLINED: not shaped like ours */
ngx_int_t ngx_http_tb_rpc_id_shard(ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *rpc_id);
/* "tb:{s003}:", at most NGX_HTTP_TB_RPC_TAG_LEN bytes; where they end */
u_char *ngx_http_tb_rpc_shard_tag(u_char *dst,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard);
/* "tb:{s003}:<kind><id>"; allocated from pool, NGX_ERROR without memory */
ngx_int_t ngx_http_tb_rpc_key(ngx_pool_t *pool,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_uint_t shard, const char *kind,
    ngx_str_t *id, ngx_str_t *key);


/* ngx_http_tb_rpc_client.c */

/* a request that waits is told when its client leaves, unless ignored */
ngx_int_t ngx_http_tb_rpc_watch_client(ngx_http_request_t *r);
/* the same, whatever tb_rpc_ignore_client_abort says */
ngx_int_t ngx_http_tb_rpc_watch(ngx_http_request_t *r);


/* the parts */

extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_auth_part;
extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_call_part;
extern ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_device_part;


#endif /* _NGX_HTTP_TB_RPC_H_INCLUDED_ */
