
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A command as Redis wants it.  redisFormatCommandArgv() has a sprintf() for
 * each argument, which was a sixth of all that the bridge did for a call.
 */


#include "../base/str.h"
#include "format.h"


/* a sign, a number, CR LF */
#define TB_FORMAT_HEAD       (1 + TB_DECIMAL + 2)


size_t
tb_format_max(int argc, const char **argv, const size_t *lens)
{
    int     i;
    size_t  size;

    size = TB_FORMAT_HEAD;

    for (i = 0; i < argc; i++) {
        size += TB_FORMAT_HEAD + (lens ? lens[i] : strlen(argv[i])) + 2;
    }

    return size;
}


static char *
tb_format_head(char *p, char sign, size_t n)
{
    *p++ = sign;
    p += tb_decimal(p, n);
    *p++ = '\r';
    *p++ = '\n';

    return p;
}


size_t
tb_format(char *out, int argc, const char **argv, const size_t *lens)
{
    int      i;
    char    *p;
    size_t   len;

    p = tb_format_head(out, '*', (size_t) argc);

    for (i = 0; i < argc; i++) {
        len = lens ? lens[i] : strlen(argv[i]);

        p = tb_format_head(p, '$', len);
        memcpy(p, argv[i], len);
        p += len;
        *p++ = '\r';
        *p++ = '\n';
    }

    return (size_t) (p - out);
}
