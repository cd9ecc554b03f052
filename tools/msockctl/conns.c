/* Collects connections and listeners of one moment. */
#include "conns.h"

#include "common/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static void
conns_add(void *arg, const struct stats_conn_view *conn)
{
    struct conns *c = arg;

    if (c->n == c->room) {
        size_t room = c->room == 0 ? 64 : c->room * 2;
        struct stats_conn_view *rows = ms_calloc(room, sizeof(rows[0]));

        if (c->n > 0)
            memcpy(rows, c->rows, c->n * sizeof(rows[0]));
        free(c->rows);
        c->rows = rows;
        c->room = room;
    }
    c->rows[c->n++] = *conn;
}

int
conns_take(const struct ctl *ctl, struct conns *out)
{
    struct stats_reader sr;
    char error[256];

    if (stats_reader_open(&sr, ctl->dir, error) < 0) {
        int status = ctl_status(errno);

        ctl_error(ctl, "%s", error);
        return status;
    }
    *out = (struct conns){.now_us = clock_mono_us()};
    out->listeners = ms_calloc(STATS_LISTENERS, sizeof(out->listeners[0]));
    for (unsigned i = 0; i < STATS_LISTENERS; i++)
        (void)stats_reader_listener(&sr, i, &out->listeners[i]);
    stats_reader_conns(&sr, conns_add, out);
    stats_reader_close(&sr);
    return EX_OK;
}

void
conns_fini(struct conns *conns)
{
    free(conns->rows);
    free(conns->listeners);
    *conns = (struct conns){0};
}

const struct stats_listener_view *
conns_listener(const struct conns *conns, const struct stats_conn_view *conn)
{
    static const struct stats_listener_view none;

    return conn->listener < STATS_LISTENERS ? &conns->listeners[conn->listener] : &none;
}
