
/*
 * What the settings of tb_rpc_redis { } are given.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_rpc_block_private.h"


#define NGX_TB_RPC_MAX_PASSWORD  1024


static ngx_int_t ngx_tb_rpc_block_read_password(ngx_conf_t *cf,
    ngx_str_t *name, ngx_str_t *password);


char *
ngx_tb_rpc_block_text(ngx_str_t *value, ngx_str_t *text)
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
ngx_tb_rpc_block_flag(ngx_str_t *value, ngx_flag_t *flag)
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
ngx_tb_rpc_block_secret(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *secret)
{
    if (secret->data) {
        return "is duplicate";
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_tb_rpc_block_read_password(cf, &value[1], secret) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tb_rpc_block_read_password(ngx_conf_t *cf, ngx_str_t *name,
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

    p = ngx_pnalloc(cf->pool, NGX_TB_RPC_MAX_PASSWORD + 1);

    if (p) {
        n = ngx_read_fd(fd, p, NGX_TB_RPC_MAX_PASSWORD + 1);
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

    if (n > NGX_TB_RPC_MAX_PASSWORD) {
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


char *
ngx_tb_rpc_block_number(ngx_conf_t *cf, ngx_str_t *value,
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
ngx_tb_rpc_block_msec(ngx_conf_t *cf, ngx_str_t *value,
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
