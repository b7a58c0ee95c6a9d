
/*
 * The ticker.  Of all workers that share a Redis one at a time calls
 * tb_rpc_tick, whose name is in "tb:{s000}:ticker" for as long as it renews
 * it: so what is late costs Redis the same with any number of workers.  Two of
 * them would be harmless.  In a cluster each node has its own, in the first of
 * its shards.
 *
 * The ticker walks the shards that have something due, one call at a time, and
 * looks at each at least once a second: others may have made an earlier time
 * than it knows of.  After a call that had to work it rests three times as
 * long as that took in Redis.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_tick.h"


#define NGX_HTTP_TB_RPC_TICK_CALLS   "16"       /* touched at once */
#define NGX_HTTP_TB_RPC_TICK_REST    3
#define NGX_HTTP_TB_RPC_TICK_MIN     10         /* ms */
#define NGX_HTTP_TB_RPC_TICK_LOOK    1000

#define NGX_HTTP_TB_RPC_TICKER_TTL   "2000"     /* ms */
#define NGX_HTTP_TB_RPC_TICKER_TIME  1000


struct ngx_http_tb_rpc_tick_s {
    ngx_event_t                event;
    ngx_http_tb_rpc_worker_t  *worker;
    ngx_tb_redis_node_t       *node;            /* NULL: it has gone */

    ngx_msec_t                 ask;             /* when, for the ticker */
    ngx_msec_t                *next;            /* when, for each shard */
    ngx_uint_t                 first;           /* shard of the node */
    ngx_uint_t                 shard;           /* the last one */

    unsigned                   ticker:1;        /* it is this worker */
    unsigned                   asking:1;        /* replies awaited */
    unsigned                   ticking:1;
    unsigned                   told:1;          /* that it fails */
};


static void ngx_http_tb_rpc_tick_handler(ngx_event_t *ev);
static void ngx_http_tb_rpc_tick_run(ngx_http_tb_rpc_tick_t *tick);
static ngx_int_t ngx_http_tb_rpc_tick_first(ngx_http_tb_rpc_tick_t *tick);
static void ngx_http_tb_rpc_ticker_ask(ngx_http_tb_rpc_tick_t *tick);
static void ngx_http_tb_rpc_ticker_told(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_ticker_leave(ngx_http_tb_rpc_tick_t *tick);
static ngx_msec_int_t ngx_http_tb_rpc_tick_find(ngx_http_tb_rpc_tick_t *tick,
    ngx_uint_t *shard);
static ngx_int_t ngx_http_tb_rpc_tick_shard(ngx_http_tb_rpc_tick_t *tick,
    ngx_uint_t shard);
static void ngx_http_tb_rpc_tick_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_tick_failed(ngx_http_tb_rpc_tick_t *tick,
    redisReply *reply);


ngx_http_tb_rpc_tick_t *
ngx_http_tb_rpc_tick_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_tick_t  *tick;

    tick = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_tick_t));
    if (tick == NULL) {
        return NULL;
    }

    tick->next = ngx_pcalloc(w->pool, w->conf->shards * sizeof(ngx_msec_t));
    if (tick->next == NULL) {
        return NULL;
    }

    tick->worker = w;

    tick->event.handler = ngx_http_tb_rpc_tick_handler;
    tick->event.data = &w->dummy;
    tick->event.log = w->log;
    tick->event.cancelable = 1;

    return tick;
}


void
ngx_http_tb_rpc_tick_start(ngx_http_tb_rpc_tick_t *tick,
    ngx_tb_redis_node_t *node)
{
    ngx_uint_t  i;

    tick->node = node;
    tick->ticker = 0;
    tick->told = 0;

    tick->ask = ngx_current_msec;

    for (i = 0; i < tick->worker->conf->shards; i++) {
        tick->next[i] = ngx_current_msec;
    }

    ngx_add_timer(&tick->event, 1);
}


