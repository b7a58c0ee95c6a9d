
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Device names.  Those of --devices are all in memory; those of Redis (a hash
 * for each tenant, kept by tb-rpc-admin) are asked for one by one and
 * remembered for a minute, what is not there for five seconds.  So are the
 * tenants of devices.
 */


#include "../../common/tb_rpc_shard.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/str.h"
#include "../base/uuid.h"
#include "../redis/key.h"
#include "names.h"


#define TB_NAME_BUCKETS  65536
#define TB_NAME_TTL      60000
#define TB_NAME_MISSING  5000


/* a line of the file */

typedef struct tb_named_s  tb_named_t;

struct tb_named_s {
    tb_named_t  *by_name;
    tb_named_t  *by_id;
    char         id[TB_UUID_LEN + 1];
    char         name[1];
};


typedef struct tb_asker_s  tb_asker_t;

struct tb_asker_s {
    tb_asker_t          *next;
    tb_name_handler_pt   handler;
    void                *data;
};


/*
 * A name in Redis: in the order of their use, the latest last.  Without a
 * tenant the name is a device id, and the id is the tenant of that device.
 */

typedef struct tb_name_s  tb_name_t;

struct tb_name_s {
    tb_name_t    *chain;
    tb_name_t    *prev;
    tb_name_t    *next;
    tb_asker_t   *head;                /* wait for the reply */
    tb_asker_t  **tail;
    int           asked;
    int64_t       until;
    char          tenant[TB_UUID_LEN + 1];
    char          id[TB_UUID_LEN + 1]; /* empty: there is none */
    char          name[1];
};


struct tb_names_s {
    tb_named_t  **named;               /* of the file, by name */
    tb_named_t  **named_ids;           /* and by device */
    int           nnamed;
    tb_name_t   **table;               /* of Redis */
    tb_name_t    *head;
    tb_name_t    *tail;
    int           n;
};


tb_names_t *
tb_names_create(void)
{
    return tb_alloc(sizeof(tb_names_t));
}


static tb_named_t **
tb_named_bucket(tb_named_t **table, const char *text, size_t len)
{
    return &table[tb_rpc_crc32(text, len) % TB_NAME_BUCKETS];
}


static tb_named_t *
tb_named_find(tb_bridge_t *b, const char *name, size_t len)
{
    tb_named_t  *n;

    if (b->names->named == NULL) {
        return NULL;
    }

    n = *tb_named_bucket(b->names->named, name, len);

    while (n && (strlen(n->name) != len || memcmp(n->name, name, len) != 0)) {
        n = n->by_name;
    }

    return n;
}


const char *
tb_name_of(tb_bridge_t *b, const char *id)
{
    tb_named_t  *n;

    if (b->names->named == NULL) {
        return NULL;
    }

    n = *tb_named_bucket(b->names->named_ids, id, TB_UUID_LEN);

    while (n && strcmp(n->id, id) != 0) {
        n = n->by_id;
    }

    return n ? n->name : NULL;
}


/* name,deviceId with the usual quotes; the name is unquoted in place */

static const char *
tb_named_line(char *line, char **name, char *id)
{
    char  *p, *out;

    p = line;
    *name = out = line;

    if (*p == '"') {
        for (p++; *p && (*p != '"' || p[1] == '"'); p++) {
            p += *p == '"';
            *out++ = *p;
        }

        if (*p++ != '"') {
            return "a quote that does not end";
        }

    } else {
        out = p += strcspn(p, ",");
    }

    if (*p++ != ',') {
        return "it is not name,deviceId";
    }

    *out = '\0';
    p += strspn(p, " \t\"");

    if (out == line || out - line > TB_MAX_NAME) {
        return "the name is empty or too long";
    }

    return tb_uuid(p, strcspn(p, " \t\","), id) == TB_OK
           ? NULL : "the device id is not a UUID";
}


static void
tb_named_free(tb_named_t **table)
{
    size_t       i;
    tb_named_t  *n;

    for (i = 0; table && i < TB_NAME_BUCKETS; i++) {
        while (table[i] != NULL) {
            n = table[i];
            table[i] = n->by_name;
            free(n);
        }
    }

    free(table);
}


static void
tb_named_add(tb_bridge_t *b, const char *name, const char *id)
{
    size_t        len;
    tb_named_t   *n, **bucket;

    len = strlen(name);

    n = tb_alloc(sizeof(tb_named_t) + len);
    memcpy(n->name, name, len + 1);
    strcpy(n->id, id);

    bucket = tb_named_bucket(b->names->named, name, len);
    n->by_name = *bucket;
    *bucket = n;

    bucket = tb_named_bucket(b->names->named_ids, id, TB_UUID_LEN);
    n->by_id = *bucket;
    *bucket = n;

    b->names->nnamed++;
}


