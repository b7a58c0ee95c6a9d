
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The first words on a connection.
 */


#ifndef _TB_GREET_H_INCLUDED_
#define _TB_GREET_H_INCLUDED_


#include "conn.h"


/* tb_redis_io(), and on to READY */
void tb_greet_io(tb_redis_t *r, const tb_poll_t *p);


#endif /* _TB_GREET_H_INCLUDED_ */
