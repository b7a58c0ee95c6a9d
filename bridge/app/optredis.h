
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The options of Redis.
 */


#ifndef _TB_OPTREDIS_H_INCLUDED_
#define _TB_OPTREDIS_H_INCLUDED_


#include "optval.h"


/* one or more URLs, parted by blanks, after those given there before */
const char *tb_set_redis(tb_options_t *opt, const tb_option_t *o,
    const char *value);
/* the first line of the file, whose name is kept */
const char *tb_set_redis_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_sentinel_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value);

/* those that need each other: NULL, or what is wrong with *option */
const char *tb_redis_options_check(tb_options_t *opt, const char **option);
/* passwords' files again: NULL, or what is wrong; what was there stays */
const char *tb_redis_options_again(tb_options_t *opt);
void tb_redis_options_free(tb_options_t *opt);


#endif /* _TB_OPTREDIS_H_INCLUDED_ */
