
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What every file of the bridge sees.
 */


#ifndef _TB_BASE_H_INCLUDED_
#define _TB_BASE_H_INCLUDED_


#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>


#define TB_OK                0
#define TB_ERROR            -1


typedef struct {
    const char          *data;
    size_t               len;
} tb_str_t;


/* what callbacks are given back; only the room rpc looks into it */
typedef struct tb_bridge_s  tb_bridge_t;


#endif /* _TB_BASE_H_INCLUDED_ */
