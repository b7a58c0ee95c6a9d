
/*
 * The rules for JSON texts from outside: nesting and NUL by a scan of the
 * bytes, before jansson sees them; the top-level object by hand, with each
 * name and value read by jansson, which tells where they end.
 *
 * Numbers are read as doubles only to be judged: they are never printed.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_json.h"


#define NGX_HTTP_TB_RPC_JSON_VALUE                                            \
    (JSON_DECODE_ANY|JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL)


static u_char *ngx_http_tb_rpc_json_scan(u_char *p, u_char *last,
    ngx_uint_t first, const char **error);
static json_t *ngx_http_tb_rpc_json_read(ngx_http_tb_rpc_json_t *json,
    size_t flags, ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_json_name(ngx_http_tb_rpc_json_t *json);
static ngx_int_t ngx_http_tb_rpc_json_end(ngx_http_tb_rpc_json_t *json);
static ngx_int_t ngx_http_tb_rpc_json_seen(ngx_http_tb_rpc_json_t *json);
static void ngx_http_tb_rpc_json_free(ngx_http_tb_rpc_json_t *json);
static void ngx_http_tb_rpc_json_skip(ngx_http_tb_rpc_json_t *json);
static ngx_int_t ngx_http_tb_rpc_json_error(ngx_http_tb_rpc_json_t *json,
    u_char *p, const char *error);


ngx_int_t
ngx_http_tb_rpc_check_json(u_char *p, size_t len)
{
    json_t        *value;
    const char    *error;
    json_error_t   err;

    if (ngx_http_tb_rpc_json_scan(p, p + len, 0, &error) != NULL) {
        return NGX_DECLINED;
    }

    value = json_loadb((char *) p, len,
                       NGX_HTTP_TB_RPC_JSON_VALUE|JSON_REJECT_DUPLICATES,
                       &err);
    if (value == NULL) {
        return NGX_DECLINED;
    }

    json_decref(value);

    return NGX_OK;
}


/*
 * As long as the text is valid, brackets outside of strings are its nesting;
 * where it is not, jansson stops before the count could mislead.  With
 * "first", what follows the first object is not looked at.  NULL or the
 * byte that is wrong.
 */

