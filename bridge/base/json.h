
/*
 * Copyright (C) tb-rpc contributors.
 *
 * A walk through the members of a JSON object.
 */


#ifndef _TB_JSON_H_INCLUDED_
#define _TB_JSON_H_INCLUDED_


#include "base.h"

#include <jansson.h>


typedef int (*tb_member_pt)(void *data, const char *key, json_t *json,
    tb_str_t *raw);


/*
 * Calls handler for each member of the object, with its value and the bytes
 * that it was written with.  The handler returns bits of its own, which are
 * gathered in *has, or TB_ERROR.  NULL, or what is wrong, until the next walk.
 */
const char *tb_json_walk(const char *text, size_t len, tb_member_pt handler,
    void *data, int *has);


#endif /* _TB_JSON_H_INCLUDED_ */
