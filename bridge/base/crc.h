
/*
 * Copyright (C) tb-rpc contributors.
 *
 * CRC-32, as the shards of devices are counted by.
 */


#ifndef _TB_CRC_H_INCLUDED_
#define _TB_CRC_H_INCLUDED_


#include "base.h"


uint32_t tb_crc32(const char *data, size_t len);


#endif /* _TB_CRC_H_INCLUDED_ */
