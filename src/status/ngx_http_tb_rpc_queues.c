
/*
 * tb_rpc_queues of each shard, all at once: some 10 us of Redis for each.  Who
 * wants to know it while they are under way waits for the same replies.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_queues.h"


#define NGX_HTTP_TB_RPC_QUEUES_VALID    1000    /* ms */
#define NGX_HTTP_TB_RPC_QUEUES_TIMEOUT  1000
#define NGX_HTTP_TB_RPC_QUEUES_REFUSED  60000   /* then it is asked again */
#define NGX_HTTP_TB_RPC_QUEUES_FIELDS   3


struct ngx_http_tb_rpc_asking_s {
    ngx_http_tb_rpc_worker_t     *worker;
    ngx_queue_t                   waiting;      /* ngx_http_tb_rpc_asker_t */
    ngx_uint_t                    nreplies;     /* awaited */
    ngx_msec_t                    until;        /* what is known is valid */

    ngx_http_tb_rpc_queues_t      known;
    ngx_http_tb_rpc_queues_t      next;

    unsigned                      asked:1;      /* once, at least */
    unsigned                      refused:1;
};


typedef struct {
    ngx_queue_t                   queue;
    ngx_http_request_t           *request;      /* NULL: it has left */
    ngx_http_tb_rpc_queues_pt     handler;
} ngx_http_tb_rpc_asker_t;


static void ngx_http_tb_rpc_queues_start(ngx_http_tb_rpc_asking_t *asking);
static ngx_int_t ngx_http_tb_rpc_queues_shard(
    ngx_http_tb_rpc_asking_t *asking, ngx_uint_t shard);
static void ngx_http_tb_rpc_queues_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_queues_add(ngx_http_tb_rpc_asking_t *asking,
    redisReply *reply, size_t i);
static ngx_uint_t ngx_http_tb_rpc_queues_name(ngx_str_t *name);
static void ngx_http_tb_rpc_queues_done(ngx_http_tb_rpc_asking_t *asking);
static ngx_int_t ngx_http_tb_rpc_queues_wait(
    ngx_http_tb_rpc_asking_t *asking, ngx_http_request_t *r,
    ngx_http_tb_rpc_queues_pt handler);
static void ngx_http_tb_rpc_queues_cleanup(void *data);


ngx_http_tb_rpc_asking_t *
ngx_http_tb_rpc_asking_create(ngx_http_tb_rpc_worker_t *w)
{
    ngx_http_tb_rpc_asking_t  *asking;

    asking = ngx_pcalloc(w->pool, sizeof(ngx_http_tb_rpc_asking_t));
    if (asking == NULL) {
        return NULL;
    }

    asking->worker = w;
    ngx_queue_init(&asking->waiting);

    return asking;
}


ngx_http_tb_rpc_queues_t *
ngx_http_tb_rpc_queues(ngx_http_tb_rpc_asking_t *asking)
{
    return &asking->known;
}


ngx_int_t
ngx_http_tb_rpc_queues_ask(ngx_http_tb_rpc_asking_t *asking,
    ngx_http_request_t *r, ngx_http_tb_rpc_queues_pt handler)
{
    if (asking->nreplies == 0) {

        if (asking->asked
            && (ngx_msec_int_t) (asking->until - ngx_current_msec) > 0)
        {
            return NGX_OK;
        }

        ngx_http_tb_rpc_queues_start(asking);
    }

    if (asking->nreplies == 0) {

        /* nobody can be asked */

        ngx_http_tb_rpc_queues_done(asking);
        return NGX_OK;
    }

    return ngx_http_tb_rpc_queues_wait(asking, r, handler);
}


static void
ngx_http_tb_rpc_queues_start(ngx_http_tb_rpc_asking_t *asking)
{
    ngx_uint_t                 i;
    ngx_tb_redis_node_t       *node;
    ngx_http_tb_rpc_worker_t  *w;

    w = asking->worker;

    ngx_memzero(&asking->next, sizeof(ngx_http_tb_rpc_queues_t));
    asking->refused = 0;

    for (i = 0; i < w->conf->shards; i++) {
        node = ngx_tb_redis_channel_node(&w->redis, i);

        if (node && ngx_tb_redis_node_is_ready(node, 0)
            && ngx_http_tb_rpc_queues_shard(asking, i) == NGX_OK)
        {
            asking->nreplies++;
        }
    }
}


/* in the foreground: an exiting worker still answers who has asked */

