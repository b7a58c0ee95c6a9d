
/*
 * The client: its life.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_tb_redis_private.h"


ngx_int_t
ngx_tb_redis_client_init(ngx_tb_redis_client_t *client)
{
    size_t                 size;
    ngx_tb_redis_state_t  *state;

    /* not from client->pool: a handler may destroy that below us */

    size = sizeof(ngx_tb_redis_state_t)
           + client->channels.nelts * sizeof(ngx_tb_redis_channel_t);

    state = ngx_calloc(size, client->log);
    if (state == NULL) {
        return NGX_ERROR;
    }

    state->client = client;
    state->log = client->log;
    state->quiet = *client->log;

    if (!(state->quiet.log_level & NGX_LOG_DEBUG_ALL)
        && state->quiet.log_level > NGX_LOG_ALERT)
    {
        state->quiet.log_level = NGX_LOG_ALERT;
    }

    ngx_queue_init(&state->waiting);
    ngx_queue_init(&state->again);
    ngx_queue_init(&state->ended);

    ngx_tb_redis_conn_init(&state->command, state,
                           &ngx_tb_redis_command_role);
    ngx_tb_redis_pubsub_init(state);

    client->state = state;

    ngx_tb_redis_conn_start(&state->command);

    return NGX_OK;
}


void
ngx_tb_redis_client_close(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL) {
        return;
    }

    client->state = NULL;
    state->closed = 1;

    ngx_tb_redis_enter(state);
    ngx_tb_redis_stop(state);
    ngx_tb_redis_leave(state);
}


void
ngx_tb_redis_client_flush(ngx_tb_redis_client_t *client)
{
    ngx_event_t  *flush;

    if (client->state == NULL) {
        return;
    }

    flush = &client->state->command.flush;

    if (flush->posted) {
        ngx_delete_posted_event(flush);
        flush->handler(flush);
    }
}


void
ngx_tb_redis_stop(ngx_tb_redis_state_t *state)
{
    ngx_queue_t             *q;
    ngx_tb_redis_command_t  *cmd;

    state->stopped = 1;

    ngx_tb_redis_resolve_cancel(state);

    ngx_tb_redis_conn_close(&state->command);
    ngx_tb_redis_conn_close(&state->pubsub);

    ngx_tb_redis_command_role.down(&state->command);
    ngx_tb_redis_pubsub_role.down(&state->pubsub);

    while (!ngx_queue_empty(&state->waiting)) {
        q = ngx_queue_head(&state->waiting);
        cmd = ngx_queue_data(q, ngx_tb_redis_command_t, queue);

        ngx_tb_redis_end(cmd, cmd->written ? NGX_TB_REDIS_LOST
                                           : NGX_TB_REDIS_UNSENT);
    }

    ngx_tb_redis_notify(state);
}


void
ngx_tb_redis_leave(ngx_tb_redis_state_t *state)
{
    if (--state->busy == 0 && state->closed) {
        ngx_free(state);
    }
}


void
ngx_tb_redis_client_ready(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL
        || state->command.status != NGX_TB_REDIS_ST_SETTING_UP
        || state->command.refused)
    {
        return;
    }

    ngx_tb_redis_conn_ready(&state->command);

    ngx_tb_redis_prepend(&state->waiting, &state->again);

    ngx_tb_redis_pump(state);

    ngx_tb_redis_pubsub_follow(state);
}


/* not at once: the caller is in a handler of the very connection */

void
ngx_tb_redis_client_refuse(ngx_tb_redis_client_t *client)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    if (state == NULL
        || state->command.status != NGX_TB_REDIS_ST_SETTING_UP)
    {
        return;
    }

    state->command.refused = 1;

    ngx_tb_redis_conn_post(&state->command);
}


ngx_uint_t
ngx_tb_redis_client_is_ready(ngx_tb_redis_client_t *client, ngx_uint_t flags)
{
    ngx_tb_redis_state_t  *state;

    state = client->state;

    return state != NULL
           && state->command.status == NGX_TB_REDIS_ST_READY
           && (!(flags & NGX_TB_REDIS_SUBSCRIBED)
               || ngx_tb_redis_subscribed(state));
}
