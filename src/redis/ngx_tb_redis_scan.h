
/*
 * Follows the reply stream before hiredis sees it: bounds lengths, depth
 * and totals, so that no hostile length makes hiredis allocate or abort.
 */


#ifndef _NGX_TB_REDIS_SCAN_H_INCLUDED_
#define _NGX_TB_REDIS_SCAN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* what a single reply may be */

#define NGX_TB_REDIS_MAX_REPLY      (64 * 1024 * 1024)
#define NGX_TB_REDIS_MAX_ELEMENTS   (1024 * 1024)
#define NGX_TB_REDIS_MAX_LINE       65536
#define NGX_TB_REDIS_MAX_NUMBER     24
#define NGX_TB_REDIS_MAX_DEPTH      7           /* hiredis 0.14 has no more */


typedef struct {
    ngx_uint_t                   state;
    u_char                       type;
    unsigned                     negative:1;
    size_t                       line;      /* bytes of this line */
    uint64_t                     number;
    size_t                       rest;      /* bytes of the bulk string */
    size_t                       bytes;     /* of this reply */
    size_t                       elements;
    ngx_uint_t                   depth;
    size_t                       left[NGX_TB_REDIS_MAX_DEPTH];
    const char                  *error;
} ngx_tb_redis_scan_t;


/* NGX_OK; NGX_ERROR: scan->error says why */
ngx_int_t ngx_tb_redis_scan(ngx_tb_redis_scan_t *scan, u_char *p,
    u_char *last);


#endif /* _NGX_TB_REDIS_SCAN_H_INCLUDED_ */
