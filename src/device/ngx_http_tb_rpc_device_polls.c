
/*
 * The worker's open polls: its ear for what Redis has for one of them, and
 * what happens to all of them together.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_polls.h"
#include "ngx_http_tb_rpc_device_request.h"


/* how often it is looked whether the worker is to exit, ms */

#define NGX_HTTP_TB_RPC_POLL_WATCH  200


static ngx_int_t ngx_http_tb_rpc_polls_create(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_poll_message(ngx_http_tb_rpc_worker_t *w,
    u_char *p, size_t len);
static ngx_http_tb_rpc_poll_t *ngx_http_tb_rpc_poll_find(
    ngx_http_tb_rpc_polls_t *polls, ngx_uint_t session, u_char *device_id);
static ngx_int_t ngx_http_tb_rpc_poll_number(u_char **p, u_char *last,
    int64_t *value);
static void ngx_http_tb_rpc_polls_watch(ngx_event_t *ev);
static ngx_uint_t ngx_http_tb_rpc_polls_pump_all(
    ngx_http_tb_rpc_polls_t *polls);
static void ngx_http_tb_rpc_polls_again(ngx_http_tb_rpc_worker_t *w);
static void ngx_http_tb_rpc_polls_close(ngx_http_tb_rpc_worker_t *w);


ngx_http_tb_rpc_part_t  ngx_http_tb_rpc_device_part = {
    ngx_string("PE"),
    ngx_http_tb_rpc_polls_create,
    ngx_http_tb_rpc_poll_message,
    ngx_http_tb_rpc_polls_again,
    ngx_http_tb_rpc_polls_close
};


static ngx_int_t
ngx_http_tb_rpc_polls_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_polls_t  *polls;

    w->tokens = ngx_http_tb_rpc_tokens_create(w->pool);
    if (w->tokens == NULL) {
        return NGX_ERROR;
    }

    polls = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_polls_t));
    if (polls == NULL) {
        return NGX_ERROR;
    }

    polls->worker = w;

    ngx_rbtree_init(&polls->tree, &polls->sentinel, ngx_rbtree_insert_value);
    ngx_queue_init(&polls->deliveries);

    ngx_http_tb_rpc_lanes_init(polls);

    /* not cancelable: an exiting worker has to answer its polls */

    polls->watch.handler = ngx_http_tb_rpc_polls_watch;
    polls->watch.data = &w->dummy;
    polls->watch.log = w->log;

    w->polls = polls;

    return NGX_OK;
}


void
ngx_http_tb_rpc_polls_guard(ngx_http_tb_rpc_polls_t *polls)
{
    if (!polls->watch.timer_set) {
        ngx_add_timer(&polls->watch, NGX_HTTP_TB_RPC_POLL_WATCH);
    }
}


void
ngx_http_tb_rpc_polls_soon(ngx_http_tb_rpc_polls_t *polls)
{
    /* a timer that is set is not set again for so little */

    if (polls->watch.timer_set) {
        ngx_del_timer(&polls->watch);
    }

    ngx_add_timer(&polls->watch, 1);
}


/*
 * "<deviceId>P<session> <requestId> <attempt>[ <envelope>]": a call for the
 * poll.  "<deviceId>E<session>": the device has opened another one.
 */

static void
ngx_http_tb_rpc_poll_message(ngx_http_tb_rpc_worker_t *w, u_char *p,
    size_t len)
{
    u_char                    *last;
    int64_t                    session;
    ngx_str_t                  id, envelope;
    ngx_http_tb_rpc_poll_t    *poll;
    ngx_http_tb_rpc_handed_t   handed;

    id.data = p;
    id.len = NGX_HTTP_TB_RPC_UUID_LEN;

    last = p + len;
    p += NGX_HTTP_TB_RPC_UUID_LEN + 1;

    if (ngx_http_tb_rpc_parse_uuid(handed.device_id, &id) != NGX_OK
        || ngx_http_tb_rpc_poll_number(&p, last, &session) != NGX_OK)
    {
        goto invalid;
    }

    poll = ngx_http_tb_rpc_poll_find(w->polls, (ngx_uint_t) session,
                                     handed.device_id);

    if (id.data[NGX_HTTP_TB_RPC_UUID_LEN] == 'E') {

        if (poll) {
            ngx_http_tb_rpc_poll_end(poll, NGX_HTTP_REQUEST_TIME_OUT);
        }

        return;
    }

    if (ngx_http_tb_rpc_poll_number(&p, last, &handed.request_id) != NGX_OK
        || ngx_http_tb_rpc_poll_number(&p, last, &handed.attempt) != NGX_OK)
    {
        goto invalid;
    }

    if (poll == NULL) {
        ngx_http_tb_rpc_give_back_late(w, &handed);
        return;
    }

    if (p == last) {

        /* too large to be published: it comes by a reply */

        ngx_http_tb_rpc_poll_tell(poll);
        return;
    }

    envelope.data = p;
    envelope.len = last - p;

    ngx_http_set_log_request(poll->request->connection->log, poll->request);

    ngx_http_tb_rpc_poll_serve(poll, &handed, &envelope);

    return;

invalid:

    ngx_log_error(NGX_LOG_ERR, w->log, 0,
                  "tb_rpc: an invalid message of %uz bytes for a poll", len);
}