static ngx_int_t
ngx_http_tb_rpc_queues_shard(ngx_http_tb_rpc_asking_t *asking,
    ngx_uint_t shard)
{
    u_char                     key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                  argv[NGX_HTTP_TB_RPC_ARGS];
    ngx_tb_redis_command_t    *cmd;
    ngx_http_tb_rpc_worker_t  *w;

    w = asking->worker;

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_queues");
    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, w->conf, shard,
                        "queues", NULL);

    cmd = ngx_tb_redis_command(&w->redis, argv, NGX_HTTP_TB_RPC_ARGS,
                               NGX_HTTP_TB_RPC_QUEUES_TIMEOUT, 0,
                               ngx_http_tb_rpc_queues_reply, asking);

    return cmd ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_tb_rpc_queues_reply(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_http_tb_rpc_asking_t *asking = data;

    size_t  i;

    if (status == NGX_TB_REDIS_REPLY) {

        if (reply->type == REDIS_REPLY_ARRAY) {
            asking->next.shards++;

            for (i = 0;
                 i + NGX_HTTP_TB_RPC_QUEUES_FIELDS <= reply->elements;
                 i += NGX_HTTP_TB_RPC_QUEUES_FIELDS)
            {
                ngx_http_tb_rpc_queues_add(asking, reply, i);
            }

        } else {

            /*
             * an older library, that nginx may not replace: asking for what
             * is not there sets the connection up again
             */

            asking->refused = 1;
        }
    }

    if (--asking->nreplies == 0) {
        ngx_http_tb_rpc_queues_done(asking);
    }
}


static void
ngx_http_tb_rpc_queues_add(ngx_http_tb_rpc_asking_t *asking,
    redisReply *reply, size_t i)
{
    int64_t                    calls, oldest;
    ngx_str_t                  name;
    ngx_uint_t                 n;
    ngx_http_tb_rpc_queues_t  *next;
    ngx_http_tb_rpc_bridge_t  *bridge;

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, i), &name)
        != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, i + 1),
                                  &calls)
           != NGX_OK
        || ngx_tb_redis_reply_int(ngx_tb_redis_reply_element(reply, i + 2),
                                  &oldest)
           != NGX_OK
        || !ngx_http_tb_rpc_queues_name(&name)
        || calls < 0)
    {
        return;
    }

    next = &asking->next;

    for (n = 0; n < next->nbridges; n++) {
        bridge = &next->bridges[n];

        if (bridge->len == name.len
            && ngx_memcmp(bridge->name, name.data, name.len) == 0)
        {
            bridge->calls += calls;
            bridge->oldest = ngx_max(bridge->oldest, oldest);
            return;
        }
    }

    if (n == NGX_HTTP_TB_RPC_BRIDGES) {
        return;
    }

    next->nbridges++;

    bridge = &next->bridges[n];
    bridge->len = name.len;
    ngx_memcpy(bridge->name, name.data, name.len);
    bridge->calls = calls;
    bridge->oldest = ngx_max(oldest, -1);
}


/* as the functions take it: it needs no escaping in any of the pages */

static ngx_uint_t
ngx_http_tb_rpc_queues_name(ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i;

    if (name->len == 0 || name->len > NGX_HTTP_TB_RPC_BRIDGE_NAME) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == ':'
              || c == '@' || c == '-'))
        {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_tb_rpc_queues_done(ngx_http_tb_rpc_asking_t *asking)
{
    ngx_int_t                 rc;
    ngx_queue_t              *q;
    ngx_http_request_t       *r;
    ngx_http_tb_rpc_asker_t  *asker;

    asking->known = asking->next;
    asking->asked = 1;
    asking->until = ngx_current_msec + (asking->refused
                                        ? NGX_HTTP_TB_RPC_QUEUES_REFUSED
                                        : NGX_HTTP_TB_RPC_QUEUES_VALID);

    while (!ngx_queue_empty(&asking->waiting)) {
        q = ngx_queue_head(&asking->waiting);
        ngx_queue_remove(q);

        asker = ngx_queue_data(q, ngx_http_tb_rpc_asker_t, queue);

        r = asker->request;
        asker->request = NULL;

        ngx_http_set_log_request(r->connection->log, r);

        r->read_event_handler = ngx_http_block_reading;

        rc = asker->handler(r, asking->worker);

        ngx_http_tb_rpc_finalize(r, rc);
    }
}


static ngx_int_t
ngx_http_tb_rpc_queues_wait(ngx_http_tb_rpc_asking_t *asking,
    ngx_http_request_t *r, ngx_http_tb_rpc_queues_pt handler)
{
    ngx_http_cleanup_t       *cln;
    ngx_http_tb_rpc_asker_t  *asker;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_tb_rpc_asker_t));

    if (cln == NULL || ngx_http_tb_rpc_watch(r) != NGX_OK) {
        return NGX_ERROR;
    }

    asker = cln->data;

    asker->request = r;
    asker->handler = handler;
    ngx_queue_insert_tail(&asking->waiting, &asker->queue);

    cln->handler = ngx_http_tb_rpc_queues_cleanup;

    r->main->count++;

    return NGX_AGAIN;
}


static void
ngx_http_tb_rpc_queues_cleanup(void *data)
{
    ngx_http_tb_rpc_asker_t *asker = data;

    if (asker->request) {
        asker->request = NULL;
        ngx_queue_remove(&asker->queue);
    }
}
