
/*
 * Configuration: defaults, inheritance, and what "nginx -t" refuses.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "../share/ngx_tb_mqtt_counts.h"
#include "ngx_stream_tb_mqtt_conf.h"


/* a CONNECT has to fit, and what a topic may be is more than enough */

#define NGX_STREAM_TB_MQTT_MIN_HEAD  512
#define NGX_STREAM_TB_MQTT_MAX_HEAD  (1024 * 1024)

#define NGX_STREAM_TB_MQTT_BRIDGE    64


static char *ngx_stream_tb_mqtt_check_server(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf);
static ngx_int_t ngx_stream_tb_mqtt_default_maps(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf);
static char *ngx_stream_tb_mqtt_compile_maps(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf);
static void ngx_stream_tb_mqtt_check_remote(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf, ngx_str_t *remote);
static ngx_int_t ngx_stream_tb_mqtt_check_type(ngx_conf_t *cf,
    ngx_stream_conf_ctx_t *ctx, int type);
static char *ngx_stream_tb_mqtt_server_error(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf, const char *text);


static ngx_stream_tb_mqtt_prefix_t  ngx_stream_tb_mqtt_maps[] = {

    { ngx_string("v1/devices/me/"),
      ngx_string("v1/devices/$tb_mqtt_device_id/") },

    { ngx_string("v1/gateway/"),
      ngx_string("v1/gateways/$tb_mqtt_device_id/") },

    { ngx_string(""),
      ngx_string("v1/others/$tb_mqtt_device_id/") }
};


void *
ngx_stream_tb_mqtt_create_main_conf(ngx_conf_t *cf)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_tb_mqtt_main_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     mcf->block.redis = NULL;
     *     mcf->block.prefix = { 0, NULL };
     *     mcf->used = 0;
     *     mcf->zone = NULL;
     *     mcf->top_filter = NULL;
     *     mcf->next_filter = NULL;
     *     mcf->worker = NULL;
     */

    ngx_tb_rpc_block_create(&mcf->block);

    mcf->session_ttl = NGX_CONF_UNSET_MSEC;

    return mcf;
}


char *
ngx_stream_tb_mqtt_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_stream_tb_mqtt_main_conf_t *mcf = conf;

    ngx_stream_core_srv_conf_t  *cscf;

    ngx_conf_init_msec_value(mcf->session_ttl, 60000);

    if (mcf->block.redis == NULL) {
        return NGX_CONF_OK;
    }

    /* of stream{}: the worker's client belongs to no server */

    cscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_core_module);

    return ngx_tb_rpc_block_resolver(cf, &mcf->block, cscf->resolver,
                                     cscf->resolver_timeout, "stream");
}


void *
ngx_stream_tb_mqtt_create_srv_conf(ngx_conf_t *cf)
{
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_tb_mqtt_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->bridge = { 0, NULL };
     *     conf->login = 0;
     *     conf->prefixes = NULL;
     *     conf->remotes = NULL;
     *     conf->nprefixes = 0;
     *     conf->password = { 0, NULL };
     *     conf->file = NULL;
     *     conf->line = 0;
     */

    conf->maps = NGX_CONF_UNSET_PTR;
    conf->username = NGX_CONF_UNSET_PTR;
    conf->max_packet = NGX_CONF_UNSET_SIZE;
    conf->head_size = NGX_CONF_UNSET_SIZE;
    conf->cache = NGX_CONF_UNSET_MSEC;
    conf->delay = NGX_CONF_UNSET_MSEC;

    return conf;
}


char *
ngx_stream_tb_mqtt_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_tb_mqtt_srv_conf_t *prev = parent;
    ngx_stream_tb_mqtt_srv_conf_t *conf = child;

    ngx_conf_merge_bitmask_value(conf->login, prev->login,
                                 (NGX_CONF_BITMASK_SET
                                  |NGX_STREAM_TB_MQTT_BY_TOKEN));
    ngx_conf_merge_ptr_value(conf->maps, prev->maps, NULL);
    ngx_conf_merge_ptr_value(conf->username, prev->username, NULL);
    ngx_conf_merge_size_value(conf->max_packet, prev->max_packet, 64 * 1024);
    ngx_conf_merge_size_value(conf->head_size, prev->head_size, 16 * 1024);
    ngx_conf_merge_msec_value(conf->cache, prev->cache, 5000);
    ngx_conf_merge_msec_value(conf->delay, prev->delay, 1000);

    if (conf->password.data == NULL) {
        conf->password = prev->password;
    }

    if (conf->bridge.len == 0) {
        return NGX_CONF_OK;
    }

    return ngx_stream_tb_mqtt_check_server(cf, conf);
}


