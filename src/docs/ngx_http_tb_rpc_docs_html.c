
/*
 * The document for people: one file, no script, nothing from elsewhere.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_docs_text.h"


static void ngx_http_tb_rpc_docs_printn(ngx_http_tb_rpc_docs_text_t *text,
    const char *s, size_t len);
static void ngx_http_tb_rpc_docs_escaped(ngx_http_tb_rpc_docs_text_t *text,
    const char *s);
static void ngx_http_tb_rpc_docs_escapedn(ngx_http_tb_rpc_docs_text_t *text,
    const char *s, size_t len);
static const char *ngx_http_tb_rpc_docs_string(json_t *object,
    const char *name);
static void ngx_http_tb_rpc_docs_head(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document);
static void ngx_http_tb_rpc_docs_callers(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document);
static void ngx_http_tb_rpc_docs_tag(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document, json_t *tag);
static void ngx_http_tb_rpc_docs_operation(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document, const char *method, const char *path, json_t *operation);
static void ngx_http_tb_rpc_docs_parameters(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document, json_t *parameters);
static void ngx_http_tb_rpc_docs_responses(ngx_http_tb_rpc_docs_text_t *text,
    json_t *responses);
static void ngx_http_tb_rpc_docs_lines(ngx_http_tb_rpc_docs_text_t *text,
    const char *s);
static void ngx_http_tb_rpc_docs_schemas(ngx_http_tb_rpc_docs_text_t *text,
    json_t *schemas);
static void ngx_http_tb_rpc_docs_code(ngx_http_tb_rpc_docs_text_t *text,
    json_t *json);


void
ngx_http_tb_rpc_docs_html(ngx_http_tb_rpc_docs_text_t *text, json_t *document)
{
    size_t   i;
    json_t  *tags;

    ngx_http_tb_rpc_docs_head(text, document);
    ngx_http_tb_rpc_docs_callers(text, document);

    tags = json_object_get(document, "tags");

    for (i = 0; i < json_array_size(tags); i++) {
        ngx_http_tb_rpc_docs_tag(text, document, json_array_get(tags, i));
    }

    ngx_http_tb_rpc_docs_schemas(text,
        json_object_get(json_object_get(document, "components"), "schemas"));

    ngx_http_tb_rpc_docs_print(text, "</body></html>\n");
}


void
ngx_http_tb_rpc_docs_print(ngx_http_tb_rpc_docs_text_t *text, const char *s)
{
    ngx_http_tb_rpc_docs_printn(text, s, ngx_strlen(s));
}


static void
ngx_http_tb_rpc_docs_printn(ngx_http_tb_rpc_docs_text_t *text, const char *s,
    size_t len)
{
    u_char  *p;
    size_t   used, size;

    if (text->failed) {
        return;
    }

    if ((size_t) (text->end - text->last) < len) {
        used = text->last - text->start;
        size = 2 * (used + len) + 16384;

        p = ngx_palloc(text->pool, size);
        if (p == NULL) {
            text->failed = 1;
            return;
        }

        if (used) {
            ngx_memcpy(p, text->start, used);
            (void) ngx_pfree(text->pool, text->start);
        }

        text->start = p;
        text->last = p + used;
        text->end = p + size;
    }

    text->last = ngx_cpymem(text->last, s, len);
}


static void
ngx_http_tb_rpc_docs_escaped(ngx_http_tb_rpc_docs_text_t *text,
    const char *s)
{
    ngx_http_tb_rpc_docs_escapedn(text, s, ngx_strlen(s));
}


static void
ngx_http_tb_rpc_docs_escapedn(ngx_http_tb_rpc_docs_text_t *text,
    const char *s, size_t len)
{
    const char  *last;

    for (last = s + len; s < last; s++) {

        switch (*s) {

        case '<':
            ngx_http_tb_rpc_docs_print(text, "&lt;");
            break;

        case '>':
            ngx_http_tb_rpc_docs_print(text, "&gt;");
            break;

        case '&':
            ngx_http_tb_rpc_docs_print(text, "&amp;");
            break;

        case '"':
            ngx_http_tb_rpc_docs_print(text, "&quot;");
            break;

        default:
            ngx_http_tb_rpc_docs_printn(text, s, 1);
        }
    }
}


/* what is not there is empty */

static const char *
ngx_http_tb_rpc_docs_string(json_t *object, const char *name)
{
    const char  *s;

    s = json_string_value(json_object_get(object, name));

    return s ? s : "";
}


