
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Setters of options.
 */


#ifndef _TB_OPTVAL_H_INCLUDED_
#define _TB_OPTVAL_H_INCLUDED_


#include "conf.h"


typedef struct tb_option_s  tb_option_t;

/* puts the value into the options; NULL, or what is wrong with it */
typedef const char *(*tb_option_pt)(tb_options_t *opt, const tb_option_t *o,
    const char *value);

struct tb_option_s {
    const char    *name;           /* NULL: a heading, which is in arg */
    tb_option_pt   set;
    size_t         offset;
    uint32_t       min;
    uint32_t       max;
    const char    *arg;            /* NULL: a switch */
    const char    *value;          /* the default */
    const char    *help;           /* lines */
};


const char *tb_set_int(tb_options_t *opt, const tb_option_t *o,
    const char *value);
/* min is the least length */
const char *tb_set_text(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_switch(tb_options_t *opt, const tb_option_t *o,
    const char *value);
/* the first line of the file, whose name is kept */
const char *tb_set_mqtt_secret(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_name(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_prefix(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_uuid(tb_options_t *opt, const tb_option_t *o,
    const char *value);
/* min: variables of which one is needed, max: variables that may be there */
const char *tb_set_template(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_broker(tb_options_t *opt, const tb_option_t *o,
    const char *value);
/* one of the words in arg; its place among them */
const char *tb_set_word(tb_options_t *opt, const tb_option_t *o,
    const char *value);
const char *tb_set_version(tb_options_t *opt, const tb_option_t *o,
    const char *value);

/* for other setters */

/* what is wrong, for the moment of its printing */
const char *tb_why(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
void tb_replace(char **out, const char *text, size_t len);
/* host[:port] or [v6][:port]; what follows is left in *rest */
const char *tb_set_host(const char *text, char **host, int *port,
    const char **rest);
/* the first line of a file; the option is for what is wrong, as "--name " */
const char *tb_secret(char **out, const char *option, const char *path);


#endif /* _TB_OPTVAL_H_INCLUDED_ */
