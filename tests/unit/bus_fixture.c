#include "bus_fixture.h"

#include <sys/mman.h>

void
ear_hear(void *arg, const void *data, size_t n)
{
    struct ear *ear = arg;
    size_t len = strlen(ear->text);

    ear->count++;
    ear->bytes += n;
    if (len + n + 2 > sizeof(ear->text) || n > 64)
        return;
    memcpy(ear->text + len, data, n);
    memcpy(ear->text + len + n, ",", 2);
}

void
ear_clear(struct ear *ear)
{
    *ear = (struct ear){.count = 0};
}

int
setup(void **state)
{
    struct table *t = ms_calloc(1, sizeof(*t));

    assert_int_equal(bus_place_create(RING_SIZE, &t->place), 0);
    for (unsigned i = 0; i < 4; i++) {
        t->bus[i] = bus_open(&t->place, i);
        assert_non_null(t->bus[i]);
        bus_subscribe(t->bus[i], CHANNEL, ear_hear, &t->ear[i]);
    }
    *state = t;
    return 0;
}

int
teardown(void **state)
{
    struct table *t = *state;

    for (unsigned i = 0; i < 4; i++)
        bus_close(t->bus[i]);
    bus_place_close(&t->place);
    free(t);
    return 0;
}

int
say_on(struct bus *bus, uint16_t channel, const char *text)
{
    return bus_publish(bus, channel, NULL, 0, text, strlen(text), 0);
}

void
say(struct bus *bus, const char *text)
{
    assert_int_equal(say_on(bus, CHANNEL, text), 0);
}

void
leave_two(struct table *t)
{
    for (unsigned i = 2; i < 4; i++) {
        bus_close(t->bus[i]);
        t->bus[i] = NULL;
    }
}

unsigned
fill(struct table *t)
{
    unsigned count = 0;

    while (count < 100 && bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0) == 0)
        count++;
    assert_in_range(count, 0, 99);
    assert_int_equal(errno, EAGAIN);
    return count;
}

struct bus_words *
words_of(const struct table *t, unsigned ring)
{
    void *map = mmap(NULL, BUS_PAGE + RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                     t->place.memory_fd, BUS_PAGE + (off_t)ring * (BUS_PAGE + RING_SIZE));

    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

void
words_drop(struct bus_words *words)
{
    munmap(words, BUS_PAGE + RING_SIZE);
}
