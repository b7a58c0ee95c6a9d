
/*
 * What ngx_stream_tb_mqtt_module counts.  It is written by logins and ends of
 * connections, not by messages: so there is one set for all workers.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_tb_mqtt_counts.h"


static ngx_int_t ngx_tb_mqtt_counts_init(ngx_shm_zone_t *shm_zone,
    void *data);


ngx_str_t  ngx_tb_mqtt_results[NGX_TB_MQTT_NRESULTS] = {
    ngx_string("accepted"),
    ngx_string("no_credentials"),
    ngx_string("unknown"),
    ngx_string("unavailable"),
    ngx_string("broker"),
    ngx_string("map"),
    ngx_string("malformed"),
    ngx_string("too_large")
};


ngx_shm_zone_t *
ngx_tb_mqtt_counts_add(ngx_conf_t *cf, void *tag)
{
    size_t           size;
    ngx_shm_zone_t  *shm_zone;

    static ngx_str_t  name = ngx_string(NGX_TB_MQTT_COUNTS_NAME);

    /* the slab allocator has a few pages for itself */

    size = ngx_align(sizeof(ngx_tb_mqtt_counts_t), ngx_pagesize)
           + 8 * ngx_pagesize;

    shm_zone = ngx_shared_memory_add(cf, &name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    shm_zone->init = ngx_tb_mqtt_counts_init;

    return shm_zone;
}


static ngx_int_t
ngx_tb_mqtt_counts_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    if (data) {
        shm_zone->data = data;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (!shm_zone->shm.exists) {
        shpool->data = ngx_slab_calloc(shpool, sizeof(ngx_tb_mqtt_counts_t));

        if (shpool->data == NULL) {
            return NGX_ERROR;
        }
    }

    shm_zone->data = shpool->data;

    return NGX_OK;
}


ngx_tb_mqtt_counts_t *
ngx_tb_mqtt_counts_find(ngx_cycle_t *cycle)
{
    ngx_uint_t        i;
    ngx_shm_zone_t   *shm_zone;
    ngx_list_part_t  *part;

    for (part = &cycle->shared_memory.part; part; part = part->next) {
        shm_zone = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (shm_zone[i].shm.name.len
                == sizeof(NGX_TB_MQTT_COUNTS_NAME) - 1
                && ngx_strncmp(shm_zone[i].shm.name.data,
                               NGX_TB_MQTT_COUNTS_NAME,
                               sizeof(NGX_TB_MQTT_COUNTS_NAME) - 1)
                   == 0)
            {
                return shm_zone[i].data;
            }
        }
    }

    return NULL;
}


/* a killed worker has left its number; the next one has its place */

ngx_uint_t
ngx_tb_mqtt_counts_devices(ngx_tb_mqtt_counts_t *counts)
{
    ngx_uint_t              i, n;
    ngx_atomic_uint_t       pid;
    ngx_tb_mqtt_process_t  *p;

    n = 0;

    for (i = 0; i < NGX_MAX_PROCESSES; i++) {
        p = &counts->processes[i];
        pid = p->pid;

        if (pid && p->devices
            && (kill((ngx_pid_t) pid, 0) == 0 || ngx_errno != NGX_ESRCH))
        {
            n += p->devices;
        }
    }

    return n;
}


ngx_uint_t
ngx_tb_mqtt_counts_result(const char *name)
{
    ngx_uint_t  i;

    if (name == NULL) {
        return NGX_TB_MQTT_ACCEPTED;
    }

    for (i = 1; i < NGX_TB_MQTT_NRESULTS; i++) {
        if (ngx_strcmp(ngx_tb_mqtt_results[i].data, name) == 0) {
            break;
        }
    }

    return i;
}
