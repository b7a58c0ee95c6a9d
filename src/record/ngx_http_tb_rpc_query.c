
/*
 * A request that reads or deletes records, while its commands are under way.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../http/ngx_http_tb_rpc_client.h"
#include "../http/ngx_http_tb_rpc_outcome.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_query.h"


static void ngx_http_tb_rpc_query_cleanup(void *data);


ngx_http_tb_rpc_query_t *
ngx_http_tb_rpc_query(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_uint_t commands)
{
    ngx_http_cleanup_t           *cln;
    ngx_http_tb_rpc_query_t      *q;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    q = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_query_t));
    if (q == NULL) {
        return NULL;
    }

    q->commands = ngx_palloc(r->pool,
                          commands * sizeof(ngx_http_tb_rpc_query_command_t));
    if (q->commands == NULL) {
        return NULL;
    }

    q->worker = ngx_http_tb_rpc_worker(mcf);
    if (q->worker == NULL) {
        return NULL;
    }

    if (ngx_http_tb_rpc_watch_client(r) != NGX_OK) {
        return NULL;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_tb_rpc_query_cleanup;
    cln->data = q;

    q->request = r;
    q->ctx = ctx;

    r->connection->log->action = "reading rpc records";

    r->main->count++;

    ctx->redis_start = ngx_current_msec;

    return q;
}


static void
ngx_http_tb_rpc_query_cleanup(void *data)
{
    ngx_http_tb_rpc_query_detach(data);
}


void
ngx_http_tb_rpc_query_detach(ngx_http_tb_rpc_query_t *q)
{
    ngx_uint_t  i;

    for (i = 0; i < q->ncommands; i++) {
        if (q->commands[i].command) {
            (void) ngx_tb_redis_detach(q->commands[i].command);
            q->commands[i].command = NULL;
        }
    }
}


ngx_int_t
ngx_http_tb_rpc_query_send(ngx_http_tb_rpc_query_t *q, ngx_str_t *argv,
    ngx_uint_t argc, ngx_tb_redis_reply_pt handler)
{
    ngx_uint_t                        flags;
    ngx_http_tb_rpc_query_command_t  *qc;

    /* a DELETE that is repeated does not find what it has deleted */

    flags = (q->request->method == NGX_HTTP_DELETE) ? NGX_TB_REDIS_REPLICATED
                                                    : NGX_TB_REDIS_REPEAT;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, q->request->connection->log, 0,
                   "tb_rpc: %V of \"%V\"", &argv[NGX_HTTP_TB_RPC_FUNCTION],
                   &argv[NGX_HTTP_TB_RPC_KEY]);

    qc = &q->commands[q->ncommands];

    qc->query = q;
    qc->command = ngx_tb_redis_command(&q->worker->redis, argv, argc,
                                     q->worker->conf->redis->command_timeout,
                                       flags, handler, qc);
    if (qc->command == NULL) {
        return NGX_DECLINED;
    }

    q->ncommands++;
    q->waiting++;

    return NGX_OK;
}


ngx_http_tb_rpc_query_t *
ngx_http_tb_rpc_query_done(void *data)
{
    ngx_http_tb_rpc_query_command_t *qc = data;

    ngx_http_tb_rpc_query_t  *q;

    qc->command = NULL;

    q = qc->query;

    if (--q->waiting == 0) {
        q->ncommands = 0;
    }

    return q;
}


void
ngx_http_tb_rpc_query_finish(ngx_http_tb_rpc_query_t *q, ngx_int_t rc)
{
    ngx_http_tb_rpc_finalize(q->request, rc);
}


ngx_int_t
ngx_http_tb_rpc_query_word(ngx_http_tb_rpc_query_t *q, ngx_uint_t status,
    redisReply *reply, ngx_str_t *word, ngx_int_t *rc)
{
    u_char             text[NGX_TB_REDIS_TEXT];
    ngx_str_t          error;
    ngx_connection_t  *c;

    c = q->request->connection;

    ngx_http_set_log_request(c->log, q->request);

    q->ctx->redis_time = ngx_current_msec - q->ctx->redis_start;

    if (status == NGX_TB_REDIS_LOST
        && q->request->method == NGX_HTTP_DELETE)
    {
        *rc = ngx_http_tb_rpc_send_result(q->request, q->ctx,
                                          NGX_HTTP_TB_RPC_RESULT_UNKNOWN,
                                          NULL);
        return NGX_DECLINED;
    }

    if (status != NGX_TB_REDIS_REPLY) {
        *rc = ngx_http_tb_rpc_query_unavailable(q);
        return NGX_DECLINED;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_tb_redis_reply_text(reply, text, &error);

        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "tb_rpc: records can't be read: \"%V\"", &error);
        *rc = ngx_http_tb_rpc_query_unavailable(q);
        return NGX_DECLINED;
    }

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), word)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "tb_rpc: invalid reply to a query for records");
        *rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        return NGX_DECLINED;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "tb_rpc records: Redis says \"%V\" after %M ms", word,
                   q->ctx->redis_time);

    return NGX_OK;
}


ngx_int_t
ngx_http_tb_rpc_query_unavailable(ngx_http_tb_rpc_query_t *q)
{
    return ngx_http_tb_rpc_send_result(q->request, q->ctx,
                                       NGX_HTTP_TB_RPC_REDIS_UNAVAILABLE,
                                       NULL);
}


void
ngx_http_tb_rpc_query_customer(ngx_http_tb_rpc_ctx_t *ctx,
    ngx_str_t *customer)
{
    if (ctx->identity->authority == NGX_HTTP_TB_RPC_CUSTOMER_USER) {
        *customer = ctx->identity->customer_id;
        return;
    }

    ngx_str_set(customer, "*");
}
