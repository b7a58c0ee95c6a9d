
/*
 * What is counted.  A worker adds to a block of its own, in shared memory, that
 * the workers before and after it have used too: nothing is lost with a worker
 * and nothing has to be moved.  Without tb_rpc_status there is no such memory,
 * and w->counts is NULL.
 */


#ifndef _NGX_HTTP_TB_RPC_COUNT_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_COUNT_H_INCLUDED_


#include "../http/ngx_http_tb_rpc_ctx.h"


typedef enum {
    NGX_HTTP_TB_RPC_COUNT_ONEWAY = 0,
    NGX_HTTP_TB_RPC_COUNT_TWOWAY,
    NGX_HTTP_TB_RPC_COUNT_PERSISTENT,
    NGX_HTTP_TB_RPC_COUNT_GET,
    NGX_HTTP_TB_RPC_COUNT_DELETE,
    NGX_HTTP_TB_RPC_COUNT_LIST,
    NGX_HTTP_TB_RPC_COUNT_POLL,
    NGX_HTTP_TB_RPC_COUNT_ANSWER,
    NGX_HTTP_TB_RPC_COUNT_OTHER,        /* nothing that there is */

    /* of tb_rpc_login: the last ones, not shown where nobody logs in */
    NGX_HTTP_TB_RPC_COUNT_LOGIN,
    NGX_HTTP_TB_RPC_COUNT_PUBLIC,
    NGX_HTTP_TB_RPC_COUNT_REFRESH,
    NGX_HTTP_TB_RPC_COUNT_LOGOUT,
    NGX_HTTP_TB_RPC_COUNT_USER,
    NGX_HTTP_TB_RPC_COUNT_PASSWORD,
    NGX_HTTP_TB_RPC_NOPERATIONS
} ngx_http_tb_rpc_operation_e;


/* 0 is success, then come those of ngx_http_tb_rpc_result_e, then these */

enum {
    NGX_HTTP_TB_RPC_ENDED_OK = NGX_HTTP_TB_RPC_NO_RESULT,
    NGX_HTTP_TB_RPC_ENDED_UNAUTHORIZED = NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER + 1,
    NGX_HTTP_TB_RPC_ENDED_FORBIDDEN,
    NGX_HTTP_TB_RPC_ENDED_NOT_FOUND,
    NGX_HTTP_TB_RPC_ENDED_INVALID,      /* any other 4xx */
    NGX_HTTP_TB_RPC_ENDED_CLOSED,       /* by the client */
    NGX_HTTP_TB_RPC_ENDED_EMPTY,        /* a poll that brought no call */
    NGX_HTTP_TB_RPC_ENDED_ERROR,        /* any other 5xx */

    /* of logins */
    NGX_HTTP_TB_RPC_ENDED_WRONG,        /* name, password, refresh token */
    NGX_HTTP_TB_RPC_ENDED_LOCKED,       /* by tb_rpc_login_failures */
    NGX_HTTP_TB_RPC_ENDED_BUSY,         /* by tb_rpc_login_threads */
    NGX_HTTP_TB_RPC_ENDED_REUSED,       /* a refresh token, once more */
    NGX_HTTP_TB_RPC_NRESULTS
};


/* why somebody was not let in: ctx->auth_cause */

enum {
    NGX_HTTP_TB_RPC_CAUSE_CREDENTIAL = 0,   /* none, or none that is taken */
    NGX_HTTP_TB_RPC_CAUSE_DUPLICATE,
    NGX_HTTP_TB_RPC_CAUSE_JWT_MALFORMED,
    NGX_HTTP_TB_RPC_CAUSE_JWT_SIGNATURE,
    NGX_HTTP_TB_RPC_CAUSE_JWT_CLAIMS,
    NGX_HTTP_TB_RPC_CAUSE_JWT_EXPIRED,
    NGX_HTTP_TB_RPC_CAUSE_API_KEY_UNKNOWN,
    NGX_HTTP_TB_RPC_CAUSE_API_KEY_DISABLED,
    NGX_HTTP_TB_RPC_CAUSE_API_KEY_EXPIRED,
    NGX_HTTP_TB_RPC_CAUSE_IDENTITY,         /* of tb_rpc_identity */
    NGX_HTTP_TB_RPC_CAUSE_DEVICE_TOKEN,
    NGX_HTTP_TB_RPC_NCAUSES
};


