
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The connection that blocks in BLMPOP over the queues of all shards.  It
 * pops no more than there is room for.  An envelope that is lost between the
 * pop and the claim (a crash, a broken connection) is found and pushed again
 * by tb_rpc_tick; so nothing is kept safe here.
 */


#include "bridge.h"


static int
tb_pop_room(tb_bridge_t *b)
{
    int  room;

    if (b->stopping || !b->mqtt_up || b->shards == 0
        || b->cmd.state != TB_REDIS_READY || tb_answers_full(b))
    {
        return 0;
    }

    room = b->opt.concurrency - b->ncalls;

    return room > TB_POP_COUNT ? TB_POP_COUNT : room;
}


static void
tb_pop_send(tb_bridge_t *b, int room)
{
    int           i, argc;
    char        **argv;
    const char  **args;

    argc = b->shards + 6;
    argv = tb_alloc(argc * sizeof(char *));

    for (i = 0; i < argc; i++) {
        argv[i] = tb_alloc(strlen(b->opt.prefix) + strlen(b->opt.name) + 32);
    }

    strcpy(argv[0], "BLMPOP");
    sprintf(argv[1], "%d", TB_POP_TIMEOUT);
    sprintf(argv[2], "%d", b->shards);

    /* the first key that is not empty is served: begin elsewhere each time */

    for (i = 0; i < b->shards; i++) {
        sprintf(argv[3 + i], "%s{s%d}:queue:%s", b->opt.prefix,
                (b->rotate + i) % b->shards, b->opt.name);
    }

    b->rotate = (b->rotate + 1) % b->shards;

    strcpy(argv[argc - 3], "LEFT");
    strcpy(argv[argc - 2], "COUNT");
    sprintf(argv[argc - 1], "%d", room);

    args = (const char **) argv;

    if (redisAppendCommandArgv(b->pop.ctx, argc, args, NULL) != REDIS_OK) {
        tb_redis_fail(&b->pop, "no memory for a command");

    } else {
        b->popping = 1;
        b->pop.deadline = tb_now() + TB_POP_TIMEOUT * 1000
                          + TB_COMMAND_TIMEOUT;
    }

    for (i = 0; i < argc; i++) {
        free(argv[i]);
    }

    free(argv);
}


static void
tb_pop_reply(tb_bridge_t *b, redisReply *reply)
{
    size_t       i;
    redisReply  *list, *item;

    if (reply->type == REDIS_REPLY_NIL) {
        tb_redis_good(&b->pop);
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        tb_redis_fail(&b->pop, "%sBLMPOP: %s", tb_redis_hint(reply),
                      tb_safe(reply->str, reply->len));
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        tb_redis_fail(&b->pop, "BLMPOP: a reply of another kind");
        return;
    }

    tb_redis_good(&b->pop);
    list = reply->element[1];

    for (i = 0; i < list->elements; i++) {
        item = list->element[i];

        if (item->type == REDIS_REPLY_STRING) {
            b->count.popped++;
            tb_call_add(b, item->str, item->len);
        }
    }
}


void
tb_pop_run(tb_bridge_t *b, short revents)
{
    int          room;
    redisReply  *reply;

    tb_redis_io(b, &b->pop, revents);

    if (b->pop.state != TB_REDIS_READY || b->pop.fresh) {
        b->pop.fresh = 0;
        b->popping = 0;
    }

    if (b->popping) {
        reply = tb_redis_reply(&b->pop);
        if (reply == NULL) {
            return;
        }

        b->popping = 0;
        b->pop.deadline = 0;
        tb_pop_reply(b, reply);
        freeReplyObject(reply);
    }

    if (b->pop.state == TB_REDIS_READY) {
        room = tb_pop_room(b);

        if (room > 0) {
            tb_pop_send(b, room);
        }
    }
}