static u_char *
ngx_http_tb_rpc_json_scan(u_char *p, u_char *last, ngx_uint_t first,
    const char **error)
{
    ngx_uint_t  depth, string;

    depth = 0;
    string = 0;

    for ( /* void */ ; p < last; p++) {

        switch (*p) {

        case '\0':
            *error = "a NUL byte";
            return p;

        case '"':
            string = !string;
            break;

        case '\\':
            if (string && p + 1 < last && p[1] != '\0') {
                p++;
            }

            break;

        case '{':
        case '[':
            if (!string && ++depth > NGX_HTTP_TB_RPC_MAX_DEPTH) {
                *error = "nesting is too deep";
                return p;
            }

            break;

        case '}':
        case ']':
            if (string || depth == 0) {
                break;
            }

            if (--depth == 0 && first) {
                return NULL;
            }

            break;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_tb_rpc_json_open(ngx_http_tb_rpc_json_t *json)
{
    u_char      *p;
    const char  *error;

    json->pos = json->start;
    json->name = NULL;
    json->value = NULL;
    json->seen = NULL;
    json->begun = 0;

    ngx_http_tb_rpc_json_skip(json);

    if (json->pos == json->last || *json->pos != '{') {
        return ngx_http_tb_rpc_json_error(json, json->pos,
                                          "it must be an object");
    }

    p = ngx_http_tb_rpc_json_scan(json->pos, json->last, json->lenient,
                                  &error);
    if (p) {
        return ngx_http_tb_rpc_json_error(json, p, error);
    }

    json->pos++;

    if (json->lenient) {
        return NGX_OK;
    }

    json->seen = json_object();

    return json->seen ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_tb_rpc_json_next(ngx_http_tb_rpc_json_t *json)
{
    ngx_http_tb_rpc_json_free(json);
    ngx_http_tb_rpc_json_skip(json);

    if (json->pos < json->last && *json->pos == '}') {
        return ngx_http_tb_rpc_json_end(json);
    }

    if (json->begun) {

        if (json->pos == json->last || *json->pos != ',') {
            return ngx_http_tb_rpc_json_error(json, json->pos,
                                              "',' or '}' is expected");
        }

        json->pos++;

        ngx_http_tb_rpc_json_skip(json);
    }

    json->begun = 1;

    if (ngx_http_tb_rpc_json_name(json) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_http_tb_rpc_json_skip(json);

    if (json->pos == json->last || *json->pos != ':') {
        return ngx_http_tb_rpc_json_error(json, json->pos,
                                          "':' is expected");
    }

    json->pos++;

    ngx_http_tb_rpc_json_skip(json);

    json->value = ngx_http_tb_rpc_json_read(json,
                      json->lenient ? NGX_HTTP_TB_RPC_JSON_VALUE
                                    : NGX_HTTP_TB_RPC_JSON_VALUE
                                      |JSON_REJECT_DUPLICATES,
                      &json->text);

    return json->value ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_tb_rpc_json_name(ngx_http_tb_rpc_json_t *json)
{
    u_char     *p;
    ngx_str_t   name;

    if (json->pos == json->last || *json->pos != '"') {
        return ngx_http_tb_rpc_json_error(json, json->pos,
                                          "a member name is expected");
    }

    p = json->pos;

    /* no JSON_ALLOW_NUL: jansson refuses such names in objects too */

    json->name = ngx_http_tb_rpc_json_read(json, JSON_DECODE_ANY, &name);
    if (json->name == NULL) {
        return NGX_DECLINED;
    }

    if (json->seen && ngx_http_tb_rpc_json_seen(json) != NGX_OK) {
        return ngx_http_tb_rpc_json_error(json, p, "a duplicate member");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_json_end(ngx_http_tb_rpc_json_t *json)
{
    json->pos++;

    if (json->lenient) {
        return NGX_DONE;
    }

    ngx_http_tb_rpc_json_skip(json);

    if (json->pos < json->last) {
        return ngx_http_tb_rpc_json_error(json, json->pos,
                                          "something follows the object");
    }

    return NGX_DONE;
}


void
ngx_http_tb_rpc_json_close(ngx_http_tb_rpc_json_t *json)
{
    ngx_http_tb_rpc_json_free(json);

    if (json->seen) {
        json_decref(json->seen);
        json->seen = NULL;
    }
}


static json_t *
ngx_http_tb_rpc_json_read(ngx_http_tb_rpc_json_t *json, size_t flags,
    ngx_str_t *text)
{
    char          *near;
    u_char        *p;
    json_t        *value;
    json_error_t   err;

    value = json_loadb((char *) json->pos, json->last - json->pos,
                       flags|JSON_DISABLE_EOF_CHECK, &err);

    p = json->pos;

    if (err.position > 0 && err.position <= json->last - json->pos) {
        p += err.position;
    }

    if (value == NULL) {

        /* what follows quotes the input */

        near = strstr(err.text, " near ");

        if (near) {
            *near = '\0';
        }

        (void) ngx_http_tb_rpc_json_error(json, p, err.text);

        return NULL;
    }

    text->data = json->pos;
    text->len = p - json->pos;

    json->pos = p;

    return value;
}


static ngx_int_t
ngx_http_tb_rpc_json_seen(ngx_http_tb_rpc_json_t *json)
{
    const char  *name;

    name = json_string_value(json->name);

    if (json_object_get(json->seen, name)) {
        return NGX_DECLINED;
    }

    return json_object_set_new_nocheck(json->seen, name, json_null())
               ? NGX_DECLINED : NGX_OK;
}


static void
ngx_http_tb_rpc_json_free(ngx_http_tb_rpc_json_t *json)
{
    json_decref(json->name);
    json_decref(json->value);

    json->name = NULL;
    json->value = NULL;
}


static void
ngx_http_tb_rpc_json_skip(ngx_http_tb_rpc_json_t *json)
{
    while (json->pos < json->last
           && (*json->pos == ' ' || *json->pos == '\t'
               || *json->pos == '\n' || *json->pos == '\r'))
    {
        json->pos++;
    }
}


static ngx_int_t
ngx_http_tb_rpc_json_error(ngx_http_tb_rpc_json_t *json, u_char *p,
    const char *error)
{
    json->offset = p - json->start;

    (void) ngx_cpystrn(json->error, (u_char *) error,
                       NGX_HTTP_TB_RPC_JSON_ERROR);

    return NGX_DECLINED;
}
