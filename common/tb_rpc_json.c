
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The rules for JSON texts from outside: nesting and NUL by a scan of the
 * bytes, before jansson sees them; the top-level object by hand, with each
 * name and value read by jansson, which tells where they end, but for the
 * plain ones.
 *
 * Numbers are read as doubles only to be judged: they are never printed.  One
 * that no double holds is valid: jansson, which refuses it, reads a copy where
 * 1e99 is in its place.
 */


#include "tb_rpc_json.h"
#include "tb_rpc_json_plain.h"
#include "tb_rpc_json_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static int tb_rpc_json_name(tb_rpc_json_t *json);
static int tb_rpc_json_end(tb_rpc_json_t *json);
static json_t *tb_rpc_json_read(tb_rpc_json_t *json, size_t flags,
    const unsigned char **text, size_t *len);
static int tb_rpc_json_seen(tb_rpc_json_t *json);
static void tb_rpc_json_free(tb_rpc_json_t *json);
static void tb_rpc_json_skip(tb_rpc_json_t *json);
static int tb_rpc_json_error(tb_rpc_json_t *json, const unsigned char *p,
    const char *error);


/* how jansson reads a value */

static size_t
tb_rpc_json_flags(unsigned flags)
{
    size_t  value;

    value = JSON_DECODE_ANY|JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL;

    return (flags & TB_RPC_JSON_DUPLICATES) ? value
                                            : value|JSON_REJECT_DUPLICATES;
}


int
tb_rpc_json_valid(const void *text, size_t len, unsigned depth,
    unsigned flags)
{
    json_t               *value;
    json_error_t          err;
    unsigned char        *copy;
    tb_rpc_json_scan_t    scan;
    const unsigned char  *p;

    p = text;

    memset(&scan, 0, sizeof(tb_rpc_json_scan_t));
    scan.depth = depth;

    if (tb_rpc_json_scan(&scan, p, p + len) != NULL) {
        return 0;
    }

    copy = NULL;

    if (scan.huge) {
        copy = tb_rpc_json_tame(&scan, p, len);
        if (copy == NULL) {
            return 0;
        }
    }

    value = json_loadb(copy ? (const char *) copy : text, len,
                       tb_rpc_json_flags(flags), &err);

    free(copy);

    if (value == NULL) {
        return 0;
    }

    json_decref(value);

    return 1;
}


int
tb_rpc_json_open(tb_rpc_json_t *json)
{
    tb_rpc_json_scan_t    scan;
    const unsigned char  *p;

    json->pos = json->start;
    json->tamed = NULL;
    json->name = NULL;
    json->value = NULL;
    json->seen = NULL;
    json->nnames = 0;
    json->begun = 0;

    tb_rpc_json_skip(json);

    if (json->pos == json->last || *json->pos != '{') {
        return tb_rpc_json_error(json, json->pos, "it must be an object");
    }

    memset(&scan, 0, sizeof(tb_rpc_json_scan_t));

    scan.depth = json->depth;
    scan.first = (json->flags & TB_RPC_JSON_TAIL) ? 1 : 0;

    p = tb_rpc_json_scan(&scan, json->pos, json->last);
    if (p) {
        return tb_rpc_json_error(json, p, scan.error);
    }

    if (scan.huge) {
        json->tamed = tb_rpc_json_tame(&scan, json->start,
                                       json->last - json->start);
        if (json->tamed == NULL) {
            return TB_RPC_JSON_MEMORY;
        }
    }

    json->pos++;

    return TB_RPC_JSON_OK;
}


int
tb_rpc_json_next(tb_rpc_json_t *json)
{
    tb_rpc_json_free(json);
    tb_rpc_json_skip(json);

    if (json->pos < json->last && *json->pos == '}') {
        return tb_rpc_json_end(json);
    }

    if (json->begun) {

        if (json->pos == json->last || *json->pos != ',') {
            return tb_rpc_json_error(json, json->pos,
                                     "',' or '}' is expected");
        }

        json->pos++;

        tb_rpc_json_skip(json);
    }

    json->begun = 1;

    if (tb_rpc_json_name(json) != TB_RPC_JSON_OK) {
        return TB_RPC_JSON_BAD;
    }

    tb_rpc_json_skip(json);

    if (json->pos == json->last || *json->pos != ':') {
        return tb_rpc_json_error(json, json->pos, "':' is expected");
    }

    json->pos++;

    tb_rpc_json_skip(json);

    json->value = tb_rpc_json_read(json, tb_rpc_json_flags(json->flags),
                                   &json->text, &json->len);

    return json->value ? TB_RPC_JSON_OK : TB_RPC_JSON_BAD;
}


