
/*
 * The shared memory: nginx keeps it over reloads, and everybody writes only
 * what is his own.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_tb_rpc_zone.h"


static ngx_int_t ngx_http_tb_rpc_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_uint_t ngx_http_tb_rpc_zone_dead(ngx_http_tb_rpc_process_t *p,
    ngx_atomic_uint_t pid);


ngx_shm_zone_t *
ngx_http_tb_rpc_zone_add(ngx_conf_t *cf)
{
    size_t           size;
    ngx_shm_zone_t  *shm_zone;

    static ngx_str_t  name = ngx_string(NGX_HTTP_TB_RPC_ZONE_NAME);

    /* the slab allocator has a few pages for itself */

    size = ngx_align(sizeof(ngx_http_tb_rpc_zone_t), ngx_pagesize)
           + 8 * ngx_pagesize;

    shm_zone = ngx_shared_memory_add(cf, &name, size,
                                     &ngx_http_tb_rpc_module);
    if (shm_zone == NULL) {
        return NULL;
    }

    shm_zone->init = ngx_http_tb_rpc_zone_init;

    return shm_zone;
}


static ngx_int_t
ngx_http_tb_rpc_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_tb_rpc_zone_t  *zone;

    if (data) {
        shm_zone->data = data;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        shm_zone->data = shpool->data;
        return NGX_OK;
    }

    zone = ngx_slab_calloc(shpool, sizeof(ngx_http_tb_rpc_zone_t));
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->since = ngx_time();

    shpool->data = zone;
    shm_zone->data = zone;

    return NGX_OK;
}


ngx_http_tb_rpc_counts_t *
ngx_http_tb_rpc_zone_counts(ngx_shm_zone_t *shm_zone)
{
    ngx_http_tb_rpc_zone_t  *zone;

    if (shm_zone == NULL) {
        return NULL;
    }

    zone = shm_zone->data;

    /*
     * during a reload the old worker of that number uses it too, and where
     * there are more workers than blocks some share one
     */

    return &zone->slots[ngx_worker % NGX_HTTP_TB_RPC_ZONE_SLOTS].counts;
}


void
ngx_http_tb_rpc_zone_sum(ngx_http_tb_rpc_zone_t *zone,
    ngx_http_tb_rpc_counts_t *sum)
{
    ngx_uint_t     i, k;
    ngx_atomic_t  *to, *from;

    ngx_memzero(sum, sizeof(ngx_http_tb_rpc_counts_t));

    to = (ngx_atomic_t *) sum;

    for (i = 0; i < NGX_HTTP_TB_RPC_ZONE_SLOTS; i++) {
        from = (ngx_atomic_t *) &zone->slots[i].counts;

        for (k = 0;
             k < sizeof(ngx_http_tb_rpc_counts_t) / sizeof(ngx_atomic_t);
             k++)
        {
            to[k] += from[k];
        }
    }
}


ngx_http_tb_rpc_process_t *
ngx_http_tb_rpc_zone_enter(ngx_http_tb_rpc_zone_t *zone)
{
    ngx_uint_t                  i;
    ngx_http_tb_rpc_process_t  *p;

    ngx_http_tb_rpc_zone_sweep(zone);

    for (i = 0; i < NGX_HTTP_TB_RPC_PROCESSES; i++) {
        p = &zone->processes[i];

        if (p->pid == 0
            && ngx_atomic_cmp_set(&p->pid, 0, (ngx_atomic_uint_t) ngx_pid))
        {
            ngx_memzero((u_char *) p + sizeof(ngx_atomic_t),
                        sizeof(ngx_http_tb_rpc_process_t)
                        - sizeof(ngx_atomic_t));

            p->worker = ngx_worker;
            p->born = ngx_atomic_fetch_add(&zone->born, 1);

            return p;
        }
    }

    return NULL;
}


void
ngx_http_tb_rpc_zone_leave(ngx_http_tb_rpc_process_t *process)
{
    if (process->pid == (ngx_atomic_uint_t) ngx_pid) {
        process->updated = 0;
        process->pid = 0;
    }
}


void
ngx_http_tb_rpc_zone_sweep(ngx_http_tb_rpc_zone_t *zone)
{
    ngx_uint_t                  i;
    ngx_atomic_uint_t           pid;
    ngx_http_tb_rpc_process_t  *p;

    for (i = 0; i < NGX_HTTP_TB_RPC_PROCESSES; i++) {
        p = &zone->processes[i];

        pid = p->pid;

        if (pid == 0 || !ngx_http_tb_rpc_zone_dead(p, pid)) {
            continue;
        }

        /* it counts for one of those who see that */

        if (ngx_atomic_cmp_set(&p->pid, pid, 1)) {
            (void) ngx_atomic_fetch_add(&zone->lost, 1);

            p->updated = 0;
            p->pid = 0;
        }
    }
}


/* 0 while it is being entered; another process may have its pid by now */

static ngx_uint_t
ngx_http_tb_rpc_zone_dead(ngx_http_tb_rpc_process_t *p, ngx_atomic_uint_t pid)
{
    ngx_msec_t  updated;

    updated = p->updated;

    if (pid == 1 || updated == 0) {
        return 0;
    }

    if ((ngx_msec_int_t) (ngx_current_msec - updated)
        > NGX_HTTP_TB_RPC_PROCESS_SILENT)
    {
        return 1;
    }

    return kill((ngx_pid_t) pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}
