
/*
 * The credential of a request: X-Authorization and Authorization, the
 * schemes Bearer and ApiKey.
 */


#include "ngx_http_tb_rpc_auth.h"

#include <openssl/evp.h>


static ngx_uint_t ngx_http_tb_rpc_credential_header(ngx_str_t *name);
static void ngx_http_tb_rpc_parse_credential(ngx_str_t *value,
    ngx_http_tb_rpc_credential_t *credential);


ngx_int_t
ngx_http_tb_rpc_get_credential(ngx_http_request_t *r,
    ngx_http_tb_rpc_credential_t *credential)
{
    ngx_uint_t                     i, n, seen[2];
    ngx_list_part_t               *part;
    ngx_table_elt_t               *h;
    ngx_http_tb_rpc_credential_t   found[2];

    ngx_memzero(seen, sizeof(seen));
    ngx_memzero(found, sizeof(found));

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0) {
            continue;
        }

        n = ngx_http_tb_rpc_credential_header(&h[i].key);

        if (n == 2) {
            continue;
        }

        if (seen[n]++) {
            return NGX_ABORT;
        }

        ngx_http_tb_rpc_parse_credential(&h[i].value, &found[n]);
    }

    for (n = NGX_HTTP_TB_RPC_BEARER; n <= NGX_HTTP_TB_RPC_API_KEY; n++) {
        for (i = 0; i < 2; i++) {
            if (found[i].scheme == n) {
                *credential = found[i];
                return NGX_OK;
            }
        }
    }

    return NGX_DECLINED;
}


/* 0 and 1, in the order of precedence; 2 is another header */

static ngx_uint_t
ngx_http_tb_rpc_credential_header(ngx_str_t *name)
{
    ngx_uint_t  i;

    static ngx_str_t  headers[] = {
        ngx_string("X-Authorization"),
        ngx_string("Authorization")
    };

    for (i = 0; i < 2; i++) {
        if (name->len == headers[i].len
            && ngx_strncasecmp(name->data, headers[i].data, name->len) == 0)
        {
            break;
        }
    }

    return i;
}


static void
ngx_http_tb_rpc_parse_credential(ngx_str_t *value,
    ngx_http_tb_rpc_credential_t *credential)
{
    size_t   len;
    u_char  *p, *last, *scheme;

    p = value->data;
    last = p + value->len;

    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    while (p < last && (last[-1] == ' ' || last[-1] == '\t')) {
        last--;
    }

    scheme = p;

    while (p < last && *p != ' ') {
        p++;
    }

    len = p - scheme;

    while (p < last && *p == ' ') {
        p++;
    }

    if (len == sizeof("Bearer") - 1
        && ngx_strncasecmp(scheme, (u_char *) "Bearer", len) == 0)
    {
        credential->scheme = NGX_HTTP_TB_RPC_BEARER;

    } else if (len == sizeof("ApiKey") - 1
               && ngx_strncasecmp(scheme, (u_char *) "ApiKey", len) == 0)
    {
        credential->scheme = NGX_HTTP_TB_RPC_API_KEY;

    } else {
        credential->scheme = 0;
    }

    credential->text.data = p;
    credential->text.len = last - p;
}


ngx_int_t
ngx_http_tb_rpc_key_id(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char                         digest[EVP_MAX_MD_SIZE];
    ngx_http_tb_rpc_ctx_t         *ctx;
    ngx_http_tb_rpc_credential_t   credential;

    /* error_page may have led out of a device's location */

    ctx = ngx_http_tb_rpc_find_ctx(r);

    if (ctx && ctx->key_id.len) {
        *value = ctx->key_id;
        return NGX_OK;
    }

    if (ngx_http_tb_rpc_get_credential(r, &credential) != NGX_OK
        || credential.text.len == 0)
    {
        return NGX_DECLINED;
    }

    if (EVP_Digest(credential.text.data, credential.text.len, digest, NULL,
                   EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    value->data = ngx_pnalloc(r->pool, 16);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    value->len = ngx_hex_dump(value->data, digest, 8) - value->data;

    return NGX_OK;
}
