
/*
 * What Redis is told of polls: that one is open, and that it is over.  Each of
 * its nodes has a lane with a window of its own.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_polls.h"


/* a poll stays in Redis for so long after its time, ms */

#define NGX_HTTP_TB_RPC_POLL_GRACE  2000


static ngx_msec_int_t ngx_http_tb_rpc_poll_left(ngx_http_tb_rpc_poll_t *poll);
static ngx_int_t ngx_http_tb_rpc_poll_ask(ngx_http_tb_rpc_poll_t *poll);
static ngx_int_t ngx_http_tb_rpc_poll_unpoll(ngx_http_tb_rpc_poll_t *poll);
static void ngx_http_tb_rpc_poll_told(void *data, ngx_uint_t status,
    redisReply *reply);


void
ngx_http_tb_rpc_poll_enqueue(ngx_http_tb_rpc_poll_t *poll)
{
    ngx_tb_redis_node_t     *node;
    ngx_http_tb_rpc_lane_t  *lane;

    if (poll->asked) {
        poll->again = 1;
        return;
    }

    node = ngx_http_tb_rpc_device_node(poll->polls->worker, poll->device_id);
    lane = ngx_http_tb_rpc_lane(poll->polls, node);

    if (poll->queued) {

        if (poll->lane == lane) {
            return;
        }

        /* its shard has moved meanwhile */

        ngx_queue_remove(&poll->queue);
    }

    poll->queued = 1;
    poll->lane = lane;

    ngx_queue_insert_tail(&lane->polls, &poll->queue);
}


void
ngx_http_tb_rpc_poll_tell(ngx_http_tb_rpc_poll_t *poll)
{
    ngx_http_tb_rpc_poll_enqueue(poll);

    (void) ngx_http_tb_rpc_polls_pump(poll->polls, poll->lane);
}


/*
 * A hundred thousand polls are not told of in one turn, nor their ends, nor do
 * they come to another lane in one turn.  A lane whose first one can't be told
 * of rests.
 */

ngx_int_t
ngx_http_tb_rpc_polls_pump(ngx_http_tb_rpc_polls_t *polls,
    ngx_http_tb_rpc_lane_t *lane)
{
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_tb_redis_node_t     *node;
    ngx_http_tb_rpc_poll_t  *poll;

    for (n = 0;
         !ngx_queue_empty(&lane->polls)
         && lane->asked < NGX_HTTP_TB_RPC_POLL_BATCH;
         /* void */ )
    {
        q = ngx_queue_head(&lane->polls);
        poll = ngx_queue_data(q, ngx_http_tb_rpc_poll_t, queue);

        node = ngx_http_tb_rpc_device_node(polls->worker, poll->device_id);

        if (node != lane->lane.node) {
            ngx_http_tb_rpc_poll_enqueue(poll);

            if (ngx_http_tb_rpc_lane_left(polls, lane, poll->lane, &n)
                != NGX_AGAIN)
            {
                return NGX_OK;
            }

            continue;
        }

        if (node == NULL
            || !ngx_tb_redis_node_is_ready(node, NGX_TB_REDIS_SUBSCRIBED))
        {
            return NGX_DECLINED;
        }

        rc = poll->request ? ngx_http_tb_rpc_poll_ask(poll)
                           : ngx_http_tb_rpc_poll_unpoll(poll);

        if (rc == NGX_ERROR) {
            return NGX_OK;
        }

        ngx_queue_remove(q);

        if (rc == NGX_DECLINED) {
            ngx_free(poll);
            continue;
        }

        poll->queued = 0;
        poll->asked = 1;
        poll->again = 0;
        poll->known = 1;

        lane->asked++;
    }

    return NGX_OK;
}


/* behind the first of a lane that rests some may be of another node by now */