ngx_uint_t
ngx_http_tb_rpc_tick_is_idle(ngx_http_tb_rpc_tick_t *tick)
{
    return !tick->asking && !tick->ticking;
}


/* the client is still there: the ticker takes its name away */

void
ngx_http_tb_rpc_tick_stop(ngx_http_tb_rpc_tick_t *tick)
{
    ngx_http_tb_rpc_ticker_leave(tick);
}


void
ngx_http_tb_rpc_tick_close(ngx_http_tb_rpc_tick_t *tick)
{
    tick->node = NULL;
    tick->ticker = 0;

    if (tick->event.timer_set) {
        ngx_del_timer(&tick->event);
    }
}


static void
ngx_http_tb_rpc_tick_handler(ngx_event_t *ev)
{
    ngx_http_tb_rpc_tick_t  *tick;

    tick = (ngx_http_tb_rpc_tick_t *)
               ((u_char *) ev - offsetof(ngx_http_tb_rpc_tick_t, event));

    if (ngx_exiting || ngx_terminate || ngx_quit) {
        ngx_http_tb_rpc_ticker_leave(tick);
        return;
    }

    if (!ngx_tb_redis_node_is_ready(tick->node, 0)) {
        tick->ticker = 0;
        tick->ask = ngx_current_msec;
        ngx_add_timer(&tick->event, NGX_HTTP_TB_RPC_TICK_LOOK);
        return;
    }

    ngx_http_tb_rpc_tick_run(tick);
}


/* asks who is the ticker, and ticks the next shard that is due */

static void
ngx_http_tb_rpc_tick_run(ngx_http_tb_rpc_tick_t *tick)
{
    ngx_uint_t      shard;
    ngx_msec_int_t  ms, next;

    if (ngx_http_tb_rpc_tick_first(tick) != NGX_OK) {
        ngx_add_timer(&tick->event, NGX_HTTP_TB_RPC_TICK_LOOK);
        return;
    }

    ms = (ngx_msec_int_t) (tick->ask - ngx_current_msec);

    if (ms <= 0 && !tick->asking) {
        ngx_http_tb_rpc_ticker_ask(tick);
        ms = NGX_HTTP_TB_RPC_TICKER_TIME;
    }

    if (tick->ticker && !tick->ticking) {

        next = ngx_http_tb_rpc_tick_find(tick, &shard);

        if (next <= 0
            && ngx_http_tb_rpc_tick_shard(tick, shard) != NGX_OK)
        {
            next = NGX_HTTP_TB_RPC_TICK_LOOK;
        }

        ms = ngx_min(ms, ngx_max(next, 1));
    }

    /* the reply of a tick goes on sooner */

    ngx_add_timer(&tick->event, tick->ticking ? NGX_HTTP_TB_RPC_TICK_LOOK
                                              : (ngx_msec_t) ngx_max(ms, 1));
}


/* NGX_DECLINED: the node has no shard, maybe not any more */

static ngx_int_t
ngx_http_tb_rpc_tick_first(ngx_http_tb_rpc_tick_t *tick)
{
    ngx_uint_t                 i;
    ngx_http_tb_rpc_worker_t  *w;

    w = tick->worker;

    for (i = 0; i < w->conf->shards; i++) {

        if (ngx_tb_redis_channel_node(&w->redis, i) != tick->node) {
            continue;
        }

        if (i != tick->first) {

            /* the name is in another key from now on */

            tick->first = i;
            tick->ticker = 0;
            tick->ask = ngx_current_msec;
        }

        return NGX_OK;
    }

    tick->ticker = 0;

    return NGX_DECLINED;
}


/*
 * With NX and GET one command says who it is and makes it us where there is
 * none; renewing it with XX is what keeps it.
 */