static void
ngx_http_tb_rpc_docs_head(ngx_http_tb_rpc_docs_text_t *text, json_t *document)
{
    json_t  *info;

    info = json_object_get(document, "info");

    ngx_http_tb_rpc_docs_print(text,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<meta http-equiv=\"content-security-policy\" content=\"default-src "
        "'none';style-src 'unsafe-inline'\">\n<title>");
    ngx_http_tb_rpc_docs_escaped(text,
                                 ngx_http_tb_rpc_docs_string(info, "title"));

    ngx_http_tb_rpc_docs_print(text,
        "</title>\n<style>\n:root{color-scheme:light dark}\n"
        "body{font:15px/1.5 system-ui,sans-serif;margin:1.5em auto;"
        "max-width:60em;padding:0 1em}\n"
        "table{border-collapse:collapse;width:100%}\n"
        "td,th{border-bottom:1px solid #8886;padding:.3em .6em;"
        "text-align:left;vertical-align:top}\n"
        "ul{margin:0;padding-left:1.2em}\n"
        "h3{border-top:2px solid #8886;padding-top:.6em;margin-top:2em}\n"
        "code,pre{font:13px/1.5 ui-monospace,monospace;"
        "overflow-wrap:anywhere}\n"
        "pre{background:#8882;padding:.6em;overflow:auto}\n"
        ".m{background:#0969da;color:#fff;padding:.1em .5em;"
        "border-radius:.3em}\n</style></head><body>\n<h1>");

    ngx_http_tb_rpc_docs_escaped(text,
                                 ngx_http_tb_rpc_docs_string(info, "title"));
    ngx_http_tb_rpc_docs_print(text, "</h1>\n<p>");
    ngx_http_tb_rpc_docs_escaped(text,
                             ngx_http_tb_rpc_docs_string(info, "description"));
    ngx_http_tb_rpc_docs_print(text, " Version ");
    ngx_http_tb_rpc_docs_escaped(text,
                                 ngx_http_tb_rpc_docs_string(info, "version"));
    ngx_http_tb_rpc_docs_print(text, ".</p>\n<p>At <code>"
        NGX_HTTP_TB_RPC_DOCS_SERVER "</code></p>\n");
}


static void
ngx_http_tb_rpc_docs_callers(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document)
{
    void    *scheme;
    json_t  *schemes;

    schemes = json_object_get(json_object_get(document, "components"),
                              "securitySchemes");

    if (json_object_size(schemes) == 0) {
        return;
    }

    ngx_http_tb_rpc_docs_print(text, "<h2>Who calls</h2>\n<table>\n");

    for (scheme = json_object_iter(schemes);
         scheme;
         scheme = json_object_iter_next(schemes, scheme))
    {
        ngx_http_tb_rpc_docs_print(text, "<tr><td><code>");
        ngx_http_tb_rpc_docs_escaped(text, json_object_iter_key(scheme));
        ngx_http_tb_rpc_docs_print(text, "</code></td><td>");
        ngx_http_tb_rpc_docs_escaped(text,
            ngx_http_tb_rpc_docs_string(json_object_iter_value(scheme),
                                        "description"));
        ngx_http_tb_rpc_docs_print(text, "</td></tr>\n");
    }

    ngx_http_tb_rpc_docs_print(text, "</table>\n");
}


static void
ngx_http_tb_rpc_docs_tag(ngx_http_tb_rpc_docs_text_t *text, json_t *document,
    json_t *tag)
{
    void        *path, *method;
    json_t      *paths, *methods, *operation, *first;
    const char  *name;

    name = ngx_http_tb_rpc_docs_string(tag, "name");

    ngx_http_tb_rpc_docs_print(text, "<h2>");
    ngx_http_tb_rpc_docs_escaped(text, ngx_http_tb_rpc_docs_string(tag,
                                                             "description"));
    ngx_http_tb_rpc_docs_print(text, "</h2>\n");

    paths = json_object_get(document, "paths");

    for (path = json_object_iter(paths);
         path;
         path = json_object_iter_next(paths, path))
    {
        methods = json_object_iter_value(path);

        for (method = json_object_iter(methods);
             method;
             method = json_object_iter_next(methods, method))
        {
            operation = json_object_iter_value(method);
            first = json_array_get(json_object_get(operation, "tags"), 0);

            if (ngx_strcmp(json_string_value(first), name) == 0) {
                ngx_http_tb_rpc_docs_operation(text, document,
                                               json_object_iter_key(method),
                                               json_object_iter_key(path),
                                               operation);
            }
        }
    }
}


static void
ngx_http_tb_rpc_docs_operation(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document, const char *method, const char *path, json_t *operation)
{
    ngx_http_tb_rpc_docs_print(text, "<h3 id=\"");
    ngx_http_tb_rpc_docs_escaped(text,
                       ngx_http_tb_rpc_docs_string(operation, "operationId"));
    ngx_http_tb_rpc_docs_print(text, "\"><code class=\"m\">");
    ngx_http_tb_rpc_docs_escaped(text, method);
    ngx_http_tb_rpc_docs_print(text, "</code> <code>");
    ngx_http_tb_rpc_docs_escaped(text, path);
    ngx_http_tb_rpc_docs_print(text, "</code></h3>\n<p><b>");
    ngx_http_tb_rpc_docs_escaped(text,
                           ngx_http_tb_rpc_docs_string(operation, "summary"));
    ngx_http_tb_rpc_docs_print(text, ".</b> ");
    ngx_http_tb_rpc_docs_escaped(text,
                       ngx_http_tb_rpc_docs_string(operation, "description"));
    ngx_http_tb_rpc_docs_print(text, "</p>\n");

    ngx_http_tb_rpc_docs_parameters(text, document,
                                    json_object_get(operation, "parameters"));

    if (json_object_get(operation, "requestBody")) {
        ngx_http_tb_rpc_docs_print(text, "<p>The body:</p>\n");
        ngx_http_tb_rpc_docs_code(text,
                                  json_object_get(operation, "requestBody"));
    }

    ngx_http_tb_rpc_docs_responses(text,
                                   json_object_get(operation, "responses"));
}


