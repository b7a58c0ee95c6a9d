
/*
 * What Redis says of credentials, and of the device that one of them is of.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../../common/tb_rpc_shard.h"
#include "../../common/tb_rpc_uuid.h"
#include "../share/ngx_tb_rpc_key.h"
#include "ngx_stream_tb_mqtt_lookup.h"


static void ngx_stream_tb_mqtt_lookup_reply(void *data, ngx_uint_t status,
    redisReply *reply);
static ngx_uint_t ngx_stream_tb_mqtt_lookup_answered(
    ngx_stream_tb_mqtt_lookup_t *lookup, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_lookup_failed(
    ngx_stream_tb_mqtt_lookup_t *lookup, ngx_uint_t status,
    redisReply *reply);
static void ngx_stream_tb_mqtt_lookup_next(ngx_stream_tb_mqtt_login_t *login);
static void ngx_stream_tb_mqtt_tenant(ngx_stream_tb_mqtt_lookup_t *lookup);
static void ngx_stream_tb_mqtt_tenant_reply(void *data, ngx_uint_t status,
    redisReply *reply);


ngx_int_t
ngx_stream_tb_mqtt_lookup(ngx_stream_tb_mqtt_login_t *login)
{
    ngx_uint_t                    i;
    ngx_stream_tb_mqtt_lookup_t  *lookup;

    for (i = 0; i < login->n; i++) {
        lookup = &login->lookup[i];

        if (lookup->rc == NGX_AGAIN
            && ngx_stream_tb_mqtt_line(lookup) != NGX_OK)
        {
            ngx_stream_tb_mqtt_lookup_failed(lookup, NGX_TB_REDIS_UNSENT,
                                             NULL);
        }
    }

    /* the first that the cache has not declined was asked for, or is BUSY */

    for (i = 0; login->lookup[i].rc == NGX_DECLINED; i++) { /* void */ }

    return login->lookup[i].rc;
}


ngx_int_t
ngx_stream_tb_mqtt_lookup_send(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    u_char                        key[NGX_TB_RPC_KEY_LEN];
    ngx_str_t                     argv[3];
    ngx_uint_t                    argc;
    ngx_tb_redis_reply_pt         handler;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = lookup->login->worker;

    ngx_stream_tb_mqtt_lookup_key(lookup, &argv[1], key);

    if (lookup->login->found == lookup) {
        ngx_str_set(&argv[0], "HGET");
        ngx_str_set(&argv[2], "tenantId");
        argc = 3;
        handler = ngx_stream_tb_mqtt_tenant_reply;

    } else {
        ngx_str_set(&argv[0], "GET");
        argc = 2;
        handler = ngx_stream_tb_mqtt_lookup_reply;
    }

    lookup->command = ngx_tb_redis_command(&w->redis, argv, argc,
                                        w->conf->block.redis->command_timeout,
                                        NGX_TB_REDIS_REPEAT
                                        |NGX_TB_REDIS_UNBOUNDED,
                                        handler, lookup);

    return lookup->command ? NGX_OK : NGX_ERROR;
}


void
ngx_stream_tb_mqtt_lookup_key(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_str_t *key, u_char *buf)
{
    ngx_str_t                        id;
    ngx_stream_tb_mqtt_worker_t     *w;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    w = lookup->login->worker;

    if (lookup->login->found != lookup) {
        ngx_stream_tb_mqtt_credential_key(&lookup->credential, w, key, buf);
        return;
    }

    mcf = w->conf;

    id.data = lookup->known.id;
    id.len = NGX_STREAM_TB_MQTT_UUID_LEN;

    ngx_tb_rpc_key(key, buf, &mcf->block.prefix,
                   tb_rpc_shard(id.data, id.len,
                                (unsigned) mcf->block.shards),
                   "device:", &id);
}


static void
ngx_stream_tb_mqtt_lookup_reply(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_stream_tb_mqtt_lookup_t *lookup = data;

    ngx_str_t                     id;
    ngx_stream_tb_mqtt_login_t   *login;
    ngx_stream_tb_mqtt_worker_t  *w;

    login = lookup->login;
    w = login->worker;

    if (!ngx_stream_tb_mqtt_lookup_answered(lookup, status, reply)) {
        ngx_stream_tb_mqtt_lookup_failed(lookup, status, reply);

    } else if (!w->meta) {

        /* a node of a cluster whose "tb:meta" nobody has seen yet */

        lookup->rc = NGX_BUSY;

    } else if (ngx_tb_redis_reply_str(reply, &id) == NGX_OK
               && tb_rpc_uuid(lookup->known.id, id.data, id.len) == 0)
    {
        lookup->known.len = NGX_STREAM_TB_MQTT_UUID_LEN;
        lookup->rc = NGX_OK;

    } else {
        lookup->rc = NGX_DECLINED;

        if (reply->type != REDIS_REPLY_NIL) {
            ngx_log_error(NGX_LOG_ERR,
                          login->ctx->session->connection->log, 0,
                          "tb_mqtt: what Redis has for a credential is not a "
                          "device id; SET it again");
        }

        if (login->cache) {
            lookup->known.len = 0;
            ngx_tb_rpc_cache_put(w->cache[lookup->credential.kind],
                                 lookup->credential.digest, &lookup->known,
                                 1);
        }
    }

    ngx_stream_tb_mqtt_lookup_next(login);
}


/* takes it from its lane; 0: its node does not say */

