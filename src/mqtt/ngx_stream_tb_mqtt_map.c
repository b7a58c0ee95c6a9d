
/*
 * Topic maps.
 *
 * Whatever a device sends comes out as one of its own remote prefixes and then
 * the rest of the topic or filter, as it was.  A remote prefix has no wildcard
 * and ends with a level of its own, so a filter can match nothing but what
 * begins with it (or, with "#" alone behind it, the prefix without its slash,
 * which is nobody's topic).
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_field.h"
#include "ngx_stream_tb_mqtt_map.h"
#include "ngx_stream_tb_mqtt_packet.h"


static ngx_uint_t ngx_stream_tb_mqtt_begins(ngx_str_t *text,
    ngx_str_t *prefix);
static ngx_uint_t ngx_stream_tb_mqtt_levels(ngx_str_t *text);
static ngx_uint_t ngx_stream_tb_mqtt_may_begin(ngx_str_t *text,
    ngx_str_t *prefix);
static const char *ngx_stream_tb_mqtt_remote_error(ngx_str_t *remote);
static const char *ngx_stream_tb_mqtt_value_error(ngx_str_t *value,
    ngx_str_t *template);
static const char *ngx_stream_tb_mqtt_prefix_error(
    ngx_stream_tb_mqtt_prefix_t *prefix);
static ngx_int_t ngx_stream_tb_mqtt_map_literal(
    ngx_stream_tb_mqtt_map_t *map, ngx_str_t *topic,
    ngx_stream_tb_mqtt_topic_t *remote);
static ngx_int_t ngx_stream_tb_mqtt_longer(const void *one, const void *two);
static ngx_stream_tb_mqtt_prefix_t *ngx_stream_tb_mqtt_local(
    ngx_stream_tb_mqtt_map_t *map, ngx_str_t *topic);


const char *
ngx_stream_tb_mqtt_map_check(ngx_stream_tb_mqtt_prefix_t *prefix,
    ngx_uint_t n, ngx_stream_tb_mqtt_prefix_t *which)
{
    ngx_uint_t   i, k;
    const char  *error;

    ngx_sort(prefix, n, sizeof(ngx_stream_tb_mqtt_prefix_t),
             ngx_stream_tb_mqtt_longer);

    for (i = 0; i < n; i++) {
        *which = prefix[i];

        error = ngx_stream_tb_mqtt_prefix_error(&prefix[i]);
        if (error) {
            return error;
        }

        for (k = 0; k < n; k++) {
            if (k == i) {
                continue;
            }

            if (prefix[i].local.len == prefix[k].local.len
                && ngx_stream_tb_mqtt_begins(&prefix[i].local,
                                             &prefix[k].local))
            {
                return "the same topics are mapped twice";
            }

            if (prefix[i].remote.len && prefix[k].remote.len
                && ngx_stream_tb_mqtt_may_begin(&prefix[i].remote,
                                                &prefix[k].remote))
            {
                return "the broker's prefix can begin with another map's, "
                       "of this device or another one";
            }
        }
    }

    return NULL;
}


ngx_stream_tb_mqtt_map_t *
ngx_stream_tb_mqtt_map_create(ngx_pool_t *pool,
    ngx_stream_tb_mqtt_prefix_t *prefix, ngx_str_t *values, ngx_uint_t n,
    const char **error)
{
    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_stream_tb_mqtt_map_t     *map;
    ngx_stream_tb_mqtt_prefix_t  *p;

    *error = NULL;

    map = ngx_palloc(pool, sizeof(ngx_stream_tb_mqtt_map_t)
                           + n * sizeof(ngx_stream_tb_mqtt_prefix_t));
    if (map == NULL) {
        return NULL;
    }

    p = (ngx_stream_tb_mqtt_prefix_t *) &map[1];

    map->prefix = p;
    map->n = n;
    map->grows = 0;
    map->shrinks = 0;

    for (i = 0; i < n; i++) {
        p[i] = prefix[i];

        if (prefix[i].remote.len == 0) {
            continue;
        }

        value = &values[i];

        *error = ngx_stream_tb_mqtt_value_error(value, &prefix[i].remote);
        if (*error) {
            return NULL;
        }

        p[i].remote = *value;

        if (value->len > p[i].local.len) {
            map->grows = ngx_max(map->grows, value->len - p[i].local.len);

        } else {
            map->shrinks = ngx_max(map->shrinks, p[i].local.len - value->len);
        }
    }

    return map;
}


/* levels as in the template, none of them empty that was not written so */

