/* The reader's half. Bytes in another worker's ring may be overwritten while they are read, or be
 * nonsense. So the reader copies them first, and then checks that the copy is whole. */
#include "bus/bus_state.h"

#include <stdlib.h>

static void
bus_read_at(const struct bus *bus, unsigned ring, uint64_t position, void *out, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)bus_words(bus, ring) + BUS_PAGE;
    size_t at = (size_t)(position & (bus->size - 1));
    size_t first = n < bus->size - at ? n : (size_t)bus->size - at;

    memcpy(out, bytes + at, first);
    memcpy((uint8_t *)out + first, bytes, n - first);
}

/* True if bytes copied from this position on were not overwritten meanwhile. */
static bool
bus_was_whole(const struct bus *bus, unsigned ring, uint64_t position)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&bus_words(bus, ring)->reserve, memory_order_relaxed) - position <=
           bus->size;
}

/* Whether a message on the channel is to be copied: one on `only`, or, where that is
 * BUS_CHANNEL_NONE, one that somebody here hears. */
static bool
bus_wants(const struct bus *bus, uint16_t channel, uint16_t only)
{
    if (only != BUS_CHANNEL_NONE)
        return channel == only;
    return channel < bus->subscribers_len && bus->subscribers[channel].heard != NULL;
}

/* Reads the message at a position before `end`; one that is not wanted gets the channel
 * BUS_CHANNEL_NONE and no body. False where there is none that can be read. */
static bool
bus_read_message(struct bus *bus, unsigned ring, uint64_t position, uint64_t end, uint16_t only,
                 struct bus_prefix *prefix_out)
{
    uint64_t left = end - position;
    struct bus_prefix prefix;

    if (left > bus->size || left < sizeof(prefix))
        return false;
    bus_read_at(bus, ring, position, &prefix, sizeof(prefix));
    if (prefix.len > BUS_MESSAGE_MAX || prefix.len > left - sizeof(prefix))
        return false;
    if (!bus_wants(bus, prefix.channel, only))
        prefix.channel = BUS_CHANNEL_NONE;
    else if (prefix.len > 0)
        bus_read_at(bus, ring, position + sizeof(prefix), bus->copy, prefix.len);
    if (!bus_was_whole(bus, ring, position))
        return false;
    *prefix_out = prefix;
    return true;
}

/* Goes on at the end of a ring that cannot be read from here. Returns how many messages that
 * skips. */
static uint64_t
bus_skip(struct bus *bus, unsigned ring)
{
    const struct bus_words *words = bus_words(bus, ring);
    uint64_t head = atomic_load_explicit(&words->head, memory_order_acquire);
    uint64_t count = atomic_load_explicit(&words->count, memory_order_relaxed);
    uint64_t lost = count - bus->seen[ring];
    uint64_t most = (head - bus->read_to[ring]) / sizeof(struct bus_prefix);

    bus->read_to[ring] = head;
    bus->seen[ring] = count;
    return lost >= 1 && lost <= most ? lost : 1;
}

