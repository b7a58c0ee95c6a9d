
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The values that nearly every call is made of: a string of printable ASCII
 * without escapes, a short whole number, true, false and null.  To open
 * jansson's lexer for each of them costs more than to read it.  It must make
 * no difference, so whatever is not clearly one of these is left to jansson.
 */


#include "tb_rpc_json_plain.h"

#include <string.h>


#define TB_RPC_JSON_DIGITS   15                /* that any double holds */


static json_t *tb_rpc_json_plain_string(const unsigned char *p,
    const unsigned char *last, const unsigned char **end);
static json_t *tb_rpc_json_plain_number(const unsigned char *p,
    const unsigned char *last, const unsigned char **end);
static json_t *tb_rpc_json_plain_word(const unsigned char *p,
    const unsigned char *last, const unsigned char **end);
static int tb_rpc_json_ends(const unsigned char *p,
    const unsigned char *last);


json_t *
tb_rpc_json_plain(const unsigned char *p, const unsigned char *last,
    const unsigned char **end)
{
    if (p == last) {
        return NULL;
    }

    if (*p == '"') {
        return tb_rpc_json_plain_string(p, last, end);
    }

    if (*p >= '0' && *p <= '9') {
        return tb_rpc_json_plain_number(p, last, end);
    }

    return tb_rpc_json_plain_word(p, last, end);
}


static json_t *
tb_rpc_json_plain_string(const unsigned char *p,
    const unsigned char *last, const unsigned char **end)
{
    const unsigned char  *start;

    start = ++p;

    while (p < last && *p >= ' ' && *p <= '~' && *p != '"' && *p != '\\') {
        p++;
    }

    if (p == last || *p != '"') {
        return NULL;
    }

    *end = p + 1;

    return json_stringn_nocheck((const char *) start, p - start);
}


static json_t *
tb_rpc_json_plain_number(const unsigned char *p,
    const unsigned char *last, const unsigned char **end)
{
    double                n;
    const unsigned char  *start;

    n = 0;

    for (start = p; p < last && *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
    }

    if (p - start > TB_RPC_JSON_DIGITS
        || (*start == '0' && p - start > 1)
        || !tb_rpc_json_ends(p, last))
    {
        return NULL;
    }

    *end = p;

    return json_real(n);
}


static json_t *
tb_rpc_json_plain_word(const unsigned char *p,
    const unsigned char *last, const unsigned char **end)
{
    json_t  *value;

    if (last - p > 4 && memcmp(p, "true", 4) == 0) {
        p += 4;
        value = json_true();

    } else if (last - p > 5 && memcmp(p, "false", 5) == 0) {
        p += 5;
        value = json_false();

    } else if (last - p > 4 && memcmp(p, "null", 4) == 0) {
        p += 4;
        value = json_null();

    } else {
        return NULL;
    }

    /* these three are nobody's to free */

    *end = p;

    return tb_rpc_json_ends(p, last) ? value : NULL;
}


/* is what follows no part of it? */

static int
tb_rpc_json_ends(const unsigned char *p, const unsigned char *last)
{
    if (p == last) {
        return 0;
    }

    switch (*p) {

    case ',':
    case '}':
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return 1;
    }

    return 0;
}
