
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Authorization: the headers, the token in them, its claims.  Most tokens are
 * signed here, so that what is in them is looked at.
 *
 * fuzz: http, at most 512 bytes
 */


#include "lib/http.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "../../src/auth/ngx_http_tb_rpc_jwt.h"


#define FUZZ_SECRET  "0123456789abcdef0123456789abcdef"


static void  **fuzz_locations[3];
static char    fuzz_files[2][64];

static const char  fuzz_server[] =
    "location /hs/ { tb_rpc v2; tb_rpc_jwt_alg HS256;"
    " tb_rpc_jwt_key %s; tb_rpc_jwt_leeway 5s; }\n"
    "location /iss/ { tb_rpc v1; tb_rpc_profile thingsboard;"
    " tb_rpc_jwt_alg HS256; tb_rpc_jwt_key %s;"
    " tb_rpc_jwt_issuer thingsboard.io; }\n"
    "location /es/ { tb_rpc v2; tb_rpc_jwt_alg ES256;"
    " tb_rpc_jwt_key %s; }\n";


static size_t
fuzz_base64(u_char *out, const u_char *data, size_t size)
{
    ngx_str_t  src, dst;

    src.data = (u_char *) data;
    src.len = size;
    dst.data = out;

    ngx_encode_base64url(&dst, &src);

    return dst.len;
}


static FILE *
fuzz_file(ngx_uint_t n)
{
    FILE  *f;

    snprintf(fuzz_files[n], sizeof(fuzz_files[n]), "/tmp/tb-rpc-fuzz.%d.key%d",
             (int) getpid(), (int) n);

    (void) umask(077);
    f = fopen(fuzz_files[n], "w");
    CHECK(f != NULL);

    return f;
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    FILE      *f;
    char       server[1024], secret[64];
    EVP_PKEY  *key;

    f = fuzz_file(0);
    (void) EVP_EncodeBlock((u_char *) secret, (u_char *) FUZZ_SECRET, 32);
    fprintf(f, "%s\n", secret);
    fclose(f);

    f = fuzz_file(1);
    key = EVP_EC_gen("P-256");
    CHECK(key != NULL && PEM_write_PUBKEY(f, key));
    EVP_PKEY_free(key);
    fclose(f);

    snprintf(server, sizeof(server), fuzz_server, fuzz_files[0], fuzz_files[0],
             fuzz_files[1]);

    fuzz_http_init("", server);

    (void) unlink(fuzz_files[0]);
    (void) unlink(fuzz_files[1]);

    fuzz_locations[0] = fuzz_location("/hs/");
    fuzz_locations[1] = fuzz_location("/iss/");
    fuzz_locations[2] = fuzz_location("/es/");

    return 0;
}


static void
fuzz_header(ngx_http_request_t *r, const char *name, u_char *value,
    size_t len)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_in.headers);
    CHECK(h != NULL);

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = strlen(name);
    h->value.data = value;
    h->value.len = len;
    h->lowcase_key = (u_char *) name;
    h->next = NULL;
}


/* "header\npayload" becomes a token, signed as it should be */

static size_t
fuzz_sign(u_char *out, const uint8_t *data, size_t size)
{
    u_char         mac[EVP_MAX_MD_SIZE];
    size_t         n, head;
    unsigned int   len;
    const uint8_t *lf;

    lf = memchr(data, '\n', size);
    head = lf ? (size_t) (lf - data) : size;

    n = fuzz_base64(out, data, head);
    out[n++] = '.';
    n += fuzz_base64(out + n, lf ? lf + 1 : data, lf ? size - head - 1 : 0);

    HMAC(EVP_sha256(), FUZZ_SECRET, 32, out, n, mac, &len);

    out[n++] = '.';

    return n + fuzz_base64(out + n, mac, len);
}


static void
fuzz_claim(json_t *claims, const char *name, ngx_str_t *id)
{
    json_t  *value;

    value = json_object_get(claims, name);

    if (id->len == 0) {
        CHECK(value == NULL || json_is_null(value)
              || json_string_length(value) == 0
              || strcasecmp(json_string_value(value),
                            "13814000-1dd2-11b2-8080-808080808080") == 0);
        return;
    }

    CHECK(json_is_string(value) && json_string_length(value) == id->len);
    CHECK(strncasecmp(json_string_value(value), (char *) id->data, id->len)
          == 0);
}


