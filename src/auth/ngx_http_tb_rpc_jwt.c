
/*
 * Verification of JWTs.  The algorithm is that of the configuration and the
 * keys are of its kind; the payload is parsed only if the signature holds.
 */


#include "../json/ngx_http_tb_rpc_json.h"
#include "../http/ngx_http_tb_rpc_respond.h"
#include "ngx_http_tb_rpc_jwt.h"
#include "ngx_http_tb_rpc_jwt_cache.h"


#define NGX_HTTP_TB_RPC_JWT_MAX_LEN     16384
#define NGX_HTTP_TB_RPC_JWT_MAX_HEADER  2048


typedef struct {
    ngx_str_t   header;
    ngx_str_t   payload;
    ngx_str_t   signature;
    ngx_str_t   input;          /* what was signed */
} ngx_http_tb_rpc_jwt_t;


static ngx_int_t ngx_http_tb_rpc_jwt_refuse(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, const char *error);
static const char *ngx_http_tb_rpc_jwt_check(ngx_http_request_t *r,
    ngx_str_t *token, ngx_http_tb_rpc_jwt_known_t *known);
static ngx_int_t ngx_http_tb_rpc_jwt_copy(ngx_pool_t *pool,
    ngx_http_tb_rpc_identity_t *dst, ngx_http_tb_rpc_identity_t *src);
static const char *ngx_http_tb_rpc_jwt_times(
    ngx_http_tb_rpc_auth_conf_t *conf, ngx_http_tb_rpc_jwt_known_t *known);
static const char *ngx_http_tb_rpc_jwt_open(ngx_pool_t *pool,
    ngx_http_tb_rpc_auth_conf_t *conf, ngx_str_t *token, json_t **claims);
static ngx_int_t ngx_http_tb_rpc_jwt_split(ngx_http_tb_rpc_jwt_t *jwt,
    ngx_str_t *token);
static ngx_int_t ngx_http_tb_rpc_jwt_decode(ngx_pool_t *pool,
    ngx_str_t *text);
static json_t *ngx_http_tb_rpc_jwt_parse(ngx_str_t *text);
static ngx_int_t ngx_http_tb_rpc_jwt_header(ngx_str_t *text,
    ngx_str_t *expected);
static const char *ngx_http_tb_rpc_jwt_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t *id, json_t *claims);
static const char *ngx_http_tb_rpc_jwt_claims(ngx_http_tb_rpc_auth_conf_t *conf,
    json_t *claims, ngx_http_tb_rpc_jwt_known_t *known);
static ngx_int_t ngx_http_tb_rpc_jwt_string(json_t *json, ngx_str_t *value);


/* in the order of NGX_HTTP_TB_RPC_HS256 and so on */

ngx_conf_enum_t  ngx_http_tb_rpc_jwt_algs[] = {
    { ngx_string("HS256"), NGX_HTTP_TB_RPC_HS256 },
    { ngx_string("HS384"), NGX_HTTP_TB_RPC_HS384 },
    { ngx_string("HS512"), NGX_HTTP_TB_RPC_HS512 },
    { ngx_string("RS256"), NGX_HTTP_TB_RPC_RS256 },
    { ngx_string("ES256"), NGX_HTTP_TB_RPC_ES256 },
    { ngx_null_string, 0 }
};


/* why a token is refused; told apart by address */

static const char  ngx_http_tb_rpc_jwt_malformed[] = "Invalid token";
static const char  ngx_http_tb_rpc_jwt_bad_signature[] =
    "Invalid token signature";
static const char  ngx_http_tb_rpc_jwt_bad_claims[] = "Invalid token claims";
static const char  ngx_http_tb_rpc_jwt_expired[] = "Token has expired";
static const char  ngx_http_tb_rpc_jwt_no_memory[] = "Internal server error";


/* who a token says is calling; one that was verified before is looked up */

