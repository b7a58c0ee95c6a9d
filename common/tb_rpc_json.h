
/*
 * Copyright (C) tb-rpc contributors.
 *
 * JSON texts of others, by one set of rules.  What is passed on travels as the
 * sender's bytes, so a text is only walked and judged.
 */


#ifndef _TB_RPC_JSON_H_INCLUDED_
#define _TB_RPC_JSON_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>


#define TB_RPC_JSON_OK         0
#define TB_RPC_JSON_DONE       1
#define TB_RPC_JSON_BAD       -1
#define TB_RPC_JSON_MEMORY    -2

#define TB_RPC_JSON_DEPTH      64
#define TB_RPC_JSON_ERROR      JSON_ERROR_TEXT_LENGTH
#define TB_RPC_JSON_NAMES      8


/* what is allowed beyond JSON as it should be */

#define TB_RPC_JSON_DUPLICATES 1       /* members of the same name */
#define TB_RPC_JSON_TAIL       2       /* whatever follows the object */


typedef struct {
    /* set by the caller */
    const unsigned char   *start;
    const unsigned char   *last;
    unsigned               depth;      /* of nesting, 0: as jansson has it */
    unsigned               flags;

    /* of the present member */
    json_t                *name;
    json_t                *value;
    const unsigned char   *text;       /* of the value, as it was sent */
    size_t                 len;

    /* after TB_RPC_JSON_BAD; the text quotes nothing of the input */
    size_t                 offset;
    char                   error[TB_RPC_JSON_ERROR];

    /* private */
    const unsigned char   *pos;
    unsigned char         *tamed;      /* the text without huge numbers */
    json_t                *names[TB_RPC_JSON_NAMES];
    unsigned               nnames;
    json_t                *seen;       /* what does not go into names */
    unsigned               begun:1;
} tb_rpc_json_t;


/* TB_RPC_JSON_OK, TB_RPC_JSON_BAD: no object, too deep; TB_RPC_JSON_MEMORY */
int tb_rpc_json_open(tb_rpc_json_t *json);

/* TB_RPC_JSON_OK: the next member; TB_RPC_JSON_DONE; TB_RPC_JSON_BAD */
int tb_rpc_json_next(tb_rpc_json_t *json);

/* after any of these */
void tb_rpc_json_close(tb_rpc_json_t *json);

/* the rules for one value of any kind, as a whole text: 1 if it keeps them */
int tb_rpc_json_valid(const void *text, size_t len, unsigned depth,
    unsigned flags);


#endif /* _TB_RPC_JSON_H_INCLUDED_ */
