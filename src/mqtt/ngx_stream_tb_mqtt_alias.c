
/*
 * Topic aliases.  Each side's own goes on as it is, so what has to be known is
 * only which of them the other side was never told.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt.h"
#include "ngx_stream_tb_mqtt_packet.h"
#include "ngx_stream_tb_mqtt_rewrite.h"


static ngx_int_t ngx_stream_tb_mqtt_aliases_create(
    ngx_stream_tb_mqtt_rewrite_t *rw);


static ngx_int_t
ngx_stream_tb_mqtt_aliases_create(ngx_stream_tb_mqtt_rewrite_t *rw)
{
    if (rw->aliases == NULL) {
        rw->aliases = ngx_pcalloc(rw->ctx->session->connection->pool,
                                  sizeof(ngx_stream_tb_mqtt_aliases_t));
    }

    return rw->aliases ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_stream_tb_mqtt_rewrite_forget(ngx_stream_tb_mqtt_rewrite_t *rw)
{
    if (ngx_stream_tb_mqtt_aliases_create(rw) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memset((*rw->aliases)[1], 0xff, sizeof((*rw->aliases)[1]));

    return NGX_OK;
}


/*
 * The other side does not know the alias of what did not go on; then nothing
 * goes on that has it instead of a topic.
 */

ngx_int_t
ngx_stream_tb_mqtt_aliased(ngx_stream_tb_mqtt_rewrite_t *rw,
    ngx_stream_tb_mqtt_packet_t *packet, ngx_int_t rc)
{
    u_char  *refused, bit;

    if (packet->alias > NGX_STREAM_TB_MQTT_ALIASES) {
        rw->error = "a topic alias above the maximum";
        rw->reason = 0x94;
        return NGX_ERROR;
    }

    if (rw->aliases == NULL && rc == NGX_OK) {
        return NGX_OK;
    }

    if (ngx_stream_tb_mqtt_aliases_create(rw) != NGX_OK) {
        rw->error = NULL;
        return NGX_ERROR;
    }

    refused = &(*rw->aliases)[rw->broker][packet->alias / 8];
    bit = (u_char) (1 << packet->alias % 8);

    if (packet->topic.len == 0) {
        return (*refused & bit) ? NGX_DECLINED : rc;
    }

    if (rc == NGX_OK) {
        *refused &= (u_char) ~bit;

    } else {
        *refused |= bit;
    }

    return rc;
}
