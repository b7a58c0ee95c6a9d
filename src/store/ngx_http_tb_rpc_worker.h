
/*
 * The configuration that all locations share, and what a worker keeps: made on
 * first use, from its own pool.
 */


#ifndef _NGX_HTTP_TB_RPC_WORKER_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_WORKER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../redis/ngx_tb_redis.h"
#include "../count/ngx_http_tb_rpc_zone.h"
#include "../share/ngx_tb_rpc_cache.h"


typedef struct ngx_http_tb_rpc_main_conf_s  ngx_http_tb_rpc_main_conf_t;
typedef struct ngx_http_tb_rpc_worker_s     ngx_http_tb_rpc_worker_t;
typedef struct ngx_http_tb_rpc_node_s       ngx_http_tb_rpc_node_t;

/* of rooms that this one does not see */
typedef struct ngx_http_tb_rpc_jwt_cache_s  ngx_http_tb_rpc_jwt_cache_t;
typedef struct ngx_http_tb_rpc_polls_s      ngx_http_tb_rpc_polls_t;
typedef struct ngx_http_tb_rpc_watch_s      ngx_http_tb_rpc_watch_t;
typedef struct ngx_http_tb_rpc_logins_s     ngx_http_tb_rpc_logins_t;


/*
 * What a room has in each worker: the worker calls it, and knows no room.
 * A message on the worker's channels is "<uuid><kind>...", and is of the part
 * that has its kind; "subscribed" says that messages may have been lost, of
 * shards whose channels are new.  Each may be NULL.
 */

typedef struct {
    ngx_str_t                     kinds;
    ngx_int_t                   (*create)(ngx_http_tb_rpc_worker_t *w);
    void                        (*message)(ngx_http_tb_rpc_worker_t *w,
                                      u_char *p, size_t len);
    void                        (*subscribed)(ngx_http_tb_rpc_worker_t *w);
    void                        (*close)(ngx_http_tb_rpc_worker_t *w);
} ngx_http_tb_rpc_part_t;


/* what the functions need to know: http level only */

typedef struct {
    ngx_uint_t                    max_retries;
    ngx_msec_t                    ack_timeout;
    ngx_msec_t                    response_timeout;
    time_t                        record_ttl;   /* seconds */
    ngx_uint_t                    strategy;
    ngx_flag_t                    events;
    ngx_uint_t                    max_pending;
    ngx_uint_t                    max_records;
    ngx_uint_t                    max_queue;
    size_t                        max_response;
} ngx_http_tb_rpc_settings_t;


struct ngx_http_tb_rpc_main_conf_s {
    ngx_tb_redis_conf_t          *redis;        /* NULL without the block */
    ngx_str_t                     prefix;       /* "tb:" */
    ngx_uint_t                    shards;

    ngx_http_tb_rpc_settings_t    settings;

    ngx_uint_t                    max_held;     /* per worker */
    ngx_msec_t                    longest_hold; /* max of tb_rpc_max_timeout */

    ngx_http_tb_rpc_login_threads_t  login_threads;

    ngx_uint_t                    used;         /* a location has tb_rpc,
                                                   tb_rpc_device_api,
                                                   tb_rpc_login or
                                                   tb_rpc_status */
    uint64_t                      stamp;        /* epoch ms of this
                                                   configuration */

    ngx_shm_zone_t               *zone;         /* NULL: no tb_rpc_status */

    ngx_array_t                  *served;       /* what each server answers */
    ngx_array_t                  *docs;         /* NULL: no tb_rpc_docs */

    ngx_http_tb_rpc_part_t      **parts;        /* the last one is NULL */
    ngx_http_tb_rpc_worker_t     *worker;       /* set in the worker only */
};


struct ngx_http_tb_rpc_worker_s {
    ngx_pool_t                   *pool;
    ngx_log_t                    *log;
    ngx_http_tb_rpc_main_conf_t  *conf;

    ngx_tb_redis_client_t         redis;
    u_char                        name[32];     /* random, hex: replyTo */

    ngx_rbtree_t                  held;         /* by rpcId */
    ngx_rbtree_node_t             sentinel;
    ngx_uint_t                    nheld;

    ngx_uint_t                    npolls;       /* open, of devices */

    ngx_uint_t                    ncomputing;   /* passwords, in threads */
    ngx_uint_t                    nlined_up;    /* those that wait for one */

    ngx_http_tb_rpc_counts_t     *counts;       /* NULL: nobody counts */
    ngx_http_tb_rpc_watch_t      *watch;        /* of tb_rpc_status */

    uint64_t                      last_time;    /* of the last rpcId */
    u_char                        node[6];

    ngx_http_tb_rpc_jwt_cache_t  *jwts;         /* verified */
    ngx_tb_rpc_cache_t           *api_keys;
    ngx_tb_rpc_cache_t           *tokens;       /* of devices */
    ngx_http_tb_rpc_polls_t      *polls;
    ngx_http_tb_rpc_logins_t     *logins;       /* passwords under way */

    ngx_queue_t                   nodes;        /* ngx_http_tb_rpc_node_t */
    ngx_connection_t              dummy;        /* data of our timers */

    unsigned                      meta:1;       /* "tb:meta" is as it should */
};


/* what the worker keeps; NULL without memory */
ngx_http_tb_rpc_worker_t *ngx_http_tb_rpc_worker(
    ngx_http_tb_rpc_main_conf_t *mcf);
void ngx_http_tb_rpc_worker_close(ngx_http_tb_rpc_main_conf_t *mcf);


#endif /* _NGX_HTTP_TB_RPC_WORKER_H_INCLUDED_ */