ngx_int_t
ngx_http_tb_rpc_jwt_verify(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    ngx_http_tb_rpc_identity_t *id, ngx_str_t *token)
{
    const char                   *error;
    ngx_http_tb_rpc_worker_t     *w;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_main_conf_t  *mcf;
    ngx_http_tb_rpc_jwt_known_t  *known, checked;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_tb_rpc_module);

    /* the variables are everywhere, also where there is no API */

    w = mcf->used ? ngx_http_tb_rpc_worker(mcf) : NULL;

    known = w ? ngx_http_tb_rpc_jwt_cache_get(w->jwts, lcf, token) : NULL;

    if (known) {
        ngx_http_tb_rpc_count(w, hits[NGX_HTTP_TB_RPC_CACHE_JWT]);

        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "tb_rpc jwt: verified before");

        /* it may be dropped while the request lasts */

        if (ngx_http_tb_rpc_jwt_copy(r->pool, id, &known->identity)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        error = ngx_http_tb_rpc_jwt_times(&lcf->auth, known);

    } else {
        if (w) {
            ngx_http_tb_rpc_count(w, misses[NGX_HTTP_TB_RPC_CACHE_JWT]);
        }

        error = ngx_http_tb_rpc_jwt_check(r, token, &checked);

        if (error == NULL) {
            *id = checked.identity;

            error = ngx_http_tb_rpc_jwt_times(&lcf->auth, &checked);

            if (error == NULL && w) {
                ngx_http_tb_rpc_jwt_cache_put(w->jwts, lcf, token, &checked);
            }
        }
    }

    return error ? ngx_http_tb_rpc_jwt_refuse(r, ctx, error) : NGX_OK;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_refuse(ngx_http_request_t *r, ngx_http_tb_rpc_ctx_t *ctx,
    const char *error)
{
    ngx_uint_t                   code, cause;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    if (error == ngx_http_tb_rpc_jwt_no_memory) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (error == ngx_http_tb_rpc_jwt_bad_signature) {
        cause = NGX_HTTP_TB_RPC_CAUSE_JWT_SIGNATURE;

    } else if (error == ngx_http_tb_rpc_jwt_bad_claims) {
        cause = NGX_HTTP_TB_RPC_CAUSE_JWT_CLAIMS;

    } else if (error == ngx_http_tb_rpc_jwt_expired) {
        cause = NGX_HTTP_TB_RPC_CAUSE_JWT_EXPIRED;

    } else {
        cause = NGX_HTTP_TB_RPC_CAUSE_JWT_MALFORMED;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    if (error == ngx_http_tb_rpc_jwt_bad_signature
        && lcf->profile == NGX_HTTP_TB_RPC_PROFILE_THINGSBOARD)
    {
        /* the original takes a bad signature for an old token */

        error = ngx_http_tb_rpc_jwt_expired;
    }

    code = (error == ngx_http_tb_rpc_jwt_expired)
           ? NGX_HTTP_TB_RPC_TOKEN_EXPIRED
           : NGX_HTTP_TB_RPC_AUTHENTICATION;

    return ngx_http_tb_rpc_auth_error(ctx, code, cause, error);
}


ngx_int_t
ngx_http_tb_rpc_jwt_get_claims(ngx_http_request_t *r,
    ngx_http_tb_rpc_ctx_t *ctx, ngx_str_t *token, json_t **claims)
{
    const char                   *error;
    ngx_http_tb_rpc_loc_conf_t   *lcf;
    ngx_http_tb_rpc_jwt_known_t   known;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    *claims = NULL;

    error = ngx_http_tb_rpc_jwt_open(r->pool, &lcf->auth, token, claims);

    if (error == NULL) {
        error = ngx_http_tb_rpc_jwt_claims(&lcf->auth, *claims, &known);
    }

    if (error == NULL) {
        error = ngx_http_tb_rpc_jwt_times(&lcf->auth, &known);
    }

    if (error == NULL) {
        return NGX_OK;
    }

    json_decref(*claims);

    return ngx_http_tb_rpc_jwt_refuse(r, ctx, error);
}


/* all but the times: NULL and what is known then, in the request's pool */

static const char *
ngx_http_tb_rpc_jwt_check(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_tb_rpc_jwt_known_t *known)
{
    json_t                      *claims;
    const char                  *error;
    ngx_http_tb_rpc_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_tb_rpc_module);

    claims = NULL;
    ngx_memzero(known, sizeof(ngx_http_tb_rpc_jwt_known_t));

    error = ngx_http_tb_rpc_jwt_open(r->pool, &lcf->auth, token, &claims);

    if (error == NULL) {
        error = ngx_http_tb_rpc_jwt_identity(r, &known->identity, claims);
    }

    if (error == NULL) {
        error = ngx_http_tb_rpc_jwt_claims(&lcf->auth, claims, known);
    }

    json_decref(claims);

    return error;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_copy(ngx_pool_t *pool, ngx_http_tb_rpc_identity_t *dst,
    ngx_http_tb_rpc_identity_t *src)
{
    u_char  *p;

    p = ngx_pnalloc(pool, ngx_http_tb_rpc_identity_len(src));
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_http_tb_rpc_copy_identity(p, dst, src);

    return NGX_OK;
}


static const char *
ngx_http_tb_rpc_jwt_times(ngx_http_tb_rpc_auth_conf_t *conf,
    ngx_http_tb_rpc_jwt_known_t *known)
{
    double  now;

    /* in floating point nothing overflows */

    now = (double) ngx_time();

    if (known->exp + (double) conf->jwt_leeway <= now) {
        return ngx_http_tb_rpc_jwt_expired;
    }

    if (known->nbf - (double) conf->jwt_leeway > now) {
        return "Token is not valid yet";
    }

    return NULL;
}


/* NULL and the claims of a token that is signed by one of the keys */

static const char *
ngx_http_tb_rpc_jwt_open(ngx_pool_t *pool, ngx_http_tb_rpc_auth_conf_t *conf,
    ngx_str_t *token, json_t **claims)
{
    ngx_int_t              rc;
    ngx_http_tb_rpc_jwt_t  jwt;

    rc = ngx_http_tb_rpc_jwt_split(&jwt, token);

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_jwt_decode(pool, &jwt.header);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_jwt_header(&jwt.header,
                              &ngx_http_tb_rpc_jwt_algs[conf->jwt_alg].name);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_tb_rpc_jwt_decode(pool, &jwt.signature);
    }

    if (rc == NGX_OK) {
        if (ngx_http_tb_rpc_jwt_signature(conf, &jwt.signature, &jwt.input)
            != NGX_OK)
        {
            return ngx_http_tb_rpc_jwt_bad_signature;
        }

        rc = ngx_http_tb_rpc_jwt_decode(pool, &jwt.payload);
    }

    if (rc == NGX_OK) {
        *claims = ngx_http_tb_rpc_jwt_parse(&jwt.payload);

        if (*claims == NULL) {
            rc = NGX_DECLINED;
        }
    }

    if (rc == NGX_ERROR) {
        return ngx_http_tb_rpc_jwt_no_memory;
    }

    return (rc == NGX_OK) ? NULL : ngx_http_tb_rpc_jwt_malformed;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_split(ngx_http_tb_rpc_jwt_t *jwt, ngx_str_t *token)
{
    u_char  *p, *last, *first, *second;

    if (token->len > NGX_HTTP_TB_RPC_JWT_MAX_LEN) {
        return NGX_DECLINED;
    }

    p = token->data;
    last = p + token->len;

    first = ngx_strlchr(p, last, '.');
    if (first == NULL) {
        return NGX_DECLINED;
    }

    second = ngx_strlchr(first + 1, last, '.');
    if (second == NULL || ngx_strlchr(second + 1, last, '.')) {
        return NGX_DECLINED;
    }

    jwt->header.data = p;
    jwt->header.len = first - p;

    jwt->payload.data = first + 1;
    jwt->payload.len = second - jwt->payload.data;

    jwt->signature.data = second + 1;
    jwt->signature.len = last - jwt->signature.data;

    jwt->input.data = p;
    jwt->input.len = second - p;

    /* whoever sends it, the header is parsed */

    return (jwt->header.len <= NGX_HTTP_TB_RPC_JWT_MAX_HEADER) ? NGX_OK
                                                               : NGX_DECLINED;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_decode(ngx_pool_t *pool, ngx_str_t *text)
{
    u_char   *p;
    ssize_t   n;

    if (text->len == 0) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(pool, text->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    n = ngx_http_tb_rpc_base64(p, text->data, text->len, 1);
    if (n == NGX_ERROR) {
        return NGX_DECLINED;
    }

    text->data = p;
    text->len = n;

    return NGX_OK;
}


/* an object, within the depth; the text is never quoted anywhere */

static json_t *
ngx_http_tb_rpc_jwt_parse(ngx_str_t *text)
{
    json_t        *json;
    u_char        *p, *last;
    ngx_uint_t     depth, quoted;
    json_error_t   error;

    depth = 0;
    quoted = 0;

    for (p = text->data, last = p + text->len; p < last; p++) {

        if (quoted) {
            if (*p == '\\') {
                p++;

            } else if (*p == '"') {
                quoted = 0;
            }

        } else if (*p == '"') {
            quoted = 1;

        } else if (*p == '{' || *p == '[') {
            if (++depth > NGX_HTTP_TB_RPC_MAX_DEPTH) {
                return NULL;
            }

        } else if ((*p == '}' || *p == ']') && depth) {
            depth--;
        }
    }

    json = json_loadb((char *) text->data, text->len,
                      JSON_REJECT_DUPLICATES|JSON_DECODE_INT_AS_REAL, &error);

    if (json && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }

    return json;
}


static ngx_int_t
ngx_http_tb_rpc_jwt_header(ngx_str_t *text, ngx_str_t *expected)
{
    json_t     *json;
    ngx_int_t   rc;
    ngx_str_t   alg;

    json = ngx_http_tb_rpc_jwt_parse(text);
    if (json == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    /* "crit": extensions that must be understood; none is */

    if (ngx_http_tb_rpc_jwt_string(json_object_get(json, "alg"), &alg)
            == NGX_OK
        && alg.len == expected->len
        && ngx_strncmp(alg.data, expected->data, alg.len) == 0
        && json_object_get(json, "crit") == NULL)
    {
        rc = NGX_OK;
    }

    json_decref(json);

    return rc;
}


/* NULL or why the token is refused */

static const char *
ngx_http_tb_rpc_jwt_identity(ngx_http_request_t *r,
    ngx_http_tb_rpc_identity_t *id, json_t *claims)
{
    json_t     *scopes;
    ngx_int_t   rc;
    ngx_str_t   sub, user, tenant, customer, authority;

    if (ngx_http_tb_rpc_jwt_string(json_object_get(claims, "sub"), &sub)
        != NGX_OK)
    {
        return "Token has no sub";
    }

    if (ngx_http_tb_rpc_jwt_string(json_object_get(claims, "userId"), &user)
        != NGX_OK)
    {
        return "Token has no userId";
    }

    scopes = json_object_get(claims, "scopes");

    if (!json_is_array(scopes)
        || ngx_http_tb_rpc_jwt_string(json_array_get(scopes, 0), &authority)
           != NGX_OK)
    {
        return "Token has no scopes";
    }

    /* absent ids come out empty */

    if (ngx_http_tb_rpc_jwt_string(json_object_get(claims, "tenantId"),
                                   &tenant)
           == NGX_ERROR
        || ngx_http_tb_rpc_jwt_string(json_object_get(claims, "customerId"),
                                      &customer)
           == NGX_ERROR)
    {
        return ngx_http_tb_rpc_jwt_bad_claims;
    }

    rc = ngx_http_tb_rpc_set_identity(r, id, &tenant, &customer, &user,
                                      &authority);

    if (rc == NGX_ERROR) {
        return ngx_http_tb_rpc_jwt_no_memory;
    }

    return (rc == NGX_OK) ? NULL : ngx_http_tb_rpc_jwt_bad_claims;
}


static const char *
ngx_http_tb_rpc_jwt_claims(ngx_http_tb_rpc_auth_conf_t *conf, json_t *claims,
    ngx_http_tb_rpc_jwt_known_t *known)
{
    json_t     *exp, *nbf, *enabled, *public;
    ngx_str_t   iss;

    exp = json_object_get(claims, "exp");
    nbf = json_object_get(claims, "nbf");
    enabled = json_object_get(claims, "enabled");
    public = json_object_get(claims, "isPublic");

    if (exp == NULL) {
        return "Token has no exp";
    }

    if (!json_is_number(exp)
        || (nbf && !json_is_number(nbf))
        || (enabled && !json_is_boolean(enabled))
        || (public && !json_is_boolean(public)))
    {
        return ngx_http_tb_rpc_jwt_bad_claims;
    }

    if (enabled && json_is_false(enabled)) {
        return "User account is not active";
    }

    if (conf->jwt_issuer.len
        && (ngx_http_tb_rpc_jwt_string(json_object_get(claims, "iss"), &iss)
            != NGX_OK
            || iss.len != conf->jwt_issuer.len
            || ngx_strncmp(iss.data, conf->jwt_issuer.data, iss.len) != 0))
    {
        return "Invalid token issuer";
    }

    known->exp = json_number_value(exp);
    known->nbf = nbf ? json_number_value(nbf) : 0;

    return NULL;
}


/* NGX_DECLINED: absent or null, NGX_ERROR: no string; empty in both cases */

static ngx_int_t
ngx_http_tb_rpc_jwt_string(json_t *json, ngx_str_t *value)
{
    ngx_str_null(value);

    if (json == NULL || json_is_null(json)) {
        return NGX_DECLINED;
    }

    if (!json_is_string(json)) {
        return NGX_ERROR;
    }

    value->data = (u_char *) json_string_value(json);
    value->len = json_string_length(json);

    return NGX_OK;
}
