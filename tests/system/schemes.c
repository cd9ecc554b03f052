#include "schemes.h"

#include "proto/proto_table.h"

const char *
scheme_at(size_t i, bool pushed)
{
    const struct proto_ops *proto;

    for (size_t row = 0; (proto = proto_at(row)) != NULL; row++)
        if (!proto->only_listens && (!pushed || proto->push != NULL) && i-- == 0)
            return proto->name;
    return NULL;
}
