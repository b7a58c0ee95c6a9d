
/*
 * The version of module, bridge and tools; script/version changes it here and
 * where it is told.
 */


#ifndef _NGX_HTTP_TB_RPC_VERSION_H_INCLUDED_
#define _NGX_HTTP_TB_RPC_VERSION_H_INCLUDED_


#define NGX_HTTP_TB_RPC_VERSION  "0.2.0"


#endif /* _NGX_HTTP_TB_RPC_VERSION_H_INCLUDED_ */
