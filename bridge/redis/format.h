
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A command as Redis wants it.
 */


#ifndef _TB_FORMAT_H_INCLUDED_
#define _TB_FORMAT_H_INCLUDED_


#include "../base/base.h"


/* lens is NULL for strings; at most so many bytes are written by the other */
size_t tb_format_max(int argc, const char **argv, const size_t *lens);
/* how many there are */
size_t tb_format(char *out, int argc, const char **argv, const size_t *lens);


#endif /* _TB_FORMAT_H_INCLUDED_ */
