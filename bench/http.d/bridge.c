
/*
 * A bridge whose devices answer at once: it takes what is in its queues and
 * responds in the same moment (docs/bridge-protocol.md).
 *
 *     bridge PORT USER PASSWORD NAME SHARDS
 *
 * SHARDS is their number, or a list of those that it serves: "3,17,".
 *
 * It says "ready" when the bells of all shards are subscribed.  At the end of
 * its standard input it says "<taken> <reported>", which is how many calls it
 * got, and of how many reports Redis said that the call was open.  An error
 * of any kind ends it with the status 1.
 */


#define _GNU_SOURCE

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>


#define MAX_SHARDS   512
#define MAX_TAKE     "256"
#define SWEEP        5                     /* seconds without a take */

#define ANSWER       "{\"ok\":true}"


typedef struct {
    redisContext        *redis;
    redisContext        *bells;
    const char          *name;
    int                  nshards;
    char                 ours[MAX_SHARDS];

    char                 claimer[128];
    unsigned long long   ticket;

    int                  rung[MAX_SHARDS];
    time_t               looked[MAX_SHARDS];

    int                  asked[MAX_SHARDS];    /* takes under way */
    int                  nasked;
    int                  nreports;             /* reports under way */

    unsigned long        taken;
    unsigned long        reported;
} bridge_t;


static redisReply *
reply_of(redisContext *redis)
{
    void        *data;
    redisReply  *reply;

    if (redisGetReply(redis, &data) != REDIS_OK) {
        errx(1, "Redis: %s", redis->errstr);
    }

    reply = data;

    if (reply->type == REDIS_REPLY_ERROR) {
        errx(1, "Redis: %s", reply->str);
    }

    return reply;
}


static redisContext *
connect_redis(char **argv)
{
    redisContext  *redis;

    redis = redisConnect("127.0.0.1", atoi(argv[1]));

    if (redis == NULL || redis->err) {
        errx(1, "Redis: %s", redis ? redis->errstr : "no memory");
    }

    redisAppendCommand(redis, "AUTH %s %s", argv[2], argv[3]);
    freeReplyObject(reply_of(redis));

    return redis;
}


/* a shard of tb:{s012}:...; a confirmation rings as well */

static int
shard_of(bridge_t *b, const char *key)
{
    int         n;
    const char *p;

    p = strstr(key, "{s");

    if (p == NULL || sscanf(p, "{s%o}", (unsigned int *) &n) != 1
        || n < 0 || n >= b->nshards)
    {
        errx(1, "the key %s has no shard", key);
    }

    return n;
}


static void
subscribe(bridge_t *b)
{
    int          i;
    redisReply  *reply;

    for (i = 0; i < b->nshards; i++) {
        if (b->ours[i]) {
            redisAppendCommand(b->bells, "SSUBSCRIBE tb:{s%03o}:bell:%s", i,
                               b->name);
        }
    }

    for (i = 0; i < b->nshards; i++) {
        if (!b->ours[i]) {
            continue;
        }

        reply = reply_of(b->bells);

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
            errx(1, "SSUBSCRIBE is not confirmed");
        }

        b->rung[shard_of(b, reply->element[1]->str)] = 1;
        freeReplyObject(reply);
    }
}


/* what has come from the bells, which are readable */

static void
hear(bridge_t *b)
{
    void        *data;
    redisReply  *reply;

    if (redisBufferRead(b->bells) != REDIS_OK) {
        errx(1, "Redis: %s", b->bells->errstr);
    }

    for ( ;; ) {
        if (redisGetReplyFromReader(b->bells, &data) != REDIS_OK) {
            errx(1, "Redis: %s", b->bells->errstr);
        }

        if (data == NULL) {
            return;
        }

        reply = data;

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
            errx(1, "a bell that is none");
        }

        b->rung[shard_of(b, reply->element[1]->str)] = 1;
        freeReplyObject(reply);
    }
}


static void
take(bridge_t *b)
{
    int     i;
    time_t  now;

    now = time(NULL);
    b->nasked = 0;

    for (i = 0; i < b->nshards; i++) {

        if (!b->ours[i] || (!b->rung[i] && now - b->looked[i] <= SWEEP)) {
            continue;
        }

        b->rung[i] = 0;
        b->looked[i] = now;
        b->asked[b->nasked++] = i;

        redisAppendCommand(b->redis,
                           "FCALL tb_rpc_take 1 tb:{s%03o}:queue:%s %s %llu "
                           MAX_TAKE, i, b->name, b->claimer, ++b->ticket);
    }
}


