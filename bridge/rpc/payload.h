
/*
 * Copyright (C) tb-rpc contributors.
 *
 * The payload of a presence message.
 */


#ifndef _TB_PAYLOAD_H_INCLUDED_
#define _TB_PAYLOAD_H_INCLUDED_


#include "conf.h"


#define TB_MAX_SESSION       64


/* 1 online, 0 offline, or TB_ERROR; session has TB_MAX_SESSION + 1 bytes */
int tb_presence_parse(const tb_rpc_conf_t *conf, const tb_str_t *payload,
    char *session);


#endif /* _TB_PAYLOAD_H_INCLUDED_ */
