
/*
 * Copyright (C) tb-rpc contributors.
 *
 * All options.
 */


#ifndef _TB_TABLE_H_INCLUDED_
#define _TB_TABLE_H_INCLUDED_


#include "optval.h"


extern const tb_option_t  tb_table[];
extern const size_t       tb_ntable;


#endif /* _TB_TABLE_H_INCLUDED_ */
