
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Log, clock, checksums and checked numbers.  Owns no state but the level.
 */


#include "../bridge.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>


int  tb_log_level = TB_LOG_INFO;


void
tb_log(int level, const char *fmt, ...)
{
    char                buf[2048], when[32];
    va_list             args;
    struct tm           tm;
    struct timespec     ts;

    static const char  *names[] = { "error", "warn", "info", "debug" };

    if (level > tb_log_level) {
        return;
    }

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
    char         *p;
    size_t        i, n;

    static char   bufs[4][256];
    static int    turn;

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


int64_t
tb_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


uint32_t
tb_crc32(const char *data, size_t len)
{
    int       i;
    size_t    n;
    uint32_t  crc;

    crc = 0xffffffff;

    for (n = 0; n < len; n++) {
        crc ^= (unsigned char) data[n];

        for (i = 0; i < 8; i++) {
            crc = (crc >> 1) ^ (0xedb88320 & (0 - (crc & 1)));
        }
    }

    return ~crc;
}


int
tb_uuid(const char *data, size_t len, char *out)
{
    size_t  i;

    if (len != TB_UUID_LEN) {
        return TB_ERROR;
    }

    for (i = 0; i < len; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (data[i] != '-') {
                return TB_ERROR;
            }

        } else if (!isxdigit((unsigned char) data[i])) {
            return TB_ERROR;
        }

        out[i] = (char) tolower((unsigned char) data[i]);
    }

    out[i] = '\0';

    return TB_OK;
}


int
tb_number(const char *data, size_t len, uint32_t min, uint32_t max,
    uint32_t *out)
{
    size_t    i;
    uint64_t  n;

    if (len == 0 || len > 10) {
        return TB_ERROR;
    }

    for (i = 0, n = 0; i < len; i++) {
        if (data[i] < '0' || data[i] > '9') {
            return TB_ERROR;
        }

        n = n * 10 + (data[i] - '0');
    }

    if (n < min || n > max) {
        return TB_ERROR;
    }

    *out = (uint32_t) n;

    return TB_OK;
}


int
tb_random(void *buf, size_t len)
{
    int      fd;
    ssize_t  n;

    fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return TB_ERROR;
    }

    n = read(fd, buf, len);
    close(fd);

    return (n == (ssize_t) len) ? TB_OK : TB_ERROR;
}


void *
tb_alloc(size_t size)
{
    void  *p;

    p = calloc(1, size);
    if (p == NULL) {
        tb_log(TB_LOG_ERROR, "no memory for %zu bytes, giving up", size);
        exit(1);
    }

    return p;
}


char *
tb_strndup(const char *data, size_t len)
{
    char  *p;

    p = tb_alloc(len + 1);
    memcpy(p, data, len);

    return p;
}


int64_t
tb_backoff(int *backoff, int max)
{
    int  wait;

    *backoff = *backoff ? *backoff * 2 : 100;

    if (*backoff > max) {
        *backoff = max;
    }

    /* a quarter of jitter, so that a fleet does not come back at once */
    wait = *backoff - (int) (random() % (*backoff / 4 + 1));

    return tb_now() + wait;
}