/* answers a call of shard n, or says that it was delivered if it is one-way */

static void
report(bridge_t *b, int n, const char *envelope)
{
    int         id, attempt;
    const char *p;
    char        device[37];

    p = strstr(envelope, "\"deviceId\":\"");

    if (sscanf(envelope, "{\"requestId\":%d,", &id) != 1 || p == NULL
        || sscanf(p, "\"deviceId\":\"%36[0-9a-f-]\"", device) != 1)
    {
        errx(1, "what an envelope: %s", envelope);
    }

    /* our own callers' params have no such member */

    if (strstr(envelope, "\"oneway\":true")) {
        p = strstr(envelope, "\"attempt\":");

        if (p == NULL || sscanf(p, "\"attempt\":%d", &attempt) != 1) {
            errx(1, "what an envelope: %s", envelope);
        }

        redisAppendCommand(b->redis,
                           "FCALL tb_rpc_delivered 1 tb:{s%03o}:device:%s "
                           "%d %d", n, device, id, attempt);

    } else {
        redisAppendCommand(b->redis,
                           "FCALL tb_rpc_respond 1 tb:{s%03o}:device:%s %d %s",
                           n, device, id, ANSWER);
    }

    b->taken++;
    b->nreports++;
}


/*
 * The replies to the reports and takes that were sent together; what is taken
 * now is reported with the next ones.
 */

static void
collect(bridge_t *b)
{
    int          i;
    size_t       k;
    redisReply  *reply;

    for ( /* void */ ; b->nreports; b->nreports--) {
        reply = reply_of(b->redis);
        b->reported += reply->integer;
        freeReplyObject(reply);
    }

    for (i = 0; i < b->nasked; i++) {
        reply = reply_of(b->redis);

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
            errx(1, "tb_rpc_take returns no array");
        }

        if (reply->element[0]->integer) {
            b->rung[b->asked[i]] = 1;
        }

        for (k = 1; k < reply->elements; k++) {
            report(b, b->asked[i], reply->element[k]->str);
        }

        freeReplyObject(reply);
    }

    b->nasked = 0;
}


static int
anything_rung(bridge_t *b)
{
    int  i;

    for (i = 0; i < b->nshards; i++) {
        if (b->rung[i]) {
            return 1;
        }
    }

    return 0;
}


static int
serve(bridge_t *b, const char *shards)
{
    int    n;
    char  *end;

    for (b->nshards = 0; *shards; shards = end + 1) {
        n = (int) strtol(shards, &end, 10);

        if (end == shards || n < 0 || n > MAX_SHARDS) {
            return 0;
        }

        if (*end == '\0') {
            memset(b->ours, 1, n);
            b->nshards = n;
            break;
        }

        if (*end != ',' || n == MAX_SHARDS) {
            return 0;
        }

        b->ours[n] = 1;
        b->nshards = MAX_SHARDS;
    }

    return b->nshards;
}


int
main(int argc, char **argv)
{
    bridge_t       b;
    struct pollfd  fds[2];

    memset(&b, 0, sizeof(b));

    if (argc != 6 || !serve(&b, argv[5])) {
        errx(2, "usage: bridge PORT USER PASSWORD NAME SHARDS");
    }

    b.name = argv[4];
    b.redis = connect_redis(argv);
    b.bells = connect_redis(argv);
    b.ticket = (unsigned long long) time(NULL) * 1000000;

    (void) snprintf(b.claimer, sizeof(b.claimer), "%.64s:%d:%llu", b.name,
                    (int) getpid(), b.ticket);

    subscribe(&b);
    puts("ready");
    fflush(stdout);

    fds[0].fd = b.bells->fd;
    fds[0].events = POLLIN;
    fds[1].fd = STDIN_FILENO;
    fds[1].events = POLLIN;

    for ( ;; ) {
        fds[0].revents = 0;
        fds[1].revents = 0;

        if (poll(fds, 2, b.nreports || anything_rung(&b) ? 0 : 1000) == -1) {
            err(1, "poll");
        }

        if (fds[0].revents) {
            hear(&b);
        }

        if (fds[1].revents && b.nreports == 0) {
            break;
        }

        take(&b);
        collect(&b);
    }

    printf("%lu %lu\n", b.taken, b.reported);

    return 0;
}
