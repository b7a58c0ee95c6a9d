
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Random bytes.
 */


#include "random.h"

#include <fcntl.h>


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
