
/*
 * Sessions that wait: for a SUBSCRIBE, or since Redis did not take what it was
 * told.  Each waits for itself: one that fails stops no other.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_stream_tb_mqtt_beat.h"


/* ms, either */

#define NGX_STREAM_TB_MQTT_LATER  1000


static void ngx_stream_tb_mqtt_later_handler(ngx_event_t *ev);
static void ngx_stream_tb_mqtt_later_due(ngx_stream_tb_mqtt_worker_t *w,
    ngx_queue_t *queue);


void
ngx_stream_tb_mqtt_later_init(ngx_stream_tb_mqtt_worker_t *w)
{
    ngx_queue_init(&w->quiet);
    ngx_queue_init(&w->failed);

    w->again.handler = ngx_stream_tb_mqtt_later_handler;
    w->again.data = &w->dummy;
    w->again.log = w->log;
    w->again.cancelable = 1;

    w->dummy.data = w;
}


void
ngx_stream_tb_mqtt_quiet(ngx_stream_tb_mqtt_session_t *session)
{
    session->state = NGX_STREAM_TB_MQTT_QUIET_STATE;
    session->since = ngx_current_msec;

    ngx_queue_insert_tail(&session->worker->quiet, &session->queue);

    ngx_stream_tb_mqtt_again(session->worker);
}


void
ngx_stream_tb_mqtt_later(ngx_stream_tb_mqtt_session_t *session)
{
    session->since = ngx_current_msec;

    ngx_queue_insert_tail(&session->worker->failed, &session->queue);

    ngx_stream_tb_mqtt_again(session->worker);
}


void
ngx_stream_tb_mqtt_again(ngx_stream_tb_mqtt_worker_t *w)
{
    if (!w->again.timer_set) {
        ngx_add_timer(&w->again, NGX_STREAM_TB_MQTT_LATER);
    }
}


static void
ngx_stream_tb_mqtt_later_handler(ngx_event_t *ev)
{
    ngx_connection_t             *c;
    ngx_stream_tb_mqtt_worker_t  *w;

    c = ev->data;
    w = c->data;

    w->resting = 0;

    ngx_stream_tb_mqtt_later_due(w, &w->quiet);
    ngx_stream_tb_mqtt_later_due(w, &w->failed);

    ngx_stream_tb_mqtt_pump(w);
}


/* in the order of their beginning */

static void
ngx_stream_tb_mqtt_later_due(ngx_stream_tb_mqtt_worker_t *w,
    ngx_queue_t *queue)
{
    ngx_msec_t                     age;
    ngx_queue_t                   *q;
    ngx_stream_tb_mqtt_session_t  *session;

    while (!ngx_queue_empty(queue)) {

        q = ngx_queue_head(queue);
        session = ngx_queue_data(q, ngx_stream_tb_mqtt_session_t, queue);

        age = ngx_current_msec - session->since;

        if (age < NGX_STREAM_TB_MQTT_LATER) {
            if (!w->again.timer_set) {
                ngx_add_timer(&w->again, NGX_STREAM_TB_MQTT_LATER - age);
            }

            return;
        }

        ngx_queue_remove(q);

        if (session->state != NGX_STREAM_TB_MQTT_LEAVING) {
            session->state = NGX_STREAM_TB_MQTT_JOINING;
        }

        ngx_stream_tb_mqtt_tell(session);
    }
}