void
ngx_http_tb_rpc_polls_sort(ngx_http_tb_rpc_lane_t *lane)
{
    ngx_uint_t               n;
    ngx_queue_t             *q, *stays;
    ngx_http_tb_rpc_poll_t  *poll;

    stays = NULL;

    for (n = 0; n < NGX_HTTP_TB_RPC_POLL_BATCH; n++) {

        q = ngx_queue_head(&lane->polls);

        if (q == stays || q == ngx_queue_sentinel(&lane->polls)) {
            return;
        }

        poll = ngx_queue_data(q, ngx_http_tb_rpc_poll_t, queue);

        ngx_queue_remove(q);
        poll->queued = 0;

        if (poll->request == NULL && ngx_http_tb_rpc_poll_left(poll) <= 0) {
            ngx_free(poll);
            continue;
        }

        ngx_http_tb_rpc_poll_enqueue(poll);

        if (stays == NULL && poll->lane == lane) {
            stays = q;
        }
    }
}


/* for so long Redis knows it, in ms */

static ngx_msec_int_t
ngx_http_tb_rpc_poll_left(ngx_http_tb_rpc_poll_t *poll)
{
    return (ngx_msec_int_t) (poll->end + NGX_HTTP_TB_RPC_POLL_GRACE
                             - ngx_current_msec);
}


static ngx_int_t
ngx_http_tb_rpc_poll_ask(ngx_http_tb_rpc_poll_t *poll)
{
    u_char                     session[NGX_INT64_LEN], ttl[NGX_INT64_LEN];
    ngx_str_t                  argv[NGX_HTTP_TB_RPC_ARGS + 4], *arg;
    ngx_msec_int_t             left;
    ngx_http_tb_rpc_worker_t  *w;

    w = poll->polls->worker;

    left = (ngx_msec_int_t) (poll->end - ngx_current_msec);

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = w->name;
    arg[0].len = sizeof(w->name);
    arg[1].data = session;
    arg[1].len = ngx_sprintf(session, "%ui", poll->session) - session;
    arg[2].data = ttl;
    arg[2].len = ngx_sprintf(ttl, "%M", (ngx_msec_t) ngx_max(left, 0)
                                        + NGX_HTTP_TB_RPC_POLL_GRACE)
                 - ttl;

    ngx_str_set(&arg[3], "0");

    if (poll->known) {
        ngx_str_set(&arg[3], "1");
    }

    if (ngx_http_tb_rpc_fcall_device(w, poll->device_id, "tb_rpc_poll", argv,
                                     4, w->conf->redis->command_timeout,
                                     NGX_TB_REDIS_SUBSCRIBED
                                     |NGX_TB_REDIS_UNBOUNDED,
                                     ngx_http_tb_rpc_poll_reply, poll)
        == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_DECLINED: by now Redis knows that without being told */

static ngx_int_t
ngx_http_tb_rpc_poll_unpoll(ngx_http_tb_rpc_poll_t *poll)
{
    u_char                     session[NGX_INT64_LEN];
    ngx_str_t                  argv[NGX_HTTP_TB_RPC_ARGS + 2], *arg;
    ngx_uint_t                 flags;
    ngx_http_tb_rpc_worker_t  *w;

    w = poll->polls->worker;

    if (ngx_http_tb_rpc_poll_left(poll) <= 0) {
        return NGX_DECLINED;
    }

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0].data = w->name;
    arg[0].len = sizeof(w->name);
    arg[1].data = session;
    arg[1].len = ngx_sprintf(session, "%ui", poll->session) - session;

    flags = NGX_TB_REDIS_UNBOUNDED|NGX_TB_REDIS_REPEAT;

    /* an exiting worker stays until all of them are written */

    if (!ngx_exiting) {
        flags |= NGX_TB_REDIS_BACKGROUND;
    }

    if (ngx_http_tb_rpc_fcall_device(w, poll->device_id, "tb_rpc_unpoll", argv,
                                     2, w->conf->redis->command_timeout, flags,
                                     ngx_http_tb_rpc_poll_told, poll)
        == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_tb_rpc_poll_told(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_poll_t *poll = data;

    ngx_http_tb_rpc_lane_t   *lane;
    ngx_http_tb_rpc_polls_t  *polls;

    polls = poll->polls;
    lane = poll->lane;

    lane->asked--;

    ngx_free(poll);

    (void) ngx_http_tb_rpc_polls_pump(polls, lane);
}
