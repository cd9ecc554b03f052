/* The wire protocols there are: the one place that names them. */
#ifndef PROTO_PROTO_TABLE_H
#define PROTO_PROTO_TABLE_H

#include "proto/auto.h"
#include "proto/cnp/cnp.h"
#include "proto/frame.h"
#include "proto/msp/msp.h"
#include "proto/proto.h"
#include "proto/tinyproto.h"

/* Room for the state of any of them. */
union proto_state {
    struct auto_detect auto_detect;
    struct msp msp;
    struct msp_client_state msp_client;
    struct tinyproto tinyproto;
    struct cnp cnp;
    struct frame frame;
};

/* The protocol of that name, or NULL. */
const struct proto_ops *proto_find(const char *name);

/* The protocol in that row of the table, or NULL behind its end; and the row of a protocol. */
const struct proto_ops *proto_at(size_t row);
size_t proto_row(const struct proto_ops *proto);

#endif
