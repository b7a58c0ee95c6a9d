
/*
 * The rules for JSON texts from outside: nesting and NUL by a scan of the
 * bytes, before jansson sees them; the top-level object by hand, with each
 * name and value read by jansson, which tells where they end, but for the
 * plain ones.
 *
 * Numbers are read as doubles only to be judged: they are never printed.  One
 * that no double holds is valid: jansson, which refuses it, reads a copy where
 * 1e99 is in its place, of the same length and as far beyond all limits.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_json.h"
#include "ngx_http_tb_rpc_json_plain.h"

#include <float.h>


#define NGX_HTTP_TB_RPC_JSON_VALUE                                            \
    (JSON_DECODE_ANY|JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL)


typedef struct {
    const char            *error;
    unsigned               first:1;    /* the first object only */
    unsigned               huge:1;     /* out: a number is beyond a double */
    unsigned               tame:1;     /* such numbers are overwritten */
} ngx_http_tb_rpc_json_scan_t;


static u_char *ngx_http_tb_rpc_json_scan(ngx_http_tb_rpc_json_scan_t *scan,
    u_char *p, u_char *last);
static u_char *ngx_http_tb_rpc_json_number(ngx_http_tb_rpc_json_scan_t *scan,
    u_char *start, u_char *last);
static u_char *ngx_http_tb_rpc_json_exponent(u_char *p, u_char *last,
    ngx_int_t *exponent);
static u_char *ngx_http_tb_rpc_json_tame(ngx_http_tb_rpc_json_scan_t *scan,
    u_char *p, size_t len);
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
ngx_http_tb_rpc_check_json(u_char *p, size_t len, ngx_uint_t lenient)
{
    u_char                       *copy;
    json_t                       *value;
    json_error_t                  err;
    ngx_http_tb_rpc_json_scan_t   scan;

    ngx_memzero(&scan, sizeof(ngx_http_tb_rpc_json_scan_t));

    if (ngx_http_tb_rpc_json_scan(&scan, p, p + len) != NULL) {
        return NGX_DECLINED;
    }

    copy = NULL;

    if (scan.huge) {
        copy = ngx_http_tb_rpc_json_tame(&scan, p, len);
        if (copy == NULL) {
            return NGX_DECLINED;
        }
    }

    value = json_loadb(copy ? (char *) copy : (char *) p, len,
                       lenient ? NGX_HTTP_TB_RPC_JSON_VALUE
                               : NGX_HTTP_TB_RPC_JSON_VALUE
                                 |JSON_REJECT_DUPLICATES,
                       &err);

    if (copy) {
        ngx_free(copy);
    }

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
ngx_http_tb_rpc_json_scan(ngx_http_tb_rpc_json_scan_t *scan, u_char *p,
    u_char *last)
{
    ngx_uint_t  depth, string;

    depth = 0;
    string = 0;

    for ( /* void */ ; p < last; p++) {

        switch (*p) {

        case '\0':
            scan->error = "a NUL byte";
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
                scan->error = "nesting is too deep";
                return p;
            }

            break;

        case '}':
        case ']':
            if (string || depth == 0) {
                break;
            }

            if (--depth == 0 && scan->first) {
                return NULL;
            }

            break;

        default:
            if (!string && *p >= '0' && *p <= '9') {
                p = ngx_http_tb_rpc_json_number(scan, p, last) - 1;
            }
        }
    }

    return NULL;
}


/*
 * From the first digit to the end.  A double holds what is below 1e308; what
 * is no number ends early and is left to jansson.
 */

static u_char *
ngx_http_tb_rpc_json_number(ngx_http_tb_rpc_json_scan_t *scan, u_char *start,
    u_char *last)
{
    u_char     *p, *digit;
    ngx_int_t   power, exponent;

    /* the power of ten of the first digit that counts */

    p = start + 1;

    if (*start != '0') {
        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }
    }

    digit = start;
    power = p - start - 1;

    if (p + 1 < last && *p == '.' && p[1] >= '0' && p[1] <= '9') {

        if (*start == '0') {
            digit = p + 1;

            while (digit < last && *digit == '0') {
                digit++;
            }

            power = p - digit;
        }

        do {
            p++;
        } while (p < last && *p >= '0' && *p <= '9');
    }

    p = ngx_http_tb_rpc_json_exponent(p, last, &exponent);

    if (power + exponent < DBL_MAX_10_EXP
        || digit == last || *digit < '1' || *digit > '9')
    {
        return p;
    }

    scan->huge = 1;

    if (scan->tame) {

        /* it has five characters or more */

        ngx_memset(start, '0', p - start);

        start[0] = '1';
        start[1] = 'e';
        p[-2] = '9';
        p[-1] = '9';
    }

    return p;
}


