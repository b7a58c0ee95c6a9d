
/*
 * Commands whose replies are told when enough replicas have what they wrote.
 */


#ifndef _NGX_TB_REDIS_WAIT_H_INCLUDED_
#define _NGX_TB_REDIS_WAIT_H_INCLUDED_


#include "ngx_tb_redis_command.h"


typedef enum {
    NGX_TB_REDIS_WAIT_ENOUGH = 0,
    NGX_TB_REDIS_WAIT_FEW,
    NGX_TB_REDIS_WAIT_REFUSED
} ngx_tb_redis_wait_e;


/* of a connection */

typedef struct {
    ngx_tb_redis_command_t      *command;   /* the WAIT on its way, or NULL */
    ngx_queue_t                  replied;   /* commands with their replies */

    ngx_tb_redis_wait_e          state;     /* as the log knows it */
    ngx_msec_t                   failed;    /* when it did last */

    unsigned                     due:1;     /* the WAIT does not cover all */
} ngx_tb_redis_wait_t;


#endif /* _NGX_TB_REDIS_WAIT_H_INCLUDED_ */
