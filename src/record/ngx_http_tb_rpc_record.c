
/*
 * GET and DELETE of one persistent record.  An id that is not shaped like
 * ours can only be a client's requestUUID: all shards are asked for it, in
 * one write.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "../store/ngx_http_tb_rpc_id.h"
#include "ngx_http_tb_rpc_list.h"
#include "ngx_http_tb_rpc_record.h"
#include "ngx_http_tb_rpc_view.h"


static ngx_int_t ngx_http_tb_rpc_record_send(ngx_http_tb_rpc_query_t *q,
    ngx_uint_t shard);
static void ngx_http_tb_rpc_get_done(void *data, ngx_uint_t status,
    redisReply *reply);
static void ngx_http_tb_rpc_delete_done(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_int_t ngx_http_tb_rpc_record_refused(ngx_http_tb_rpc_query_t *q,
    ngx_str_t *word);
static ngx_int_t ngx_http_tb_rpc_find_uuid(ngx_http_tb_rpc_query_t *q);
static void ngx_http_tb_rpc_find_uuid_done(void *data, ngx_uint_t status,
    redisReply *reply);


ngx_int_t
ngx_http_tb_rpc_record(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx)
{
    ngx_int_t                     rc, shard;
    ngx_http_tb_rpc_query_t      *q;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    if (ctx->op == NGX_HTTP_TB_RPC_OP_LIST) {
        return ngx_http_tb_rpc_list(r, ctx);
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    shard = ngx_http_tb_rpc_id_shard(mcf, &ctx->rpc_id);

    q = ngx_http_tb_rpc_query(r, ctx,
                              shard == NGX_DECLINED ? mcf->shards : 1);
    if (q == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    q->id = ctx->rpc_id;

    if (shard == NGX_DECLINED) {
        rc = ngx_http_tb_rpc_find_uuid(q);

    } else {
        rc = ngx_http_tb_rpc_record_send(q, shard);
    }

    if (rc == NGX_OK) {
        return NGX_DONE;
    }

    /* of several commands some may be on their way */

    ngx_http_tb_rpc_query_detach(q);

    r->main->count--;

    return rc == NGX_DECLINED ? ngx_http_tb_rpc_query_unavailable(q)
                              : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* NGX_OK, NGX_DECLINED, NGX_ERROR */

static ngx_int_t
ngx_http_tb_rpc_record_send(ngx_http_tb_rpc_query_t *q, ngx_uint_t shard)
{
    u_char                       key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                    argv[NGX_HTTP_TB_RPC_ARGS + 2], *arg;
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = q->request;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, q->worker->conf,
                        shard, "rpc:", &q->id);

    arg = &argv[NGX_HTTP_TB_RPC_ARGS];

    arg[0] = q->ctx->identity->tenant_id;

    if (r->method == NGX_HTTP_DELETE) {
        ngx_http_tb_rpc_fcall(argv, "tb_rpc_delete");

        return ngx_http_tb_rpc_query_send(q, argv, NGX_HTTP_TB_RPC_ARGS + 1,
                                          ngx_http_tb_rpc_delete_done);
    }

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_get");

    /* the original shows a tenant's records to each of its customers */

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {
        ngx_str_set(&arg[1], "*");

    } else {
        ngx_http_tb_rpc_query_customer(q->ctx, &arg[1]);
    }

    return ngx_http_tb_rpc_query_send(q, argv, NGX_HTTP_TB_RPC_ARGS + 2,
                                      ngx_http_tb_rpc_get_done);
}


static void
ngx_http_tb_rpc_get_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_int_t                 rc;
    ngx_str_t                 word, json;
    ngx_http_request_t       *r;
    ngx_http_tb_rpc_query_t  *q;

    q = ngx_http_tb_rpc_query_done(data);
    r = q->request;

    if (ngx_http_tb_rpc_query_word(q, status, reply, &word, &rc) == NGX_OK) {

        if (!ngx_http_tb_rpc_word(&word, "ok")) {
            rc = ngx_http_tb_rpc_record_refused(q, &word);

        } else {
            rc = ngx_http_tb_rpc_record_json(r, r->pool, &q->id,
                                             reply->element + 1,
                                             reply->elements - 1, &json);

            if (rc == NGX_DECLINED) {
                ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                              "tb_rpc: record %V is broken in Redis", &q->id);
            }

            rc = (rc == NGX_OK) ? ngx_http_tb_rpc_send_json(r, &json)
                                : NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_http_tb_rpc_query_finish(q, rc);
}


