
/*
 * What a client is configured with.
 */


#ifndef _NGX_TB_REDIS_CONF_H_INCLUDED_
#define _NGX_TB_REDIS_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    ngx_str_t                 url;        /* as configured, for messages */
    ngx_str_t                 host;       /* without port, "" for unix: */
    in_port_t                 port;
    ngx_addr_t               *addrs;      /* resolved at configuration */
    ngx_uint_t                naddrs;
    unsigned                  ssl:1;
    unsigned                  resolve:1;  /* re-resolve in the worker */
    unsigned                  no_port:1;  /* it has the default one */
} ngx_tb_redis_server_t;


typedef struct {
    ngx_array_t              *servers;    /* ngx_tb_redis_server_t */
    ngx_str_t                 username;
    ngx_str_t                 password;
    ngx_uint_t                database;
    ngx_flag_t                cluster;    /* of servers, these are seeds */
    ngx_str_t                 sentinel;   /* the master there; "": none */
    ngx_str_t                 sentinel_username;
    ngx_str_t                 sentinel_password;
    ngx_msec_t                connect_timeout;
    ngx_msec_t                command_timeout;
    ngx_uint_t                queue;
    ngx_uint_t                wait_replicas;    /* 0: none */
    ngx_msec_t                wait_timeout;
    ngx_resolver_t           *resolver;
    ngx_msec_t                resolver_timeout;

    /* of rediss:// */
    ngx_flag_t                ssl_verify;
    ngx_str_t                 ssl_name;   /* "": the host of the URL */
    ngx_str_t                 ssl_trusted_certificate;
    ngx_str_t                 ssl_certificate;
    ngx_str_t                 ssl_certificate_key;
#if (NGX_SSL)
    ngx_ssl_t                *ssl;        /* NULL: no server has TLS */
#endif
} ngx_tb_redis_conf_t;


/*
 * "redis[s]://host[:port][/db]" or "unix:/path"; an optional "resolve" is up to
 * the caller.  Logs and returns NGX_CONF_ERROR, or sets conf->database too.
 */
char *ngx_tb_redis_parse_url(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf,
    ngx_tb_redis_server_t *server, ngx_str_t *url);

#if (NGX_SSL)

/* what all connections with TLS share; logs and returns NGX_CONF_ERROR */
char *ngx_tb_redis_ssl_init(ngx_conf_t *cf, ngx_tb_redis_conf_t *conf);

#endif


#endif /* _NGX_TB_REDIS_CONF_H_INCLUDED_ */