static void
ngx_http_tb_rpc_ticker_ask(ngx_http_tb_rpc_tick_t *tick)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[7];
    ngx_http_tb_rpc_worker_t  *w;

    w = tick->worker;

    ngx_str_set(&argv[0], "SET");
    ngx_http_tb_rpc_key(&argv[1], key, w->conf, tick->first, "ticker", NULL);
    argv[2].data = w->name;
    argv[2].len = sizeof(w->name);
    ngx_str_set(&argv[3], "PX");
    ngx_str_set(&argv[4], NGX_HTTP_TB_RPC_TICKER_TTL);
    ngx_str_set(&argv[5], "GET");

    if (tick->ticker) {
        ngx_str_set(&argv[6], "XX");

    } else {
        ngx_str_set(&argv[6], "NX");
    }

    tick->ask = ngx_current_msec + NGX_HTTP_TB_RPC_TICKER_TIME;

    if (ngx_tb_redis_command(&w->redis, argv, 7,
                             w->conf->redis->command_timeout,
                             NGX_TB_REDIS_BACKGROUND|NGX_TB_REDIS_UNBOUNDED,
                             ngx_http_tb_rpc_ticker_told, tick)
        != NULL)
    {
        tick->asking = 1;
    }
}


static void
ngx_http_tb_rpc_ticker_told(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_tick_t *tick = data;

    ngx_int_t                  order;
    ngx_str_t                  name;
    ngx_uint_t                 us;
    ngx_http_tb_rpc_worker_t  *w;

    w = tick->worker;

    tick->asking = 0;

    /* by then it may have taken its name away */

    if (ngx_exiting || tick->node == NULL) {
        return;
    }

    if (status != NGX_TB_REDIS_REPLY || reply->type == REDIS_REPLY_ERROR) {
        tick->ticker = 0;

        if (status == NGX_TB_REDIS_REPLY) {
            ngx_http_tb_rpc_tick_failed(tick, reply);
        }

        return;
    }

    if (ngx_tb_redis_reply_str(reply, &name) != NGX_OK
        || name.len != sizeof(w->name))
    {
        /* there was none: by NX it is us now, by XX it is not */

        us = !tick->ticker;
        tick->ask = us ? tick->ask : ngx_current_msec;

    } else {
        order = ngx_memcmp(w->name, name.data, sizeof(w->name));

        /* of two that renew their names one gives way */

        us = (order == 0 || (tick->ticker && order > 0));

        /* by NX our name has got no more time */

        if (us && !tick->ticker) {
            tick->ask = ngx_current_msec;
        }

        /* others ask at different times, when it may be gone */

        if (!us) {
            tick->ask = ngx_current_msec + NGX_HTTP_TB_RPC_TICKER_TIME
                        + (ngx_msec_t) ngx_random()
                          % NGX_HTTP_TB_RPC_TICKER_TIME;
        }
    }

    if (us != tick->ticker) {
        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, w->log, 0,
                       "tb_rpc: this worker is the ticker: %ui", us);
    }

    tick->ticker = us;

    if (!tick->ticking) {
        ngx_add_timer(&tick->event, 1);
    }
}


/* somebody else need not wait until our name is forgotten */

static void
ngx_http_tb_rpc_ticker_leave(ngx_http_tb_rpc_tick_t *tick)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[2];
    ngx_http_tb_rpc_worker_t  *w;

    if (!tick->ticker) {
        return;
    }

    tick->ticker = 0;
    w = tick->worker;

    ngx_str_set(&argv[0], "DEL");
    ngx_http_tb_rpc_key(&argv[1], key, w->conf, tick->first, "ticker", NULL);

    (void) ngx_tb_redis_command(&w->redis, argv, 2,
                                w->conf->redis->command_timeout,
                                NGX_TB_REDIS_BACKGROUND, NULL, NULL);
}


/*
 * The shard behind the last one that is due: ms until then, at most 0 if there
 * is one.
 */