static void
ngx_http_tb_rpc_delete_done(void *data, ngx_uint_t status, redisReply *reply)
{
    ngx_int_t                 rc;
    ngx_str_t                 word;
    ngx_http_tb_rpc_query_t  *q;

    q = ngx_http_tb_rpc_query_done(data);

    if (ngx_http_tb_rpc_query_word(q, status, reply, &word, &rc) == NGX_OK) {

        if (ngx_http_tb_rpc_word(&word, "ok")) {
            rc = ngx_http_tb_rpc_send(q->request, NGX_HTTP_OK, NULL, NULL);

        } else {
            rc = ngx_http_tb_rpc_record_refused(q, &word);
        }
    }

    ngx_http_tb_rpc_query_finish(q, rc);
}


/* for a foreign record the answer is that for a missing one */

static ngx_int_t
ngx_http_tb_rpc_record_refused(ngx_http_tb_rpc_query_t *q, ngx_str_t *word)
{
    ngx_http_request_t          *r;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    r = q->request;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    q->ctx->result = NGX_HTTP_TB_RPC_UNKNOWN_RECORD;

    if (ngx_http_tb_rpc_word(word, "tenant")) {
        q->ctx->result = NGX_HTTP_TB_RPC_FOREIGN_RECORD;

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: record %V is not of the caller's tenant %V",
                      &q->ctx->rpc_id, &q->ctx->identity->tenant_id);

    } else if (ngx_http_tb_rpc_word(word, "customer")) {
        q->ctx->result = NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER;

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "tb_rpc: record %V is of a device that is not of the "
                      "caller's customer \"%V\"",
                      &q->ctx->rpc_id, &q->ctx->identity->customer_id);
    }

    if (lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD
        && ngx_http_tb_rpc_word(word, "tenant"))
    {
        return ngx_http_tb_rpc_send_forbidden(r, 0);
    }

    return ngx_http_tb_rpc_send_error(r, NGX_HTTP_NOT_FOUND,
                                      NGX_HTTP_TB_RPC_NOT_FOUND,
                                      "Rpc with id [%V] is not found",
                                      &q->ctx->rpc_id);
}


static ngx_int_t
ngx_http_tb_rpc_find_uuid(ngx_http_tb_rpc_query_t *q)
{
    u_char      key[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t   argv[NGX_HTTP_TB_RPC_ARGS + 1];
    ngx_uint_t  i;

    ngx_http_tb_rpc_fcall(argv, "tb_rpc_uuid");

    argv[NGX_HTTP_TB_RPC_ARGS] = q->ctx->identity->tenant_id;

    for (i = 0; i < q->worker->conf->shards; i++) {

        ngx_http_tb_rpc_key(&argv[NGX_HTTP_TB_RPC_KEY], key, q->worker->conf,
                            i, "uuid:", &q->ctx->rpc_id);

        if (ngx_http_tb_rpc_query_send(q, argv, NGX_HTTP_TB_RPC_ARGS + 1,
                                       ngx_http_tb_rpc_find_uuid_done)
            != NGX_OK)
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static void
ngx_http_tb_rpc_find_uuid_done(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_int_t                 rc;
    ngx_str_t                 word, id;
    ngx_connection_t         *c;
    ngx_http_tb_rpc_query_t  *q;

    q = ngx_http_tb_rpc_query_done(data);
    c = q->request->connection;

    if (status != NGX_TB_REDIS_REPLY || reply->type == REDIS_REPLY_ERROR) {
        q->failed = 1;

    } else if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0),
                                      &word)
               == NGX_OK
               && ngx_http_tb_rpc_word(&word, "ok")
               && ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 1),
                                         &id)
                  == NGX_OK
               && id.len == NGX_HTTP_TB_RPC_UUID_LEN)
    {
        q->data = ngx_pstrdup(q->request->pool, &id);
        if (q->data == NULL) {
            q->failed = 1;
        }
    }

    if (q->waiting) {
        return;
    }

    ngx_http_set_log_request(c->log, q->request);

    if (q->data) {
        id.data = q->data;
        id.len = NGX_HTTP_TB_RPC_UUID_LEN;
        q->id = id;

        rc = ngx_http_tb_rpc_id_shard(q->worker->conf, &id);

        if (rc != NGX_DECLINED
            && ngx_http_tb_rpc_record_send(q, rc) == NGX_OK)
        {
            return;
        }

        q->failed = 1;
    }

    if (q->failed) {
        rc = ngx_http_tb_rpc_query_unavailable(q);

    } else {
        ngx_str_set(&word, "unknown");
        rc = ngx_http_tb_rpc_record_refused(q, &word);
    }

    ngx_http_tb_rpc_query_finish(q, rc);
}
