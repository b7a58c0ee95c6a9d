
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The header "traceparent" of W3C Trace Context.
 */


#ifndef _TB_RPC_TRACE_H_INCLUDED_
#define _TB_RPC_TRACE_H_INCLUDED_


#include <stddef.h>


/* 00-<32 hex digits>-<16>-<2> */
#define TB_RPC_TRACEPARENT_LEN  55


/*
 * 0, and dst gets these bytes: of a version that is to come, what of it is
 * known; -1: it is none, and dst is as it was
 */
int tb_rpc_traceparent(void *dst, const void *text, size_t len);


#endif /* _TB_RPC_TRACE_H_INCLUDED_ */
