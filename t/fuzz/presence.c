
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Payloads of presence messages.
 *
 * fuzz: bridge, at most 128 bytes
 */


#include "../../bridge/rpc/payload.h"
#include "lib/fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int            rc, again;
    char           text[512];
    size_t         i;
    char           session[TB_MAX_SESSION + 1], other[TB_MAX_SESSION + 1];
    tb_str_t       payload;
    tb_rpc_conf_t  conf;

    memset(&conf, 0, sizeof(tb_rpc_conf_t));
    conf.online = "up";
    conf.offline = "down";

    payload.data = (const char *) fuzz_copy(data, size);
    payload.len = size;
    memset(session, 'x', sizeof(session));

    rc = tb_presence_parse(&conf, &payload, session);

    CHECK(rc == 0 || rc == 1 || rc == TB_ERROR);
    CHECK(memchr(session, '\0', sizeof(session)) != NULL);

    for (i = 0; session[i]; i++) {
        CHECK(session[i] > 0x20 && session[i] < 0x7f);
    }

    if (rc == TB_ERROR || session[0] == '\0') {
        return 0;
    }

    /* written as a word, it is the same */

    payload.data = text;
    payload.len = snprintf(text, sizeof(text), "%s:%s", rc ? "up" : "down",
                           session);

    again = tb_presence_parse(&conf, &payload, other);
    CHECK(again == rc && strcmp(session, other) == 0);

    return 0;
}
