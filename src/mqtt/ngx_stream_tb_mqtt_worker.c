
/*
 * What a worker keeps: its Redis client, credentials that it has seen, and the
 * devices that are connected to it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include <openssl/rand.h>

#include "../../common/tb_rpc_shard.h"
#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_login.h"
#include "ngx_stream_tb_mqtt_session.h"
#include "ngx_stream_tb_mqtt_worker.h"


/* ms: what keeps failing is said again */

#define NGX_STREAM_TB_MQTT_SAY  60000


static ngx_int_t ngx_stream_tb_mqtt_worker_start(
    ngx_stream_tb_mqtt_worker_t *w);
static ngx_int_t ngx_stream_tb_mqtt_worker_redis(
    ngx_stream_tb_mqtt_worker_t *w);
static void ngx_stream_tb_mqtt_worker_message(void *data, ngx_str_t *channel,
    u_char *p, size_t len);
static void ngx_stream_tb_mqtt_worker_subscribed(void *data);
static void ngx_stream_tb_mqtt_worker_cleanup(void *data);


ngx_stream_tb_mqtt_worker_t *
ngx_stream_tb_mqtt_worker(ngx_stream_tb_mqtt_main_conf_t *mcf)
{
    ngx_pool_t                   *pool;
    ngx_stream_tb_mqtt_worker_t  *w;

    if (mcf->worker) {
        return mcf->worker;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    w = ngx_pcalloc(pool, sizeof(ngx_stream_tb_mqtt_worker_t));

    if (w) {
        w->pool = pool;
        w->log = ngx_cycle->log;
        w->conf = mcf;

        if (ngx_stream_tb_mqtt_worker_start(w) == NGX_OK) {
            mcf->worker = w;
            return w;
        }
    }

    ngx_destroy_pool(pool);

    return NULL;
}


static ngx_int_t
ngx_stream_tb_mqtt_worker_start(ngx_stream_tb_mqtt_worker_t *w)
{
    u_char               bytes[sizeof(w->name) / 2];
    ngx_uint_t           i;
    ngx_pool_cleanup_t  *cln;

    w->dummy.fd = (ngx_socket_t) -1;

    w->counts = w->conf->zone->data;
    w->process = &w->counts->processes[ngx_process_slot % NGX_MAX_PROCESSES];

    /* who had this place has ended */

    w->process->devices = 0;
    w->process->pid = (ngx_atomic_uint_t) ngx_pid;

    ngx_queue_init(&w->setups);

    ngx_stream_tb_mqtt_lanes_init(w);

    /* random: sessions of many workers and hosts must differ */

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, w->log, 0,
                      "tb_mqtt: no random bytes for the worker's name, "
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_hex_dump(w->name, bytes, sizeof(bytes));

    /* without memory for them nothing is remembered */

    for (i = 0; i < NGX_STREAM_TB_MQTT_NKINDS; i++) {
        w->cache[i] = ngx_tb_rpc_cache_create(w->pool,
                                           sizeof(ngx_stream_tb_mqtt_known_t),
                                           16384, 4096);
    }

    if (ngx_stream_tb_mqtt_sessions_init(w) != NGX_OK) {
        return NGX_ERROR;
    }

    /*
     * without a master process a reload makes a new cycle in this very
     * process, and nobody but the old cycle's pool tells us
     */

    cln = ngx_pool_cleanup_add(((ngx_cycle_t *) ngx_cycle)->pool, 0);
    if (cln == NULL || ngx_stream_tb_mqtt_worker_redis(w) != NGX_OK) {
        return NGX_ERROR;
    }

    cln->handler = ngx_stream_tb_mqtt_worker_cleanup;
    cln->data = w->conf;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_worker_redis(ngx_stream_tb_mqtt_worker_t *w)
{
    u_char                 *p;
    ngx_tb_redis_client_t  *client;

    client = &w->redis;

    client->conf = w->conf->block.redis;
    client->pool = w->pool;
    client->log = w->log;
    client->data = w;
    client->stays = 1;
    client->setup = ngx_stream_tb_mqtt_setup;
    client->gone = ngx_stream_tb_mqtt_setup_gone;
    client->message = ngx_stream_tb_mqtt_worker_message;
    client->subscribed = ngx_stream_tb_mqtt_worker_subscribed;

    client->name.data = ngx_pnalloc(w->pool, sizeof("tb-mqtt-") - 1 + 8);
    if (client->name.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(client->name.data, "tb-mqtt-", sizeof("tb-mqtt-") - 1);
    p = ngx_cpymem(p, w->name, 8);
    client->name.len = p - client->name.data;

    /* nothing is published for us, so there is no second connection */

    if (ngx_array_init(&client->channels, w->pool, 1, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_tb_redis_client_init(client);
}


static void
ngx_stream_tb_mqtt_worker_message(void *data, ngx_str_t *channel, u_char *p,
    size_t len)
{
}


static void
ngx_stream_tb_mqtt_worker_subscribed(void *data)
{
}


void
ngx_stream_tb_mqtt_worker_close(ngx_stream_tb_mqtt_main_conf_t *mcf)
{
    ngx_stream_tb_mqtt_worker_t  *w;

    w = mcf->worker;

    if (w == NULL) {
        return;
    }

    ngx_stream_tb_mqtt_sessions_exit(w);

    ngx_tb_redis_client_flush(&w->redis);
    ngx_tb_redis_client_close(&w->redis);

    ngx_stream_tb_mqtt_lines_close(w);
    ngx_stream_tb_mqtt_setups_close(w);
    ngx_stream_tb_mqtt_sessions_close(w);
    ngx_stream_tb_mqtt_lanes_close(w);

    w->process->pid = 0;

    mcf->worker = NULL;

    ngx_destroy_pool(w->pool);
}


static void
ngx_stream_tb_mqtt_worker_cleanup(void *data)
{
    ngx_stream_tb_mqtt_worker_close(data);
}


ngx_tb_redis_command_t *
ngx_stream_tb_mqtt_fcall_device(ngx_stream_tb_mqtt_worker_t *w,
    u_char *device_id, const char *function, ngx_str_t *argv, ngx_uint_t n,
    ngx_uint_t flags, ngx_tb_redis_reply_pt handler, void *data)
{
    u_char                           key[NGX_TB_RPC_KEY_LEN];
    ngx_str_t                        id;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = w->conf;

    id.data = device_id;
    id.len = NGX_STREAM_TB_MQTT_UUID_LEN;

    ngx_str_set(&argv[0], "FCALL");

    argv[1].data = (u_char *) function;
    argv[1].len = ngx_strlen(function);

    ngx_str_set(&argv[2], "1");

    ngx_tb_rpc_key(&argv[3], key, &mcf->block.prefix,
                   tb_rpc_shard(id.data, id.len,
                                (unsigned) mcf->block.shards),
                   "device:", &id);

    return ngx_tb_redis_command(&w->redis, argv, 4 + n,
                                mcf->block.redis->command_timeout, flags,
                                handler, data);
}


ngx_uint_t
ngx_stream_tb_mqtt_say(ngx_stream_tb_mqtt_said_t *said)
{
    if (said->once
        && ngx_current_msec - said->at < NGX_STREAM_TB_MQTT_SAY)
    {
        return 0;
    }

    said->once = 1;
    said->at = ngx_current_msec;

    return 1;
}
