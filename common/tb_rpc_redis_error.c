
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Error replies of Redis.
 */


#include "tb_rpc_redis_error.h"

#include <string.h>


#define tb_rpc_text(s)  { s, sizeof(s) - 1 }


static const struct {
    struct {
        const char        *data;
        size_t             len;
    } word;

    tb_rpc_redis_error_e   error;

} tb_rpc_redis_errors[] = {
    { tb_rpc_text("TRYAGAIN"), TB_RPC_REDIS_TRYAGAIN },
    { tb_rpc_text("MOVED"), TB_RPC_REDIS_ELSEWHERE },
    { tb_rpc_text("ASK"), TB_RPC_REDIS_ELSEWHERE },
    { tb_rpc_text("CLUSTERDOWN"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("LOADING"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("BUSY"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("UNKILLABLE"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("MASTERDOWN"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("MISCONF"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("NOREPLICAS"), TB_RPC_REDIS_AWAY },
    { tb_rpc_text("READONLY"), TB_RPC_REDIS_READONLY },
    { tb_rpc_text("ERR Function not found"), TB_RPC_REDIS_NO_FUNCTION },
    { tb_rpc_text("ERR unknown command"), TB_RPC_REDIS_NO_COMMAND },
    { tb_rpc_text("NOAUTH"), TB_RPC_REDIS_NO_AUTH },
    { tb_rpc_text("WRONGPASS"), TB_RPC_REDIS_WRONG_PASSWORD },
    { tb_rpc_text("NOPERM"), TB_RPC_REDIS_NO_RIGHT },
    { tb_rpc_text("OOM"), TB_RPC_REDIS_FULL },
    { tb_rpc_text("ERR The user executing the script"), TB_RPC_REDIS_HALF },
    { tb_rpc_text("ERR ACL failure in script:"), TB_RPC_REDIS_HALF }
};

#define TB_RPC_REDIS_NERRORS                                                  \
    (sizeof(tb_rpc_redis_errors) / sizeof(tb_rpc_redis_errors[0]))


tb_rpc_redis_error_e
tb_rpc_redis_error(const char *text, size_t len)
{
    size_t  i, n;

    for (i = 0; i < TB_RPC_REDIS_NERRORS; i++) {

        n = tb_rpc_redis_errors[i].word.len;

        /* as a word: there is BUSYKEY, too */

        if (len >= n
            && memcmp(text, tb_rpc_redis_errors[i].word.data, n) == 0
            && (len == n || text[n] == ' ' || text[n] == ','))
        {
            return tb_rpc_redis_errors[i].error;
        }
    }

    return TB_RPC_REDIS_OTHER;
}
