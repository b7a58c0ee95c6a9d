
/*
 * What Redis is told of polls: that one is open, and that it is over.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_device_polls.h"


/* a poll stays in Redis for so long after its time, ms */

#define NGX_HTTP_TB_RPC_POLL_GRACE  2000


static ngx_int_t ngx_http_tb_rpc_poll_ask(ngx_http_tb_rpc_poll_t *poll);
static ngx_int_t ngx_http_tb_rpc_poll_unpoll(ngx_http_tb_rpc_poll_t *poll);
static void ngx_http_tb_rpc_poll_told(void *data, ngx_uint_t status,
    redisReply *reply);


void
ngx_http_tb_rpc_poll_enqueue(ngx_http_tb_rpc_poll_t *poll)
{
    if (poll->asked) {
        poll->again = 1;
        return;
    }

    if (!poll->queued) {
        poll->queued = 1;
        ngx_queue_insert_tail(&poll->polls->queue, &poll->queue);
    }
}


/*
 * A hundred thousand polls are not told of in one turn, nor their ends.  Those
 * whose node is away don't stand in the way of others.
 */

void
ngx_http_tb_rpc_polls_pump(ngx_http_tb_rpc_polls_t *polls)
{
    ngx_int_t                rc;
    ngx_queue_t             *q;
    ngx_http_tb_rpc_poll_t  *poll;

    while (!ngx_queue_empty(&polls->queue)
           && polls->asked < NGX_HTTP_TB_RPC_POLL_BATCH)
    {
        q = ngx_queue_head(&polls->queue);
        poll = ngx_queue_data(q, ngx_http_tb_rpc_poll_t, queue);

        if (!ngx_http_tb_rpc_device_is_ready(polls->worker, poll->device_id,
                                             NGX_TB_REDIS_SUBSCRIBED))
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&polls->parked, q);
            continue;
        }

        rc = poll->request ? ngx_http_tb_rpc_poll_ask(poll)
                           : ngx_http_tb_rpc_poll_unpoll(poll);

        if (rc == NGX_ERROR) {
            break;
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

        polls->asked++;
    }
}


void
ngx_http_tb_rpc_polls_unpark(ngx_queue_t *queue, ngx_queue_t *parked)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(parked)) {
        q = ngx_queue_last(parked);

        ngx_queue_remove(q);
        ngx_queue_insert_head(queue, q);
    }
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
    ngx_msec_int_t             left;
    ngx_http_tb_rpc_worker_t  *w;

    w = poll->polls->worker;

    left = (ngx_msec_int_t) (poll->end + NGX_HTTP_TB_RPC_POLL_GRACE
                             - ngx_current_msec);

    if (left <= 0) {
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

    ngx_http_tb_rpc_polls_t  *polls;

    polls = poll->polls;

    polls->asked--;

    ngx_free(poll);

    ngx_http_tb_rpc_polls_pump(polls);
}
