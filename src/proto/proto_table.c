/* The table of protocols, by name and by row. */
#include "proto/proto_table.h"

#define X(name, state) &name##_protocol,
static const struct proto_ops *const protocols[] = {PROTOCOLS(X)};
#undef X

#define X(name, state) #name,
const char *const proto_names[] = {PROTOCOLS(X) NULL};
#undef X

const struct proto_ops *
proto_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(protocols); i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}

const struct proto_ops *
proto_at(size_t row)
{
    return row < MS_ARRAY_LEN(protocols) ? protocols[row] : NULL;
}

size_t
proto_row(const struct proto_ops *proto)
{
    size_t row = 0;

    while (protocols[row] != proto)
        MS_ASSERT(++row < MS_ARRAY_LEN(protocols));
    return row;
}