static ngx_msec_int_t
ngx_http_tb_rpc_tick_find(ngx_http_tb_rpc_tick_t *tick, ngx_uint_t *shard)
{
    ngx_uint_t                 i, n;
    ngx_msec_int_t             ms, min;
    ngx_http_tb_rpc_worker_t  *w;

    w = tick->worker;
    n = w->conf->shards;
    min = NGX_HTTP_TB_RPC_TICK_LOOK;

    for (i = 1; i <= n; i++) {
        *shard = (tick->shard + i) % n;

        if (ngx_tb_redis_channel_node(&w->redis, *shard) != tick->node) {
            continue;
        }

        ms = (ngx_msec_int_t) (tick->next[*shard] - ngx_current_msec);

        if (ms <= 0) {
            return ms;
        }

        min = ngx_min(min, ms);
    }

    return min;
}


static ngx_int_t
ngx_http_tb_rpc_tick_shard(ngx_http_tb_rpc_tick_t *tick, ngx_uint_t shard)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[5];
    ngx_http_tb_rpc_worker_t  *w;

    w = tick->worker;

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_tick");
    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf, shard, "due",
                        NULL);
    ngx_str_set(&argv[NGX_HTTP_TB_RPC_ARGS], NGX_HTTP_TB_RPC_TICK_CALLS);

    if (ngx_tb_redis_command(&w->redis, argv, NGX_HTTP_TB_RPC_ARGS + 1,
                             w->conf->redis->command_timeout,
                             NGX_TB_REDIS_BACKGROUND|NGX_TB_REDIS_UNBOUNDED,
                             ngx_http_tb_rpc_tick_done, tick)
        == NULL)
    {
        return NGX_ERROR;
    }

    tick->shard = shard;
    tick->next[shard] = ngx_current_msec + NGX_HTTP_TB_RPC_TICK_LOOK;
    tick->ticking = 1;

    return NGX_OK;
}


static void
ngx_http_tb_rpc_tick_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_tick_t *tick = data;

    int64_t  touched, next, used;

    tick->ticking = 0;

    if (status != NGX_TB_REDIS_REPLY || tick->node == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_http_tb_rpc_tick_failed(tick, reply);
        return;
    }

    if (ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 0), &touched)
        != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 1), &next)
           != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, 2), &used)
           != NGX_OK)
    {
        return;
    }

    tick->told = 0;

    ngx_http_tb_rpc_count(tick->worker, ticks);

    if (touched > 0) {
        ngx_http_tb_rpc_add(tick->worker, ticked, (ngx_uint_t) touched);
    }

    if (touched == 0) {

        /* what is due and can't be touched is no reason to hurry */

        next = ngx_max(next, NGX_HTTP_TB_RPC_TICK_MIN);
    }

    if (next >= 0 && next < NGX_HTTP_TB_RPC_TICK_LOOK) {
        tick->next[tick->shard] = ngx_current_msec + (ngx_msec_t) next;
    }

    if (ngx_exiting) {
        return;
    }

    if (touched == 0) {
        ngx_http_tb_rpc_tick_run(tick);
        return;
    }

    used = ngx_max(ngx_min(used, 1000000), 0);

    ngx_add_timer(&tick->event, (ngx_msec_t)
                                (used * NGX_HTTP_TB_RPC_TICK_REST / 1000 + 1));
}


/* for all shards once, and not each second */

static void
ngx_http_tb_rpc_tick_failed(ngx_http_tb_rpc_tick_t *tick, redisReply *reply)
{
    u_char     text[NGX_TB_REDIS_TEXT];
    ngx_str_t  error;

    if (tick->told) {
        return;
    }

    tick->told = 1;

    ngx_tb_redis_reply_text(reply, text, &error);

    ngx_log_error(NGX_LOG_ERR, tick->worker->log, 0,
                  "tb_rpc: tb_rpc_tick failed in %V: \"%V\"; it is tried again "
                  "until it succeeds", ngx_tb_redis_node_addr(tick->node),
                  &error);
}
