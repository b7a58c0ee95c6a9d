
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A request line, read by nginx: the operation, its id, and what a list is
 * asked for.
 *
 * fuzz: http, at most 256 bytes
 */


#include "lib/http.h"

#include "../../src/front/ngx_http_tb_rpc_front.h"
#include "../../src/record/ngx_http_tb_rpc_list.h"


static void  **fuzz_locations[2];

static const char  fuzz_server[] =
    "tb_rpc_auth off;\n"
    "tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN;\n"
    "location /v2/ { tb_rpc v2; }\n"
    "location /tb/ { tb_rpc v1; tb_rpc_profile thingsboard; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_http_init("", fuzz_server);

    fuzz_locations[0] = fuzz_location("/v2/");
    fuzz_locations[1] = fuzz_location("/tb/");

    return 0;
}


static void
fuzz_id(ngx_str_t *id, ngx_str_t *uri)
{
    size_t  i;

    CHECK(id->len == 36 && uri->len > 36);
    CHECK(ngx_strncasecmp(id->data, uri->data + uri->len - 36, 36) == 0);

    for (i = 0; i < 36; i++) {
        CHECK(strchr("0123456789abcdef-", id->data[i]));
    }
}


static void
fuzz_list(ngx_http_request_t *r)
{
    ngx_uint_t               status;
    ngx_http_tb_rpc_page_t  *page;

    page = ngx_pcalloc(r->pool, sizeof(ngx_http_tb_rpc_page_t));
    CHECK(page != NULL);

    if (ngx_http_tb_rpc_list_args(r, page) != NGX_OK) {
        status = fuzz_answer(r->headers_out.status);
        CHECK(status == 400
              || (status == 500 && r->loc_conf == fuzz_locations[1]));
        return;
    }

    CHECK(fuzz_socket.out_len == 0);
    CHECK(page->page >= 0 && page->page <= 2147483647);
    CHECK(page->page_size >= 1 && page->page_size <= 2147483647);
    CHECK(page->status.len == 0
          || (page->status.len == 1 && page->status.data[0] >= '0'
              && page->status.data[0] <= '6'));
    CHECK(page->order.len == 3 || page->order.len == 4);
    CHECK(page->property.len >= 6);

    /* each was there, by this name or by another way of writing it */

    CHECK(r->args.len >= sizeof("page=0&pageSize=1") - 1);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t               rc;
    ngx_uint_t              status;
    ngx_http_request_t     *r;
    ngx_http_tb_rpc_ctx_t  *ctx;

    if (size < 1) {
        return 0;
    }

    r = fuzz_request(fuzz_locations[data[0] & 1]);

    if (fuzz_line(r, data + 1, size - 1) != NGX_OK) {
        goto done;
    }

    ctx = ngx_http_tb_rpc_get_ctx(r);
    CHECK(ctx != NULL);

    rc = ngx_http_tb_rpc_route(r, ctx);

    if (rc != NGX_DECLINED) {
        status = fuzz_answer(0);
        CHECK(status == 400 || status == 404 || status == 405
              || status == 204);
        goto done;
    }

    CHECK(fuzz_socket.out_len == 0);

    switch (ctx->op) {

    case NGX_HTTP_TB_RPC_OP_ONEWAY:
    case NGX_HTTP_TB_RPC_OP_TWOWAY:
        CHECK(r->method == NGX_HTTP_POST);
        fuzz_id(&ctx->device_id, &r->uri);
        break;

    case NGX_HTTP_TB_RPC_OP_LIST:
        CHECK(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD));
        fuzz_id(&ctx->device_id, &r->uri);
        fuzz_list(r);
        break;

    default:
        CHECK(ctx->op == NGX_HTTP_TB_RPC_OP_RECORD);
        fuzz_id(&ctx->rpc_id, &r->uri);
    }

done:

    fuzz_request_free(r);

    return 0;
}
