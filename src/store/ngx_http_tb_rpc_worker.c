
/*
 * What a worker keeps: its Redis client, its name on the reply channels, and
 * what its parts have.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <jansson.h>
#include <openssl/rand.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_node.h"
#include "ngx_http_tb_rpc_worker.h"


static ngx_int_t ngx_http_tb_rpc_worker_start(ngx_http_tb_rpc_worker_t *w);
static ngx_int_t ngx_http_tb_rpc_worker_name(ngx_http_tb_rpc_worker_t *w);
static ngx_int_t ngx_http_tb_rpc_worker_channels(ngx_http_tb_rpc_worker_t *w);
static ngx_int_t ngx_http_tb_rpc_worker_redis(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_worker_message(void *data, ngx_str_t *channel,
    u_char *p, size_t len);
static void ngx_http_tb_rpc_worker_subscribed(void *data);
static void ngx_http_tb_rpc_worker_cleanup(void *data);


ngx_http_tb_rpc_worker_t *
ngx_http_tb_rpc_worker(ngx_http_tb_rpc_main_conf_t *mcf)
{
    ngx_pool_t                *pool;
    ngx_http_tb_rpc_worker_t  *w;

    if (mcf->worker) {
        return mcf->worker;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    w = ngx_pcalloc(pool, sizeof(ngx_http_tb_rpc_worker_t));

    if (w) {
        w->pool = pool;
        w->log = ngx_cycle->log;
        w->conf = mcf;

        if (ngx_http_tb_rpc_worker_start(w) == NGX_OK) {
            mcf->worker = w;
            return w;
        }
    }

    ngx_destroy_pool(pool);

    return NULL;
}


static ngx_int_t
ngx_http_tb_rpc_worker_start(ngx_http_tb_rpc_worker_t *w)
{
    ngx_uint_t               i;
    ngx_pool_cleanup_t      *cln;
    ngx_http_tb_rpc_part_t  *part;

    w->dummy.fd = (ngx_socket_t) -1;
    w->counts = ngx_http_tb_rpc_zone_counts(w->conf->zone);

    ngx_queue_init(&w->nodes);

    /* the seed of jansson's hash tables must not be guessable */

    json_object_seed(0);

    if (ngx_http_tb_rpc_worker_name(w) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; w->conf->parts[i]; i++) {
        part = w->conf->parts[i];

        if (part->create && part->create(w) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /*
     * without a master process a reload makes a new cycle in this very
     * process, and nobody but the old cycle's pool tells us
     */

    cln = ngx_pool_cleanup_add(((ngx_cycle_t *) ngx_cycle)->pool, 0);
    if (cln == NULL || ngx_http_tb_rpc_worker_redis(w) != NGX_OK) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_tb_rpc_worker_cleanup;
    cln->data = w->conf;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, w->log, 0,
                   "tb_rpc: the worker is \"%*s\"", sizeof(w->name), w->name);

    return NGX_OK;
}


void
ngx_http_tb_rpc_worker_close(ngx_http_tb_rpc_main_conf_t *mcf)
{
    ngx_uint_t                 i;
    ngx_http_tb_rpc_worker_t  *w;

    w = mcf->worker;

    if (w == NULL) {
        return;
    }

    for (i = 0; mcf->parts[i]; i++) {
        if (mcf->parts[i]->close) {
            mcf->parts[i]->close(w);
        }
    }

    ngx_http_tb_rpc_nodes_stop(w);

    ngx_tb_redis_client_close(&w->redis);

    /* the replies that are lost by this may have set their timers */

    ngx_http_tb_rpc_nodes_close(w);

    mcf->worker = NULL;

    ngx_destroy_pool(w->pool);
}


static void
ngx_http_tb_rpc_worker_cleanup(void *data)
{
    ngx_http_tb_rpc_worker_close(data);
}


/*
 * Random, not the pid: workers of many hosts and containers share a Redis,
 * and a restarted worker must not get what was meant for its predecessor.
 */

