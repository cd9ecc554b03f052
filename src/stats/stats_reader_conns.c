/* Connections and listeners. A slot is copied between two looks at its seq; one whose writer died
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

struct slot_identity {
    uint8_t family;
    uint16_t listener, port;
    uint8_t address[16];
    uint8_t proto;
};

/* False where the slot is free, or changed while it was copied. */
static bool
slot_copy(const struct stats_slot *slot, struct slot_identity *identity,
          struct stats_conn_view *view)
{
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);

    view->state = (enum stats_conn_state)atomic_load_explicit(&slot->state, memory_order_relaxed);
    identity->family = slot->family;
    identity->listener = slot->listener;
    identity->port = slot->port;
    memcpy(identity->address, slot->address, sizeof(identity->address));
    identity->proto = atomic_load_explicit(&slot->proto, memory_order_relaxed);
    view->began_us = slot->began_us;
    view->id = slot->id;
    view->active_us = atomic_load_explicit(&slot->active_us, memory_order_relaxed);
#define X(name, help) \
    view->counts.name = atomic_load_explicit(&slot->counters.name, memory_order_relaxed);
    STATS_CONN_COUNTERS(X)
#undef X
    atomic_thread_fence(memory_order_acquire);
    return (seq & 1) == 0 && atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq;
}

static bool
slot_view(const struct stats_control *control, const struct stats_slot *slot,
          struct stats_conn_view *view)
{
    struct slot_identity identity;

    for (int i = 0; i < SLOT_TRIES; i++) {
        if (!slot_copy(slot, &identity, view)) {
            sched_yield();
            continue;
        }
        if (view->state == STATS_CONN_FREE)
            return false;
        view->listener = identity.listener;
        text_copy(view->proto, control->protocols[identity.proto % STATS_PROTOCOLS],
                  sizeof(view->proto));
        stats_peer_format(identity.family, identity.address, identity.port, view->peer);
        return true;
    }
    return false;
}

static void
region_conns(const struct stats_reader *sr, unsigned region,
             void (*fn)(void *arg, const struct stats_conn_view *conn), void *arg)
{
    const struct stats_worker *row = &sr->control->worker[region];
    const struct stats_block *block = (const void *)(sr->regions + region * STATS_REGION_SIZE);
    const struct stats_slot *slots = (const void *)((const uint8_t *)block + STATS_BLOCK_SIZE);
    uint64_t incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);
    struct stats_conn_view view = {.worker_index = atomic_load(&row->index),
                                   .worker_pid = atomic_load(&row->pid)};
    uint32_t used;

    if (incarnation == 0 ||
        atomic_load_explicit(&block->incarnation, memory_order_acquire) != incarnation)
        return;
    used = atomic_load_explicit(&block->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < STATS_SLOTS; i++) {
        bool open = slot_view(sr->control, &slots[i], &view);

        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&block->incarnation, memory_order_relaxed) != incarnation)
            return;
        if (open)
            fn(arg, &view);
    }
}

void
stats_reader_conns(struct stats_reader *sr,
                   void (*fn)(void *arg, const struct stats_conn_view *conn), void *arg)
{
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        region_conns(sr, r, fn, arg);
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
    text_copy(view_out->url, row->url, sizeof(view_out->url));
    text_copy(view_out->address, row->address, sizeof(view_out->address));
    text_copy(view_out->proto, row->proto, sizeof(view_out->proto));
    text_copy(view_out->handler, row->handler, sizeof(view_out->handler));
    return true;
}
