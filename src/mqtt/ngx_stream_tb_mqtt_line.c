
/*
 * Lookups on their way to a node, and those that wait in line for it.
 *
 * A node is asked for so many at a time, whoever else is asked: one that hangs
 * has its window full, and that of others has room.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_lookup.h"


/* on their way to a node at a time */

#define NGX_STREAM_TB_MQTT_LOOKUPS  512

/* that leave a line in one turn for another one, or without an answer */

#define NGX_STREAM_TB_MQTT_TURN     512


static ngx_int_t ngx_stream_tb_mqtt_line_send(
    ngx_stream_tb_mqtt_lookup_t *lookup);
static ngx_tb_redis_node_t *ngx_stream_tb_mqtt_line_node(
    ngx_stream_tb_mqtt_lookup_t *lookup);
static ngx_int_t ngx_stream_tb_mqtt_line_part(ngx_stream_tb_mqtt_lane_t *lane,
    ngx_queue_t *line, ngx_uint_t *n);
static ngx_int_t ngx_stream_tb_mqtt_line_first(
    ngx_stream_tb_mqtt_lane_t *lane, ngx_stream_tb_mqtt_lookup_t *lookup);
static void ngx_stream_tb_mqtt_line_remove(
    ngx_stream_tb_mqtt_lookup_t *lookup);
static void ngx_stream_tb_mqtt_line_close(ngx_queue_t *line);