static void
tb_named_read(tb_bridge_t *b, FILE *f)
{
    int          n;
    char         line[1024], id[TB_UUID_LEN + 1], *name;
    const char  *error;

    for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
        line[strcspn(line, "\r\n")] = '\0';

        if (line[0] == '\0' || line[0] == '#') {
            continue;
        }

        error = tb_named_line(line, &name, id);

        if (error == NULL && tb_named_find(b, name, strlen(name))) {
            error = "the name is there twice";
        }

        if (error == NULL && b->names->nnamed == b->conf->max_devices) {
            tb_log(TB_LOG_ERROR, "%s:%d: beyond --max-devices %d, the rest"
                   " is ignored", b->conf->devices, n, b->conf->max_devices);
            return;
        }

        if (error == NULL) {
            tb_named_add(b, name, id);

        } else if (n > 1 || strncmp(line, "name", 4) != 0) {
            tb_log(TB_LOG_ERROR, "%s:%d: ignored: %s", b->conf->devices, n,
                   error);
        }
    }
}


int
tb_names_load(tb_bridge_t *b)
{
    FILE  *f;

    if (b->conf->devices == NULL) {
        return TB_OK;
    }

    f = fopen(b->conf->devices, "r");

    if (f == NULL) {
        tb_log(TB_LOG_ERROR, "--devices %s cannot be read: %s",
               b->conf->devices, strerror(errno));
        return TB_ERROR;
    }

    tb_named_free(b->names->named);
    free(b->names->named_ids);

    b->names->named = tb_alloc(TB_NAME_BUCKETS * sizeof(tb_named_t *));
    b->names->named_ids = tb_alloc(TB_NAME_BUCKETS * sizeof(tb_named_t *));
    b->names->nnamed = 0;

    tb_named_read(b, f);
    fclose(f);

    tb_log(TB_LOG_INFO, "%s: %d names", b->conf->devices, b->names->nnamed);

    return TB_OK;
}


static tb_name_t **
tb_name_bucket(const tb_bridge_t *b, const char *name, size_t len)
{
    return &b->names->table[tb_rpc_crc32(name, len) % TB_NAME_BUCKETS];
}


/* the latest is the last */

static void
tb_name_order(tb_bridge_t *b, tb_name_t *n, int in)
{
    if (n->prev || n->next || b->names->head == n) {
        *(n->prev ? &n->prev->next : &b->names->head) = n->next;
        *(n->next ? &n->next->prev : &b->names->tail) = n->prev;
    }

    n->prev = n->next = NULL;

    if (in) {
        n->prev = b->names->tail;
        *(b->names->tail ? &b->names->tail->next : &b->names->head) = n;
        b->names->tail = n;
    }
}


static void
tb_name_drop(tb_bridge_t *b, tb_name_t *n)
{
    tb_name_t  **p;

    tb_name_order(b, n, 0);

    p = tb_name_bucket(b, n->name, strlen(n->name));

    while (*p != n) {
        p = &(*p)->chain;
    }

    *p = n->chain;
    b->names->n--;
    free(n);
}


static tb_name_t *
tb_name_seek(const tb_bridge_t *b, const char *tenant, const tb_str_t *name)
{
    tb_name_t  *n;

    if (b->names->table == NULL) {
        return NULL;
    }

    n = *tb_name_bucket(b, name->data, name->len);

    while (n && (strlen(n->name) != name->len
                 || memcmp(n->name, name->data, name->len) != 0
                 || strcmp(n->tenant, tenant) != 0))
    {
        n = n->chain;
    }

    return n;
}


static tb_name_t *
tb_name_get(tb_bridge_t *b, const char *tenant, tb_str_t *name)
{
    tb_name_t  *n, **bucket;

    if (b->names->table == NULL) {
        b->names->table = tb_alloc(TB_NAME_BUCKETS * sizeof(tb_name_t *));
    }

    n = tb_name_seek(b, tenant, name);

    if (n != NULL) {
        return n;
    }

    if (b->names->n == b->conf->max_devices) {
        if (b->names->head->asked) {
            return NULL;
        }

        tb_name_drop(b, b->names->head);
    }

    n = tb_alloc(sizeof(tb_name_t) + name->len);
    memcpy(n->name, name->data, name->len);
    strcpy(n->tenant, tenant);
    n->tail = &n->head;

    bucket = tb_name_bucket(b, name->data, name->len);
    n->chain = *bucket;
    *bucket = n;
    b->names->n++;

    return n;
}


