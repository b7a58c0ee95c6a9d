
/*
 * The tb_rpc_redis { } block.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "../../common/tb_rpc_shard.h"
#include "ngx_tb_rpc_block_private.h"


typedef struct {
    ngx_str_t                      name;
    ngx_uint_t                     args;    /* at most */
    char                        *(*set)(ngx_conf_t *cf,
                                        ngx_tb_rpc_block_t *block,
                                        ngx_str_t *value);
} ngx_tb_rpc_block_setter_t;


static char *ngx_tb_rpc_block_setting(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_tb_rpc_block_init(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block);
static char *ngx_tb_rpc_block_server(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_shards(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_prefix(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_username(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_password(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_password_file(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_database(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_connect_timeout(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_command_timeout(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);
static char *ngx_tb_rpc_block_queue(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value);


static ngx_tb_rpc_block_setter_t  ngx_tb_rpc_block_setters[] = {

    { ngx_string("server"), 2, ngx_tb_rpc_block_server },
    { ngx_string("shards"), 1, ngx_tb_rpc_block_shards },
    { ngx_string("prefix"), 1, ngx_tb_rpc_block_prefix },
    { ngx_string("username"), 1, ngx_tb_rpc_block_username },
    { ngx_string("password"), 1, ngx_tb_rpc_block_password },
    { ngx_string("password_file"), 1, ngx_tb_rpc_block_password_file },
    { ngx_string("database"), 1, ngx_tb_rpc_block_database },
    { ngx_string("connect_timeout"), 1,
      ngx_tb_rpc_block_connect_timeout },
    { ngx_string("command_timeout"), 1,
      ngx_tb_rpc_block_command_timeout },
    { ngx_string("queue"), 1, ngx_tb_rpc_block_queue },
    { ngx_string("cluster"), 1, ngx_tb_rpc_block_cluster },
    { ngx_string("wait"), 2, ngx_tb_rpc_block_wait },
    { ngx_string("sentinel"), 1, ngx_tb_rpc_block_sentinel },
    { ngx_string("sentinel_username"), 1,
      ngx_tb_rpc_block_sentinel_username },
    { ngx_string("sentinel_password_file"), 1,
      ngx_tb_rpc_block_sentinel_password_file },
    { ngx_string("ssl_verify"), 1, ngx_tb_rpc_block_ssl_verify },
    { ngx_string("ssl_name"), 1, ngx_tb_rpc_block_ssl_name },
    { ngx_string("ssl_trusted_certificate"), 1,
      ngx_tb_rpc_block_ssl_trusted_certificate },
    { ngx_string("ssl_certificate"), 1,
      ngx_tb_rpc_block_ssl_certificate },
    { ngx_string("ssl_certificate_key"), 1,
      ngx_tb_rpc_block_ssl_certificate_key },

    { ngx_null_string, 0, NULL }
};


void
ngx_tb_rpc_block_create(ngx_tb_rpc_block_t *block)
{
    block->shards = NGX_CONF_UNSET_UINT;
}


char *
ngx_tb_rpc_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tb_rpc_block_t *block = conf;

    char                 *rv;
    ngx_conf_t            save;
    ngx_tb_redis_conf_t  *redis;

    if (block->redis) {
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

    block->redis = redis;

    save = *cf;

    cf->handler = ngx_tb_rpc_block_setting;
    cf->handler_conf = (void *) block;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_tb_rpc_block_init(cf, block);
}


static char *
ngx_tb_rpc_block_setting(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_tb_rpc_block_t *block = conf;

    char                       *rv;
    ngx_str_t                  *value;
    ngx_tb_rpc_block_setter_t  *setter;

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "include") == 0) {

        if (cf->args->nelts != 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of arguments in \"include\"");
            return NGX_CONF_ERROR;
        }

        return ngx_conf_include(cf, dummy, conf);
    }

    for (setter = ngx_tb_rpc_block_setters; setter->name.len; setter++) {

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

    rv = setter->set(cf, block, value);

    if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s",
                           &value[0], rv);
        return NGX_CONF_ERROR;
    }

    return rv;
}


static char *
ngx_tb_rpc_block_init(ngx_conf_t *cf, ngx_tb_rpc_block_t *block)
{
    ngx_tb_redis_conf_t  *redis;

    redis = block->redis;

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

    ngx_conf_init_uint_value(block->shards, 128);

    if (block->prefix.data == NULL) {
        ngx_str_set(&block->prefix, "tb:");
    }

    /* what the functions remember of a key does not know the database */

    if (redis->database != 0
        && block->prefix.len == sizeof("tb:") - 1
        && ngx_strncmp(block->prefix.data, "tb:", sizeof("tb:") - 1) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "database %ui needs a \"prefix\" of its own in "
                           "\"tb_rpc_redis\"", redis->database);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_msec_value(redis->connect_timeout, 2000);
    ngx_conf_init_msec_value(redis->command_timeout, 2000);
    ngx_conf_init_uint_value(redis->queue, 1024);

    if (ngx_tb_rpc_block_wait_init(cf, block) != NGX_CONF_OK
        || ngx_tb_rpc_block_cluster_init(cf, block) != NGX_CONF_OK
        || ngx_tb_rpc_block_sentinel_init(cf, block) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_tb_rpc_block_ssl_init(cf, block);
}


char *
ngx_tb_rpc_block_resolver(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_resolver_t *resolver, ngx_msec_t timeout, const char *level)
{
    ngx_uint_t              i;
    ngx_tb_redis_server_t  *server;

    block->redis->resolver_timeout = timeout;
    ngx_conf_init_msec_value(block->redis->resolver_timeout, 30000);

    server = block->redis->servers->elts;

    for (i = 0; i < block->redis->servers->nelts; i++) {

        if (!server[i].resolve) {
            continue;
        }

        /* the core leaves an empty one where there is none */

        if (resolver == NULL || resolver->connections.nelts == 0) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "no \"resolver\" in %s{} for \"server %V "
                          "resolve\" of \"tb_rpc_redis\" in %s",
                          level, &server[i].url,
                          cf->conf_file->file.name.data);
            return NGX_CONF_ERROR;
        }

        block->redis->resolver = resolver;
    }

    return NGX_CONF_OK;
}


static char *
ngx_tb_rpc_block_server(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    ngx_uint_t              database;
    ngx_tb_redis_server_t  *server;

    server = ngx_array_push(block->redis->servers);
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

    database = block->redis->database;

    if (ngx_tb_redis_parse_url(cf, block->redis, server, &value[1])
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* 0 is also what comes out of a URL that names none */

    if (block->redis->database == 0) {
        block->redis->database = database;

    } else if (database != NGX_CONF_UNSET_UINT
               && database != block->redis->database)
    {
        return "names another database than \"database\"";
    }

    return NGX_CONF_OK;
}


static char *
ngx_tb_rpc_block_shards(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    return ngx_tb_rpc_block_number(cf, value, 1, TB_RPC_SHARDS,
                                   &block->shards);
}


static char *
ngx_tb_rpc_block_prefix(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    u_char      c;
    ngx_uint_t  i;

    if (block->prefix.data) {
        return "is duplicate";
    }

    if (value[1].len > NGX_TB_RPC_MAX_PREFIX) {
        return "is longer than 32 characters";
    }

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        /* braces would move the hash tag */

        if (c <= 0x20 || c == 0x7f || c == '{' || c == '}') {
            return "must not contain braces, spaces or control characters";
        }
    }

    block->prefix = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_tb_rpc_block_username(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->username);
}


static char *
ngx_tb_rpc_block_password(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_text(value, &block->redis->password);
}


static char *
ngx_tb_rpc_block_password_file(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_secret(cf, value, &block->redis->password);
}


static char *
ngx_tb_rpc_block_database(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_number(cf, value, 0, 0x7fffffff,
                                   &block->redis->database);
}


static char *
ngx_tb_rpc_block_connect_timeout(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_msec(cf, value,
                                 &block->redis->connect_timeout);
}


static char *
ngx_tb_rpc_block_command_timeout(ngx_conf_t *cf,
    ngx_tb_rpc_block_t *block, ngx_str_t *value)
{
    return ngx_tb_rpc_block_msec(cf, value,
                                 &block->redis->command_timeout);
}


static char *
ngx_tb_rpc_block_queue(ngx_conf_t *cf, ngx_tb_rpc_block_t *block,
    ngx_str_t *value)
{
    return ngx_tb_rpc_block_number(cf, value, 1, 0x7fffffff,
                                   &block->redis->queue);
}
