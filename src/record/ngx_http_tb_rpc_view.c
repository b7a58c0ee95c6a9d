
/*
 * How a persistent record looks.  What Redis holds is taken for hostile:
 * texts are JSON again before they go out as JSON, and a value that is not
 * what it should be is shown as null rather than as it is.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_json.h"
#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "ngx_http_tb_rpc_view.h"


/* member names, ids, numbers and status, generously */

#define NGX_HTTP_TB_RPC_RECORD_FIXED  1024


typedef struct {
    ngx_str_t    tenant_id;
    ngx_str_t    device_id;
    ngx_str_t    created;
    ngx_str_t    expiration;
    ngx_str_t    oneway;
    ngx_str_t    method;
    ngx_str_t    params;
    ngx_str_t    retries;
    ngx_str_t    response;
    ngx_str_t    status;
    ngx_str_t    additional_info;
    unsigned     answered:1;
} ngx_http_tb_rpc_record_t;


typedef struct {
    u_char       name;
    size_t       offset;
} ngx_http_tb_rpc_field_t;


static void ngx_http_tb_rpc_record_read(ngx_http_tb_rpc_record_t *record,
    redisReply **fields, ngx_uint_t n);
static void ngx_http_tb_rpc_record_check(ngx_http_tb_rpc_record_t *record,
    ngx_uint_t lenient);
static ngx_uint_t ngx_http_tb_rpc_is_number(ngx_str_t *s);
static u_char *ngx_http_tb_rpc_put(u_char *p, ngx_str_t *s);
static u_char *ngx_http_tb_rpc_put_id(u_char *p, const char *type,
    ngx_str_t *id);
static u_char *ngx_http_tb_rpc_put_request(u_char *p, ngx_str_t *id,
    ngx_http_tb_rpc_record_t *record);
static u_char *ngx_http_tb_rpc_put_response(u_char *p,
    ngx_http_tb_rpc_record_t *record);


/* the names are those of src/functions/const.lua */

static ngx_http_tb_rpc_field_t  ngx_http_tb_rpc_fields[] = {
    { 't', offsetof(ngx_http_tb_rpc_record_t, tenant_id) },
    { 'd', offsetof(ngx_http_tb_rpc_record_t, device_id) },
    { 'c', offsetof(ngx_http_tb_rpc_record_t, created) },
    { 'e', offsetof(ngx_http_tb_rpc_record_t, expiration) },
    { 'o', offsetof(ngx_http_tb_rpc_record_t, oneway) },
    { 'm', offsetof(ngx_http_tb_rpc_record_t, method) },
    { 'p', offsetof(ngx_http_tb_rpc_record_t, params) },
    { 'n', offsetof(ngx_http_tb_rpc_record_t, retries) },
    { 'R', offsetof(ngx_http_tb_rpc_record_t, response) },
    { 's', offsetof(ngx_http_tb_rpc_record_t, status) },
    { 'a', offsetof(ngx_http_tb_rpc_record_t, additional_info) },
    { '\0', 0 }
};


static ngx_str_t  ngx_http_tb_rpc_null = ngx_string("null");


ngx_str_t  ngx_http_tb_rpc_statuses[] = {
    ngx_string("QUEUED"),
    ngx_string("SENT"),
    ngx_string("DELIVERED"),
    ngx_string("SUCCESSFUL"),
    ngx_string("TIMEOUT"),
    ngx_string("EXPIRED"),
    ngx_string("FAILED"),
    ngx_null_string
};