/* The others may go on writing up to here. */
static void
bus_say_read(struct bus *bus, unsigned ring)
{
    atomic_store_explicit(&bus->own->read_to[ring], bus->read_to[ring], memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* see bus_make_room */
    if (atomic_load_explicit(&bus_words(bus, ring)->waiting, memory_order_relaxed) != 0)
        bus->bell_due = true;
}

static void
bus_hear(struct bus *bus, const struct bus_prefix *prefix)
{
    const struct bus_subscriber *subscriber = &bus->subscribers[prefix->channel];
    size_t n = sizeof(*prefix) + prefix->len;

    bus->budget -= bus->budget > n ? n : bus->budget;
    subscriber->heard(subscriber->arg, bus->copy, prefix->len);
}

/* Up to where the ring ends now. Returns how many messages were lost. */
static uint64_t
bus_read_ring(struct bus *bus, unsigned ring, bool all)
{
    uint64_t end = atomic_load_explicit(&bus_words(bus, ring)->head, memory_order_acquire);
    uint64_t *position = &bus->read_to[ring];
    struct bus_prefix prefix;
    uint64_t lost = 0;

    if (*position == end)
        return 0;
    while (*position != end && (all || bus->budget > 0)) {
        if (!bus_read_message(bus, ring, *position, end, BUS_CHANNEL_NONE, &prefix)) {
            lost = bus_skip(bus, ring);
            break;
        }
        *position += sizeof(prefix) + prefix.len;
        bus->seen[ring]++;
        if (prefix.channel != BUS_CHANNEL_NONE)
            bus_hear(bus, &prefix);
    }
    bus_say_read(bus, ring);
    return lost;
}

static bool
bus_has_more(const struct bus *bus, unsigned used)
{
    for (unsigned i = 0; i < used; i++)
        if (i != bus->ring &&
            atomic_load_explicit(&bus_words(bus, i)->head, memory_order_relaxed) != bus->read_to[i])
            return true;
    return false;
}

uint64_t
bus_dispatch(struct bus *bus, bool all)
{
    unsigned used = bus_rings_used(bus);
    unsigned first = bus->first_ring;
    uint64_t lost = 0;

    if (bus->dispatching || bus->subscribed == 0)
        return 0;
    bus->dispatching = true;
    for (unsigned i = 0; i < used && (all || bus->budget > 0); i++) {
        unsigned ring = (first + i) % used;

        if (ring == bus->ring)
            continue;
        lost += bus_read_ring(bus, ring, all);
        bus->first_ring = ring + 1;
    }
    bus->dispatching = false;
    if (!all && bus->budget == 0 && bus_has_more(bus, used))
        bus->bell_due = true;
    return lost;
}

/* --- subscriptions --- */

/* From where all rings are now: nobody has been promised what is there already. */
static void
bus_begin_reading(struct bus *bus)
{
    if (bus->copy == NULL)
        bus->copy = ms_malloc(BUS_MESSAGE_MAX);
    for (unsigned i = 0; i < BUS_RINGS; i++) {
        bool used = i < bus_rings_used(bus);

        bus->read_to[i] = used ? atomic_load(&bus_words(bus, i)->head) : 0;
        bus->seen[i] = used ? atomic_load(&bus_words(bus, i)->count) : 0;
        atomic_store(&bus->own->read_to[i], bus->read_to[i]);
    }
    atomic_store(&bus->own->reading, 1);
}

void
bus_subscribe(struct bus *bus, uint16_t channel, bus_heard_fn heard, void *arg)
{
    MS_ASSERT(channel != BUS_CHANNEL_NONE);
    if (channel >= bus->subscribers_len) {
        size_t len = (size_t)channel + 1;
        struct bus_subscriber *grown = ms_calloc(len, sizeof(*grown));

        if (bus->subscribers_len > 0)
            memcpy(grown, bus->subscribers, bus->subscribers_len * sizeof(*grown));
        free(bus->subscribers);
        bus->subscribers = grown;
        bus->subscribers_len = len;
    }
    MS_ASSERT(bus->subscribers[channel].heard == NULL);
    bus->subscribers[channel] = (struct bus_subscriber){heard, arg};
    if (bus->subscribed++ == 0)
        bus_begin_reading(bus);
}

void
bus_unsubscribe(struct bus *bus, uint16_t channel)
{
    MS_ASSERT(channel < bus->subscribers_len && bus->subscribers[channel].heard != NULL);
    bus->subscribers[channel] = (struct bus_subscriber){NULL, NULL};
    if (--bus->subscribed > 0)
        return;
    atomic_store(&bus->own->reading, 0);
    bus->bell_due = true; /* others may wait for what this worker has not read */
}

/* --- marks: how many rings, of each its number and its position --- */

static uint64_t
bus_position(const struct bus *bus, unsigned ring)
{
    return ring == bus->ring ? bus->head : bus->read_to[ring];
}

size_t
bus_mark(const struct bus *bus, void *out, size_t size)
{
    unsigned used = bus_rings_used(bus);
    uint8_t *p = out;

    if (size < 2 + (size_t)used * 8)
        return 0;
    be16_store(p, (uint16_t)used);
    for (unsigned i = 0; i < used; i++)
        be64_store(p + 2 + (size_t)i * 8, bus_position(bus, i));
    return 2 + (size_t)used * 8;
}

static int
bus_replay_ring(struct bus *bus, unsigned ring, uint16_t channel, uint64_t position,
                bus_heard_fn each, void *arg)
{
    uint64_t end = bus_position(bus, ring);
    struct bus_prefix prefix;

    while (position != end) {
        if (!bus_read_message(bus, ring, position, end, channel, &prefix))
            return -1;
        position += sizeof(prefix) + prefix.len;
        if (prefix.channel == channel)
            each(arg, bus->copy, prefix.len);
    }
    return 0;
}

int
bus_replay(struct bus *bus, uint16_t channel, const void *mark, size_t mark_len, bus_heard_fn each,
           void *arg)
{
    const uint8_t *p = mark;
    unsigned used = bus_rings_used(bus);
    unsigned marked = mark_len >= 2 ? be16_load(p) : 0;
    int rc = 0;

    MS_ASSERT(channel != BUS_CHANNEL_NONE);
    if (mark_len < 2 || marked > used || mark_len != 2 + (size_t)marked * 8)
        return -1;
    if (bus->dispatching || bus->subscribed == 0)
        return -1;
    bus->dispatching = true;
    for (unsigned i = 0; i < used; i++) {
        uint64_t position = i < marked ? be64_load(p + 2 + (size_t)i * 8) : 0;

        if (bus_replay_ring(bus, i, channel, position, each, arg) < 0)
            rc = -1;
    }
    bus->dispatching = false;
    return rc;
}
