
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Flags and the configuration file.
 */


#ifndef _TB_OPTIONS_H_INCLUDED_
#define _TB_OPTIONS_H_INCLUDED_


#include "conf.h"


/* exits on --help, --version and errors */
void tb_options(tb_options_t *opt, int argc, char **argv);
/* passwords are read again, for the next connections */
void tb_options_reload(tb_options_t *opt);
void tb_options_free(tb_options_t *opt);


#endif /* _TB_OPTIONS_H_INCLUDED_ */
