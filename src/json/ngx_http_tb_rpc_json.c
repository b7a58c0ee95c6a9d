
/*
 * JSON texts of a request.  The rules are in common, the bridge has the same.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_json.h"


#define ngx_http_tb_rpc_json_flags(lenient)                                   \
    ((lenient) ? TB_RPC_JSON_DUPLICATES|TB_RPC_JSON_TAIL : 0)


static ngx_int_t ngx_http_tb_rpc_json_result(ngx_http_tb_rpc_json_t *json,
    int rc);


ngx_int_t
ngx_http_tb_rpc_check_json(u_char *p, size_t len, ngx_uint_t lenient)
{
    return tb_rpc_json_valid(p, len, NGX_HTTP_TB_RPC_MAX_DEPTH,
                             ngx_http_tb_rpc_json_flags(lenient))
               ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_tb_rpc_json_open(ngx_http_tb_rpc_json_t *json)
{
    json->walk.start = json->start;
    json->walk.last = json->last;
    json->walk.depth = NGX_HTTP_TB_RPC_MAX_DEPTH;
    json->walk.flags = ngx_http_tb_rpc_json_flags(json->lenient);

    return ngx_http_tb_rpc_json_result(json, tb_rpc_json_open(&json->walk));
}


ngx_int_t
ngx_http_tb_rpc_json_next(ngx_http_tb_rpc_json_t *json)
{
    return ngx_http_tb_rpc_json_result(json, tb_rpc_json_next(&json->walk));
}


void
ngx_http_tb_rpc_json_close(ngx_http_tb_rpc_json_t *json)
{
    tb_rpc_json_close(&json->walk);

    json->name = NULL;
    json->value = NULL;
}


static ngx_int_t
ngx_http_tb_rpc_json_result(ngx_http_tb_rpc_json_t *json, int rc)
{
    json->name = json->walk.name;
    json->value = json->walk.value;

    switch (rc) {

    case TB_RPC_JSON_OK:
        json->text.data = (u_char *) json->walk.text;
        json->text.len = json->walk.len;
        return NGX_OK;

    case TB_RPC_JSON_DONE:
        return NGX_DONE;

    case TB_RPC_JSON_BAD:
        json->offset = json->walk.offset;
        json->error = json->walk.error;
        return NGX_DECLINED;

    default:
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "tb_rpc: no memory for a JSON text of %uz bytes",
                      (size_t) (json->last - json->start));
        return NGX_ERROR;
    }
}
