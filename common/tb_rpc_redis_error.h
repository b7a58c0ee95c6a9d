
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Error replies of Redis: what has become of the command, and what helps.
 */


#ifndef _TB_RPC_REDIS_ERROR_H_INCLUDED_
#define _TB_RPC_REDIS_ERROR_H_INCLUDED_


#include <stddef.h>


typedef enum {
    /* of the command itself: the same again gets the same */
    TB_RPC_REDIS_OTHER = 0,
    /* a right is missing within a function, which may have half run */
    TB_RPC_REDIS_HALF,

    /* none of these has run */

    /* its shard is on the move: the same again, soon, here */
    TB_RPC_REDIS_TRYAGAIN,
    /* its shard is not here */
    TB_RPC_REDIS_ELSEWHERE,
    /* this server cannot just now, and will again */
    TB_RPC_REDIS_AWAY,
    TB_RPC_REDIS_READONLY,
    TB_RPC_REDIS_NO_FUNCTION,
    /* too old, or the command was renamed */
    TB_RPC_REDIS_NO_COMMAND,
    /* somebody has to repair it */
    TB_RPC_REDIS_NO_AUTH,
    TB_RPC_REDIS_WRONG_PASSWORD,
    TB_RPC_REDIS_NO_RIGHT,
    TB_RPC_REDIS_FULL
} tb_rpc_redis_error_e;


#define tb_rpc_redis_has_run(error)  ((error) < TB_RPC_REDIS_TRYAGAIN)


/* the text of an error reply, without its "-" */
tb_rpc_redis_error_e tb_rpc_redis_error(const char *text, size_t len);


#endif /* _TB_RPC_REDIS_ERROR_H_INCLUDED_ */
