
/*
 * A device that Redis does not know, or knows as somebody else's.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../json/ngx_http_tb_rpc_text.h"
#include "../http/ngx_http_tb_rpc_loc_conf.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_id.h"
#include "ngx_http_tb_rpc_unknown.h"


ngx_int_t
ngx_http_tb_rpc_send_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, redisReply *reply)
{
    ngx_str_t                    word, of;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    static ngx_str_t  text = ngx_string("text/plain");
    static ngx_str_t  not_found =
        ngx_string("Device with requested id wasn't found!");
    static ngx_str_t  forbidden =
        ngx_string("You don't have permission to perform this operation!");

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 0), &word)
            == NGX_OK
        && ngx_http_tb_rpc_word(&word, "customer"))
    {
        ctx->result = NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER;

    } else if (ngx_tb_redis_reply_str(ngx_tb_redis_reply_element(reply, 1),
                                      &of)
                   == NGX_OK
               && ngx_http_tb_rpc_word(&of, "tenant"))
    {
        ctx->result = NGX_HTTP_TB_RPC_FOREIGN_DEVICE;

    } else {
        ctx->result = NGX_HTTP_TB_RPC_UNKNOWN_DEVICE;
    }

    ngx_http_tb_rpc_log_unknown_device(r, ctx);

    if (lcf->profile != NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD) {

        /* one answer for all: it tells nothing of foreign devices */

        return ngx_http_tb_rpc_send_error(r, NGX_HTTP_UNAUTHORIZED,
                                          NGX_HTTP_TB_RPC_PERMISSION,
                                          "User is not authorized to access "
                                          "the device");
    }

    if (ctx->result == NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER) {
        return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_FORBIDDEN, &text,
                                            &forbidden);
    }

    return ngx_http_tb_rpc_send_failure(r, NGX_HTTP_NOT_FOUND, &text,
                                        &not_found);
}


/* who provisions devices must see what is missing */

void
ngx_http_tb_rpc_log_unknown_device(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx)
{
    u_char                        buf[NGX_HTTP_TB_RPC_KEY_LEN];
    ngx_str_t                     key;
    ngx_log_t                    *log;
    ngx_http_tb_rpc_main_conf_t  *mcf;

    log = r->connection->log;

    switch (ctx->result) {

    case NGX_HTTP_TB_RPC_FOREIGN_CUSTOMER:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "tb_rpc: device %V is not of the caller's customer "
                      "\"%V\"", &ctx->device_id,
                      &ctx->identity->customer_id);
        break;

    case NGX_HTTP_TB_RPC_FOREIGN_DEVICE:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "tb_rpc: device %V is not of the caller's tenant %V",
                      &ctx->device_id, &ctx->identity->tenant_id);
        break;

    default:
        mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

        ngx_http_tb_rpc_key(&key, buf, mcf,
                            ngx_http_tb_rpc_shard(mcf, &ctx->device_id),
                            "device:", &ctx->device_id);

        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "tb_rpc: device %V is not known: Redis has no key "
                      "\"%V\", see \"tb-rpc-admin device add\" "
                      "and the \"prefix\" of tb_rpc_redis",
                      &ctx->device_id, &key);
    }
}
