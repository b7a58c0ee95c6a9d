
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Nesting, NUL, and numbers that no double holds: by a scan of the bytes.
 */


#include "tb_rpc_json_scan.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>


static const unsigned char *tb_rpc_json_number(tb_rpc_json_scan_t *scan,
    const unsigned char *start, const unsigned char *last);
static const unsigned char *tb_rpc_json_exponent(const unsigned char *p,
    const unsigned char *last, long *exponent);


/*
 * As long as the text is valid, brackets outside of strings are its nesting;
 * where it is not, jansson stops before the count could mislead.
 */

const unsigned char *
tb_rpc_json_scan(tb_rpc_json_scan_t *scan, const unsigned char *p,
    const unsigned char *last)
{
    unsigned  depth, string;

    depth = 0;
    string = 0;

    for ( /* void */ ; p < last; p++) {

        switch (*p) {

        case '\0':
            scan->error = "a NUL byte";
            return p;

        case '"':
            string = !string;
            break;

        case '\\':
            if (string && p + 1 < last && p[1] != '\0') {
                p++;
            }

            break;

        case '{':
        case '[':
            if (!string && ++depth > scan->depth && scan->depth) {
                scan->error = "nesting is too deep";
                return p;
            }

            break;

        case '}':
        case ']':
            if (string || depth == 0) {
                break;
            }

            if (--depth == 0 && scan->first) {
                return NULL;
            }

            break;

        default:
            if (!string && *p >= '0' && *p <= '9') {
                p = tb_rpc_json_number(scan, p, last) - 1;
            }
        }
    }

    return NULL;
}


/*
 * From the first digit to the end.  A double holds what is below 1e308; what
 * is no number ends early and is left to jansson.
 */

static const unsigned char *
tb_rpc_json_number(tb_rpc_json_scan_t *scan, const unsigned char *start,
    const unsigned char *last)
{
    long                  power, exponent;
    size_t                len;
    unsigned char        *tamed;
    const unsigned char  *p, *digit;

    /* the power of ten of the first digit that counts */

    p = start + 1;

    if (*start != '0') {
        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }
    }

    digit = start;
    power = p - start - 1;

    if (p + 1 < last && *p == '.' && p[1] >= '0' && p[1] <= '9') {

        if (*start == '0') {
            digit = p + 1;

            while (digit < last && *digit == '0') {
                digit++;
            }

            power = p - digit;
        }

        do {
            p++;
        } while (p < last && *p >= '0' && *p <= '9');
    }

    p = tb_rpc_json_exponent(p, last, &exponent);

    if (power + exponent < DBL_MAX_10_EXP
        || digit == last || *digit < '1' || *digit > '9')
    {
        return p;
    }

    scan->huge = 1;

    if (scan->copy) {

        /* it has five characters or more */

        tamed = scan->copy + (start - scan->text);
        len = p - start;

        memset(tamed, '0', len);

        tamed[0] = '1';
        tamed[1] = 'e';
        tamed[len - 2] = '9';
        tamed[len - 1] = '9';
    }

    return p;
}


static const unsigned char *
tb_rpc_json_exponent(const unsigned char *p, const unsigned char *last,
    long *exponent)
{
    int                   minus;
    long                  n;
    const unsigned char  *e;

    *exponent = 0;

    if (p == last || (*p != 'e' && *p != 'E')) {
        return p;
    }

    e = p + 1;
    minus = 0;

    if (e < last && (*e == '+' || *e == '-')) {
        minus = (*e++ == '-');
    }

    if (e == last || *e < '0' || *e > '9') {
        return p;
    }

    /* no text has as many digits as to make up for more */

    for (n = 0; e < last && *e >= '0' && *e <= '9'; e++) {
        if (n < 100000000) {
            n = n * 10 + (*e - '0');
        }
    }

    *exponent = minus ? -n : n;

    return e;
}


unsigned char *
tb_rpc_json_tame(tb_rpc_json_scan_t *scan, const unsigned char *text,
    size_t len)
{
    scan->copy = malloc(len);
    if (scan->copy == NULL) {
        return NULL;
    }

    memcpy(scan->copy, text, len);

    scan->text = text;

    (void) tb_rpc_json_scan(scan, text, text + len);

    return scan->copy;
}
