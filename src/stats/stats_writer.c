/* The worker's half. Invariant: a slot's identity changes only while its seq is odd, and seq only
 * rises within an incarnation; slots below `reserved` have room in the file, so a store there
 * cannot fail. */
#include "stats/stats_writer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Slots get their room in the file in steps of this many: 16 KiB. */
#define SLOTS_STEP 128
static_assert(STATS_SLOTS % SLOTS_STEP == 0, "the last step ends with the region");

/* A worker without a master has memory of its own in place of each file. */
static void *
writer_map(int fd, size_t len, int protection)
{
    void *map;

    if (fd >= 0)
        map = mmap(NULL, len, protection, MAP_SHARED, fd, 0);
    else
        map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

/* And it counts itself among the live ones. */
static void
writer_alone(struct stats_control *c, uint64_t incarnation)
{
    c->magic = STATS_MAGIC;
    c->version = STATS_VERSION;
    c->size = sizeof(*c);
    atomic_store(&c->generation, 1);
    atomic_store(&c->worker[0].generation, 1);
    atomic_store(&c->worker[0].state, STATS_WORKER_READY);
    atomic_store(&c->worker[0].incarnation, incarnation);
    atomic_store(&c->regions_used, 1);
}

int
stats_writer_open(struct stats_writer *sw, const struct stats_place *place)
{
    struct stats_control *control;
    struct stats_load *loads;

    *sw = (struct stats_writer){.stats_fd = place->stats_fd, .next_id = 1};
    sw->control = control = writer_map(place->control_fd, sizeof(*control), PROT_READ);
    sw->loads = loads = place->loads.memory != NULL
                            ? place->loads.memory
                            : writer_map(-1, sizeof(struct stats_load), PROT_READ);
    sw->block = writer_map(sw->stats_fd, STATS_REGION_SIZE, PROT_READ | PROT_WRITE);
    if (control == NULL || loads == NULL || sw->block == NULL)
        goto out;
    if (place->control_fd < 0)
        writer_alone(control, place->incarnation);
    sw->slots = (void *)((uint8_t *)sw->block + STATS_BLOCK_SIZE);
    sw->recorder = (void *)((uint8_t *)sw->block + STATS_RECORDER_AT);
    sw->load = place->loads.memory != NULL ? regions_own(&place->loads, place->region) : loads;
    atomic_store(&sw->load->open, 0);
    atomic_store(&sw->load->accepting, 0);
    atomic_store_explicit(&sw->load->incarnation, place->incarnation, memory_order_release);
    atomic_store_explicit(&sw->block->incarnation, place->incarnation, memory_order_release);
    return 0;
out:
    stats_writer_close(sw);
    return -1;
}

void
stats_writer_close(struct stats_writer *sw)
{
    if (sw->control != NULL)
        munmap((void *)(uintptr_t)sw->control, sizeof(struct stats_control));
    if (sw->loads != NULL && sw->stats_fd < 0)
        munmap((void *)(uintptr_t)sw->loads, sizeof(struct stats_load));
    if (sw->block != NULL)
        munmap(sw->block, STATS_REGION_SIZE);
    free(sw->free_slots);
    *sw = (struct stats_writer){.stats_fd = -1};
}

void
stats_writer_relay(struct stats_writer *sw, const struct stats_relay *now)
{
    struct stats_relay *shown = (struct stats_relay *)(void *)sw->slots;
    const size_t from = offsetof(struct stats_relay, counting);
    uint32_t odd;

    if (sw->reserved == 0 && stats_space_reserve(sw->stats_fd, STATS_BLOCK_SIZE, sizeof(*now)) < 0)
        return;
    sw->reserved = 1;
    odd = atomic_load_explicit(&shown->seq, memory_order_relaxed) | 1;
    atomic_store_explicit(&shown->seq, odd, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy((char *)shown + from, (const char *)now + from, sizeof(*now) - from);
    atomic_store_explicit(&shown->seq, odd + 1, memory_order_release);
}

/* --- slots --- */

static struct stats_slot *
slot_take(struct stats_writer *sw)
{
    uint32_t used = atomic_load_explicit(&sw->block->slots_used, memory_order_relaxed);

    if (sw->free_count > 0)
        return &sw->slots[sw->free_slots[--sw->free_count]];
    if (used == STATS_SLOTS)
        return NULL;
    if (used == sw->reserved) {
        if (sw->stats_fd >= 0 &&
            stats_space_reserve(sw->stats_fd, STATS_BLOCK_SIZE + used * sizeof(struct stats_slot),
                                SLOTS_STEP * sizeof(struct stats_slot)) < 0)
            return NULL;
        sw->reserved += SLOTS_STEP;
    }
    atomic_store_explicit(&sw->block->slots_used, used + 1, memory_order_release);
    return &sw->slots[used];
}

/* Returns the even seq that ends the change. */
static uint32_t
slot_change_begin(struct stats_slot *slot)
{
    uint32_t odd = atomic_load_explicit(&slot->seq, memory_order_relaxed) | 1;

    atomic_store_explicit(&slot->seq, odd, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    return odd + 1;
}

static void
slot_set_peer(struct stats_slot *slot, const struct endpoint *peer)
{
    const struct sockaddr_in *in4 = (const void *)&peer->addr;
    const struct sockaddr_in6 *in6 = (const void *)&peer->addr;

    memset(slot->address, 0, sizeof(slot->address));
    slot->family = STATS_FAMILY_UNIX;
    slot->port = 0;
    if (peer->addr.ss_family == AF_INET) {
        slot->family = STATS_FAMILY_IPV4;
        memcpy(slot->address, &in4->sin_addr, 4);
        slot->port = ntohs(in4->sin_port);
    } else if (peer->addr.ss_family == AF_INET6) {
        slot->family = STATS_FAMILY_IPV6;
        memcpy(slot->address, &in6->sin6_addr, 16);
        slot->port = ntohs(in6->sin6_port);
    }
}

static void
slot_clear_counters(struct stats_slot *slot)
{
#define X(name, help) atomic_store_explicit(&slot->counters.name, 0, memory_order_relaxed);
    STATS_CONN_COUNTERS(X)
#undef X
}

/* Told to the readers and to the other workers. */
static void
open_add(struct stats_writer *sw, int n)
{
    uint32_t open = atomic_load_explicit(&sw->block->open, memory_order_relaxed) + (uint32_t)n;

    atomic_store_explicit(&sw->block->open, open, memory_order_relaxed);
    atomic_store_explicit(&sw->load->open, open, memory_order_relaxed);
}

struct stats_slot *
stats_writer_claim(struct stats_writer *sw, uint16_t listener, const struct endpoint *peer,
                   uint64_t now_us)
{
    struct stats_slot *slot = slot_take(sw);
    uint32_t even;

    if (slot == NULL)
        return NULL;
    even = slot_change_begin(slot);
    slot->listener = listener;
    slot_set_peer(slot, peer);
    slot->began_us = now_us;
    slot->id = sw->next_id++;
    slot->identity[0] = '\0';
    slot_clear_counters(slot);
    atomic_store_explicit(&slot->active_us, now_us, memory_order_relaxed);
    atomic_store_explicit(&slot->state, STATS_CONN_IDLE, memory_order_relaxed);
    atomic_store_explicit(&slot->seq, even, memory_order_release);
    open_add(sw, 1);
    return slot;
}

void
stats_writer_peer_pid(struct stats_slot *slot, uint32_t pid)
{
    uint32_t even = slot_change_begin(slot);
    uint32_t wire = htonl(pid);

    memcpy(slot->address, &wire, sizeof(wire));
    atomic_store_explicit(&slot->seq, even, memory_order_release);
}

void
stats_writer_identity(struct stats_slot *slot, const char *identity)
{
    uint32_t even = slot_change_begin(slot);

    snprintf(slot->identity, sizeof(slot->identity), "%s", identity);
    atomic_store_explicit(&slot->seq, even, memory_order_release);
}

void
stats_writer_release(struct stats_writer *sw, struct stats_slot *slot)
{
    MS_ASSERT(slot >= sw->slots && slot < sw->slots + STATS_SLOTS);
    MS_ASSERT(atomic_load_explicit(&slot->state, memory_order_relaxed) != STATS_CONN_FREE);
    if (sw->free_count == sw->free_cap) {
        uint32_t cap = sw->free_cap == 0 ? 64 : sw->free_cap * 2;
        uint32_t *grown = ms_malloc(cap * sizeof(grown[0]));

        if (grown == NULL)
            goto out; /* the slot is not used again */
        if (sw->free_count > 0)
            memcpy(grown, sw->free_slots, sw->free_count * sizeof(grown[0]));
        free(sw->free_slots);
        sw->free_slots = grown;
        sw->free_cap = cap;
    }
    sw->free_slots[sw->free_count++] = (uint32_t)(slot - sw->slots);
out:
    atomic_store_explicit(&slot->state, STATS_CONN_FREE, memory_order_relaxed);
    open_add(sw, -1);
}

void
stats_writer_accepting(struct stats_writer *sw, bool accepting)
{
    atomic_store_explicit(&sw->load->accepting, accepting, memory_order_relaxed);
}

/* --- the flight recorder --- */

/* The number is 0 while the rest changes, and never the same again. */
void
stats_record(struct stats_writer *sw, enum stats_event_kind kind, const struct stats_slot *conn,
             uint64_t now_us, uint32_t value, const char *code)
{
    static const struct stats_slot none;
    const struct stats_slot *slot = conn != NULL ? conn : &none;
    struct stats_event *e = &sw->recorder->events[sw->events % STATS_EVENTS];

    atomic_store_explicit(&e->number, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    e->time_us = now_us;
    e->conn = slot->id;
    e->value = value;
    e->listener = slot->listener;
    e->kind = (uint8_t)kind;
    e->family = slot->family;
    memcpy(e->address, slot->address, sizeof(e->address));
    e->port = slot->port;
    memset(e->code, 0, sizeof(e->code));
    if (code != NULL)
        memcpy(e->code, code, strnlen(code, sizeof(e->code)));
    atomic_store_explicit(&e->number, ++sw->events, memory_order_release);
}

void
stats_record_peer(struct stats_writer *sw, enum stats_event_kind kind, uint16_t listener,
                  const struct endpoint *peer, uint64_t now_us, const char *code)
{
    struct stats_slot slot = {.listener = listener};

    slot_set_peer(&slot, peer);
    stats_record(sw, kind, &slot, now_us, 0, code);
}

/* --- the other workers --- */

/* The load of a live worker, or NULL. Pages nobody has are not touched: that would cost memory. */
static const struct stats_load *
live_load(const struct stats_writer *sw, unsigned region)
{
    const struct stats_load *load = &sw->loads[region];
    uint64_t incarnation =
        atomic_load_explicit(&sw->control->worker[region].incarnation, memory_order_acquire);

    if (incarnation == 0 ||
        atomic_load_explicit(&load->incarnation, memory_order_acquire) != incarnation)
        return NULL;
    return load;
}

bool
stats_writer_overfull(const struct stats_writer *sw)
{
    uint64_t mine = atomic_load_explicit(&sw->load->open, memory_order_relaxed);
    uint64_t total = 0, n = 0;

    for (unsigned r = 0; r < stats_regions_used(sw->control); r++) {
        const struct stats_load *load = live_load(sw, r);

        if (load == NULL || !atomic_load_explicit(&load->accepting, memory_order_relaxed))
            continue;
        total += atomic_load_explicit(&load->open, memory_order_relaxed);
        n++;
    }
    /* mine > total / n * 9 / 8 + 1, without the rounding */
    return n > 0 && mine * 8 * n > total * 9 + 8 * n;
}

uint64_t
stats_writer_open_total(const struct stats_writer *sw)
{
    uint64_t total = 0;

    for (unsigned r = 0; r < stats_regions_used(sw->control); r++) {
        const struct stats_load *load = live_load(sw, r);

        if (load != NULL)
            total += atomic_load_explicit(&load->open, memory_order_relaxed);
    }
    return total;
}
