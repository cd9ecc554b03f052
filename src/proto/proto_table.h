/* The wire protocols there are: the one place that names them. */
#ifndef PROTO_PROTO_TABLE_H
#define PROTO_PROTO_TABLE_H

#include "proto/msp.h"
#include "proto/proto.h"

/* Room for the state of any of them. */
union proto_state {
    struct msp msp;
};

/* The protocol of that name, or NULL. */
const struct proto_ops *proto_find(const char *name);

#endif