static void
tb_name_reply(tb_bridge_t *b, void *data, redisReply *reply)
{
    tb_name_t   *n = data;
    tb_asker_t  *asker;

    n->asked = 0;
    n->id[0] = '\0';
    n->until = tb_now() + TB_NAME_MISSING;

    if (reply->type == REDIS_REPLY_STRING
        && tb_uuid(reply->str, reply->len, n->id) == TB_OK)
    {
        n->until = tb_now() + TB_NAME_TTL;

    } else if (reply->type == REDIS_REPLY_ERROR) {
        tb_log(TB_LOG_ERROR, "the name \"%s\" cannot be looked up: %s",
               tb_safe(n->name, strlen(n->name)),
               tb_safe(reply->str, reply->len));
    }

    while (n->head != NULL) {
        asker = n->head;
        n->head = asker->next;
        asker->handler(b, asker->data, n->id[0] ? n->id : NULL);
        free(asker);
    }

    n->tail = &n->head;
}


static void
tb_name_ask(tb_bridge_t *b, tb_name_t *n)
{
    char         key[TB_MAX_KEY];
    const char  *argv[3];

    argv[0] = "HGET";
    argv[1] = key;

    if (n->tenant[0]) {
        tb_device_key(b->redis, "names", n->tenant, key, sizeof(key));
        argv[2] = n->name;

    } else {
        tb_device_key(b->redis, "device", n->name, key, sizeof(key));
        argv[2] = "tenantId";
    }

    n->asked = 1;
    tb_command(b->redis, tb_name_reply, n, 1, 3, argv, NULL);
}


/* n is NULL when there can be none, or too many are asked for */

static void
tb_name_tell(tb_bridge_t *b, tb_name_t *n, tb_name_handler_pt handler,
    void *data)
{
    tb_asker_t  *asker;

    if (n == NULL) {
        handler(b, data, NULL);
        return;
    }

    tb_name_order(b, n, 1);

    if (!n->asked && tb_now() < n->until) {
        handler(b, data, n->id[0] ? n->id : NULL);
        return;
    }

    asker = tb_alloc(sizeof(tb_asker_t));
    asker->handler = handler;
    asker->data = data;
    *n->tail = asker;
    n->tail = &asker->next;

    if (!n->asked) {
        tb_name_ask(b, n);
    }
}


int
tb_name_waits(const tb_bridge_t *b, const char *tenant, const tb_str_t *name)
{
    tb_name_t  *n;

    n = tb_name_seek(b, tenant, name);

    return n == NULL || n->asked || tb_now() >= n->until;
}


const char *
tb_name_listed(tb_bridge_t *b, const tb_str_t *name)
{
    tb_named_t  *named;

    named = tb_named_find(b, name->data, name->len);

    return named ? named->id : NULL;
}


void
tb_name_find(tb_bridge_t *b, const char *tenant, tb_str_t *name,
    tb_name_handler_pt handler, void *data)
{
    tb_name_t   *n;
    const char  *id;

    /* the file does not say whose its devices are */

    id = tenant ? NULL : tb_name_listed(b, name);

    if (id != NULL) {
        handler(b, data, id);
        return;
    }

    tenant = tenant ? tenant : b->conf->tenant;
    n = NULL;

    if (tenant && tb_shards(b->redis) && name->len
        && name->len <= TB_MAX_NAME
        && memchr(name->data, '\0', name->len) == NULL)
    {
        n = tb_name_get(b, tenant, name);
    }

    tb_name_tell(b, n, handler, data);
}


void
tb_name_owner(tb_bridge_t *b, const char *id, tb_name_handler_pt handler,
    void *data)
{
    tb_str_t    name;
    tb_name_t  *n;

    name.data = id;
    name.len = TB_UUID_LEN;

    n = tb_shards(b->redis) ? tb_name_get(b, "", &name) : NULL;

    tb_name_tell(b, n, handler, data);
}


void
tb_names_free(tb_bridge_t *b, void (*release)(void *data))
{
    tb_name_t   *n;
    tb_names_t  *names;
    tb_asker_t  *asker;

    names = b->names;

    while (names->head != NULL) {
        n = names->head;

        while (n->head != NULL) {
            asker = n->head;
            n->head = asker->next;
            release(asker->data);
            free(asker);
        }

        tb_name_drop(b, n);
    }

    tb_named_free(names->named);
    free(names->named_ids);
    free(names->table);
    free(names);
}
