
/*
 * The memory that all workers share, for tb_rpc_status: counters, what each
 * process has now, and samples of the last minutes.
 */


#ifndef _NGX_HTTP_TB_RPC_ZONE_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_ZONE_H_INCLUDED_


#include "ngx_http_tb_rpc_count.h"


/*
 * To be changed with every struct below: a zone of another name is other
 * memory, so nobody reads what another version has written
 */

#define NGX_HTTP_TB_RPC_ZONE_NAME       "tb_rpc_status_2"

#define NGX_HTTP_TB_RPC_ZONE_SLOTS      32      /* of counters */
#define NGX_HTTP_TB_RPC_ZONE_LINE       128     /* two lines of most caches */
#define NGX_HTTP_TB_RPC_PROCESSES       128     /* that are seen */
#define NGX_HTTP_TB_RPC_PROCESS_SILENT  60000   /* ms, then it is dead */
#define NGX_HTTP_TB_RPC_NODES           16      /* seen, of each of them */
#define NGX_HTTP_TB_RPC_NODE_NAME       64

#define NGX_HTTP_TB_RPC_SAMPLES         180
#define NGX_HTTP_TB_RPC_SAMPLE_TIME     5       /* seconds */


typedef union {
    ngx_http_tb_rpc_counts_t      counts;
    u_char                        line[(sizeof(ngx_http_tb_rpc_counts_t)
                                        / NGX_HTTP_TB_RPC_ZONE_LINE + 1)
                                       * NGX_HTTP_TB_RPC_ZONE_LINE];
} ngx_http_tb_rpc_slot_t;


typedef struct {
    ngx_uint_t                    len;
    u_char                        name[NGX_HTTP_TB_RPC_NODE_NAME];
    ngx_uint_t                    command;      /* state of the connection */
    ngx_uint_t                    subscription;
    ngx_uint_t                    writable;     /* for commands */
    ngx_uint_t                    ready;        /* for those that are answered
                                                   by a message, too */
    ngx_uint_t                    waiting;      /* commands */
    ngx_uint_t                    shards;
    ngx_uint_t                    reconnects;
} ngx_http_tb_rpc_node_seen_t;


/* written by its process once a second, read by whoever shows a page */

typedef struct {
    ngx_atomic_t                  pid;          /* 0: free */
    ngx_uint_t                    worker;
    ngx_uint_t                    born;         /* the newest has the highest */
    ngx_msec_t                    updated;      /* 0: not yet */
    ngx_uint_t                    exiting;
    ngx_uint_t                    held;
    ngx_uint_t                    polls;
    ngx_uint_t                    computing;    /* passwords */
    ngx_uint_t                    lined_up;     /* those that wait for that */
    ngx_uint_t                    shards;       /* with a ready node */
    ngx_uint_t                    nnodes;       /* may be more than are here */
    ngx_http_tb_rpc_node_seen_t   nodes[NGX_HTTP_TB_RPC_NODES];
} ngx_http_tb_rpc_process_t;


/* since the start, so that what is missing does no harm */

typedef struct {
    time_t                        time;         /* 0: none */
    ngx_uint_t                    requests;
    ngx_uint_t                    failed;
    ngx_uint_t                    calls;        /* one-way, two-way: their */
    ngx_uint_t                    call_time;    /* ms */
    ngx_uint_t                    commands;
    ngx_uint_t                    logins;
    ngx_uint_t                    refused;      /* of these */
    ngx_uint_t                    held;         /* at that time */
    ngx_uint_t                    polls;
    ngx_uint_t                    devices;      /* of tb_mqtt */
} ngx_http_tb_rpc_sample_t;


typedef struct {
    ngx_http_tb_rpc_slot_t        slots[NGX_HTTP_TB_RPC_ZONE_SLOTS];
    ngx_http_tb_rpc_process_t     processes[NGX_HTTP_TB_RPC_PROCESSES];
    ngx_atomic_t                  born;
    ngx_atomic_t                  lost;         /* processes that were killed */
    time_t                        since;
    ngx_atomic_t                  sampled;      /* when last, seconds */
    ngx_http_tb_rpc_sample_t      samples[NGX_HTTP_TB_RPC_SAMPLES];
} ngx_http_tb_rpc_zone_t;


/* NULL: no memory; the same one for all tb_rpc_status of a configuration */
ngx_shm_zone_t *ngx_http_tb_rpc_zone_add(ngx_conf_t *cf);

/* the block of this worker; NULL without a zone (shm_zone may be NULL) */
ngx_http_tb_rpc_counts_t *ngx_http_tb_rpc_zone_counts(
    ngx_shm_zone_t *shm_zone);

/* adds up the blocks of all workers */
void ngx_http_tb_rpc_zone_sum(ngx_http_tb_rpc_zone_t *zone,
    ngx_http_tb_rpc_counts_t *sum);

/* a place for this process; NULL: there is none */
ngx_http_tb_rpc_process_t *ngx_http_tb_rpc_zone_enter(
    ngx_http_tb_rpc_zone_t *zone);
void ngx_http_tb_rpc_zone_leave(ngx_http_tb_rpc_process_t *process);

/* takes away what processes that were killed have left */
void ngx_http_tb_rpc_zone_sweep(ngx_http_tb_rpc_zone_t *zone);


#endif /* _NGX_HTTP_TB_RPC_ZONE_H_INCLUDED_ */