/* who calls is who the claims say it is, and no other */

static void
fuzz_identity(ngx_http_tb_rpc_identity_t *id, const uint8_t *data,
    size_t size)
{
    json_t         *claims, *scope, *exp;
    const char     *authority;
    const uint8_t  *lf;

    lf = memchr(data, '\n', size);
    CHECK(lf != NULL);

    claims = json_loadb((char *) lf + 1, size - (lf + 1 - data),
                        JSON_REJECT_DUPLICATES|JSON_DECODE_INT_AS_REAL, NULL);
    CHECK(json_is_object(claims));

    fuzz_claim(claims, "tenantId", &id->tenant_id);
    fuzz_claim(claims, "customerId", &id->customer_id);

    scope = json_array_get(json_object_get(claims, "scopes"), 0);
    authority = json_string_value(scope);
    CHECK(authority != NULL);

    switch (id->authority) {

    case NGX_HTTP_TB_RPC_SYS_ADMIN:
        CHECK(strcasecmp(authority, "SYS_ADMIN") == 0);
        break;

    case NGX_HTTP_TB_RPC_TENANT_ADMIN:
        CHECK(strcasecmp(authority, "TENANT_ADMIN") == 0);
        CHECK(id->tenant_id.len == 36);
        break;

    default:
        CHECK(id->authority == NGX_HTTP_TB_RPC_CUSTOMER_USER);
        CHECK(strcasecmp(authority, "CUSTOMER_USER") == 0);
        CHECK(id->tenant_id.len == 36);
    }

    exp = json_object_get(claims, "exp");
    CHECK(json_number_value(exp) + 5 > (double) ngx_time());
    CHECK(!json_is_false(json_object_get(claims, "enabled")));

    json_decref(claims);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                       *value;
    size_t                        len;
    ngx_int_t                     rc;
    ngx_uint_t                    sign;
    ngx_http_request_t           *r;
    ngx_http_tb_rpc_ctx_t        *ctx;
    ngx_http_tb_rpc_identity_t    id;
    ngx_http_tb_rpc_credential_t  credential;

    static u_char  buf[4096];

    if (size < 1) {
        return 0;
    }

    r = fuzz_request(fuzz_locations[(data[0] & 3) % 3]);
    ctx = ngx_http_tb_rpc_get_ctx(r);
    CHECK(ctx != NULL);

    sign = data[0] & 0x80;

    if (sign) {
        len = ngx_cpymem(buf, "Bearer ", 7) - buf;
        len += fuzz_sign(buf + 7, data + 1, size - 1);
        value = fuzz_copy(buf, len);

    } else {
        len = size - 1;
        value = fuzz_copy(data + 1, len);
    }

    if (data[0] & 0x10) {
        fuzz_header(r, "Authorization", (u_char *) "Basic x", 7);
    }

    fuzz_header(r, (data[0] & 0x08) ? "authorization" : "X-Authorization",
                value, len);

    if (data[0] & 0x20) {
        fuzz_header(r, "x-authorization", (u_char *) "Bearer a.b.c", 12);
    }

    ngx_memzero(&id, sizeof(ngx_http_tb_rpc_identity_t));

    rc = ngx_http_tb_rpc_get_credential(r, &credential);

    if (rc == NGX_OK && credential.scheme == NGX_HTTP_TB_RPC_BEARER) {
        CHECK(credential.text.data >= value
              || credential.text.len == sizeof("a.b.c") - 1);

        rc = ngx_http_tb_rpc_jwt_verify(r, ctx, &id, &credential.text);

        if (rc == NGX_OK) {
            CHECK(sign && (data[0] & 3) % 3 != 2);
            fuzz_identity(&id, data + 1, size - 1);

        } else {
            CHECK(rc == NGX_HTTP_UNAUTHORIZED);
            CHECK(ctx->auth_error != NULL && ctx->auth_code != 0);
        }
    }

    fuzz_request_free(r);

    return 0;
}