static ngx_http_tb_rpc_poll_t *
ngx_http_tb_rpc_poll_find(ngx_http_tb_rpc_polls_t *polls, ngx_uint_t session,
    u_char *device_id)
{
    ngx_rbtree_node_t       *node;
    ngx_http_tb_rpc_poll_t  *poll;

    node = polls->tree.root;

    while (node != polls->tree.sentinel) {

        if (session != node->key) {
            node = (session < node->key) ? node->left : node->right;
            continue;
        }

        poll = (ngx_http_tb_rpc_poll_t *)
                   ((u_char *) node - offsetof(ngx_http_tb_rpc_poll_t, node));

        return ngx_memcmp(poll->device_id, device_id,
                          NGX_HTTP_TB_RPC_UUID_LEN) == 0 ? poll : NULL;
    }

    return NULL;
}


/* digits and a blank, or the end */

static ngx_int_t
ngx_http_tb_rpc_poll_number(u_char **p, u_char *last, int64_t *value)
{
    u_char  *start;

    start = *p;

    for (*value = 0; *p < last && **p >= '0' && **p <= '9'; (*p)++) {

        if (*p - start > 15) {
            return NGX_ERROR;
        }

        *value = *value * 10 + (**p - '0');
    }

    if (*p == start || (*p < last && **p != ' ')) {
        return NGX_ERROR;
    }

    if (*p < last) {
        (*p)++;
    }

    return NGX_OK;
}


/* messages may have been lost: those of such shards are told of again */

static void
ngx_http_tb_rpc_polls_again(ngx_http_tb_rpc_worker_t *w)
{
    ngx_rbtree_node_t        *node;
    ngx_http_tb_rpc_poll_t   *poll;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = w->polls;
    node = NULL;

    if (polls->tree.root != polls->tree.sentinel) {
        node = ngx_rbtree_min(polls->tree.root, polls->tree.sentinel);
    }

    while (node) {
        poll = (ngx_http_tb_rpc_poll_t *)
                   ((u_char *) node - offsetof(ngx_http_tb_rpc_poll_t, node));

        if (ngx_http_tb_rpc_device_is_new(w, poll->device_id)) {
            ngx_http_tb_rpc_poll_enqueue(poll);
        }

        node = ngx_rbtree_next(&polls->tree, node);
    }

    (void) ngx_http_tb_rpc_polls_pump_all(polls);
}


static void
ngx_http_tb_rpc_polls_watch(ngx_event_t *ev)
{
    ngx_uint_t                n;
    ngx_msec_t                next;
    ngx_rbtree_node_t        *node;
    ngx_http_tb_rpc_poll_t   *poll;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = (ngx_http_tb_rpc_polls_t *)
                ((u_char *) ev - offsetof(ngx_http_tb_rpc_polls_t, watch));

    next = NGX_HTTP_TB_RPC_POLL_WATCH;

    if (ngx_exiting || ngx_quit) {

        next = 1;

        for (n = 0; n < NGX_HTTP_TB_RPC_POLL_BATCH; n++) {

            node = polls->tree.root;

            if (node == polls->tree.sentinel) {
                break;
            }

            poll = (ngx_http_tb_rpc_poll_t *)
                       ((u_char *) node
                        - offsetof(ngx_http_tb_rpc_poll_t, node));

            poll->request->keepalive = 0;

            ngx_http_tb_rpc_poll_forget(poll);
            ngx_http_tb_rpc_poll_end(poll, NGX_HTTP_REQUEST_TIME_OUT);
        }
    }

    n = ngx_http_tb_rpc_polls_pump_all(polls);

    if ((n || polls->tree.root != polls->tree.sentinel)
        && !polls->watch.timer_set)
    {
        ngx_add_timer(&polls->watch, next);
    }
}


/* returns how many lanes have something left that is to be waited for */

static ngx_uint_t
ngx_http_tb_rpc_polls_pump_all(ngx_http_tb_rpc_polls_t *polls)
{
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_http_tb_rpc_lane_t  *lane;

    n = 0;

    for (lane = ngx_http_tb_rpc_lane_next(polls, NULL);
         lane;
         lane = ngx_http_tb_rpc_lane_next(polls, lane))
    {
        ngx_http_tb_rpc_lookups_watch(polls, lane);

        rc = ngx_http_tb_rpc_polls_pump(polls, lane);

        if (rc == NGX_DECLINED) {
            ngx_http_tb_rpc_polls_sort(lane);
        }

        /* without its Redis nobody can be told */

        if (!ngx_queue_empty(&lane->lookups)
            || (!ngx_queue_empty(&lane->polls) && rc != NGX_DECLINED))
        {
            n++;
        }
    }

    return n;
}


/* answers all of them */

static void
ngx_http_tb_rpc_polls_close(ngx_http_tb_rpc_worker_t *w)
{
    ngx_queue_t              *q;
    ngx_rbtree_node_t        *node;
    ngx_http_tb_rpc_lane_t   *lane;
    ngx_http_tb_rpc_poll_t   *poll;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = w->polls;

    while (polls->tree.root != polls->tree.sentinel) {

        node = polls->tree.root;

        poll = (ngx_http_tb_rpc_poll_t *)
                   ((u_char *) node - offsetof(ngx_http_tb_rpc_poll_t, node));

        poll->request->keepalive = 0;

        ngx_http_tb_rpc_poll_end(poll, NGX_HTTP_REQUEST_TIME_OUT);
    }

    for (lane = ngx_http_tb_rpc_lane_next(polls, NULL);
         lane;
         lane = ngx_http_tb_rpc_lane_next(polls, lane))
    {
        ngx_http_tb_rpc_lookups_close(lane);

        while (!ngx_queue_empty(&lane->polls)) {

            q = ngx_queue_head(&lane->polls);
            ngx_queue_remove(q);

            ngx_free(ngx_queue_data(q, ngx_http_tb_rpc_poll_t, queue));
        }
    }

    if (polls->watch.timer_set) {
        ngx_del_timer(&polls->watch);
    }
}