static char *
ngx_stream_tb_mqtt_check_server(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf)
{
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    mcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_tb_mqtt_module);

    if (mcf->block.redis == NULL) {
        return ngx_stream_tb_mqtt_server_error(cf, conf,
                                  "needs a \"tb_rpc_redis\" block in stream{}");
    }

    if (conf->password.len && conf->username == NULL) {
        return ngx_stream_tb_mqtt_server_error(cf, conf,
                                  "has \"tb_mqtt_password_file\" without "
                                  "\"tb_mqtt_username\"");
    }

    if (conf->max_packet && conf->head_size > conf->max_packet) {
        conf->head_size = conf->max_packet;
    }

    if (conf->maps == NULL
        && ngx_stream_tb_mqtt_default_maps(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_stream_tb_mqtt_compile_maps(cf, conf);
}


static ngx_int_t
ngx_stream_tb_mqtt_default_maps(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf)
{
    size_t  n;
    void   *maps;

    n = sizeof(ngx_stream_tb_mqtt_maps) / sizeof(ngx_stream_tb_mqtt_maps[0]);

    conf->maps = ngx_array_create(cf->pool, n,
                                  sizeof(ngx_stream_tb_mqtt_prefix_t));
    if (conf->maps == NULL) {
        return NGX_ERROR;
    }

    maps = ngx_array_push_n(conf->maps, n);
    if (maps == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(maps, ngx_stream_tb_mqtt_maps, sizeof(ngx_stream_tb_mqtt_maps));

    return NGX_OK;
}


/* a copy: servers that inherit them sort the same ones */

static char *
ngx_stream_tb_mqtt_compile_maps(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf)
{
    size_t                               size;
    ngx_uint_t                           i;
    const char                          *error;
    ngx_stream_tb_mqtt_prefix_t          which;
    ngx_stream_compile_complex_value_t   ccv;

    conf->nprefixes = conf->maps->nelts;
    size = conf->nprefixes * sizeof(ngx_stream_tb_mqtt_prefix_t);

    conf->prefixes = ngx_palloc(cf->pool, size);
    if (conf->prefixes == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(conf->prefixes, conf->maps->elts, size);

    error = ngx_stream_tb_mqtt_map_check(conf->prefixes, conf->nprefixes,
                                         &which);
    if (error) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"tb_mqtt_map\" \"%V\" \"%V\" of the server in %s:%ui: "
                      "%s", &which.local, &which.remote, conf->file,
                      conf->line, error);
        return NGX_CONF_ERROR;
    }

    conf->remotes = ngx_pcalloc(cf->pool, conf->nprefixes
                                         * sizeof(ngx_stream_complex_value_t));
    if (conf->remotes == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < conf->nprefixes; i++) {

        ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &conf->prefixes[i].remote;
        ccv.complex_value = &conf->remotes[i];

        if (ngx_stream_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        ngx_stream_tb_mqtt_check_remote(cf, conf, &conf->prefixes[i].remote);
    }

    return NGX_CONF_OK;
}


/* a client chooses what it calls itself */

static void
ngx_stream_tb_mqtt_check_remote(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf, ngx_str_t *remote)
{
    if (remote->len == 0
        || ngx_strstr(remote->data, "tb_mqtt_client_id") == NULL
        || ngx_strstr(remote->data, "tb_mqtt_device_id"))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "\"tb_mqtt_map\" to \"%V\" of the server in %s:%ui: a "
                  "device may call itself like another one and share its "
                  "topics, add $tb_mqtt_device_id", remote, conf->file,
                  conf->line);
}


#if (nginx_version >= 1025005)

ngx_int_t
ngx_stream_tb_mqtt_check_listen(ngx_conf_t *cf)
{
    ngx_uint_t                     i, j, k;
    ngx_stream_conf_addr_t        *addr;
    ngx_stream_conf_port_t        *port;
    ngx_stream_core_srv_conf_t   **cscf;
    ngx_stream_core_main_conf_t   *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    if (cmcf->ports == NULL) {
        return NGX_OK;
    }

    port = cmcf->ports->elts;

    for (i = 0; i < cmcf->ports->nelts; i++) {
        addr = port[i].addrs.elts;

        for (j = 0; j < port[i].addrs.nelts; j++) {
            cscf = addr[j].servers.elts;

            for (k = 0; k < addr[j].servers.nelts; k++) {
                if (ngx_stream_tb_mqtt_check_type(cf, cscf[k]->ctx,
                                                  port[i].type)
                    != NGX_OK)
                {
                    return NGX_ERROR;
                }
            }
        }
    }

    return NGX_OK;
}

#else

ngx_int_t
ngx_stream_tb_mqtt_check_listen(ngx_conf_t *cf)
{
    ngx_uint_t                    i;
    ngx_stream_listen_t          *ls;
    ngx_stream_core_main_conf_t  *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    ls = cmcf->listen.elts;

    for (i = 0; i < cmcf->listen.nelts; i++) {
        if (ngx_stream_tb_mqtt_check_type(cf, ls[i].ctx, ls[i].type)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}

#endif


static ngx_int_t
ngx_stream_tb_mqtt_check_type(ngx_conf_t *cf, ngx_stream_conf_ctx_t *ctx,
    int type)
{
    ngx_stream_tb_mqtt_srv_conf_t  *conf;

    conf = ctx->srv_conf[ngx_stream_tb_mqtt_module.ctx_index];

    if (conf->bridge.len == 0 || type == SOCK_STREAM) {
        return NGX_OK;
    }

    (void) ngx_stream_tb_mqtt_server_error(cf, conf,
                                   "needs a \"listen\" without \"udp\"");

    return NGX_ERROR;
}


/* servers are merged when the line of tb_mqtt is long past */

static char *
ngx_stream_tb_mqtt_server_error(ngx_conf_t *cf,
    ngx_stream_tb_mqtt_srv_conf_t *conf, const char *text)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"tb_mqtt\" %s in %s:%ui",
                  text, conf->file, conf->line);

    return NGX_CONF_ERROR;
}


char *
ngx_stream_tb_mqtt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_tb_mqtt_srv_conf_t *scf = conf;

    u_char                           c;
    ngx_str_t                       *value;
    ngx_uint_t                       i;
    ngx_stream_tb_mqtt_main_conf_t  *mcf;

    if (scf->bridge.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
            && (c < '0' || c > '9')
            && ngx_strlchr((u_char *) "._:@-", (u_char *) "._:@-" + 5, c)
               == NULL)
        {
            break;
        }
    }

    if (value[1].len == 0 || value[1].len > NGX_STREAM_TB_MQTT_BRIDGE
        || i < value[1].len)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid bridge \"%V\" in \"tb_mqtt\", it must be "
                           "1 to 64 of A-Z a-z 0-9 . _ : @ -", &value[1]);
        return NGX_CONF_ERROR;
    }

    scf->bridge = value[1];
    scf->file = cf->conf_file->file.name.data;
    scf->line = cf->conf_file->line;

    mcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_tb_mqtt_module);
    mcf->used = 1;

    mcf->zone = ngx_tb_mqtt_counts_add(cf, &ngx_stream_tb_mqtt_module);

    return mcf->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_stream_tb_mqtt_map(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_tb_mqtt_srv_conf_t *scf = conf;

    ngx_str_t                    *value;
    ngx_stream_tb_mqtt_prefix_t  *map;

    if (scf->maps == NGX_CONF_UNSET_PTR) {
        scf->maps = ngx_array_create(cf->pool, 4,
                                     sizeof(ngx_stream_tb_mqtt_prefix_t));
        if (scf->maps == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    map = ngx_array_push(scf->maps);
    if (map == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    map->local = value[1];

    if (value[2].len == 0) {
        return "needs a prefix at the broker, or \"off\"";
    }

    if (ngx_strcmp(value[2].data, "off") == 0) {
        ngx_str_null(&map->remote);

    } else {
        map->remote = value[2];
    }

    return NGX_CONF_OK;
}


char *
ngx_stream_tb_mqtt_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_stream_tb_mqtt_srv_conf_t *scf = conf;

    return ngx_tb_rpc_block_secret(cf, cf->args->elts, &scf->password);
}


/* as in the functions: what is due at once is due for ever */

char *
ngx_stream_tb_mqtt_check_ttl(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *msp = data;

    return (*msp >= 300 && *msp <= 86400000)
           ? NGX_CONF_OK : "must be from 300ms to 1d";
}


char *
ngx_stream_tb_mqtt_check_head(ngx_conf_t *cf, void *post, void *data)
{
    size_t *sp = data;

    return (*sp >= NGX_STREAM_TB_MQTT_MIN_HEAD
            && *sp <= NGX_STREAM_TB_MQTT_MAX_HEAD)
           ? NGX_CONF_OK : "must be from 512 to 1m";
}


/* with less not even a CONNECT is taken */

char *
ngx_stream_tb_mqtt_check_packet(ngx_conf_t *cf, void *post, void *data)
{
    size_t *sp = data;

    return (*sp == 0 || *sp >= NGX_STREAM_TB_MQTT_MIN_HEAD)
           ? NGX_CONF_OK : "must be 0 or at least 512";
}
