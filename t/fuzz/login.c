
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Bodies of requests to log in, of which nothing is left that shows a password,
 * and hashes as Redis has them.
 *
 * fuzz: http, at most 384 bytes
 */


#include "lib/http.h"

#include "../../src/login/ngx_http_tb_rpc_login_request.h"


static void  **fuzz_locations[1];

static const char  fuzz_server[] =
    "location /v2/ { tb_rpc v2; tb_rpc_auth off;"
    " tb_rpc_identity tenant=13814000-1dd2-11b2-8080-808080808081"
    " authority=TENANT_ADMIN; }\n";


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_http_init("", fuzz_server);

    fuzz_locations[0] = fuzz_location("/v2/");

    return 0;
}


/* what is good says what it was made of, in one way only */

static void
fuzz_hash(const uint8_t *data, size_t size)
{
    u_char                  *last;
    ngx_int_t                rc;
    ngx_str_t                text;
    ngx_http_tb_rpc_hash_t   hash, again;

    static u_char  buf[NGX_HTTP_TB_RPC_MAX_HASH];

    ngx_memzero(&hash, sizeof(ngx_http_tb_rpc_hash_t));
    ngx_memzero(&again, sizeof(ngx_http_tb_rpc_hash_t));

    text = fuzz_str(data, size);
    rc = ngx_http_tb_rpc_hash_parse(&hash, &text);

    if (rc != NGX_OK) {
        CHECK(rc == NGX_DECLINED);
        return;
    }

    CHECK(ngx_http_tb_rpc_scrypt_is_good(&hash.scrypt));
    CHECK(hash.salt_len <= NGX_HTTP_TB_RPC_MAX_SALT);

    last = ngx_http_tb_rpc_hash_text(buf, &hash);
    CHECK(last <= buf + NGX_HTTP_TB_RPC_MAX_HASH);

    text.data = buf;
    text.len = last - buf;

    CHECK(ngx_http_tb_rpc_hash_parse(&again, &text) == NGX_OK);
    CHECK(again.salt_len == hash.salt_len);
    CHECK(memcmp(again.salt, hash.salt, hash.salt_len) == 0);
    CHECK(memcmp(again.key, hash.key, NGX_HTTP_TB_RPC_HASH_LEN) == 0);
}


static void
fuzz_text(ngx_str_t *text, size_t min)
{
    CHECK(text->len >= min && text->len <= 512);
    CHECK(memchr(text->data, '\0', text->len) == NULL);
}


/* nowhere in what is left of the body, unless it is of stars */

static void
fuzz_wiped(ngx_http_request_t *r)
{
    u_char       *p;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        for (p = cl->buf->start; p < cl->buf->end; p++) {
            CHECK(*p == '*');
        }
    }
}


static void
fuzz_login(unsigned op, const uint8_t *data, size_t size)
{
    ngx_int_t                 rc, answer;
    ngx_str_t                 text;
    ngx_uint_t                status;
    ngx_http_request_t       *r;
    ngx_http_tb_rpc_login_t   login;

    static ngx_http_tb_rpc_login_op_e  ops[] = {
        NGX_HTTP_TB_RPC_LOGIN_LOGIN, NGX_HTTP_TB_RPC_LOGIN_PUBLIC,
        NGX_HTTP_TB_RPC_LOGIN_TOKEN, NGX_HTTP_TB_RPC_LOGIN_PASSWORD
    };

    r = fuzz_request(fuzz_locations[0]);

    text = fuzz_str(data, size);
    fuzz_body(r, text.data, text.len, (op >> 4) & 3);

    ngx_memzero(&login, sizeof(ngx_http_tb_rpc_login_t));

    login.request = r;
    login.ctx = ngx_http_tb_rpc_get_ctx(r);
    login.op = ops[op & 3];
    answer = NGX_OK;

    CHECK(login.ctx != NULL);

    rc = ngx_http_tb_rpc_login_body(&login, &answer);

    if (rc == NGX_OK) {
        CHECK(fuzz_socket.out_len == 0);

        switch (login.op) {

        case NGX_HTTP_TB_RPC_LOGIN_LOGIN:
            fuzz_text(&login.name, 1);
            fuzz_text(&login.password, 1);
            break;

        case NGX_HTTP_TB_RPC_LOGIN_PUBLIC:
            fuzz_text(&login.name, 1);
            break;

        case NGX_HTTP_TB_RPC_LOGIN_TOKEN:
            fuzz_text(&login.refresh_token, 1);
            break;

        default:
            fuzz_text(&login.password, 1);
            fuzz_text(&login.new_password, 8);
        }

    } else {
        status = fuzz_answer(0);
        CHECK(status == 400 || status == 401 || status == 413);
    }

    fuzz_wiped(r);
    fuzz_request_free(r);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }

    if (data[0] & 0x80) {
        fuzz_hash(data + 1, size - 1);

    } else {
        fuzz_login(data[0], data + 1, size - 1);
    }

    return 0;
}
