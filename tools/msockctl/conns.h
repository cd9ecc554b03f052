/* All open connections, in memory. */
#ifndef MSOCKCTL_CONNS_H
#define MSOCKCTL_CONNS_H

#include "ctl.h"
#include "stats/stats_reader.h"

struct conns {
    struct stats_conn_view *rows; /* heap */
    size_t n, room;
    struct stats_listener_view *listeners; /* heap; STATS_LISTENERS rows, url "" where unused */
    uint64_t now_us;
};

/* Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int conns_take(const struct ctl *ctl, struct conns *out);
void conns_fini(struct conns *conns);

/* The listener of a connection; never NULL. */
const struct stats_listener_view *
conns_listener(const struct conns *conns, const struct stats_conn_view *conn);

#endif
