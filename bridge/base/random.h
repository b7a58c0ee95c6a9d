
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Random bytes.
 */


#ifndef _TB_RANDOM_H_INCLUDED_
#define _TB_RANDOM_H_INCLUDED_


#include "base.h"


int tb_random(void *buf, size_t len);


#endif /* _TB_RANDOM_H_INCLUDED_ */
