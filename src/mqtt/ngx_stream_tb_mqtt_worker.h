
/*
 * What a worker keeps: made on first use, from its own pool.
 */


#ifndef _NGX_STREAM_TB_MQTT_WORKER_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_WORKER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../redis/ngx_tb_redis.h"
#include "../share/ngx_tb_mqtt_counts.h"
#include "../share/ngx_tb_rpc_cache.h"
#include "ngx_stream_tb_mqtt_conf.h"
#include "ngx_stream_tb_mqtt_lane.h"


/* kinds of credentials, by how they are kept in Redis */

enum {
    NGX_STREAM_TB_MQTT_CERTIFICATE = 0,
    NGX_STREAM_TB_MQTT_BASIC,
    NGX_STREAM_TB_MQTT_TOKEN,
    NGX_STREAM_TB_MQTT_NKINDS
};


/* what keeps failing, and when that was said */

typedef struct {
    ngx_msec_t                       at;
    ngx_uint_t                       once;
} ngx_stream_tb_mqtt_said_t;


typedef struct {
    ngx_stream_tb_mqtt_worker_t     *worker;
    ngx_queue_t                      sessions;   /* that are attached */
} ngx_stream_tb_mqtt_shard_t;


struct ngx_stream_tb_mqtt_worker_s {
    ngx_pool_t                      *pool;
    ngx_log_t                       *log;
    ngx_stream_tb_mqtt_main_conf_t  *conf;

    ngx_tb_redis_client_t            redis;
    ngx_queue_t                      setups;     /* one for each node */
    ngx_tb_mqtt_counts_t            *counts;
    ngx_tb_mqtt_process_t           *process;    /* ours, of counts */
    u_char                           name[16];   /* random, hex */
    uint64_t                         sessions;   /* made */

    ngx_tb_rpc_cache_t              *cache[NGX_STREAM_TB_MQTT_NKINDS];

    ngx_tb_rpc_lanes_t               lanes;
    ngx_stream_tb_mqtt_lane_t        nobody;
    ngx_event_t                      pump;       /* posted, or set */

    /* presence */

    ngx_queue_t                      quiet;      /* not yet: they have not
                                                    subscribed */
    ngx_queue_t                      failed;     /* tried again later */
    ngx_queue_t                      attaching;  /* a reply is due */
    ngx_stream_tb_mqtt_shard_t      *shards;
    ngx_uint_t                       shard;      /* whose turn is next */
    ngx_msec_t                       beaten;     /* when the last one was */
    ngx_uint_t                       nsessions;  /* all that there are */
    ngx_stream_tb_mqtt_said_t        said_lookup;
    ngx_stream_tb_mqtt_said_t        said_session;
    ngx_stream_tb_mqtt_said_t        said_beat;
    ngx_event_t                      beat;
    ngx_event_t                      again;

    ngx_connection_t                 dummy;      /* data of our timers */

    unsigned                         resting:1;  /* none could be queued */
    unsigned                         meta:1;     /* "tb:meta" is as it should */

    /* said once, until it changes */
    unsigned                         told_meta:1;
    unsigned                         told_version:1;
    unsigned                         told_role:1;
    unsigned                         told_failed:1;
};


/* 1: it is to be said, for the first time or again */
ngx_uint_t ngx_stream_tb_mqtt_say(ngx_stream_tb_mqtt_said_t *said);

#define ngx_stream_tb_mqtt_count(w, member)                                   \
    (void) ngx_atomic_fetch_add(&(w)->counts->member, 1)


/* what the worker keeps; NULL without memory */
ngx_stream_tb_mqtt_worker_t *ngx_stream_tb_mqtt_worker(
    ngx_stream_tb_mqtt_main_conf_t *mcf);
void ngx_stream_tb_mqtt_worker_close(ngx_stream_tb_mqtt_main_conf_t *mcf);

/*
 * ngx_stream_tb_mqtt_setup.c: the client's setup and gone: is this a Redis that
 * an nginx has prepared?  And the worker's end.
 */
void ngx_stream_tb_mqtt_setup(void *data, ngx_tb_redis_node_t *node);
void ngx_stream_tb_mqtt_setup_gone(void *data, ngx_tb_redis_node_t *node);
void ngx_stream_tb_mqtt_setups_close(ngx_stream_tb_mqtt_worker_t *w);

/*
 * FCALL of a function on a device, with n arguments from argv[4] on, those
 * before are filled in.  As ngx_tb_redis_command().
 */
ngx_tb_redis_command_t *ngx_stream_tb_mqtt_fcall_device(
    ngx_stream_tb_mqtt_worker_t *w, u_char *device_id, const char *function,
    ngx_str_t *argv, ngx_uint_t n, ngx_uint_t flags,
    ngx_tb_redis_reply_pt handler, void *data);


#endif /* _NGX_STREAM_TB_MQTT_WORKER_H_INCLUDED_ */
