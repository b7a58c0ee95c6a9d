
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The log, on the standard error.  Owns no state but the level.
 */


#include "log.h"

#include <stdarg.h>
#include <time.h>


int  tb_log_level = TB_LOG_INFO;


void
tb_log_write(int level, const char *fmt, ...)
{
    char                buf[2048], when[32];
    va_list             args;
    struct tm           tm;
    struct timespec     ts;

    static const char  *names[] = { "error", "warn", "info", "debug" };

    va_start(args, fmt);
    vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);

    fprintf(stderr, "%s.%03dZ [%s] %s\n", when, (int) (ts.tv_nsec / 1000000),
            names[level], buf);
}


const char *
tb_safe(const char *data, size_t len)
{
    char             *p;
    size_t            i, n;

    static char       bufs[4][256];
    static unsigned   turn;

    p = bufs[turn++ % 4];
    n = 0;

    for (i = 0; i < len && n < 240; i++) {
        if (data[i] >= 0x20 && data[i] < 0x7f && data[i] != '\\') {
            p[n++] = data[i];
            continue;
        }

        n += sprintf(p + n, "\\x%02x", (unsigned char) data[i]);
    }

    strcpy(p + n, i < len ? "..." : "");

    return p;
}