ngx_int_t
ngx_stream_tb_mqtt_line(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    ngx_tb_redis_node_t          *node;
    ngx_stream_tb_mqtt_lane_t    *lane;
    ngx_stream_tb_mqtt_login_t   *login;
    ngx_stream_tb_mqtt_worker_t  *w;

    login = lookup->login;
    w = login->worker;

    node = ngx_stream_tb_mqtt_line_node(lookup);
    lane = ngx_stream_tb_mqtt_lane(w, node);

    lookup->lane = lane;
    lookup->since = ngx_current_msec;

    if (node && ngx_tb_redis_node_is_away(node)) {
        return NGX_BUSY;
    }

    if (lane->looking < NGX_STREAM_TB_MQTT_LOOKUPS
        && ngx_queue_empty(&lane->tenants)
        && ngx_queue_empty(&lane->lookups))
    {
        return ngx_stream_tb_mqtt_line_send(lookup);
    }

    /* a login that is half done goes first */

    lookup->queued = 1;
    ngx_queue_insert_tail(login->found ? &lane->tenants : &lane->lookups,
                          &lookup->queue);

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_line_send(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    if (ngx_stream_tb_mqtt_lookup_send(lookup) != NGX_OK) {
        return NGX_BUSY;
    }

    lookup->counted = 1;
    lookup->lane->looking++;

    return NGX_OK;
}


static ngx_tb_redis_node_t *
ngx_stream_tb_mqtt_line_node(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    u_char     buf[NGX_TB_RPC_KEY_LEN];
    ngx_str_t  key;

    ngx_stream_tb_mqtt_lookup_key(lookup, &key, buf);

    return ngx_tb_redis_key_node(&lookup->login->worker->redis, &key);
}


void
ngx_stream_tb_mqtt_line_leave(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    if (lookup->queued) {
        ngx_stream_tb_mqtt_line_remove(lookup);
    }

    if (lookup->command) {
        (void) ngx_tb_redis_detach(lookup->command);
        lookup->command = NULL;
    }

    ngx_stream_tb_mqtt_line_answered(lookup, 0);
}


void
ngx_stream_tb_mqtt_line_answered(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_uint_t failed)
{
    ngx_stream_tb_mqtt_lane_t  *lane;

    if (!lookup->counted) {
        return;
    }

    lookup->counted = 0;

    lane = lookup->lane;
    lane->looking--;

    if (ngx_queue_empty(&lane->tenants) && ngx_queue_empty(&lane->lookups)) {
        return;
    }

    if (failed) {
        lane->failed = 1;
    }

    ngx_stream_tb_mqtt_pump(lookup->login->worker);
}


/*
 * Waiting for others is no reason to be refused, waiting for Redis is: those
 * that are here for as long as a command may take have waited for the one
 * that has failed.  Either line is in the order of age.
 */

ngx_int_t
ngx_stream_tb_mqtt_line_pump(ngx_stream_tb_mqtt_lane_t *lane)
{
    ngx_uint_t  n;

    n = 0;

    if (ngx_stream_tb_mqtt_line_part(lane, &lane->tenants, &n) != NGX_OK
        || ngx_stream_tb_mqtt_line_part(lane, &lane->lookups, &n) != NGX_OK)
    {
        return NGX_AGAIN;
    }

    lane->failed = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tb_mqtt_line_part(ngx_stream_tb_mqtt_lane_t *lane,
    ngx_queue_t *line, ngx_uint_t *n)
{
    ngx_int_t                     rc;
    ngx_queue_t                  *q;
    ngx_stream_tb_mqtt_lookup_t  *lookup;

    while (!ngx_queue_empty(line)) {

        q = ngx_queue_head(line);
        lookup = ngx_queue_data(q, ngx_stream_tb_mqtt_lookup_t, queue);

        rc = ngx_stream_tb_mqtt_line_first(lane, lookup);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }

        ngx_stream_tb_mqtt_line_remove(lookup);

        if (rc == NGX_OK && ngx_stream_tb_mqtt_line_send(lookup) == NGX_OK) {
            continue;
        }

        if (rc != NGX_DECLINED || ngx_stream_tb_mqtt_line(lookup) != NGX_OK) {
            ngx_stream_tb_mqtt_lookup_refused(lookup);
        }

        if (++*n >= NGX_STREAM_TB_MQTT_TURN) {
            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


/*
 * NGX_OK: it is its turn; NGX_AGAIN: it waits; NGX_DECLINED: it belongs to
 * another lane by now; NGX_BUSY: it has waited in vain.
 */

static ngx_int_t
ngx_stream_tb_mqtt_line_first(ngx_stream_tb_mqtt_lane_t *lane,
    ngx_stream_tb_mqtt_lookup_t *lookup)
{
    ngx_tb_redis_node_t          *node;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = lookup->login->worker;

    node = ngx_stream_tb_mqtt_line_node(lookup);

    /* without memory for a lane of its own it is still here */

    if (node != lane->lane.node
            && ngx_stream_tb_mqtt_lane(w, node) != lane) {
        return NGX_DECLINED;
    }

    if (node && ngx_tb_redis_node_is_away(node)) {
        return NGX_BUSY;
    }

    if (lane->failed
        && ngx_current_msec - lookup->since
           >= w->conf->block.redis->command_timeout)
    {
        return NGX_BUSY;
    }

    return (lane->looking < NGX_STREAM_TB_MQTT_LOOKUPS) ? NGX_OK : NGX_AGAIN;
}


static void
ngx_stream_tb_mqtt_line_remove(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    lookup->queued = 0;
    ngx_queue_remove(&lookup->queue);
}


void
ngx_stream_tb_mqtt_lines_close(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_stream_tb_mqtt_lane_t  *lane;

    for (lane = ngx_stream_tb_mqtt_lane_next(w, NULL);
         lane;
         lane = ngx_stream_tb_mqtt_lane_next(w, lane))
    {
        ngx_stream_tb_mqtt_line_close(&lane->tenants);
        ngx_stream_tb_mqtt_line_close(&lane->lookups);
    }
}


static void
ngx_stream_tb_mqtt_line_close(ngx_queue_t *line)
{
    ngx_queue_t                  *q;
    ngx_stream_tb_mqtt_lookup_t  *lookup;

    while (!ngx_queue_empty(line)) {

        q = ngx_queue_head(line);
        lookup = ngx_queue_data(q, ngx_stream_tb_mqtt_lookup_t, queue);

        ngx_stream_tb_mqtt_line_remove(lookup);
        ngx_stream_tb_mqtt_lookup_refused(lookup);
    }
}