static const char *
ngx_stream_tb_mqtt_value_error(ngx_str_t *value, ngx_str_t *template)
{
    const char  *error;

    if (value->len == 0) {
        return "the broker's prefix is empty";
    }

    /* "$share/..." would be a subscription of something else */

    if (value->data[0] == '$') {
        return "the broker's prefix begins with \"$\"";
    }

    error = ngx_stream_tb_mqtt_remote_error(value);
    if (error) {
        return error;
    }

    if (ngx_stream_tb_mqtt_levels(value) != ngx_stream_tb_mqtt_levels(template)
        || (value->data[0] == '/' && template->data[0] != '/'))
    {
        return "a variable in the broker's prefix is empty or has a \"/\"";
    }

    return NULL;
}


static ngx_int_t
ngx_stream_tb_mqtt_longer(const void *one, const void *two)
{
    const ngx_stream_tb_mqtt_prefix_t  *first, *second;

    first = one;
    second = two;

    return first->local.len < second->local.len;
}


static ngx_uint_t
ngx_stream_tb_mqtt_begins(ngx_str_t *text, ngx_str_t *prefix)
{
    return text->len >= prefix->len
           && ngx_memcmp(text->data, prefix->data, prefix->len) == 0;
}


/*
 * The same, where a level with a variable can be any.  Values have no "/", so
 * that what can't begin like this never does, whosever the values are.
 */

static ngx_uint_t
ngx_stream_tb_mqtt_may_begin(ngx_str_t *text, ngx_str_t *prefix)
{
    u_char  *p, *q, *next, *end, *p_last, *q_last;

    p = text->data;
    p_last = p + text->len;
    q = prefix->data;
    q_last = q + prefix->len;

    while (q < q_last) {
        next = ngx_strlchr(p, p_last, '/');
        end = ngx_strlchr(q, q_last, '/');

        if (next == NULL || end == NULL) {
            return 0;
        }

        if (ngx_strlchr(p, next, '$') == NULL
            && ngx_strlchr(q, end, '$') == NULL
            && (next - p != end - q || ngx_memcmp(p, q, end - q) != 0))
        {
            return 0;
        }

        p = next + 1;
        q = end + 1;
    }

    return 1;
}


static ngx_uint_t
ngx_stream_tb_mqtt_levels(ngx_str_t *text)
{
    size_t      i;
    ngx_uint_t  n;

    n = 0;

    for (i = 0; i < text->len; i++) {
        n += (text->data[i] == '/');
    }

    return n;
}


static const char *
ngx_stream_tb_mqtt_remote_error(ngx_str_t *remote)
{
    size_t  i;

    /* a first level that is empty is as good as any, if it was written so */

    for (i = 1; i < remote->len; i++) {
        if (remote->data[i] == '/' && remote->data[i - 1] == '/') {
            return "the broker's prefix has an empty level";
        }
    }

    if (remote->len == 1 || remote->data[remote->len - 1] != '/') {
        return "the broker's prefix does not end with a level and \"/\"";
    }

    if (remote->len > NGX_STREAM_TB_MQTT_MAX_STRING / 2) {
        return "the broker's prefix is too long";
    }

    if (!ngx_stream_tb_mqtt_topic_valid(remote)) {
        return "the broker's prefix has \"+\", \"#\" or invalid UTF-8";
    }

    return NULL;
}


static const char *
ngx_stream_tb_mqtt_prefix_error(ngx_stream_tb_mqtt_prefix_t *prefix)
{
    if (prefix->local.len) {
        if (prefix->local.data[prefix->local.len - 1] != '/') {
            return "the device's prefix does not end with \"/\"";
        }

        if (!ngx_stream_tb_mqtt_topic_valid(&prefix->local)) {
            return "the device's prefix has \"+\", \"#\" or invalid UTF-8";
        }

        if (prefix->local.len > NGX_STREAM_TB_MQTT_MAX_STRING / 2) {
            return "the device's prefix is too long";
        }
    }

    return prefix->remote.len
               ? ngx_stream_tb_mqtt_remote_error(&prefix->remote) : NULL;
}


