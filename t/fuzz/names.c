
/*
 * Copyright (C) tb-rpc contributors.
 *
 * Lines of a file of devices: name,deviceId with the usual quotes.
 *
 * fuzz: bridge, at most 320 bytes
 */


/* its own way to a line is a file, which takes far longer than the line */
#include "../../bridge/rpc/names.c"

#include "lib/fuzz.h"


/* as it is quoted: each quote twice */

static size_t
quoted(char *out, const char *name, const char *id)
{
    char  *p;

    p = out;
    *p++ = '"';

    for ( /* void */ ; *name; name++) {
        if (*name == '"') {
            *p++ = '"';
        }

        *p++ = *name;
    }

    return p - out + sprintf(p, "\",%s", id);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char         id[TB_UUID_LEN + 1], other[TB_UUID_LEN + 1];
    char         line[512], again[1024], *name, *same;
    uint8_t     *copy;
    const char  *error;

    if (size >= sizeof(line)) {
        return 0;
    }

    memcpy(line, data, size);
    line[size] = '\0';

    copy = fuzz_copy((uint8_t *) line, strlen(line) + 1);

    error = tb_named_line((char *) copy, &name, id);

    if (error != NULL) {
        return 0;
    }

    CHECK(name[0] != '\0' && strlen(name) <= TB_MAX_NAME);
    CHECK(tb_uuid(id, strlen(id), other) == TB_OK && strcmp(id, other) == 0);

    /* written again, it is the same */

    CHECK(quoted(again, name, id) < sizeof(again));
    CHECK(tb_named_line(again, &same, other) == NULL);
    CHECK(strcmp(name, same) == 0 && strcmp(id, other) == 0);

    return 0;
}
