
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Topic templates: v1/devices/{deviceId}/rpc/request/{requestId}.
 */


#ifndef _TB_TOPIC_H_INCLUDED_
#define _TB_TOPIC_H_INCLUDED_


#include "base.h"


#define TB_MAX_TOPIC         4096
#define TB_MAX_PIECES        32


typedef enum {
    TB_VAR_LITERAL = 0,
    TB_VAR_DEVICE_ID,
    TB_VAR_REQUEST_ID,
    TB_VAR_NAME,
    TB_VAR_TENANT_ID,
    TB_VAR_METHOD,
    TB_VAR_GATEWAY,
    TB_VAR_MAX
} tb_var_e;


typedef struct {
    tb_var_e             var;
    tb_str_t             text;             /* of a literal */
} tb_piece_t;


typedef struct {
    char                *source;
    char                *subscription;     /* with + for levels of variables */
    tb_piece_t           pieces[TB_MAX_PIECES];
    unsigned             npieces;
    unsigned             vars;             /* 1 << tb_var_e */
} tb_template_t;


#define TB_VAR(v)            (1u << TB_VAR_##v)


int tb_template_parse(tb_template_t *t, const char *source,
    unsigned allowed, const char **error);
void tb_template_free(tb_template_t *t);
/* values by tb_var_e; NULL, or why the topic cannot be made */
const char *tb_template_expand(const tb_template_t *t, tb_str_t *values,
    char *out, size_t size);
/* the values point into the topic; TB_ERROR if it is another one */
int tb_template_match(const tb_template_t *t, const char *topic,
    tb_str_t *values);


#endif /* _TB_TOPIC_H_INCLUDED_ */