/* the longest local prefix, or NULL */

static ngx_stream_tb_mqtt_prefix_t *
ngx_stream_tb_mqtt_local(ngx_stream_tb_mqtt_map_t *map, ngx_str_t *topic)
{
    ngx_uint_t  i;

    for (i = 0; i < map->n; i++) {
        if (ngx_stream_tb_mqtt_begins(topic, &map->prefix[i].local)) {
            return &map->prefix[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_stream_tb_mqtt_map_literal(ngx_stream_tb_mqtt_map_t *map,
    ngx_str_t *topic, ngx_stream_tb_mqtt_topic_t *remote)
{
    ngx_stream_tb_mqtt_prefix_t  *prefix;

    prefix = ngx_stream_tb_mqtt_local(map, topic);

    if (prefix == NULL || prefix->remote.len == 0) {
        return NGX_DECLINED;
    }

    remote->prefix = prefix->remote;
    remote->rest.len = topic->len - prefix->local.len;
    remote->rest.data = topic->data + prefix->local.len;

    return ngx_stream_tb_mqtt_topic_len(remote)
               > NGX_STREAM_TB_MQTT_MAX_STRING ? NGX_DECLINED : NGX_OK;
}


ngx_int_t
ngx_stream_tb_mqtt_map_topic(ngx_stream_tb_mqtt_map_t *map, ngx_str_t *topic,
    ngx_stream_tb_mqtt_topic_t *remote)
{
    ngx_str_null(&remote->share);

    return ngx_stream_tb_mqtt_map_literal(map, topic, remote);
}


/*
 * A shared subscription keeps its group.  What only looks like one is a
 * filter like any other.
 */

ngx_int_t
ngx_stream_tb_mqtt_map_filter(ngx_stream_tb_mqtt_map_t *map,
    ngx_str_t *filter, ngx_stream_tb_mqtt_topic_t *remote)
{
    u_char     *p, *last;
    ngx_str_t   rest;

    ngx_str_null(&remote->share);

    rest = *filter;
    last = rest.data + rest.len;

    if (rest.len > sizeof("$share/") - 1
        && ngx_strncmp(rest.data, "$share/", sizeof("$share/") - 1) == 0)
    {
        p = rest.data + sizeof("$share/") - 1;

        while (p < last && *p != '/' && *p != '+' && *p != '#') {
            p++;
        }

        if (p < last - 1 && *p == '/' && p[-1] != '/') {
            p++;

            remote->share.data = rest.data;
            remote->share.len = p - rest.data;

            rest.data = p;
            rest.len = last - p;
        }
    }

    return ngx_stream_tb_mqtt_map_literal(map, &rest, remote);
}


ngx_int_t
ngx_stream_tb_mqtt_map_back(ngx_stream_tb_mqtt_map_t *map, ngx_str_t *topic,
    ngx_stream_tb_mqtt_topic_t *local)
{
    size_t                        len;
    ngx_uint_t                    i;
    ngx_stream_tb_mqtt_prefix_t  *prefix, *other;

    ngx_str_null(&local->share);

    prefix = NULL;

    for (i = 0; i < map->n; i++) {
        prefix = &map->prefix[i];

        if (prefix->remote.len
            && ngx_stream_tb_mqtt_begins(topic, &prefix->remote))
        {
            break;
        }
    }

    if (i == map->n) {
        return NGX_DECLINED;
    }

    local->prefix = prefix->local;
    local->rest.len = topic->len - prefix->remote.len;
    local->rest.data = topic->data + prefix->remote.len;

    len = ngx_stream_tb_mqtt_topic_len(local);

    if (len == 0 || len > NGX_STREAM_TB_MQTT_MAX_STRING) {
        return NGX_DECLINED;
    }

    /* a longer local prefix has that topic for itself */

    for (i = 0; i < map->n; i++) {
        other = &map->prefix[i];

        if (other->local.len <= prefix->local.len) {
            break;
        }

        if (len >= other->local.len
            && ngx_memcmp(other->local.data, prefix->local.data,
                          prefix->local.len) == 0
            && ngx_memcmp(other->local.data + prefix->local.len,
                          local->rest.data,
                          other->local.len - prefix->local.len) == 0)
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}
