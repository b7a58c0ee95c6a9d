
/*
 * The threads in which passwords are computed: how many, and how weak.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#if (NGX_THREADS)
#include <ngx_thread_pool.h>
#endif

#include "ngx_http_tb_rpc_login.h"


static const char *ngx_http_tb_rpc_login_threads_parameter(
    ngx_http_tb_rpc_login_threads_t *threads, ngx_str_t *value);


void
ngx_http_tb_rpc_login_threads_create(ngx_http_tb_rpc_login_threads_t *threads)
{
    threads->max = NGX_CONF_UNSET_UINT;
    threads->waiting = NGX_CONF_UNSET_UINT;
    threads->nice = NGX_CONF_UNSET_UINT;
}


void
ngx_http_tb_rpc_login_threads_init(ngx_http_tb_rpc_login_threads_t *threads)
{
    ngx_conf_init_uint_value(threads->max, 2);
    ngx_conf_init_uint_value(threads->waiting, 8 * threads->max);
    ngx_conf_init_uint_value(threads->nice, 10);

    if (threads->pool.len == 0) {
        ngx_str_set(&threads->pool, "default");
    }
}


#if (NGX_THREADS)

const char *
ngx_http_tb_rpc_login_threads_check(ngx_conf_t *cf,
    ngx_http_tb_rpc_login_threads_t *threads)
{
    /* files would be read by threads that get what nobody else wants */

    if (threads->nice == NGX_HTTP_TB_RPC_LOGIN_IDLE
        && ngx_strcmp(threads->pool.data, "default") == 0)
    {
        return "needs a \"thread_pool\" of its own, since "
               "\"tb_rpc_login_threads\" are \"idle\"";
    }

    threads->tp = ngx_thread_pool_add(cf, &threads->pool);
    if (threads->tp == NULL) {
        return "has no thread pool";
    }

    return NULL;
}

#endif


/*
 * The event loop comes first, and with it Redis and bridges on the same
 * processors: who wakes up takes one from an idle thread at once, from one of
 * any nice value perhaps milliseconds later.  Linux has a priority for each
 * thread; nobody but root could take it back, so the thread keeps it.
 */

void
ngx_http_tb_rpc_login_thread_weaken(ngx_uint_t nice)
{
#if (NGX_LINUX)

    struct sched_param  param;

    if (nice == NGX_HTTP_TB_RPC_LOGIN_IDLE) {

        if (sched_getscheduler(0) == SCHED_IDLE) {
            return;
        }

        ngx_memzero(&param, sizeof(struct sched_param));

        if (sched_setscheduler(0, SCHED_IDLE, &param) == 0) {
            return;
        }

        /* a libc or a sandbox without it */

        nice = 19;
    }

    if (getpriority(PRIO_PROCESS, 0) < (int) nice) {
        (void) setpriority(PRIO_PROCESS, 0, (int) nice);
    }

#endif
}


char *
ngx_http_tb_rpc_login_threads(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_int_t                         n;
    ngx_str_t                        *value;
    ngx_uint_t                        i;
    const char                       *error;
    ngx_http_tb_rpc_login_threads_t  *threads;

    threads = (ngx_http_tb_rpc_login_threads_t *) (p + cmd->offset);

    if (threads->max != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n < 1 || n > 64) {
        return "must be from 1 to 64";
    }

    threads->max = n;

    for (i = 2; i < cf->args->nelts; i++) {
        error = ngx_http_tb_rpc_login_threads_parameter(threads, &value[i]);

        if (error) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s \"%V\"", error,
                               &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* NULL, or what is wrong with it */

static const char *
ngx_http_tb_rpc_login_threads_parameter(
    ngx_http_tb_rpc_login_threads_t *threads, ngx_str_t *value)
{
    ngx_int_t    n;
    ngx_uint_t  *to, max, len;

    if (value->len > 5 && ngx_strncmp(value->data, "pool=", 5) == 0) {

        if (threads->pool.len) {
            return "duplicate parameter";
        }

        threads->pool.data = value->data + 5;
        threads->pool.len = value->len - 5;

        return NULL;
    }

    if (ngx_strcmp(value->data, "idle") == 0) {

        if (threads->nice != NGX_CONF_UNSET_UINT) {
            return "there is a priority already, beside parameter";
        }

        threads->nice = NGX_HTTP_TB_RPC_LOGIN_IDLE;

        return NULL;
    }

    if (value->len > 8 && ngx_strncmp(value->data, "waiting=", 8) == 0) {
        to = &threads->waiting;
        max = 10000;
        len = 8;

    } else if (value->len > 5 && ngx_strncmp(value->data, "nice=", 5) == 0) {
        to = &threads->nice;
        max = 19;
        len = 5;

    } else {
        return "invalid parameter";
    }

    n = ngx_atoi(value->data + len, value->len - len);

    if (n == NGX_ERROR || (ngx_uint_t) n > max) {
        return "invalid parameter";
    }

    if (*to != NGX_CONF_UNSET_UINT) {
        return (to == &threads->nice)
               ? "there is a priority already, beside parameter"
               : "duplicate parameter";
    }

    *to = n;

    return NULL;
}