ngx_int_t
ngx_http_tb_rpc_record_json(ngx_http_request_t *r, ngx_pool_t *pool,
    ngx_str_t *id, redisReply **fields, ngx_uint_t n, ngx_str_t *json)
{
    size_t                       len;
    u_char                      *p;
    ngx_http_tb_rpc_record_t     record;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    ngx_memzero(&record, sizeof(ngx_http_tb_rpc_record_t));

    ngx_http_tb_rpc_record_read(&record, fields, n);

    if (record.tenant_id.len != NGX_HTTP_TB_RPC_UUID_LEN
        || record.device_id.len != NGX_HTTP_TB_RPC_UUID_LEN
        || record.status.len != 1
        || record.status.data[0] < '0' || record.status.data[0] > '6')
    {
        return NGX_DECLINED;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    ngx_http_tb_rpc_record_check(&record, ngx_http_tb_rpc_lenient(lcf));

    len = NGX_HTTP_TB_RPC_RECORD_FIXED + record.method.len
          + ngx_http_tb_rpc_escape_len(&record.params)
          + record.additional_info.len
          + (record.answered ? record.response.len
                             : ngx_http_tb_rpc_escape_len(&record.response));

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    json->data = p;

    p = ngx_cpymem(p, "{\"id\":", sizeof("{\"id\":") - 1);
    p = ngx_http_tb_rpc_put_id(p, "RPC", id);
    p = ngx_sprintf(p, ",\"createdTime\":%V,\"tenantId\":", &record.created);
    p = ngx_http_tb_rpc_put_id(p, "TENANT", &record.tenant_id);
    p = ngx_cpymem(p, ",\"deviceId\":", sizeof(",\"deviceId\":") - 1);
    p = ngx_http_tb_rpc_put_id(p, "DEVICE", &record.device_id);
    p = ngx_sprintf(p, ",\"expirationTime\":%V,\"request\":",
                    &record.expiration);
    p = ngx_http_tb_rpc_put_request(p, id, &record);
    p = ngx_cpymem(p, ",\"response\":", sizeof(",\"response\":") - 1);
    p = ngx_http_tb_rpc_put_response(p, &record);
    p = ngx_sprintf(p, ",\"status\":\"%V\",\"additionalInfo\":",
                    &ngx_http_tb_rpc_statuses[record.status.data[0] - '0']);
    p = ngx_http_tb_rpc_put(p, &record.additional_info);
    *p++ = '}';

    json->len = p - json->data;

    return NGX_OK;
}


static void
ngx_http_tb_rpc_record_read(ngx_http_tb_rpc_record_t *record,
    redisReply **fields, ngx_uint_t n)
{
    ngx_str_t                 name, value;
    ngx_uint_t                i;
    ngx_http_tb_rpc_field_t  *f;

    for (i = 0; i + 1 < n; i += 2) {

        if (ngx_tb_redis_reply_str(fields[i], &name) != NGX_OK
            || ngx_tb_redis_reply_str(fields[i + 1], &value) != NGX_OK
            || name.len != 1)
        {
            continue;
        }

        for (f = ngx_http_tb_rpc_fields; f->name; f++) {
            if (f->name == name.data[0]) {
                *(ngx_str_t *) ((u_char *) record + f->offset) = value;
                break;
            }
        }
    }
}


static void
ngx_http_tb_rpc_record_check(ngx_http_tb_rpc_record_t *record,
    ngx_uint_t lenient)
{
    u_char     dst[NGX_HTTP_TB_RPC_UUID_LEN];
    ngx_str_t  nil = ngx_string(NGX_HTTP_TB_RPC_NULL_UUID);

    if (ngx_http_tb_rpc_parse_uuid(dst, &record->tenant_id) != NGX_OK) {
        record->tenant_id = nil;
    }

    if (ngx_http_tb_rpc_parse_uuid(dst, &record->device_id) != NGX_OK) {
        record->device_id = nil;
    }

    if (!ngx_http_tb_rpc_is_number(&record->created)) {
        ngx_str_set(&record->created, "0");
    }

    if (!ngx_http_tb_rpc_is_number(&record->expiration)) {
        ngx_str_set(&record->expiration, "0");
    }

    if (!ngx_http_tb_rpc_is_number(&record->retries)) {
        record->retries = ngx_http_tb_rpc_null;
    }

    if (record->method.len == 0 || record->method.data[0] != '"'
        || ngx_http_tb_rpc_check_json(record->method.data, record->method.len,
                                      lenient)
           != NGX_OK)
    {
        ngx_str_set(&record->method, "\"\"");
    }

    if (record->additional_info.len == 0
        || ngx_http_tb_rpc_check_json(record->additional_info.data,
                                      record->additional_info.len, lenient)
           != NGX_OK)
    {
        record->additional_info = ngx_http_tb_rpc_null;
    }

    if (record->response.len == 0) {
        record->response = ngx_http_tb_rpc_null;
        record->answered = 1;

    } else {
        record->answered =
            (ngx_http_tb_rpc_check_json(record->response.data,
                                        record->response.len, lenient)
             == NGX_OK);
    }
}


static ngx_uint_t
ngx_http_tb_rpc_is_number(ngx_str_t *s)
{
    size_t  i;

    if (s->len == 0 || s->len > 18 || (s->len > 1 && s->data[0] == '0')) {
        return 0;
    }

    for (i = 0; i < s->len; i++) {
        if (s->data[i] < '0' || s->data[i] > '9') {
            return 0;
        }
    }

    return 1;
}


static u_char *
ngx_http_tb_rpc_put(u_char *p, ngx_str_t *s)
{
    return ngx_cpymem(p, s->data, s->len);
}


static u_char *
ngx_http_tb_rpc_put_id(u_char *p, const char *type, ngx_str_t *id)
{
    return ngx_sprintf(p, "{\"entityType\":\"%s\",\"id\":\"%V\"}", type, id);
}


static u_char *
ngx_http_tb_rpc_put_request(u_char *p, ngx_str_t *id,
    ngx_http_tb_rpc_record_t *record)
{
    p = ngx_sprintf(p, "{\"id\":\"%V\",\"tenantId\":", id);
    p = ngx_http_tb_rpc_put_id(p, "TENANT", &record->tenant_id);
    p = ngx_cpymem(p, ",\"deviceId\":", sizeof(",\"deviceId\":") - 1);
    p = ngx_http_tb_rpc_put_id(p, "DEVICE", &record->device_id);

    p = ngx_sprintf(p, ",\"oneway\":%s,\"expirationTime\":%V,"
                       "\"body\":{\"method\":",
                    (record->oneway.len == 1 && record->oneway.data[0] == '1')
                        ? "true" : "false",
                    &record->expiration);

    p = ngx_http_tb_rpc_put(p, &record->method);
    p = ngx_cpymem(p, ",\"params\":\"", sizeof(",\"params\":\"") - 1);
    p = ngx_http_tb_rpc_escape(p, &record->params);

    return ngx_sprintf(p, "\"},\"persisted\":true,\"retries\":%V}",
                       &record->retries);
}


static u_char *
ngx_http_tb_rpc_put_response(u_char *p, ngx_http_tb_rpc_record_t *record)
{
    if (record->answered) {
        return ngx_http_tb_rpc_put(p, &record->response);
    }

    p = ngx_cpymem(p, "{\"error\":\"", sizeof("{\"error\":\"") - 1);
    p = ngx_http_tb_rpc_escape(p, &record->response);

    return ngx_cpymem(p, "\"}", 2);
}