static ngx_uint_t
ngx_stream_tb_mqtt_lookup_answered(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_uint_t status, redisReply *reply)
{
    ngx_uint_t  answered;

    answered = (status == NGX_TB_REDIS_REPLY
                && reply->type != REDIS_REPLY_ERROR);

    lookup->command = NULL;

    ngx_stream_tb_mqtt_line_answered(lookup, !answered);

    return answered;
}


void
ngx_stream_tb_mqtt_lookup_refused(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    ngx_stream_tb_mqtt_login_t  *login;

    login = lookup->login;

    ngx_stream_tb_mqtt_lookup_failed(lookup, NGX_TB_REDIS_UNSENT, NULL);

    if (login->found) {
        ngx_stream_tb_mqtt_login_end(login, NGX_BUSY);
        return;
    }

    ngx_stream_tb_mqtt_lookup_next(login);
}


static void
ngx_stream_tb_mqtt_lookup_failed(ngx_stream_tb_mqtt_lookup_t *lookup,
    ngx_uint_t status, redisReply *reply)
{
    u_char                        text[NGX_TB_REDIS_TEXT];
    ngx_str_t                     error;
    ngx_stream_tb_mqtt_worker_t  *w;

    w = lookup->login->worker;

    lookup->rc = NGX_BUSY;

    if (!ngx_stream_tb_mqtt_say(&w->said_lookup)) {
        return;
    }

    if (status == NGX_TB_REDIS_REPLY) {
        ngx_tb_redis_reply_text(reply, text, &error);

    } else {
        ngx_str_set(&error, "no reply in time");
    }

    ngx_log_error(NGX_LOG_ERR, w->log, 0,
                  "tb_mqtt: Redis could not look up a device by %s: \"%V\"; "
                  "devices are told to come again until it can",
                  (lookup->login->found == lookup) ? "HGET" : "GET", &error);
}


/* once all is known that counts before the first hit */

static void
ngx_stream_tb_mqtt_lookup_next(ngx_stream_tb_mqtt_login_t *login)
{
    ngx_uint_t                    i, busy;
    ngx_stream_tb_mqtt_lookup_t  *lookup;

    busy = 0;

    for (i = 0; i < login->n; i++) {
        lookup = &login->lookup[i];

        if (lookup->rc == NGX_AGAIN) {
            return;
        }

        if (lookup->rc == NGX_BUSY) {
            busy = 1;
            break;
        }

        if (lookup->rc == NGX_OK) {
            ngx_stream_tb_mqtt_tenant(lookup);
            return;
        }
    }

    ngx_stream_tb_mqtt_login_end(login, busy ? NGX_BUSY : NGX_DECLINED);
}


/* of all that were asked for this one counts */

static void
ngx_stream_tb_mqtt_tenant(ngx_stream_tb_mqtt_lookup_t *lookup)
{
    ngx_uint_t                   i;
    ngx_stream_tb_mqtt_login_t  *login;

    login = lookup->login;

    for (i = 0; i < login->n; i++) {
        ngx_stream_tb_mqtt_line_leave(&login->lookup[i]);
    }

    login->found = lookup;

    if (ngx_stream_tb_mqtt_line(lookup) != NGX_OK) {
        ngx_stream_tb_mqtt_lookup_refused(lookup);
    }
}


static void
ngx_stream_tb_mqtt_tenant_reply(void *data, ngx_uint_t status,
    redisReply *reply)
{
    ngx_stream_tb_mqtt_lookup_t *lookup = data;

    ngx_int_t                     rc;
    ngx_str_t                     tenant;
    ngx_stream_tb_mqtt_login_t   *login;
    ngx_stream_tb_mqtt_worker_t  *w;

    login = lookup->login;
    w = login->worker;

    if (!ngx_stream_tb_mqtt_lookup_answered(lookup, status, reply)) {
        ngx_stream_tb_mqtt_lookup_failed(lookup, status, reply);
        ngx_stream_tb_mqtt_login_end(login, NGX_BUSY);
        return;
    }

    if (ngx_tb_redis_reply_str(reply, &tenant) != NGX_OK
        || tb_rpc_uuid(lookup->known.tenant, tenant.data, tenant.len) != 0)
    {
        /* a credential that a deleted device has left behind */

        ngx_log_error(NGX_LOG_INFO, login->ctx->session->connection->log, 0,
                      "tb_mqtt: device \"%*s\" of the credential is unknown",
                      (size_t) NGX_STREAM_TB_MQTT_UUID_LEN,
                      lookup->known.id);

        ngx_stream_tb_mqtt_login_end(login, NGX_DECLINED);
        return;
    }

    if (login->cache) {
        ngx_tb_rpc_cache_put(w->cache[lookup->credential.kind],
                             lookup->credential.digest, &lookup->known, 0);
    }

    rc = ngx_stream_tb_mqtt_known(login->ctx, &lookup->known);

    ngx_stream_tb_mqtt_login_end(login, rc);
}


ngx_int_t
ngx_stream_tb_mqtt_known(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_known_t *known)
{
    u_char  *p;

    p = ngx_pnalloc(ctx->session->connection->pool,
                    2 * NGX_STREAM_TB_MQTT_UUID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->device_id.data = p;
    ctx->device_id.len = NGX_STREAM_TB_MQTT_UUID_LEN;
    p = ngx_cpymem(p, known->id, NGX_STREAM_TB_MQTT_UUID_LEN);

    ctx->tenant_id.data = p;
    ctx->tenant_id.len = NGX_STREAM_TB_MQTT_UUID_LEN;
    ngx_memcpy(p, known->tenant, NGX_STREAM_TB_MQTT_UUID_LEN);

    return NGX_OK;
}
