
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The walk through a JSON object against jansson, which reads it as a whole:
 * the same texts are objects, with the same members.
 *
 * fuzz: common, at most 256 bytes
 */


#include "../../common/tb_rpc_json.h"
#include "lib/fuzz.h"


#define DEPTH  5


/* 1: jansson takes it, 0: it does not, -1: it has no room for a number */

static int
whole(const uint8_t *data, size_t size, unsigned flags, json_t **value)
{
    size_t        how;
    json_error_t  err;

    how = JSON_DECODE_ANY|JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL;

    if (!(flags & TB_RPC_JSON_DUPLICATES)) {
        how |= JSON_REJECT_DUPLICATES;
    }

    *value = json_loadb((const char *) data, size, how, &err);

    if (*value) {
        return 1;
    }

    return json_error_code(&err) == json_error_numeric_overflow ? -1 : 0;
}


static unsigned
nesting(json_t *value)
{
    size_t       i;
    json_t      *inner;
    unsigned     depth, max;
    const char  *name;

    max = 0;

    if (json_is_array(value)) {
        json_array_foreach(value, i, inner) {
            depth = nesting(inner);
            max = depth > max ? depth : max;
        }

    } else if (json_is_object(value)) {
        json_object_foreach(value, name, inner) {
            depth = nesting(inner);
            max = depth > max ? depth : max;
        }

    } else {
        return 0;
    }

    return max + 1;
}


/* but for numbers beyond all limits, which are read as others of the kind */

static int
same(json_t *a, json_t *b)
{
    size_t       i;
    json_t      *inner;
    const char  *name;

    if (json_is_real(a) && json_is_real(b)) {
        return json_real_value(a) == json_real_value(b)
               || (json_real_value(a) >= 1e99 && json_real_value(b) >= 1e99)
               || (json_real_value(a) <= -1e99 && json_real_value(b) <= -1e99);
    }

    if (json_is_array(a) && json_array_size(a) == json_array_size(b)) {
        json_array_foreach(a, i, inner) {
            if (!same(inner, json_array_get(b, i))) {
                return 0;
            }
        }

        return 1;
    }

    if (json_is_object(a) && json_object_size(a) == json_object_size(b)) {
        json_object_foreach(a, name, inner) {
            if (!same(inner, json_object_get(b, name))) {
                return 0;
            }
        }

        return 1;
    }

    return json_equal(a, b);
}


/* its text is its value, and the value that the whole has by that name */

static void
member(tb_rpc_json_t *walk, json_t *all)
{
    int      rc;
    json_t  *value, *other;

    CHECK(json_is_string(walk->name));
    CHECK(walk->text > walk->start && walk->len > 0);
    CHECK(walk->len <= (size_t) (walk->last - walk->text));

    rc = whole(walk->text, walk->len, walk->flags, &value);
    CHECK(rc != 0);

    if (rc == 1) {
        CHECK(same(value, walk->value));
    }

    if (rc == 1 && all) {
        other = json_object_get(all, json_string_value(walk->name));
        CHECK(other != NULL && same(value, other));
    }

    json_decref(value);
}


static int
walk_through(tb_rpc_json_t *walk, json_t *all, size_t *n)
{
    int  rc;

    *n = 0;
    rc = tb_rpc_json_open(walk);

    while (rc == TB_RPC_JSON_OK) {
        rc = tb_rpc_json_next(walk);

        if (rc == TB_RPC_JSON_OK) {
            member(walk, all);
            (*n)++;
        }
    }

    return rc;
}


static void
compare(const uint8_t *data, size_t size, unsigned depth, unsigned flags)
{
    int             rc, right;
    size_t          n;
    json_t         *all;
    tb_rpc_json_t   walk;

    right = whole(data, size, flags, &all);

    /* jansson takes a NUL behind the value for the end of the text */

    if (memchr(data, '\0', size)) {
        right = 0;
    }

    /* of two members of the same name jansson keeps one: look at neither */

    if (flags & TB_RPC_JSON_DUPLICATES) {
        depth = 0;
    }

    if (right == 1 && depth && nesting(all) > depth) {
        right = 0;
    }

    if (right != -1) {
        CHECK(tb_rpc_json_valid(data, size, depth, flags) == right);
    }

    if (right == 1 && !json_is_object(all)) {
        right = 0;
    }

    walk.start = data;
    walk.last = data + size;
    walk.depth = depth;
    walk.flags = flags;

    rc = walk_through(&walk,
                      right == 1 && !(flags & TB_RPC_JSON_DUPLICATES)
                      ? all : NULL, &n);

    if (rc == TB_RPC_JSON_BAD) {
        CHECK(right != 1);
        CHECK(walk.offset <= size);
        CHECK(memchr(walk.error, '\0', TB_RPC_JSON_ERROR) != NULL);
        CHECK(strstr(walk.error, " near ") == NULL);

    } else {
        CHECK(rc == TB_RPC_JSON_DONE);
        CHECK(right != 0 || (flags & TB_RPC_JSON_TAIL));

        if (right == 1 && !(flags & TB_RPC_JSON_DUPLICATES)) {
            CHECK(n == json_object_size(all));
        }
    }

    tb_rpc_json_close(&walk);
    json_decref(all);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }

    compare(fuzz_copy(data + 1, size - 1), size - 1, *data & 4 ? DEPTH : 0,
            *data & (TB_RPC_JSON_DUPLICATES|TB_RPC_JSON_TAIL));

    return 0;
}
