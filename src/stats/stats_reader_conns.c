/* Connections and listeners. A slot is shown when it was read twice alike; one whose writer died
 * half-way stays odd and is left out after a few tries. */
#include "stats/stats_reader.h"

#include <sched.h>

#define SLOT_TRIES 20

static void
text_copy(char *out, const char *field, size_t size)
{
    memcpy(out, field, size);
    out[size - 1] = '\0';
}

/* What does not change while the sequence number stays. */
static bool
slot_same(const struct stats_slot *a, const struct stats_slot *b)
{
    return atomic_load(&a->seq) == atomic_load(&b->seq) && a->family == b->family &&
           a->listener == b->listener && a->port == b->port && a->began_us == b->began_us &&
           a->id == b->id && memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

static void
slot_view(const struct stats_control *control, const struct stats_slot *slot,
          struct stats_conn_view *view)
{
    unsigned proto = atomic_load(&slot->proto) % STATS_PROTOCOLS;

    view->state = (enum stats_conn_state)atomic_load(&slot->state);
    view->listener = slot->listener;
    view->began_us = slot->began_us;
    view->active_us = atomic_load(&slot->active_us);
    view->id = slot->id;
#define X(name, help) view->counts.name = atomic_load(&slot->counters.name);
    STATS_CONN_COUNTERS(X)
#undef X
    text_copy(view->proto, control->protocols[proto], sizeof(view->proto));
    text_copy(view->identity, slot->identity, sizeof(view->identity));
    stats_peer_format(slot->family, slot->address, slot->port, view->peer);
}

/* Slots are read in steps of this many: 16 KiB. */
#define SLOTS_AT_ONCE 128
static_assert(STATS_SLOTS % SLOTS_AT_ONCE == 0, "the last step ends with the region");

/* The connections of a worker, as they are being looked at. */
struct looking {
    struct stats_reader *sr;
    unsigned region;
    uint64_t incarnation;
    struct stats_conn_view view;
    void (*fn)(void *arg, const struct stats_conn_view *conn);
    void *arg;
};

/* A slot that two readings found alike was not changed while the first was made. Leaves in left
 * which were not. */
static unsigned
slots_show(struct looking *l, const struct stats_slot *before, const struct stats_slot *now,
           bool left[SLOTS_AT_ONCE])
{
    unsigned n = 0;

    for (unsigned i = 0; i < SLOTS_AT_ONCE; i++) {
        if (!left[i])
            continue;
        if ((atomic_load(&now[i].seq) & 1) != 0 || !slot_same(&before[i], &now[i])) {
            n++;
            continue;
        }
        left[i] = false;
        slot_view(l->sr->control, &now[i], &l->view);
        if (l->view.state != STATS_CONN_FREE)
            l->fn(l->arg, &l->view);
    }
    return n;
}

static bool
slots_look(struct looking *l, uint32_t first)
{
    struct stats_slot slots[2][SLOTS_AT_ONCE];
    const uint64_t at = STATS_BLOCK_SIZE + (uint64_t)first * sizeof(slots[0][0]);
    bool left[SLOTS_AT_ONCE];

    memset(left, true, sizeof(left));
    if (!stats_reader_region(l->sr, l->region, l->incarnation, at, slots[0], sizeof(slots[0])))
        return false;
    for (unsigned i = 1; i <= SLOT_TRIES; i++) {
        if (!stats_reader_region(l->sr, l->region, l->incarnation, at, slots[i & 1],
                                 sizeof(slots[0])))
            return false;
        if (slots_show(l, slots[(i + 1) & 1], slots[i & 1], left) == 0)
            break;
        sched_yield();
    }
    return true;
}

static void
region_look(struct looking *l)
{
    const struct stats_worker *row = &l->sr->control->worker[l->region];
    struct stats_block block;
    uint32_t used;

    l->incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);
    l->view.worker_index = atomic_load(&row->index);
    l->view.worker_pid = atomic_load(&row->pid);
    if (l->incarnation == 0 ||
        !stats_reader_region(l->sr, l->region, l->incarnation, 0, &block, sizeof(block)) ||
        atomic_load(&block.incarnation) != l->incarnation)
        return;
    used = atomic_load(&block.slots_used);
    for (uint32_t i = 0; i < used && i < STATS_SLOTS; i += SLOTS_AT_ONCE)
        if (!slots_look(l, i))
            return;
}

void
stats_reader_conns(struct stats_reader *sr,
                   void (*fn)(void *arg, const struct stats_conn_view *conn), void *arg)
{
    struct looking l = {.sr = sr, .fn = fn, .arg = arg};

    sr->unreadable = 0;
    for (l.region = 0; l.region < stats_regions_used(sr->control); l.region++)
        region_look(&l);
}

bool
stats_reader_listener(const struct stats_reader *sr, unsigned id,
                      struct stats_listener_view *view_out)
{
    const struct stats_listener *row;

    if (id >= STATS_LISTENERS)
        return false;
    row = &sr->control->listener[id];
    if (row->url[0] == '\0')
        return false;
    view_out->active = atomic_load_explicit(&row->active, memory_order_acquire) != 0;
    view_out->certificate_until =
        atomic_load_explicit(&row->certificate_until, memory_order_relaxed);
    text_copy(view_out->url, row->url, sizeof(view_out->url));
    text_copy(view_out->address, row->address, sizeof(view_out->address));
    text_copy(view_out->proto, row->proto, sizeof(view_out->proto));
    text_copy(view_out->handler, row->handler, sizeof(view_out->handler));
    return true;
}