static ngx_int_t
ngx_http_tb_rpc_worker_name(ngx_http_tb_rpc_worker_t *w)
{
    u_char  bytes[sizeof(w->name) / 2 + sizeof(w->node)];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, w->log, 0,
                      "tb_rpc: no random bytes for the worker's name, "
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_hex_dump(w->name, bytes, sizeof(w->name) / 2);

    ngx_memcpy(w->node, bytes + sizeof(w->name) / 2, sizeof(w->node));

    /* the multicast bit: a random node, never a network card's */

    w->node[0] |= 0x01;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_worker_redis(ngx_http_tb_rpc_worker_t *w)
{
    u_char                 *p;
    ngx_tb_redis_client_t  *client;

    client = &w->redis;

    client->conf = w->conf->redis;
    client->pool = w->pool;
    client->log = w->log;
    client->data = w;
    client->setup = ngx_http_tb_rpc_node_setup;
    client->message = ngx_http_tb_rpc_worker_message;
    client->subscribed = ngx_http_tb_rpc_worker_subscribed;
    client->gone = ngx_http_tb_rpc_node_gone;
    client->unchanged = ngx_http_tb_rpc_unchanged;
    client->counts = w->counts ? &w->counts->redis : NULL;

    client->name.data = ngx_pnalloc(w->pool, sizeof("tb-rpc-") - 1 + 8);
    if (client->name.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(client->name.data, "tb-rpc-", sizeof("tb-rpc-") - 1);
    p = ngx_cpymem(p, w->name, 8);
    client->name.len = p - client->name.data;

    if (ngx_http_tb_rpc_worker_channels(w) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_tb_redis_client_init(client);
}


static ngx_int_t
ngx_http_tb_rpc_worker_channels(ngx_http_tb_rpc_worker_t *w)
{
    u_char       buf[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t    key, name, *channel;
    ngx_uint_t   i;

    if (ngx_array_init(&w->redis.channels, w->pool, w->conf->shards,
                       sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    name.data = w->name;
    name.len = sizeof(w->name);

    for (i = 0; i < w->conf->shards; i++) {
        channel = ngx_array_push(&w->redis.channels);
        if (channel == NULL) {
            return NGX_ERROR;
        }

        ngx_http_tb_rpc_key(&key, buf, w->conf, i, "reply:", &name);

        channel->len = key.len;
        channel->data = ngx_pstrdup(w->pool, &key);
        if (channel->data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_http_tb_rpc_worker_message(void *data, ngx_str_t *channel, u_char *p,
    size_t len)
{
    ngx_http_tb_rpc_worker_t *w = data;

    u_char                   kind;
    ngx_uint_t               i;
    ngx_http_tb_rpc_part_t  *part;

    if (len <= NGX_HTTP_TB_RPC_UUID_LEN) {
        ngx_log_error(NGX_LOG_ERR, w->log, 0,
                      "tb_rpc: a message of %uz bytes on \"%V\" is too short "
                      "for an answer", len, channel);
        return;
    }

    kind = p[NGX_HTTP_TB_RPC_UUID_LEN];

    for (i = 0; w->conf->parts[i]; i++) {
        part = w->conf->parts[i];

        if (ngx_strlchr(part->kinds.data, part->kinds.data + part->kinds.len,
                        kind))
        {
            part->message(w, p, len);
            return;
        }
    }

    ngx_log_error(NGX_LOG_ERR, w->log, 0,
                  "tb_rpc: a message of unknown kind %ui on \"%V\"",
                  (ngx_uint_t) kind, channel);
}


static void
ngx_http_tb_rpc_worker_subscribed(void *data)
{
    ngx_http_tb_rpc_worker_t *w = data;

    ngx_uint_t  i;

    for (i = 0; w->conf->parts[i]; i++) {
        if (w->conf->parts[i]->subscribed) {
            w->conf->parts[i]->subscribed(w);
        }
    }
}
