
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Objects are walked member by member, so that values can be passed on as
 * the bytes that were sent: 1.10 stays 1.10.  What is in a value is nginx's
 * business, which has let it through or will judge it: as to that, anything
 * that it allows is allowed, whatever its configuration.
 */


#include "../../common/tb_rpc_json.h"
#include "json.h"


const char *
tb_json_walk(const char *text, size_t len, tb_member_pt handler, void *data,
    int *has)
{
    int             rc, bits;
    tb_str_t        raw;
    const char     *error;
    tb_rpc_json_t   walk;

    static char     why[TB_RPC_JSON_ERROR];

    walk.start = (const unsigned char *) text;
    walk.last = walk.start + len;
    walk.depth = 0;
    walk.flags = TB_RPC_JSON_DUPLICATES;

    *has = 0;
    error = NULL;

    rc = tb_rpc_json_open(&walk);

    while (rc == TB_RPC_JSON_OK && error == NULL) {

        rc = tb_rpc_json_next(&walk);
        if (rc != TB_RPC_JSON_OK) {
            break;
        }

        raw.data = (const char *) walk.text;
        raw.len = walk.len;

        bits = handler(data, json_string_value(walk.name), walk.value, &raw);

        if (bits == TB_ERROR) {
            error = "a member has a wrong value";

        } else {
            *has |= bits;
        }
    }

    if (rc == TB_RPC_JSON_BAD) {
        error = strcpy(why, walk.error);

    } else if (rc == TB_RPC_JSON_MEMORY) {
        error = "there is no memory for it";
    }

    tb_rpc_json_close(&walk);

    return error;
}