static void
ngx_http_tb_rpc_docs_parameters(ngx_http_tb_rpc_docs_text_t *text,
    json_t *document, json_t *parameters)
{
    size_t       i;
    json_t      *parameter;
    const char  *ref;

    if (json_array_size(parameters) == 0) {
        return;
    }

    ngx_http_tb_rpc_docs_print(text, "<table>\n");

    for (i = 0; i < json_array_size(parameters); i++) {

        parameter = json_array_get(parameters, i);
        ref = ngx_http_tb_rpc_docs_string(parameter, "$ref");

        if (*ref) {
            parameter = json_object_get(
                json_object_get(json_object_get(document, "components"),
                                "parameters"),
                strrchr(ref, '/') + 1);
        }

        ngx_http_tb_rpc_docs_print(text, "<tr><td><code>");
        ngx_http_tb_rpc_docs_escaped(text,
                              ngx_http_tb_rpc_docs_string(parameter, "name"));
        ngx_http_tb_rpc_docs_print(text, "</code></td><td>");
        ngx_http_tb_rpc_docs_escaped(text,
                                ngx_http_tb_rpc_docs_string(parameter, "in"));
        ngx_http_tb_rpc_docs_print(text,
                           json_is_true(json_object_get(parameter, "required"))
                           ? ", required</td><td>" : "</td><td>");
        ngx_http_tb_rpc_docs_escaped(text,
                       ngx_http_tb_rpc_docs_string(parameter, "description"));
        ngx_http_tb_rpc_docs_print(text, "</td></tr>\n");
    }

    ngx_http_tb_rpc_docs_print(text, "</table>\n");
}


static void
ngx_http_tb_rpc_docs_responses(ngx_http_tb_rpc_docs_text_t *text,
    json_t *responses)
{
    void  *response;

    ngx_http_tb_rpc_docs_print(text, "<table>\n");

    for (response = json_object_iter(responses);
         response;
         response = json_object_iter_next(responses, response))
    {
        ngx_http_tb_rpc_docs_print(text, "<tr><td><code>");
        ngx_http_tb_rpc_docs_escaped(text, json_object_iter_key(response));
        ngx_http_tb_rpc_docs_print(text, "</code></td><td>");
        ngx_http_tb_rpc_docs_lines(text,
            ngx_http_tb_rpc_docs_string(json_object_iter_value(response),
                                        "description"));
        ngx_http_tb_rpc_docs_print(text, "</td></tr>\n");
    }

    ngx_http_tb_rpc_docs_print(text, "</table>\n");
}


/* a line, and others behind "* " */

static void
ngx_http_tb_rpc_docs_lines(ngx_http_tb_rpc_docs_text_t *text, const char *s)
{
    size_t      len;
    ngx_uint_t  n;

    for (n = 0; *s; n++) {
        len = strcspn(s, "\n");

        if (n == 1) {
            ngx_http_tb_rpc_docs_print(text, "<ul>\n");
        }

        if (n && len > 2) {
            ngx_http_tb_rpc_docs_print(text, "<li>");
            ngx_http_tb_rpc_docs_escapedn(text, s + 2, len - 2);
            ngx_http_tb_rpc_docs_print(text, "</li>\n");

        } else {
            ngx_http_tb_rpc_docs_escapedn(text, s, len);
        }

        s += len + (s[len] ? 1 : 0);
    }

    if (n > 1) {
        ngx_http_tb_rpc_docs_print(text, "</ul>");
    }
}


static void
ngx_http_tb_rpc_docs_schemas(ngx_http_tb_rpc_docs_text_t *text,
    json_t *schemas)
{
    void  *schema;

    ngx_http_tb_rpc_docs_print(text, "<h2>Schemas</h2>\n");

    for (schema = json_object_iter(schemas);
         schema;
         schema = json_object_iter_next(schemas, schema))
    {
        ngx_http_tb_rpc_docs_print(text, "<h3>");
        ngx_http_tb_rpc_docs_escaped(text, json_object_iter_key(schema));
        ngx_http_tb_rpc_docs_print(text, "</h3>\n");
        ngx_http_tb_rpc_docs_code(text, json_object_iter_value(schema));
    }
}


static void
ngx_http_tb_rpc_docs_code(ngx_http_tb_rpc_docs_text_t *text, json_t *json)
{
    char  *dump;

    dump = json_dumps(json, JSON_INDENT(2)|JSON_PRESERVE_ORDER);
    if (dump == NULL) {
        text->failed = 1;
        return;
    }

    ngx_http_tb_rpc_docs_print(text, "<pre>");
    ngx_http_tb_rpc_docs_escaped(text, dump);
    ngx_http_tb_rpc_docs_print(text, "</pre>\n");

    free(dump);
}