static int
tb_rpc_json_name(tb_rpc_json_t *json)
{
    size_t                len;
    const unsigned char  *p, *text;

    if (json->pos == json->last || *json->pos != '"') {
        return tb_rpc_json_error(json, json->pos,
                                 "a member name is expected");
    }

    p = json->pos;

    /* no JSON_ALLOW_NUL: jansson refuses such names in objects too */

    json->name = tb_rpc_json_read(json, JSON_DECODE_ANY, &text, &len);
    if (json->name == NULL) {
        return TB_RPC_JSON_BAD;
    }

    if (!(json->flags & TB_RPC_JSON_DUPLICATES)
        && tb_rpc_json_seen(json) != TB_RPC_JSON_OK)
    {
        return tb_rpc_json_error(json, p, "a duplicate member");
    }

    return TB_RPC_JSON_OK;
}


static int
tb_rpc_json_end(tb_rpc_json_t *json)
{
    json->pos++;

    if (json->flags & TB_RPC_JSON_TAIL) {
        return TB_RPC_JSON_DONE;
    }

    tb_rpc_json_skip(json);

    if (json->pos < json->last) {
        return tb_rpc_json_error(json, json->pos,
                                 "something follows the object");
    }

    return TB_RPC_JSON_DONE;
}


void
tb_rpc_json_close(tb_rpc_json_t *json)
{
    tb_rpc_json_free(json);

    while (json->nnames) {
        json_decref(json->names[--json->nnames]);
    }

    json_decref(json->seen);
    json->seen = NULL;

    free(json->tamed);
    json->tamed = NULL;
}


static json_t *
tb_rpc_json_read(tb_rpc_json_t *json, size_t flags,
    const unsigned char **text, size_t *len)
{
    char                 *near;
    json_t               *value;
    json_error_t          err;
    const unsigned char  *p, *end;

    p = json->pos;

    if (json->tamed) {
        p = json->tamed + (p - json->start);
    }

    value = tb_rpc_json_plain(p, p + (json->last - json->pos), &end);

    if (value) {
        *text = json->pos;
        *len = end - p;

        json->pos += *len;

        return value;
    }

    value = json_loadb((const char *) p, json->last - json->pos,
                       flags|JSON_DISABLE_EOF_CHECK, &err);

    p = json->pos;

    if (err.position > 0 && err.position <= json->last - json->pos) {
        p += err.position;
    }

    if (value == NULL) {

        /* what follows quotes the input */

        near = strstr(err.text, " near ");

        if (near) {
            *near = '\0';
        }

        (void) tb_rpc_json_error(json, p, err.text);

        return NULL;
    }

    *text = json->pos;
    *len = p - json->pos;

    json->pos = p;

    return value;
}


/* the first names by comparing, more of them by a hash */

static int
tb_rpc_json_seen(tb_rpc_json_t *json)
{
    unsigned     i;
    const char  *name;

    for (i = 0; i < json->nnames; i++) {
        if (json_equal(json->names[i], json->name)) {
            return TB_RPC_JSON_BAD;
        }
    }

    if (json->nnames < TB_RPC_JSON_NAMES) {
        json->names[json->nnames++] = json_incref(json->name);
        return TB_RPC_JSON_OK;
    }

    if (json->seen == NULL) {
        json->seen = json_object();
    }

    name = json_string_value(json->name);

    if (json_object_get(json->seen, name)) {
        return TB_RPC_JSON_BAD;
    }

    return json_object_set_new_nocheck(json->seen, name, json_null())
               ? TB_RPC_JSON_BAD : TB_RPC_JSON_OK;
}


static void
tb_rpc_json_free(tb_rpc_json_t *json)
{
    json_decref(json->name);
    json_decref(json->value);

    json->name = NULL;
    json->value = NULL;
}


static void
tb_rpc_json_skip(tb_rpc_json_t *json)
{
    while (json->pos < json->last
           && (*json->pos == ' ' || *json->pos == '\t'
               || *json->pos == '\n' || *json->pos == '\r'))
    {
        json->pos++;
    }
}


static int
tb_rpc_json_error(tb_rpc_json_t *json, const unsigned char *p,
    const char *error)
{
    json->offset = p - json->start;

    (void) snprintf(json->error, TB_RPC_JSON_ERROR, "%s", error);

    return TB_RPC_JSON_BAD;
}
