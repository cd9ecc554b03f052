/* The wire protocols there are: the one place that names them. */
#ifndef PROTO_PROTO_TABLE_H
#define PROTO_PROTO_TABLE_H

#include "proto/auto.h"
#include "proto/cnp/cnp.h"
#include "proto/frame.h"
#include "proto/msp/msp.h"
#include "proto/proto.h"
#include "proto/tinyproto.h"

/* A row a protocol: its struct proto_ops is NAME_protocol, its state in a connection struct STATE.
 * The rows are numbers in shared memory: a new one goes to the end. */
#define PROTOCOLS(X)        \
    X(auto, auto_detect)    \
    X(msp, msp)             \
    X(tinyproto, tinyproto) \
    X(cnp, cnp)             \
    X(frame, frame)

/* Room for the state of any of them. */
union proto_state {
#define X(name, state) struct state state;
    PROTOCOLS(X)
#undef X
    struct msp_client_state msp_client; /* of msp in the client's role */
};

/* The protocol of that name, or NULL. */
const struct proto_ops *proto_find(const char *name);

/* The protocol in that row of the table, or NULL behind its end; and the row of a protocol. */
const struct proto_ops *proto_at(size_t row);
size_t proto_row(const struct proto_ops *proto);

#endif