enum {
    NGX_HTTP_TB_RPC_CACHE_JWT = 0,
    NGX_HTTP_TB_RPC_CACHE_API_KEY,
    NGX_HTTP_TB_RPC_CACHE_TOKEN,
    NGX_HTTP_TB_RPC_NCACHES
};


/* upper bounds in ms; the last bucket has none */

#define NGX_HTTP_TB_RPC_NBUCKETS        15

typedef struct {
    ngx_atomic_t                  buckets[NGX_HTTP_TB_RPC_NBUCKETS];
    ngx_atomic_t                  sum;          /* ms */
} ngx_http_tb_rpc_histogram_t;


/* all members are ngx_atomic_t, they are added up one by one */

typedef struct {
    ngx_atomic_t                  requests[NGX_HTTP_TB_RPC_NOPERATIONS]
                                          [NGX_HTTP_TB_RPC_NRESULTS];
    ngx_http_tb_rpc_histogram_t   total[NGX_HTTP_TB_RPC_NOPERATIONS];
    ngx_http_tb_rpc_histogram_t   redis_time;
    ngx_http_tb_rpc_histogram_t   device_time;
    ngx_http_tb_rpc_histogram_t   password_time;    /* in a thread */
    ngx_atomic_t                  refused[NGX_HTTP_TB_RPC_NCAUSES];
    ngx_atomic_t                  hits[NGX_HTTP_TB_RPC_NCACHES];
    ngx_atomic_t                  misses[NGX_HTTP_TB_RPC_NCACHES];
    ngx_atomic_t                  ticks;
    ngx_atomic_t                  ticked;       /* calls touched by them */
    ngx_tb_redis_counts_t         redis;
} ngx_http_tb_rpc_counts_t;


extern ngx_str_t   ngx_http_tb_rpc_operation_names[];
extern ngx_str_t   ngx_http_tb_rpc_cause_names[];
extern ngx_str_t   ngx_http_tb_rpc_cache_names[];
extern ngx_msec_t  ngx_http_tb_rpc_bounds[];    /* the last one is 0: none */


#define ngx_http_tb_rpc_add(w, member, n)                                     \
    if ((w)->counts) {                                                        \
        (void) ngx_atomic_fetch_add(&(w)->counts->member, n);                 \
    }

#define ngx_http_tb_rpc_count(w, member)  ngx_http_tb_rpc_add(w, member, 1)

#define ngx_http_tb_rpc_count_ms(w, member, ms)                               \
    if ((w)->counts) {                                                        \
        ngx_http_tb_rpc_count_time(&(w)->counts->member, ms);                 \
    }


/* a request that has ended; times in ms, -1: there was none */
void ngx_http_tb_rpc_count_request(ngx_http_tb_rpc_counts_t *counts,
    ngx_http_tb_rpc_operation_e op, ngx_uint_t result, ngx_msec_t total,
    ngx_http_tb_rpc_ctx_t *ctx);

void ngx_http_tb_rpc_count_time(ngx_http_tb_rpc_histogram_t *h, ngx_msec_t ms);

/* the result of a request without one of its own, by its status */
ngx_uint_t ngx_http_tb_rpc_count_status(ngx_http_tb_rpc_operation_e op,
    ngx_uint_t status);

/* in lower case, into dst; its end */
u_char *ngx_http_tb_rpc_result_name(u_char *dst, u_char *last, ngx_uint_t n);


#endif /* _NGX_HTTP_TB_RPC_COUNT_H_INCLUDED_ */
