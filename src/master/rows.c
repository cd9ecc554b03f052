/* The rows of listeners in the control file: each listener of the present generation has one. */
#include "master/state.h"

#include <sysexits.h>

/* "127.0.0.1:43117, [::1]:43117" */
static void
rows_address(const struct generation *g, size_t i, struct buffer *out)
{
    struct endpoint told[LISTEN_SOCKETS_MAX];
    char address[ENDPOINT_TEXT_LEN];
    size_t n = generation_told(g, i, told);

    for (size_t k = 0; k < n; k++) {
        endpoint_format(&told[k], address);
        buffer_printf(out, "%s%s", k > 0 ? ", " : "", address);
    }
}

/* The row of a listener of the present configuration whose name i has as well: its connections
 * move, whatever became of its addresses. With port 0 there may be several of that name, and a
 * common socket tells which it is. -1: there is none. */
static int
rows_inherited(const struct generation *g, size_t i, const struct generation *now)
{
    bool any_port = endpoint_port(&g->config->listeners[i].endpoints[0]) == 0;

    for (size_t k = 0; now != NULL && k < now->socket_count; k++) {
        size_t j = now->sockets[k].listener;
        bool common = false;

        for (size_t s = 0; s < g->socket_count; s++)
            common = common || (g->sockets[s].listener == i &&
                                g->sockets[s].socket == now->sockets[k].socket);
        if ((common || !any_port) && j < now->row_count &&
            strcmp(now->config->listeners[j].name, g->config->listeners[i].name) == 0)
            return now->rows[j];
    }
    return -1;
}

int
rows_claim(struct master *m, struct generation *g, struct failure *why)
{
    for (size_t i = 0; i < g->config->listener_count; i++) {
        const struct listener_config *lc = &g->config->listeners[i];
        struct buffer address;
        int row;

        buffer_init(&address);
        rows_address(g, i, &address);
        row = stats_master_listener(&m->stats, rows_inherited(g, i, m->current), lc->name,
                                    buffer_cstr(&address), lc->proto, lc->handler);
        buffer_fini(&address);
        if (row < 0) {
            failure_set(why, EX_OSERR, "%s: the statistics have no row left for another listener",
                        lc->name);
            return -1;
        }
        g->rows[i] = (uint16_t)row;
        g->row_count = i + 1;
    }
    return 0;
}

static bool
rows_have(const struct generation *g, uint16_t row)
{
    for (size_t i = 0; g != NULL && i < g->row_count; i++) {
        if (g->rows[i] == row)
            return true;
    }
    return false;
}

void
rows_release(struct master *m, const struct generation *gone, const struct generation *stays)
{
    for (size_t i = 0; i < gone->row_count; i++) {
        if (!rows_have(stays, gone->rows[i]))
            stats_master_listener_inactive(&m->stats, gone->rows[i]);
    }
}
