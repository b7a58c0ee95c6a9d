
/*
 * The tb_rpc_redis { } block.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../../common/tb_rpc_shard.h"
#include "../store/ngx_http_tb_rpc_fcall.h"
#include "ngx_http_tb_rpc_front.h"


/* each worker subscribes to a channel in each of them */

#define NGX_HTTP_TB_RPC_MAX_PASSWORD  1024


typedef struct {
    ngx_str_t                      name;
    ngx_uint_t                     args;    /* at most */
    char                        *(*set)(ngx_conf_t *cf,
                                       ngx_http_tb_rpc_main_conf_t *mcf,
                                       ngx_str_t *value);
} ngx_http_tb_rpc_setter_t;


static char *ngx_http_tb_rpc_redis_setting(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_tb_rpc_redis_init(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf);
static char *ngx_http_tb_rpc_redis_server(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_shards(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_prefix(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_username(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_password(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_password_file(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static ngx_int_t ngx_http_tb_rpc_read_password(ngx_conf_t *cf,
    ngx_str_t *name, ngx_str_t *password);
static char *ngx_http_tb_rpc_redis_database(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_connect_timeout(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_command_timeout(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);
static char *ngx_http_tb_rpc_redis_queue(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value);


static ngx_http_tb_rpc_setter_t  ngx_http_tb_rpc_setters[] = {

    { ngx_string("server"), 2, ngx_http_tb_rpc_redis_server },
    { ngx_string("shards"), 1, ngx_http_tb_rpc_redis_shards },
    { ngx_string("prefix"), 1, ngx_http_tb_rpc_redis_prefix },
    { ngx_string("username"), 1, ngx_http_tb_rpc_redis_username },
    { ngx_string("password"), 1, ngx_http_tb_rpc_redis_password },
    { ngx_string("password_file"), 1, ngx_http_tb_rpc_redis_password_file },
    { ngx_string("database"), 1, ngx_http_tb_rpc_redis_database },
    { ngx_string("connect_timeout"), 1,
      ngx_http_tb_rpc_redis_connect_timeout },
    { ngx_string("command_timeout"), 1,
      ngx_http_tb_rpc_redis_command_timeout },
    { ngx_string("queue"), 1, ngx_http_tb_rpc_redis_queue },
    { ngx_string("cluster"), 1, ngx_http_tb_rpc_redis_cluster },
    { ngx_string("wait"), 2, ngx_http_tb_rpc_redis_wait },
    { ngx_string("sentinel"), 1, ngx_http_tb_rpc_redis_sentinel },
    { ngx_string("sentinel_username"), 1,
      ngx_http_tb_rpc_redis_sentinel_username },
    { ngx_string("sentinel_password_file"), 1,
      ngx_http_tb_rpc_redis_sentinel_password_file },
    { ngx_string("ssl_verify"), 1, ngx_http_tb_rpc_redis_ssl_verify },
    { ngx_string("ssl_name"), 1, ngx_http_tb_rpc_redis_ssl_name },
    { ngx_string("ssl_trusted_certificate"), 1,
      ngx_http_tb_rpc_redis_ssl_trusted_certificate },
    { ngx_string("ssl_certificate"), 1,
      ngx_http_tb_rpc_redis_ssl_certificate },
    { ngx_string("ssl_certificate_key"), 1,
      ngx_http_tb_rpc_redis_ssl_certificate_key },

    { ngx_null_string, 0, NULL }
};


char *
ngx_http_tb_rpc_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tb_rpc_main_conf_t *mcf = conf;

    char                 *rv;
    ngx_conf_t            save;
    ngx_tb_redis_conf_t  *redis;

    if (mcf->redis) {
        return "is duplicate";
    }

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_tb_redis_conf_t));
    if (redis == NULL) {
        return NGX_CONF_ERROR;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     redis->username = { 0, NULL };
     *     redis->password = { 0, NULL };
     *     redis->sentinel = { 0, NULL };
     *     redis->sentinel_username = { 0, NULL };
     *     redis->sentinel_password = { 0, NULL };
     *     redis->resolver = NULL;
     *     redis->ssl_name = { 0, NULL };
     *     redis->ssl_trusted_certificate = { 0, NULL };
     *     redis->ssl_certificate = { 0, NULL };
     *     redis->ssl_certificate_key = { 0, NULL };
     *     redis->ssl = NULL;
     */

    redis->servers = ngx_array_create(cf->pool, 1,
                                      sizeof(ngx_tb_redis_server_t));
    if (redis->servers == NULL) {
        return NGX_CONF_ERROR;
    }

    redis->cluster = NGX_CONF_UNSET;
    redis->database = NGX_CONF_UNSET_UINT;
    redis->connect_timeout = NGX_CONF_UNSET_MSEC;
    redis->command_timeout = NGX_CONF_UNSET_MSEC;
    redis->queue = NGX_CONF_UNSET_UINT;
    redis->wait_replicas = NGX_CONF_UNSET_UINT;
    redis->wait_timeout = NGX_CONF_UNSET_MSEC;
    redis->resolver_timeout = NGX_CONF_UNSET_MSEC;
    redis->ssl_verify = NGX_CONF_UNSET;

    mcf->redis = redis;

    save = *cf;

    cf->handler = ngx_http_tb_rpc_redis_setting;
    cf->handler_conf = (void *) mcf;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_tb_rpc_redis_init(cf, mcf);
}


static char *
ngx_http_tb_rpc_redis_setting(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_http_tb_rpc_main_conf_t *mcf = conf;

    char                      *rv;
    ngx_str_t                 *value;
    ngx_http_tb_rpc_setter_t  *setter;

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "include") == 0) {

        if (cf->args->nelts != 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of arguments in \"include\"");
            return NGX_CONF_ERROR;
        }

        return ngx_conf_include(cf, dummy, conf);
    }

    for (setter = ngx_http_tb_rpc_setters; setter->name.len; setter++) {

        if (value[0].len == setter->name.len
            && ngx_strcmp(value[0].data, setter->name.data) == 0)
        {
            break;
        }
    }

    if (setter->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown setting \"%V\" in \"tb_rpc_redis\"",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts < 2 || cf->args->nelts - 1 > setter->args) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\"",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    rv = setter->set(cf, mcf, value);

    if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s",
                           &value[0], rv);
        return NGX_CONF_ERROR;
    }

    return rv;
}


static char *
ngx_http_tb_rpc_redis_init(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf)
{
    ngx_tb_redis_conf_t  *redis;

    redis = mcf->redis;

    /* the arguments of the directive are gone, hence no plain texts */

    if (redis->servers->nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"server\" in \"tb_rpc_redis\"");
        return NGX_CONF_ERROR;
    }

    if (redis->username.len && redis->password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"username\" without \"password\" or "
                           "\"password_file\" in \"tb_rpc_redis\"");
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_uint_value(redis->database, 0);

    if (mcf->prefix.data == NULL) {
        ngx_str_set(&mcf->prefix, "tb:");
    }

    /* what the functions remember of a key does not know the database */

    if (redis->database != 0
        && mcf->prefix.len == sizeof("tb:") - 1
        && ngx_strncmp(mcf->prefix.data, "tb:", sizeof("tb:") - 1) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "database %ui needs a \"prefix\" of its own in "
                           "\"tb_rpc_redis\"", redis->database);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_msec_value(redis->connect_timeout, 2000);
    ngx_conf_init_msec_value(redis->command_timeout, 2000);
    ngx_conf_init_uint_value(redis->queue, 1024);

    if (ngx_http_tb_rpc_redis_wait_init(cf, mcf) != NGX_CONF_OK
        || ngx_http_tb_rpc_redis_cluster_init(cf, mcf) != NGX_CONF_OK
        || ngx_http_tb_rpc_redis_sentinel_init(cf, mcf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_tb_rpc_redis_ssl_init(cf, mcf);
}


static char *
ngx_http_tb_rpc_redis_server(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *value)
{
    ngx_uint_t              database;
    ngx_tb_redis_server_t  *server;

    server = ngx_array_push(mcf->redis->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_tb_redis_server_t));

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "resolve") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        server->resolve = 1;
    }

    database = mcf->redis->database;

    if (ngx_tb_redis_parse_url(cf, mcf->redis, server, &value[1])
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* 0 is also what comes out of a URL that names none */

    if (mcf->redis->database == 0) {
        mcf->redis->database = database;

    } else if (database != NGX_CONF_UNSET_UINT
               && database != mcf->redis->database)
    {
        return "names another database than \"database\"";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_redis_shards(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_number(cf, value, 1, TB_RPC_SHARDS,
                                        &mcf->shards);
}


static char *
ngx_http_tb_rpc_redis_prefix(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *value)
{
    u_char      c;
    ngx_uint_t  i;

    if (mcf->prefix.data) {
        return "is duplicate";
    }

    if (value[1].len > NGX_HTTP_TB_RPC_MAX_PREFIX) {
        return "is longer than 32 characters";
    }

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        /* braces would move the hash tag */

        if (c <= 0x20 || c == 0x7f || c == '{' || c == '}') {
            return "must not contain braces, spaces or control characters";
        }
    }

    mcf->prefix = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_tb_rpc_redis_username(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_text(value, &mcf->redis->username);
}


static char *
ngx_http_tb_rpc_redis_password(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_text(value, &mcf->redis->password);
}


static char *
ngx_http_tb_rpc_redis_password_file(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_secret(cf, value, &mcf->redis->password);
}


char *
ngx_http_tb_rpc_redis_text(ngx_str_t *value, ngx_str_t *text)
{
    if (text->data) {
        return "is duplicate";
    }

    if (value[1].len == 0) {
        return "is empty";
    }

    *text = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_tb_rpc_redis_flag(ngx_str_t *value, ngx_flag_t *flag)
{
    if (*flag != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    if (ngx_strcasecmp(value[1].data, (u_char *) "on") == 0) {
        *flag = 1;

    } else if (ngx_strcasecmp(value[1].data, (u_char *) "off") == 0) {
        *flag = 0;

    } else {
        return "must be \"on\" or \"off\"";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_tb_rpc_redis_secret(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *secret)
{
    if (secret->data) {
        return "is duplicate";
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_tb_rpc_read_password(cf, &value[1], secret) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_tb_rpc_read_password(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *password)
{
    u_char     *p;
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_err_t   err;

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    n = -1;
    err = 0;

    p = ngx_pnalloc(cf->pool, NGX_HTTP_TB_RPC_MAX_PASSWORD + 1);

    if (p) {
        n = ngx_read_fd(fd, p, NGX_HTTP_TB_RPC_MAX_PASSWORD + 1);
        err = ngx_errno;
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    if (p == NULL) {
        return NGX_ERROR;
    }

    if (n < 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           ngx_read_fd_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    if (n > NGX_HTTP_TB_RPC_MAX_PASSWORD) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is too long for a password", name);
        return NGX_ERROR;
    }

    while (n && (p[n - 1] == LF || p[n - 1] == CR)) {
        n--;
    }

    if (n == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no password in \"%V\"", name);
        return NGX_ERROR;
    }

    password->data = p;
    password->len = n;

    return NGX_OK;
}


static char *
ngx_http_tb_rpc_redis_database(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_number(cf, value, 0, 0x7fffffff,
                                        &mcf->redis->database);
}


static char *
ngx_http_tb_rpc_redis_connect_timeout(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_msec(cf, value,
                                      &mcf->redis->connect_timeout);
}


static char *
ngx_http_tb_rpc_redis_command_timeout(ngx_conf_t *cf,
    ngx_http_tb_rpc_main_conf_t *mcf, ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_msec(cf, value,
                                      &mcf->redis->command_timeout);
}


static char *
ngx_http_tb_rpc_redis_queue(ngx_conf_t *cf, ngx_http_tb_rpc_main_conf_t *mcf,
    ngx_str_t *value)
{
    return ngx_http_tb_rpc_redis_number(cf, value, 1, 0x7fffffff,
                                        &mcf->redis->queue);
}


char *
ngx_http_tb_rpc_redis_number(ngx_conf_t *cf, ngx_str_t *value,
    ngx_uint_t min, ngx_uint_t max, ngx_uint_t *number)
{
    ngx_int_t  n;

    if (*number != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || (ngx_uint_t) n < min || (ngx_uint_t) n > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\", it must be a "
                           "number from %ui to %ui",
                           &value[1], &value[0], min, max);
        return NGX_CONF_ERROR;
    }

    *number = n;

    return NGX_CONF_OK;
}


char *
ngx_http_tb_rpc_redis_msec(ngx_conf_t *cf, ngx_str_t *value,
    ngx_msec_t *msec)
{
    ngx_int_t  n;

    if (*msec != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    n = ngx_parse_time(&value[1], 0);

    if (n == NGX_ERROR || n == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\", it must be a "
                           "time above zero, as 500ms or 2s",
                           &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    *msec = n;

    return NGX_CONF_OK;
}
