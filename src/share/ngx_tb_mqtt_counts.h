
/*
 * What ngx_stream_tb_mqtt_module counts, in memory that all workers share.  The
 * HTTP module shows it, and knows nothing else of it: it may not be loaded.
 */


#ifndef _NGX_TB_MQTT_COUNTS_H_INCLUDED_
#define _NGX_TB_MQTT_COUNTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * To be changed with the struct below: a zone of another name is other memory,
 * so nobody reads what another version has written
 */

#define NGX_TB_MQTT_COUNTS_NAME  "tb_mqtt_status_1"


/* what a login has come to: $tb_mqtt_refused, the first is none */

enum {
    NGX_TB_MQTT_ACCEPTED = 0,
    NGX_TB_MQTT_NRESULTS = 8
};


typedef struct {
    ngx_atomic_t                  pid;          /* 0: none */
    ngx_atomic_t                  devices;      /* connected */
} ngx_tb_mqtt_process_t;


typedef struct {
    ngx_atomic_t                  logins[NGX_TB_MQTT_NRESULTS];
    ngx_atomic_t                  attached;     /* sessions */
    ngx_atomic_t                  superseded;   /* closed for it */
    ngx_atomic_t                  retried;      /* attaches that Redis did not
                                                   take */
    ngx_tb_mqtt_process_t         processes[NGX_MAX_PROCESSES];
} ngx_tb_mqtt_counts_t;


extern ngx_str_t  ngx_tb_mqtt_results[NGX_TB_MQTT_NRESULTS];


/* NULL: no memory; tag is the module's */
ngx_shm_zone_t *ngx_tb_mqtt_counts_add(ngx_conf_t *cf, void *tag);

/* NULL: this configuration has no tb_mqtt */
ngx_tb_mqtt_counts_t *ngx_tb_mqtt_counts_find(ngx_cycle_t *cycle);

/* of all processes that live */
ngx_uint_t ngx_tb_mqtt_counts_devices(ngx_tb_mqtt_counts_t *counts);

/* by its name, NULL is accepted; NGX_TB_MQTT_NRESULTS: there is none */
ngx_uint_t ngx_tb_mqtt_counts_result(const char *name);


#endif /* _NGX_TB_MQTT_COUNTS_H_INCLUDED_ */
