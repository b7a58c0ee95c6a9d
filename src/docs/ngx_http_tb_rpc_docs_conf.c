
/*
 * What a server answers is known when all of its locations are; then its
 * documents are written.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_docs_text.h"


typedef struct {
    void        *server;
    ngx_uint_t   serves;
} ngx_http_tb_rpc_served_t;


static ngx_uint_t ngx_http_tb_rpc_docs_serves(
    ngx_http_tb_rpc_loc_conf_t *conf);
static ngx_http_tb_rpc_served_t *ngx_http_tb_rpc_docs_served(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, void *server);
static ngx_int_t ngx_http_tb_rpc_docs_write(ngx_conf_t *cf,
    ngx_http_tb_rpc_docs_conf_t *docs, json_t *document);
static ngx_int_t ngx_http_tb_rpc_docs_keep(ngx_conf_t *cf,
    ngx_http_tb_rpc_docs_conf_t *docs, u_char *p, size_t len);


char *
ngx_http_tb_rpc_docs_parse(ngx_conf_t *cf, ngx_http_tb_rpc_loc_conf_t *conf)
{
    ngx_str_t                         *value, url;
    ngx_uint_t                         n;
    ngx_http_tb_rpc_docs_conf_t       *docs;
    ngx_http_compile_complex_value_t   ccv;

    docs = ngx_pcalloc(cf->pool, sizeof(ngx_http_tb_rpc_docs_conf_t));
    if (docs == NULL) {
        return NGX_CONF_ERROR;
    }

    docs->url = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (docs->url == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;
    n = 1;

    if (cf->args->nelts > n && ngx_strcmp(value[n].data, "json") == 0) {
        n++;

    } else if (cf->args->nelts > n && ngx_strcmp(value[n].data, "html") == 0) {
        docs->html = 1;
        n++;
    }

    ngx_str_set(&url, "$scheme://$http_host");

    if (cf->args->nelts > n) {
        url = value[n++];
    }

    if (cf->args->nelts > n) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"tb_rpc_docs\", it must "
                           "be \"json\" or \"html\", and behind that a URL",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &url;
    ccv.complex_value = docs->url;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    conf->docs = docs;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_tb_rpc_docs_note(ngx_conf_t *cf, ngx_http_tb_rpc_loc_conf_t *conf)
{
    void                          *server;
    ngx_http_tb_rpc_served_t      *served;
    ngx_http_tb_rpc_main_conf_t   *mcf;
    ngx_http_tb_rpc_docs_conf_t  **docs;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);
    server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    served = ngx_http_tb_rpc_docs_served(cf, mcf, server);
    if (served == NULL) {
        return NGX_ERROR;
    }

    served->serves |= ngx_http_tb_rpc_docs_serves(conf);

    if (conf->docs == NULL) {
        return NGX_OK;
    }

    if (mcf->docs == NULL) {
        mcf->docs = ngx_array_create(cf->pool, 2,
                                     sizeof(ngx_http_tb_rpc_docs_conf_t *));
        if (mcf->docs == NULL) {
            return NGX_ERROR;
        }
    }

    docs = ngx_array_push(mcf->docs);
    if (docs == NULL) {
        return NGX_ERROR;
    }

    *docs = conf->docs;
    conf->docs->server = server;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_tb_rpc_docs_serves(ngx_http_tb_rpc_loc_conf_t *conf)
{
    ngx_uint_t  serves;

    if (conf->device_api) {
        return NGX_HTTP_TB_RPC_SERVES_DEVICES;
    }

    if (conf->logins) {
        return NGX_HTTP_TB_RPC_SERVES_LOGIN|NGX_HTTP_TB_RPC_SERVES_JWT;
    }

    if (conf->api == 0) {
        return 0;
    }

    serves = (conf->api == NGX_HTTP_TB_RPC_V1) ? NGX_HTTP_TB_RPC_SERVES_V1
                                               : NGX_HTTP_TB_RPC_SERVES_V2;

    if (conf->auth.on && conf->auth.jwt_keys) {
        serves |= NGX_HTTP_TB_RPC_SERVES_JWT;
    }

    if (conf->auth.on && conf->auth.api_keys) {
        serves |= NGX_HTTP_TB_RPC_SERVES_API_KEY;
    }

    return serves;
}


static ngx_http_tb_rpc_served_t *
ngx_http_tb_rpc_docs_served(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf,
    void *server)
{
    ngx_uint_t                 i;
    ngx_http_tb_rpc_served_t  *served;

    if (mcf->served == NULL) {
        mcf->served = ngx_array_create(cf->pool, 4,
                                       sizeof(ngx_http_tb_rpc_served_t));
        if (mcf->served == NULL) {
            return NULL;
        }
    }

    served = mcf->served->elts;

    for (i = 0; i < mcf->served->nelts; i++) {
        if (served[i].server == server) {
            return &served[i];
        }
    }

    served = ngx_array_push(mcf->served);
    if (served == NULL) {
        return NULL;
    }

    served->server = server;
    served->serves = 0;

    return served;
}


ngx_int_t
ngx_http_tb_rpc_docs_init(ngx_conf_t *cf)
{
    json_t                        *document;
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_http_tb_rpc_served_t      *served;
    ngx_http_tb_rpc_main_conf_t   *mcf;
    ngx_http_tb_rpc_docs_conf_t  **docs;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tb_rpc_module);

    if (mcf->docs == NULL) {
        return NGX_OK;
    }

    docs = mcf->docs->elts;

    for (i = 0; i < mcf->docs->nelts; i++) {

        served = ngx_http_tb_rpc_docs_served(cf, mcf, docs[i]->server);
        if (served == NULL) {
            return NGX_ERROR;
        }

        document = ngx_http_tb_rpc_docs_document(served->serves);
        if (document == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_http_tb_rpc_docs_write(cf, docs[i], document);

        json_decref(document);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_docs_write(ngx_conf_t *cf, ngx_http_tb_rpc_docs_conf_t *docs,
    json_t *document)
{
    char                         *dump;
    ngx_int_t                     rc;
    ngx_http_tb_rpc_docs_text_t   text;

    if (!docs->html) {
        dump = json_dumps(document, JSON_COMPACT|JSON_PRESERVE_ORDER);
        if (dump == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_http_tb_rpc_docs_keep(cf, docs, (u_char *) dump,
                                       ngx_strlen(dump));
        free(dump);

        return rc;
    }

    ngx_memzero(&text, sizeof(ngx_http_tb_rpc_docs_text_t));

    text.pool = cf->temp_pool;

    ngx_http_tb_rpc_docs_html(&text, document);

    if (text.failed) {
        return NGX_ERROR;
    }

    return ngx_http_tb_rpc_docs_keep(cf, docs, text.start,
                                     text.last - text.start);
}


static ngx_int_t
ngx_http_tb_rpc_docs_keep(ngx_conf_t *cf, ngx_http_tb_rpc_docs_conf_t *docs,
    u_char *p, size_t len)
{
    u_char     *at;
    ngx_str_t   text;

    text.len = len;
    text.data = p;

    p = ngx_pstrdup(cf->pool, &text);
    if (p == NULL) {
        return NGX_ERROR;
    }

    at = ngx_strnstr(p, NGX_HTTP_TB_RPC_DOCS_SERVER, len);
    if (at == NULL) {
        return NGX_ERROR;
    }

    docs->before.data = p;
    docs->before.len = at - p;

    docs->after.data = at + sizeof(NGX_HTTP_TB_RPC_DOCS_SERVER) - 1;
    docs->after.len = p + len - docs->after.data;

    return NGX_OK;
}
