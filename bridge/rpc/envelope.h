
/*
 * Copyright (C) tb-rpc contributors.
 *
 * What a take brings for each call.
 */


#ifndef _TB_ENVELOPE_H_INCLUDED_
#define _TB_ENVELOPE_H_INCLUDED_


#include "call.h"


/* NULL, and why; for tb_call_free() */
tb_call_t *tb_envelope_parse(const char *data, size_t len,
    const char **error);
void tb_call_free(tb_call_t *call);


#endif /* _TB_ENVELOPE_H_INCLUDED_ */
