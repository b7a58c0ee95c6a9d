
/*
 * Copyright (C) tb-rpc contributors.
 *
 * JSON values that need no lexer.
 */


#ifndef _TB_RPC_JSON_PLAIN_H_INCLUDED_
#define _TB_RPC_JSON_PLAIN_H_INCLUDED_


#include <jansson.h>


/*
 * What jansson makes of the value at p, and its end; NULL if it is none of the
 * plain ones, or without memory: jansson is to judge it.  The caller frees.
 */
json_t *tb_rpc_json_plain(const unsigned char *p, const unsigned char *last,
    const unsigned char **end);


#endif /* _TB_RPC_JSON_PLAIN_H_INCLUDED_ */
