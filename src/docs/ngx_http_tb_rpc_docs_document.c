
/*
 * The document of all that there is, made by script/openapi, and what a server
 * has of it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../ngx_http_tb_rpc_version.h"
#include "ngx_http_tb_rpc_docs_text.h"

/* made by the build, of openapi.json */
#include "ngx_http_tb_rpc_openapi.h"


typedef struct {
    const char                *name;
    ngx_uint_t                 serves;
} ngx_http_tb_rpc_docs_part_t;


static ngx_uint_t ngx_http_tb_rpc_docs_has(
    ngx_http_tb_rpc_docs_part_t *parts, const char *name, ngx_uint_t serves);
static void ngx_http_tb_rpc_docs_paths(json_t *paths, ngx_uint_t serves);
static void ngx_http_tb_rpc_docs_tags(json_t *tags, ngx_uint_t serves);
static void ngx_http_tb_rpc_docs_schemes(json_t *schemes, ngx_uint_t serves);
static void ngx_http_tb_rpc_docs_security(json_t *security,
    ngx_uint_t serves);


static ngx_http_tb_rpc_docs_part_t  ngx_http_tb_rpc_docs_by_tag[] = {
    { "login", NGX_HTTP_TB_RPC_SERVES_LOGIN },
    { "rpc-v-2-controller", NGX_HTTP_TB_RPC_SERVES_V2 },
    { "rpc-v-1-controller", NGX_HTTP_TB_RPC_SERVES_V1 },
    { "device-api", NGX_HTTP_TB_RPC_SERVES_DEVICES },
    { NULL, 0 }
};


static ngx_http_tb_rpc_docs_part_t  ngx_http_tb_rpc_docs_by_scheme[] = {
    { "Jwt", NGX_HTTP_TB_RPC_SERVES_JWT },
    { "ApiKey", NGX_HTTP_TB_RPC_SERVES_API_KEY },
    { "LoginForm", NGX_HTTP_TB_RPC_SERVES_LOGIN },
    { NULL, 0 }
};


json_t *
ngx_http_tb_rpc_docs_document(ngx_uint_t serves)
{
    json_t        *document;
    json_error_t   error;

    document = json_loadb((char *) ngx_http_tb_rpc_openapi,
                          sizeof(ngx_http_tb_rpc_openapi), 0, &error);
    if (document == NULL) {
        return NULL;
    }

    ngx_http_tb_rpc_docs_paths(json_object_get(document, "paths"), serves);
    ngx_http_tb_rpc_docs_tags(json_object_get(document, "tags"), serves);

    ngx_http_tb_rpc_docs_schemes(
        json_object_get(json_object_get(document, "components"),
                        "securitySchemes"),
        serves);

    ngx_http_tb_rpc_docs_security(json_object_get(document, "security"),
                                  serves);

    if (json_object_set_new(json_object_get(document, "info"), "version",
                            json_string(NGX_HTTP_TB_RPC_VERSION))
        != 0)
    {
        json_decref(document);
        return NULL;
    }

    return document;
}


static ngx_uint_t
ngx_http_tb_rpc_docs_has(ngx_http_tb_rpc_docs_part_t *parts, const char *name,
    ngx_uint_t serves)
{
    for ( /* void */ ; parts->name; parts++) {
        if (ngx_strcmp(parts->name, name) == 0) {
            return serves & parts->serves;
        }
    }

    return 0;
}


static void
ngx_http_tb_rpc_docs_paths(json_t *paths, ngx_uint_t serves)
{
    void        *path, *next, *method;
    json_t      *operation, *tag;
    const char  *name;

    for (path = json_object_iter(paths); path; path = next) {

        next = json_object_iter_next(paths, path);

        /* all operations of a path have one tag */

        method = json_object_iter(json_object_iter_value(path));
        operation = json_object_iter_value(method);
        tag = json_array_get(json_object_get(operation, "tags"), 0);
        name = json_string_value(tag);

        if (ngx_http_tb_rpc_docs_has(ngx_http_tb_rpc_docs_by_tag, name,
                                     serves))
        {
            for ( /* void */ ; method; method =
                      json_object_iter_next(json_object_iter_value(path),
                                            method))
            {
                ngx_http_tb_rpc_docs_security(
                    json_object_get(json_object_iter_value(method),
                                    "security"),
                    serves);
            }

            continue;
        }

        (void) json_object_del(paths, json_object_iter_key(path));
    }
}


static void
ngx_http_tb_rpc_docs_tags(json_t *tags, ngx_uint_t serves)
{
    size_t   i;
    json_t  *name;

    for (i = json_array_size(tags); i-- > 0; /* void */ ) {
        name = json_object_get(json_array_get(tags, i), "name");

        if (!ngx_http_tb_rpc_docs_has(ngx_http_tb_rpc_docs_by_tag,
                                      json_string_value(name), serves))
        {
            (void) json_array_remove(tags, i);
        }
    }
}


static void
ngx_http_tb_rpc_docs_schemes(json_t *schemes, ngx_uint_t serves)
{
    void  *scheme, *next;

    for (scheme = json_object_iter(schemes); scheme; scheme = next) {

        next = json_object_iter_next(schemes, scheme);

        if (!ngx_http_tb_rpc_docs_has(ngx_http_tb_rpc_docs_by_scheme,
                                      json_object_iter_key(scheme), serves))
        {
            (void) json_object_del(schemes, json_object_iter_key(scheme));
        }
    }
}


/* each of these is an alternative: an object with one scheme */

static void
ngx_http_tb_rpc_docs_security(json_t *security, ngx_uint_t serves)
{
    void    *scheme;
    size_t   i;

    for (i = json_array_size(security); i-- > 0; /* void */ ) {
        scheme = json_object_iter(json_array_get(security, i));

        if (!ngx_http_tb_rpc_docs_has(ngx_http_tb_rpc_docs_by_scheme,
                                      json_object_iter_key(scheme), serves))
        {
            (void) json_array_remove(security, i);
        }
    }
}
