
/*
 * Topics of a device and what they are at the broker.  A map is a pair of
 * prefixes: what begins with "local" for the device begins with "remote" at
 * the broker, the longest local one decides.  A prefix is compared letter by
 * letter, in filters too: so a wildcard is left where it is, or comes to stand
 * behind a remote prefix, and never in one.
 */


#ifndef _NGX_STREAM_TB_MQTT_MAP_H_INCLUDED_
#define _NGX_STREAM_TB_MQTT_MAP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"


typedef struct {
    ngx_str_t                      local;
    ngx_str_t                      remote;    /* empty: "off" */
} ngx_stream_tb_mqtt_prefix_t;


/* of one connection; the longest local prefix first */

struct ngx_stream_tb_mqtt_map_s {
    ngx_stream_tb_mqtt_prefix_t   *prefix;
    ngx_uint_t                     n;
    size_t                         grows;     /* a topic at the broker, most */
    size_t                         shrinks;
};


/* a topic or filter on the other side: head, prefix and rest together */

typedef struct {
    ngx_str_t                      share;     /* "$share/group/" or empty */
    ngx_str_t                      prefix;
    ngx_str_t                      rest;
} ngx_stream_tb_mqtt_topic_t;

#define ngx_stream_tb_mqtt_topic_len(topic)                                   \
    ((topic)->share.len + (topic)->prefix.len + (topic)->rest.len)


/*
 * For the configuration, where remote prefixes still have their variables:
 * sorts them, and tells what is wrong (then *which is the one it is wrong
 * with), or returns NULL.  Local prefixes are unique; each prefix ends with
 * "/", but a local one may be empty; no remote one is the beginning of
 * another, whatever the variables are, nor has an empty level.
 */
const char *ngx_stream_tb_mqtt_map_check(ngx_stream_tb_mqtt_prefix_t *prefix,
    ngx_uint_t n, ngx_stream_tb_mqtt_prefix_t *which);

/*
 * The map of a connection: prefixes as they were checked and sorted, their
 * remote ones with the variables expanded in values[i], whose bytes must stay
 * (of "off" it is not looked at).  NULL: no memory, or *error says what is
 * wrong with a value: one may not bring other levels than its template has, so
 * that what a client calls itself leads nowhere else.
 */
ngx_stream_tb_mqtt_map_t *ngx_stream_tb_mqtt_map_create(ngx_pool_t *pool,
    ngx_stream_tb_mqtt_prefix_t *prefix, ngx_str_t *values, ngx_uint_t n,
    const char **error);

/*
 * NGX_DECLINED: refused, since "off", not covered by any prefix, or longer
 * than a topic can be.  The result points into map and the topic.
 */

/* of a PUBLISH from the device, its will, response topics */
ngx_int_t ngx_stream_tb_mqtt_map_topic(ngx_stream_tb_mqtt_map_t *map,
    ngx_str_t *topic, ngx_stream_tb_mqtt_topic_t *remote);

/* of a SUBSCRIBE or UNSUBSCRIBE */
ngx_int_t ngx_stream_tb_mqtt_map_filter(ngx_stream_tb_mqtt_map_t *map,
    ngx_str_t *filter, ngx_stream_tb_mqtt_topic_t *remote);

/* of a delivery by the broker: only what maps back to the same topic */
ngx_int_t ngx_stream_tb_mqtt_map_back(ngx_stream_tb_mqtt_map_t *map,
    ngx_str_t *topic, ngx_stream_tb_mqtt_topic_t *local);


#endif /* _NGX_STREAM_TB_MQTT_MAP_H_INCLUDED_ */
