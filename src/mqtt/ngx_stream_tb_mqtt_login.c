
/*
 * A login: whose credentials these are, and of which tenant the device is.
 *
 * Devices come back all at once, so lookups queue up here (line.c), rather than
 * in front of Redis: heartbeats are not behind thousands of them, and none is
 * refused for coming late, as long as Redis answers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_lookup.h"


static ngx_stream_tb_mqtt_login_t *ngx_stream_tb_mqtt_login_create(
    ngx_stream_tb_mqtt_ctx_t *ctx, ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_credential_t *credentials, ngx_uint_t n);
static ngx_int_t ngx_stream_tb_mqtt_login_known(
    ngx_stream_tb_mqtt_login_t *login);


ngx_int_t
ngx_stream_tb_mqtt_login(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_connect_t *connect,
    void (*done)(ngx_stream_tb_mqtt_ctx_t *ctx, ngx_int_t rc))
{
    ngx_int_t                         n, rc;
    ngx_stream_session_t             *s;
    ngx_stream_tb_mqtt_login_t       *login;
    ngx_stream_tb_mqtt_worker_t      *w;
    ngx_stream_tb_mqtt_srv_conf_t    *conf;
    ngx_stream_tb_mqtt_main_conf_t   *mcf;
    ngx_stream_tb_mqtt_credential_t
                                credentials[NGX_STREAM_TB_MQTT_CREDENTIALS];

    s = ctx->session;

    mcf = ngx_stream_get_module_main_conf(s, ngx_stream_tb_mqtt_module);
    conf = ngx_stream_get_module_srv_conf(s, ngx_stream_tb_mqtt_module);

    w = ngx_stream_tb_mqtt_worker(mcf);
    if (w == NULL) {
        return NGX_ERROR;
    }

    n = ngx_stream_tb_mqtt_credentials(s->connection, connect, conf->login,
                                       credentials);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (n == 0) {
        return NGX_ABORT;
    }

    login = ngx_stream_tb_mqtt_login_create(ctx, w, credentials, n);
    if (login == NULL) {
        return NGX_ERROR;
    }

    login->cache = conf->cache;
    login->done = done;

    rc = ngx_stream_tb_mqtt_login_known(login);

    if (rc != NGX_AGAIN) {
        ngx_free(login);
        return rc;
    }

    ctx->login = login;

    rc = ngx_stream_tb_mqtt_lookup(login);

    if (rc != NGX_AGAIN) {
        ngx_stream_tb_mqtt_login_stop(ctx);
    }

    return rc;
}


static ngx_stream_tb_mqtt_login_t *
ngx_stream_tb_mqtt_login_create(ngx_stream_tb_mqtt_ctx_t *ctx,
    ngx_stream_tb_mqtt_worker_t *w,
    ngx_stream_tb_mqtt_credential_t *credentials, ngx_uint_t n)
{
    ngx_uint_t                   i;
    ngx_stream_tb_mqtt_login_t  *login;

    /* an idle connection is not to have it for ever, as in its pool */

    login = ngx_calloc(offsetof(ngx_stream_tb_mqtt_login_t, lookup)
                       + n * sizeof(ngx_stream_tb_mqtt_lookup_t),
                       ctx->session->connection->log);
    if (login == NULL) {
        return NULL;
    }

    login->ctx = ctx;
    login->worker = w;
    login->n = n;

    for (i = 0; i < n; i++) {
        login->lookup[i].login = login;
        login->lookup[i].credential = credentials[i];
        login->lookup[i].rc = NGX_AGAIN;
    }

    return login;
}


/* what was looked up lately; NGX_AGAIN: that does not say it */

static ngx_int_t
ngx_stream_tb_mqtt_login_known(ngx_stream_tb_mqtt_login_t *login)
{
    ngx_uint_t                    i;
    ngx_stream_tb_mqtt_known_t   *known;
    ngx_stream_tb_mqtt_lookup_t  *lookup;

    if (login->cache == 0) {
        return NGX_AGAIN;
    }

    for (i = 0; i < login->n; i++) {
        lookup = &login->lookup[i];

        known = ngx_tb_rpc_cache_get(
                               login->worker->cache[lookup->credential.kind],
                               lookup->credential.digest, login->cache);

        if (known == NULL) {
            continue;
        }

        lookup->known = *known;
        lookup->rc = known->len ? NGX_OK : NGX_DECLINED;
    }

    for (i = 0; i < login->n; i++) {
        lookup = &login->lookup[i];

        if (lookup->rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (lookup->rc == NGX_OK) {
            return ngx_stream_tb_mqtt_known(login->ctx, &lookup->known);
        }
    }

    return NGX_DECLINED;
}


void
ngx_stream_tb_mqtt_login_end(ngx_stream_tb_mqtt_login_t *login, ngx_int_t rc)
{
    void                      (*done)(ngx_stream_tb_mqtt_ctx_t *ctx,
                                      ngx_int_t rc);
    ngx_stream_tb_mqtt_ctx_t   *ctx;

    ctx = login->ctx;
    done = login->done;

    ngx_stream_tb_mqtt_login_stop(ctx);

    /* the connection may be gone behind this */

    done(ctx, rc);
}


void
ngx_stream_tb_mqtt_login_stop(ngx_stream_tb_mqtt_ctx_t *ctx)
{
    ngx_uint_t                   i;
    ngx_stream_tb_mqtt_login_t  *login;

    login = ctx->login;

    if (login == NULL) {
        return;
    }

    ctx->login = NULL;

    for (i = 0; i < login->n; i++) {
        ngx_stream_tb_mqtt_line_leave(&login->lookup[i]);
    }

    ngx_free(login);
}
