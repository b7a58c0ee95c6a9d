
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The path of a device's request: its token is found, and nowhere left to be
 * logged.
 *
 * fuzz: http, at most 256 bytes
 */


#include "lib/http.h"

#include "../../src/device/ngx_http_tb_rpc_device_request.h"


static void  **fuzz_locations[2];

static const char  fuzz_server[] =
    "location /api/v1/ { tb_rpc_device_api; }\n"
    "location / { tb_rpc_device_api; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_http_init("", fuzz_server);

    fuzz_locations[0] = fuzz_location("/api/v1/");
    fuzz_locations[1] = fuzz_location("/");

    return 0;
}


/* no segment of the path is the token, however it is written */

static void
fuzz_hidden(ngx_str_t *text, ngx_str_t *token)
{
    u_char  *p, *last, *start;

    p = text->data;
    last = p + text->len;

    while (p < last && *p != '/') {
        p++;
    }

    while (p < last && *p != '?' && *p != ' ') {
        start = ++p;

        while (p < last && *p != '/' && *p != '?' && *p != ' ') {
            p++;
        }

        CHECK((size_t) (p - start) != token->len
              || ngx_memcmp(start, token->data, token->len) != 0);
    }
}


/* .../{token}/rpc[/{id}] */

static ngx_uint_t
fuzz_token(ngx_str_t *uri, ngx_str_t *token)
{
    size_t      i, n, at[4];

    /* where the last segments begin */

    for (i = uri->len, n = 0; i && n < 4; i--) {
        if (uri->data[i - 1] == '/') {
            at[n++] = i;
        }
    }

    if (n >= 2 && uri->len - at[0] == 3
        && memcmp(uri->data + at[0], "rpc", 3) == 0)
    {
        i = 1;

    } else if (n >= 3 && at[0] - 1 - at[1] == 3
               && memcmp(uri->data + at[1], "rpc", 3) == 0
               && at[0] < uri->len)
    {
        i = 2;

    } else {
        return 0;
    }

    token->data = uri->data + at[i];
    token->len = at[i - 1] - 1 - at[i];

    return token->len != 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                        *p, *copy;
    ngx_str_t                      token;
    ngx_uint_t                     found;
    ngx_http_request_t            *r;
    ngx_http_tb_rpc_device_req_t  *dr;

    if (size < 1) {
        return 0;
    }

    r = fuzz_request(fuzz_locations[data[0] & 1]);

    if (fuzz_line(r, data + 1, size - 1) != NGX_OK) {
        goto done;
    }

    found = fuzz_token(&r->uri, &token);

    /* it stays where it was read, and may be asked for there */

    copy = ngx_pnalloc(r->pool, r->uri.len + 1);
    CHECK(copy != NULL);

    if (found) {
        p = r->uri.data;
        ngx_memcpy(copy, p, r->uri.len);
        token.data = copy + (token.data - p);
    }

    dr = ngx_http_tb_rpc_device_path(r);
    CHECK(dr != NULL);

    if (dr->op) {
        CHECK(found);
        CHECK(dr->ctx->key_id.len == 16);
        CHECK(dr->op == NGX_HTTP_TB_RPC_DO_POLL || dr->id.len > 0);

        /* of stars it is as well hidden as can be */

        if (ngx_strlchr(token.data, token.data + token.len, '*') == NULL) {
            fuzz_hidden(&r->request_line, &token);
            fuzz_hidden(&r->unparsed_uri, &token);
        }

        CHECK(r->uri.len >= token.len);
    }

done:

    fuzz_request_free(r);

    return 0;
}
