#include "fanout_fixture.h"

static int
hall_push(void *ctx, struct conn *c, struct blob *blob)
{
    size_t len = strlen(c->text), n = (size_t)blob->len;
    const void *data = blob->mem;

    assert_ptr_equal(c->desk, ctx);
    if (c->refuses != 0) {
        errno = c->refuses;
        return -1;
    }
    c->pushes++;
    c->bytes += n;
    if (c->got != NULL)
        c->got(c, data, n);
    else if (len + n + 2 <= sizeof(c->text) && n < 64)
        snprintf(c->text + len, sizeof(c->text) - len, "%.*s,", (int)n, (const char *)data);
    return 0;
}

static struct conn *
hall_next_conn(void *ctx, void *instance, struct conn *c)
{
    struct desk *desk = ctx;
    struct hall *hall = desk->hall;

    assert_ptr_equal(instance, &desk->host);
    for (unsigned i = c == NULL ? 0 : c->id + 1; i < HALL_CONNS; i++)
        if (hall->conn[i].desk == desk)
            return &hall->conn[i];
    return NULL;
}

static void
hall_lost(void *ctx, uint64_t n)
{
    struct desk *desk = ctx;

    desk->lost += n;
}

struct hall *
hall_create(void)
{
    struct hall *hall = ms_calloc(1, sizeof(*hall));

    assert_int_equal(bus_place_create(2 * BUS_MESSAGE_MAX, &hall->place), 0);
    for (unsigned i = 0; i < HALL_WORKERS; i++) {
        struct desk *desk = &hall->desk[i];

        desk->hall = hall;
        desk->bus = bus_open(&hall->place, i);
        assert_non_null(desk->bus);
        desk->host = (struct handler_host){.bus = desk->bus,
                                           .bus_channel = HALL_CHANNEL,
                                           .ctx = desk,
                                           .instance = &desk->host,
                                           .push = hall_push,
                                           .next_conn = hall_next_conn,
                                           .lost = hall_lost};
    }
    for (unsigned i = 0; i < HALL_CONNS; i++)
        hall->conn[i] = (struct conn){.id = i, .desk = &hall->desk[i % HALL_WORKERS]};
    return hall;
}

void
hall_destroy(struct hall *hall)
{
    for (unsigned i = 0; i < HALL_WORKERS; i++)
        bus_close(hall->desk[i].bus);
    bus_place_close(&hall->place);
    free(hall);
}