static u_char *
ngx_http_tb_rpc_json_exponent(u_char *p, u_char *last, ngx_int_t *exponent)
{
    u_char      *e;
    ngx_int_t    n;
    ngx_uint_t   minus;

    *exponent = 0;

    if (p == last || (*p != 'e' && *p != 'E')) {
        return p;
    }

    e = p + 1;
    minus = 0;

    if (e < last && (*e == '+' || *e == '-')) {
        minus = (*e++ == '-');
    }

    if (e == last || *e < '0' || *e > '9') {
        return p;
    }

    /* no text has as many digits as to make up for more */

    for (n = 0; e < last && *e >= '0' && *e <= '9'; e++) {
        n = ngx_min(n * 10 + (*e - '0'), 100000000);
    }

    *exponent = minus ? -n : n;

    return e;
}


/* to be freed */

static u_char *
ngx_http_tb_rpc_json_tame(ngx_http_tb_rpc_json_scan_t *scan, u_char *p,
    size_t len)
{
    u_char  *copy;

    copy = ngx_alloc(len, ngx_cycle->log);
    if (copy == NULL) {
        return NULL;
    }

    ngx_memcpy(copy, p, len);

    scan->tame = 1;

    (void) ngx_http_tb_rpc_json_scan(scan, copy, copy + len);

    return copy;
}


ngx_int_t
ngx_http_tb_rpc_json_open(ngx_http_tb_rpc_json_t *json)
{
    u_char                       *p;
    ngx_http_tb_rpc_json_scan_t   scan;

    json->pos = json->start;
    json->tamed = NULL;
    json->name = NULL;
    json->value = NULL;
    json->seen = NULL;
    json->nnames = 0;
    json->begun = 0;

    ngx_http_tb_rpc_json_skip(json);

    if (json->pos == json->last || *json->pos != '{') {
        return ngx_http_tb_rpc_json_error(json, json->pos,
                                          "it must be an object");
    }

    ngx_memzero(&scan, sizeof(ngx_http_tb_rpc_json_scan_t));

    scan.first = json->lenient ? 1 : 0;

    p = ngx_http_tb_rpc_json_scan(&scan, json->pos, json->last);
    if (p) {
        return ngx_http_tb_rpc_json_error(json, p, scan.error);
    }

    if (scan.huge) {
        json->tamed = ngx_http_tb_rpc_json_tame(&scan, json->start,
                                                json->last - json->start);
        if (json->tamed == NULL) {
            return NGX_ERROR;
        }
    }

    json->pos++;

    return NGX_OK;
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

    if (!json->lenient && ngx_http_tb_rpc_json_seen(json) != NGX_OK) {
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

    while (json->nnames) {
        json_decref(json->names[--json->nnames]);
    }

    json_decref(json->seen);
    json->seen = NULL;

    if (json->tamed) {
        ngx_free(json->tamed);
        json->tamed = NULL;
    }
}


static json_t *
ngx_http_tb_rpc_json_read(ngx_http_tb_rpc_json_t *json, size_t flags,
    ngx_str_t *text)
{
    char          *near;
    u_char        *p, *end;
    json_t        *value;
    json_error_t   err;

    p = json->pos;

    if (json->tamed) {
        p = json->tamed + (p - json->start);
    }

    value = ngx_http_tb_rpc_json_plain(p, p + (json->last - json->pos), &end);

    if (value) {
        text->data = json->pos;
        text->len = end - p;

        json->pos += text->len;

        return value;
    }

    value = json_loadb((char *) p, json->last - json->pos,
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


/* the first names by comparing, more of them by a hash */

static ngx_int_t
ngx_http_tb_rpc_json_seen(ngx_http_tb_rpc_json_t *json)
{
    ngx_uint_t   i;
    const char  *name;

    for (i = 0; i < json->nnames; i++) {
        if (json_equal(json->names[i], json->name)) {
            return NGX_DECLINED;
        }
    }

    if (json->nnames < NGX_HTTP_TB_RPC_JSON_NAMES) {
        json->names[json->nnames++] = json_incref(json->name);
        return NGX_OK;
    }

    if (json->seen == NULL) {
        json->seen = json_object();
    }

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
