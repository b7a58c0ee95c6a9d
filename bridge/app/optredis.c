
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The options of Redis: one server, or those that know it; TLS.
 */


#include "../base/str.h"
#include "optredis.h"


#define TB_REDIS_PORT        6379
#define TB_SENTINEL_PORT     26379

#define TB_REDIS_URL  "must be redis://host[:port][/db],"                     \
                      " rediss://host[:port][/db] (TLS) or unix:/path"


static void
tb_redis_none(tb_options_t *opt)
{
    int  i;

    for (i = 0; i < opt->redis.nservers; i++) {
        tb_server_clear(&opt->redis.servers[i]);
    }

    opt->redis.nservers = 0;
    opt->redis.db = 0;
    opt->redis.tls = 0;
}


static const char *
tb_redis_url(tb_options_t *opt, const char *url)
{
    int          tls, port;
    char        *host;
    uint32_t     db;
    const char  *rest, *error;

    tls = strncmp(url, "rediss://", 9) == 0;

    if (!tls && strncmp(url, "redis://", 8) != 0) {
        return TB_REDIS_URL;
    }

    host = NULL;
    port = 0;
    db = 0;

    error = tb_set_host(url + 8 + tls, &host, &port, &rest);

    if (error == NULL && *rest != '\0' && strcmp(rest, "/") != 0
        && (*rest != '/'
            || tb_number(rest + 1, strlen(rest + 1), 0, 65535, &db)
               != TB_OK))
    {
        error = TB_REDIS_URL;
    }

    if (error == NULL && opt->redis.nservers && tls != opt->redis.tls) {
        error = "must have TLS each time, or never";
    }

    if (error == NULL && opt->redis.nservers && (int) db != opt->redis.db) {
        error = "must have the same database each time";
    }

    if (error == NULL) {
        tb_server_set(&opt->redis.servers[opt->redis.nservers++], host,
                      strlen(host), port);
        opt->redis.tls = tls;
        opt->redis.db = (int) db;
    }

    free(host);

    return error;
}


const char *
tb_set_redis(tb_options_t *opt, const tb_option_t *o, const char *value)
{
    size_t       len;
    const char  *error;
    char         url[1024];

    if (opt->redis_source != opt->source) {
        tb_redis_none(opt);
        opt->redis_source = opt->source;
    }

    do {
        value += strspn(value, " \t");
        len = strcspn(value, " \t");

        if (len >= sizeof(url)) {
            return "is too long";
        }

        memcpy(url, value, len);
        url[len] = '\0';
        value += len;

        if (opt->redis.nservers == TB_MAX_SERVERS) {
            return "is given too often";
        }

        if (strncmp(url, "unix:", 5) == 0 && len > 5) {
            tb_server_set_path(&opt->redis.servers[opt->redis.nservers++],
                               url + 5);

        } else {
            error = tb_redis_url(opt, url);
            if (error) {
                return error;
            }
        }

    } while (value[strspn(value, " \t")] != '\0');

    return NULL;
}


const char *
tb_set_redis_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value)
{
    tb_replace(&opt->redis_password_file, value, strlen(value));

    return tb_secret(&opt->redis.password, "", value);
}


const char *
tb_set_sentinel_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value)
{
    tb_replace(&opt->sentinel_password_file, value, strlen(value));

    return tb_secret(&opt->redis.sentinel_password, "", value);
}


const char *
tb_redis_options_again(tb_options_t *opt)
{
    const char  *why;

    why = NULL;

    if (opt->redis_password_file) {
        why = tb_secret(&opt->redis.password, "--redis-password-file ",
                        opt->redis_password_file);
    }

    if (why == NULL && opt->sentinel_password_file) {
        why = tb_secret(&opt->redis.sentinel_password,
                        "--redis-sentinel-password-file ",
                        opt->sentinel_password_file);
    }

    return why;
}


/* one server, or several that are the same kind of */

static const char *
tb_redis_servers_check(tb_redis_conf_t *conf)
{
    int           i, port;
    char         *host;
    tb_server_t  *s;

    if (conf->nservers > 1 && !conf->sentinel && !conf->cluster) {
        return "is given several times, which needs --redis-cluster or"
               " --redis-sentinel";
    }

    if (conf->cluster && conf->db) {
        return "has a database, a cluster has 0 only";
    }

    port = conf->sentinel ? TB_SENTINEL_PORT : TB_REDIS_PORT;

    for (i = 0; i < conf->nservers; i++) {
        s = &conf->servers[i];

        if (s->path && (conf->sentinel || conf->cluster)) {
            return "unix: is one server, no Sentinel and no cluster";
        }

        if (s->path == NULL && s->port == 0) {
            host = tb_strndup(s->host, strlen(s->host));
            tb_server_set(s, host, strlen(host), port);
            free(host);
        }
    }

    return NULL;
}


const char *
tb_redis_options_check(tb_options_t *opt, const char **option)
{
    const char       *why;
    tb_redis_conf_t  *conf;

    conf = &opt->redis;

    *option = "--redis-user";

    if (conf->user && !conf->password) {
        return "needs --redis-password-file";
    }

    *option = "--redis-cluster and --redis-sentinel";

    if (conf->cluster && conf->sentinel) {
        return "exclude each other";
    }

    *option = "--redis-sentinel-user and --redis-sentinel-password-file";

    if (!conf->sentinel && (conf->sentinel_user || conf->sentinel_password)) {
        return "need --redis-sentinel";
    }

    *option = "--redis-sentinel-user";

    if (conf->sentinel_user && !conf->sentinel_password) {
        return "needs --redis-sentinel-password-file";
    }

    *option = "--redis";

    why = tb_redis_servers_check(conf);

    if (why) {
        return why;
    }

    *option = "--redis-cert and --redis-key";

    if (!conf->cert != !conf->key) {
        return "need each other";
    }

    *option = "--redis-ca, --redis-cert and --redis-key";

    if (!conf->tls && (conf->ca || conf->cert)) {
        return "need a rediss:// --redis";
    }

    return NULL;
}


void
tb_redis_options_free(tb_options_t *opt)
{
    tb_redis_none(opt);
}
