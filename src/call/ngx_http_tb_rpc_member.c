
/*
 * The members of a call's body.  Strict validation takes each as the API
 * describes it; lenient validation repeats the coercions of the original
 * server.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../store/ngx_http_tb_rpc_id.h"
#include "ngx_http_tb_rpc_body.h"


#define NGX_HTTP_TB_RPC_NUMBER_LEN  63


typedef struct {
    ngx_str_t                     name;
    ngx_int_t                   (*set)(ngx_http_tb_rpc_body_t *body);
} ngx_http_tb_rpc_member_t;


static ngx_int_t ngx_http_tb_rpc_set_method(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_params(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_timeout(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_expiration(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_persistent(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_retries(ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_additional_info(
    ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_set_request_uuid(
    ngx_http_tb_rpc_body_t *body);
static ngx_int_t ngx_http_tb_rpc_integer(ngx_http_tb_rpc_body_t *body,
    int64_t *value);
static double ngx_http_tb_rpc_lenient_number(json_t *value);
static ngx_uint_t ngx_http_tb_rpc_lenient_true(json_t *value);


static ngx_http_tb_rpc_member_t  ngx_http_tb_rpc_members[] = {

    { ngx_string("method"), ngx_http_tb_rpc_set_method },
    { ngx_string("params"), ngx_http_tb_rpc_set_params },
    { ngx_string("timeout"), ngx_http_tb_rpc_set_timeout },
    { ngx_string("expirationTime"), ngx_http_tb_rpc_set_expiration },
    { ngx_string("persistent"), ngx_http_tb_rpc_set_persistent },
    { ngx_string("retries"), ngx_http_tb_rpc_set_retries },
    { ngx_string("additionalInfo"), ngx_http_tb_rpc_set_additional_info },
    { ngx_string("requestUUID"), ngx_http_tb_rpc_set_request_uuid },

    { ngx_null_string, NULL }
};


ngx_int_t
ngx_http_tb_rpc_body_member(ngx_http_tb_rpc_body_t *body)
{
    size_t                     len;
    const char                *name;
    ngx_http_tb_rpc_member_t  *member;

    name = json_string_value(body->json.name);
    len = json_string_length(body->json.name);

    for (member = ngx_http_tb_rpc_members; member->name.len; member++) {

        if (len == member->name.len
            && ngx_memcmp(name, member->name.data, len) == 0)
        {
            return member->set(body);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_method(ngx_http_tb_rpc_body_t *body)
{
    u_char                  *p;
    size_t                   len;
    ngx_str_t               *text;
    ngx_http_tb_rpc_call_t  *call;

    call = body->call;
    text = &body->json.text;

    body->method = 1;

    if (json_is_string(body->json.value)) {

        len = json_string_length(body->json.value);

        p = ngx_pnalloc(body->request->pool, len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, json_string_value(body->json.value), len);

        call->method = *text;
        call->method_name.data = p;
        call->method_name.len = len;

        return NGX_OK;
    }

    if (!body->json.lenient) {
        body->must = "a string";
        return NGX_DECLINED;
    }

    /* numbers and literals as they were written, containers as nothing */

    len = (json_is_object(body->json.value) || json_is_array(body->json.value))
              ? 0 : text->len;

    p = ngx_pnalloc(body->request->pool, len + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->method.data = p;
    call->method.len = len + 2;
    call->method_name.data = p + 1;
    call->method_name.len = len;

    *p++ = '"';
    p = ngx_cpymem(p, text->data, len);
    *p = '"';

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_params(ngx_http_tb_rpc_body_t *body)
{
    body->params = 1;
    body->call->params = body->json.text;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_timeout(ngx_http_tb_rpc_body_t *body)
{
    body->timeout = 0;

    if (json_is_null(body->json.value)) {
        return NGX_OK;
    }

    body->timeout = 1;

    return ngx_http_tb_rpc_integer(body, &body->call->timeout);
}


static ngx_int_t
ngx_http_tb_rpc_set_expiration(ngx_http_tb_rpc_body_t *body)
{
    int64_t  value;

    body->call->expiration = -1;

    if (json_is_null(body->json.value)) {
        return NGX_OK;
    }

    if (ngx_http_tb_rpc_integer(body, &value) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (body->json.lenient) {

        /* the past is the past */

        value = ngx_max(value, 0);

    } else if (value < 0
               || json_number_value(body->json.value)
                  > (double) NGX_HTTP_TB_RPC_MAX_INTEGER)
    {
        body->must = "a time in ms since the epoch";
        return NGX_DECLINED;
    }

    body->call->expiration = value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_persistent(ngx_http_tb_rpc_body_t *body)
{
    json_t  *value;

    value = body->json.value;

    if (body->json.lenient) {
        body->call->persistent = ngx_http_tb_rpc_lenient_true(value);
        return NGX_OK;
    }

    if (!json_is_boolean(value) && !json_is_null(value)) {
        body->must = "true or false";
        return NGX_DECLINED;
    }

    body->call->persistent = json_is_true(value) ? 1 : 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_retries(ngx_http_tb_rpc_body_t *body)
{
    int64_t  value;

    if (body->json.lenient) {

        /* null is 0 here, not absence */

        (void) ngx_http_tb_rpc_integer(body, &value);

        body->call->retries = ngx_min(ngx_max(value, 0), 0x7fffffff);

        return NGX_OK;
    }

    if (json_is_null(body->json.value)) {
        return NGX_OK;
    }

    if (ngx_http_tb_rpc_integer(body, &value) != NGX_OK
        || value < 0 || value > 0x7fffffff)
    {
        body->must = "an integer from 0 to 2147483647";
        return NGX_DECLINED;
    }

    body->call->retries = value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_additional_info(ngx_http_tb_rpc_body_t *body)
{
    if (json_is_null(body->json.value)) {
        ngx_str_null(&body->call->additional_info);

    } else {
        body->call->additional_info = body->json.text;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_set_request_uuid(ngx_http_tb_rpc_body_t *body)
{
    u_char                       *p;
    ngx_str_t                     text;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    ngx_str_null(&body->call->request_uuid);

    if (json_is_null(body->json.value)) {
        return NGX_OK;
    }

    body->must = "a UUID";

    if (!json_is_string(body->json.value)) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(body->request->pool, NGX_HTTP_TB_RPC_UUID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.data = (u_char *) json_string_value(body->json.value);
    text.len = json_string_length(body->json.value);

    if (ngx_http_tb_rpc_parse_uuid(p, &text) != NGX_OK) {
        return NGX_DECLINED;
    }

    text.data = p;
    text.len = NGX_HTTP_TB_RPC_UUID_LEN;

    /* GET and DELETE would take it for an rpcId */

    mcf = ngx_http_get_module_main_conf(body->request,
                                        ngx_http_tb_rpc_module);

    if (ngx_http_tb_rpc_id_shard(mcf, &text) != NGX_DECLINED) {
        body->must = "a UUID of the client's own, not shaped like an rpcId";
        return NGX_DECLINED;
    }

    body->call->request_uuid = text;

    return NGX_OK;
}


/* within +-2^53; what is beyond in any sense comes out as the bound */

static ngx_int_t
ngx_http_tb_rpc_integer(ngx_http_tb_rpc_body_t *body, int64_t *value)
{
    double  d;

    if (body->json.lenient) {
        d = ngx_http_tb_rpc_lenient_number(body->json.value);

    } else if (json_is_number(body->json.value)) {
        d = json_number_value(body->json.value);

    } else {
        goto declined;
    }

    if (d >= (double) NGX_HTTP_TB_RPC_MAX_INTEGER) {
        *value = NGX_HTTP_TB_RPC_MAX_INTEGER;
        return NGX_OK;
    }

    if (d <= (double) -NGX_HTTP_TB_RPC_MAX_INTEGER) {
        *value = -NGX_HTTP_TB_RPC_MAX_INTEGER;
        return NGX_OK;
    }

    *value = (int64_t) d;

    if (!body->json.lenient && (double) *value != d) {
        goto declined;
    }

    return NGX_OK;

declined:

    body->must = "an integer";

    return NGX_DECLINED;
}


/* numbers in strings count, everything else is 0 */

static double
ngx_http_tb_rpc_lenient_number(json_t *value)
{
    char         text[NGX_HTTP_TB_RPC_NUMBER_LEN + 1], *end;
    size_t       i, len;
    double       d;
    const char  *p;

    if (json_is_number(value)) {
        return json_number_value(value);
    }

    if (json_is_true(value)) {
        return 1;
    }

    if (!json_is_string(value)) {
        return 0;
    }

    p = json_string_value(value);
    len = json_string_length(value);

    while (len && *p == ' ') {
        p++;
        len--;
    }

    while (len && p[len - 1] == ' ') {
        len--;
    }

    if (len == 0 || len > NGX_HTTP_TB_RPC_NUMBER_LEN) {
        return 0;
    }

    for (i = 0; i < len; i++) {

        /* strtod() takes hexadecimals and names of numbers too */

        if (strchr("0123456789+-.eE", p[i]) == NULL || p[i] == '\0') {
            return 0;
        }

        text[i] = p[i];
    }

    text[len] = '\0';

    d = strtod(text, &end);

    return (*end == '\0') ? d : 0;
}


static ngx_uint_t
ngx_http_tb_rpc_lenient_true(json_t *value)
{
    size_t       len;
    const char  *p;

    if (json_is_number(value)) {
        return json_number_value(value) != 0;
    }

    if (!json_is_string(value)) {
        return json_is_true(value);
    }

    p = json_string_value(value);
    len = json_string_length(value);

    while (len && *p == ' ') {
        p++;
        len--;
    }

    while (len && p[len - 1] == ' ') {
        len--;
    }

    return len == 4 && ngx_memcmp(p, "true", 4) == 0;
}
