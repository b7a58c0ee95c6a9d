
/*
 * Copyright (C) tb-rpc contributors.
 *
 * UUIDs as text.
 */


#ifndef _TB_UUID_H_INCLUDED_
#define _TB_UUID_H_INCLUDED_


#include "../../common/tb_rpc_uuid.h"
#include "base.h"


#define TB_UUID_LEN          TB_RPC_UUID_LEN


/* checks a UUID and writes it in lower case, NUL-terminated */
int tb_uuid(const char *data, size_t len, char *out);


#endif /* _TB_UUID_H_INCLUDED_ */
