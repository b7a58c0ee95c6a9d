
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The log.
 */


#ifndef _TB_LOG_H_INCLUDED_
#define _TB_LOG_H_INCLUDED_


#include "base.h"


#define TB_LOG_ERROR         0
#define TB_LOG_WARN          1
#define TB_LOG_INFO          2
#define TB_LOG_DEBUG         3


extern int  tb_log_level;


/* text of others is to go through tb_safe() first */
/* what it says is not evaluated where it would not be written */
#define tb_log(level, ...)                                                    \
    if (tb_log_level >= (level)) tb_log_write(level, __VA_ARGS__)

void tb_log_write(int level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* printable, bounded; one of four static buffers */
const char *tb_safe(const char *data, size_t len);


#endif /* _TB_LOG_H_INCLUDED_ */
