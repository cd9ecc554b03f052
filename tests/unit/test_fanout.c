#include "fanout_fixture.h"

#include "handler/handler.h"

struct rooms {
    struct hall *hall;
    struct fanout *fanout[HALL_WORKERS];
};

static int
setup(void **state)
{
    struct rooms *r = ms_calloc(1, sizeof(*r));

    r->hall = hall_create();
    for (unsigned i = 0; i < HALL_WORKERS; i++)
        r->fanout[i] = fanout_create(&r->hall->desk[i].host);
    *state = r;
    return 0;
}

static int
teardown(void **state)
{
    struct rooms *r = *state;

    for (unsigned i = 0; i < HALL_WORKERS; i++)
        fanout_destroy(r->fanout[i]);
    hall_destroy(r->hall);
    free(r);
    return 0;
}

static void
all_hear(struct rooms *r)
{
    for (unsigned i = 0; i < HALL_WORKERS; i++)
        fanout_heard(r->fanout[i]);
}

static void
everybody_but_the_sender_gets_a_message_wherever_they_are(void **state)
{
    struct rooms *r = *state;
    struct conn *conn = r->hall->conn;

    assert_int_equal(fanout_send(r->fanout[1], &conn[5], "hello", 5), 0);
    assert_string_equal(conn[1].text, "hello,");
    assert_string_equal(conn[2].text, "");
    all_hear(r);
    all_hear(r);
    for (unsigned i = 0; i < HALL_CONNS; i++)
        assert_string_equal(conn[i].text, i == 5 ? "" : "hello,");
}

static void
without_a_sender_everybody_gets_it(void **state)
{
    struct rooms *r = *state;

    assert_int_equal(fanout_send(r->fanout[0], NULL, "", 0), 0);
    all_hear(r);
    for (unsigned i = 0; i < HALL_CONNS; i++)
        assert_string_equal(r->hall->conn[i].text, ",");
}

static void
one_worker_alone_needs_no_bus(void **state)
{
    struct rooms *r = *state;
    struct handler_host host = r->hall->desk[0].host;
    struct fanout *alone;
    char mark[BUS_MARK_MAX];

    host.bus = NULL;
    alone = fanout_create(&host);
    assert_int_equal(fanout_send(alone, &r->hall->conn[0], "x", 1), 0);
    fanout_heard(alone);
    fanout_wait(alone);
    assert_int_equal(fanout_moving(alone, &r->hall->conn[0], mark, sizeof(mark)), 0);
    fanout_adopted(alone, &r->hall->conn[0], mark, 0);
    assert_string_equal(r->hall->conn[0].text, "");
    assert_string_equal(r->hall->conn[4].text, "x,");
    all_hear(r);
    assert_string_equal(r->hall->conn[1].text, "");
    assert_int_equal(r->hall->desk[0].lost, 0);
    fanout_destroy(alone);
}

static void
who_cannot_take_a_message_does_not_matter_to_the_others(void **state)
{
    struct rooms *r = *state;
    static const int errors[] = {ENOBUFS, EMSGSIZE, ENOTSUP, ENOTCONN};

    for (size_t i = 0; i < MS_ARRAY_LEN(errors); i++)
        for (unsigned from = 0; from < 2; from++) {
            unsigned before = r->hall->conn[8].pushes;

            r->hall->conn[4].refuses = errors[i];
            assert_int_equal(fanout_send(r->fanout[from], NULL, "x", 1), 0);
            fanout_heard(r->fanout[0]);
            assert_int_equal(r->hall->conn[8].pushes, before + 1);
        }
}

static void
what_is_too_long_is_sent_to_nobody(void **state)
{
    struct rooms *r = *state;
    char *body = ms_calloc(1, BUS_MESSAGE_MAX + 1);

    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX + 1), -1);
    assert_int_equal(errno, EMSGSIZE);
    all_hear(r);
    for (unsigned i = 0; i < HALL_CONNS; i++)
        assert_int_equal(r->hall->conn[i].pushes, 0);
    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX), 0);
    all_hear(r);
    for (unsigned i = 0; i < HALL_CONNS; i++)
        assert_int_equal(r->hall->conn[i].bytes, BUS_MESSAGE_MAX);
    free(body);
}

static void
while_others_are_behind_nobody_gets_anything(void **state)
{
    struct rooms *r = *state;
    char *body = ms_calloc(1, BUS_MESSAGE_MAX);

    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX), 0);
    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(r->hall->conn[0].pushes, 1);
    all_hear(r);
    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX), 0);
    assert_int_equal(r->hall->conn[0].pushes, 2);
    free(body);
}

static void
listeners_of_a_worker_share_one_reader_and_hear_their_own(void **state)
{
    struct rooms *r = *state;
    struct hall *other = hall_create();
    struct fanout *second[2];

    for (unsigned i = 0; i < 2; i++) {
        struct handler_host host = other->desk[i].host;

        host.bus = r->hall->desk[i].bus;
        host.bus_channel = HALL_CHANNEL + 1;
        second[i] = fanout_create(&host);
    }
    assert_int_equal(fanout_send(r->fanout[0], NULL, "first", 5), 0);
    assert_int_equal(fanout_send(second[0], NULL, "second", 6), 0);
    fanout_heard(r->fanout[1]);
    assert_string_equal(r->hall->conn[1].text, "first,");
    assert_string_equal(other->conn[1].text, "second,");
    fanout_heard(second[1]);
    assert_int_equal(r->hall->conn[1].pushes + other->conn[1].pushes, 2);
    for (unsigned i = 0; i < 2; i++)
        fanout_destroy(second[i]);
    hall_destroy(other);
}

static void
what_was_overwritten_is_counted_as_lost(void **state)
{
    struct rooms *r = *state;
    char *body = ms_calloc(1, BUS_MESSAGE_MAX);

    assert_int_equal(fanout_send(r->fanout[0], NULL, body, BUS_MESSAGE_MAX), 0);
    assert_int_equal(
        bus_publish(r->hall->desk[0].bus, HALL_CHANNEL, NULL, 0, body, BUS_MESSAGE_MAX, 0), -1);
    assert_int_equal(bus_publish(r->hall->desk[0].bus, HALL_CHANNEL, NULL, 0, body, BUS_MESSAGE_MAX,
                                 BUS_PATIENCE_US),
                     0);
    fanout_heard(r->fanout[1]);
    assert_int_equal(r->hall->desk[1].lost, 2);
    assert_int_equal(r->hall->conn[1].pushes, 0);
    free(body);
}

/* --- connections that move --- */

static void
who_arrives_without_a_mark_is_counted_as_having_lost_something(void **state)
{
    struct rooms *r = *state;

    fanout_adopted(r->fanout[1], &r->hall->conn[1], "", 0);
    assert_int_equal(r->hall->desk[1].lost, 1);
}

static void
who_moves_gets_what_the_old_worker_had_not_read(void **state)
{
    struct rooms *r = *state;
    struct conn *c = &r->hall->conn[0];
    char mark[BUS_MARK_MAX];
    size_t n;

    assert_int_equal(fanout_send(r->fanout[2], NULL, "read", 4), 0);
    fanout_heard(r->fanout[0]);
    assert_int_equal(fanout_send(r->fanout[2], NULL, "unread", 6), 0);
    n = fanout_moving(r->fanout[0], c, mark, sizeof(mark));
    assert_string_equal(c->text, "read,");
    c->desk = NULL;
    assert_int_equal(fanout_send(r->fanout[1], NULL, "meanwhile", 9), 0);
    assert_int_equal(fanout_send(r->fanout[0], NULL, "left", 4), 0);
    c->desk = &r->hall->desk[1];
    fanout_adopted(r->fanout[1], c, mark, n);
    assert_string_equal(c->text, "read,left,meanwhile,unread,");
    assert_string_equal(r->hall->conn[1].text, "meanwhile,left,read,unread,");
    assert_int_equal(fanout_moving(r->fanout[0], c, mark, 1), 0);
}

#define SENT_MAX 20000

struct sent {
    unsigned sender, worker, number;
};

/* Which messages each connection has got, and the last of each sender through each worker. */
static uint8_t got[HALL_CONNS][SENT_MAX];
static unsigned last[HALL_CONNS][HALL_CONNS][HALL_WORKERS];
static unsigned disorder;

static void
got_sent(struct conn *c, const void *data, size_t n)
{
    struct sent sent;

    assert_in_range(n, sizeof(sent), 2000);
    memcpy(&sent, data, sizeof(sent));
    got[c->id][sent.number]++;
    if (sent.number < last[c->id][sent.sender][sent.worker])
        disorder++;
    last[c->id][sent.sender][sent.worker] = sent.number;
}

static unsigned
draw(uint32_t *seed, unsigned below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* A connection on its way, and the mark that goes with it. */
struct way {
    char mark[BUS_MARK_MAX];
    size_t n;
};

static void
step_send(struct rooms *r, struct conn *c, unsigned *number, uint32_t *seed)
{
    unsigned worker = (unsigned)(c->desk - r->hall->desk);
    struct sent sent = {c->id, worker, *number};
    char body[2000] = {0};

    memcpy(body, &sent, sizeof(sent));
    if (*number < SENT_MAX &&
        fanout_send(r->fanout[worker], c, body, sizeof(sent) + draw(seed, 1900)) == 0)
        ++*number;
}

static void
step_move(struct rooms *r, struct conn *c, struct way *way)
{
    way->n = fanout_moving(r->fanout[c->desk - r->hall->desk], c, way->mark, sizeof(way->mark));
    c->desk = NULL;
}

static void
step_arrive(struct rooms *r, struct conn *c, const struct way *way, unsigned worker)
{
    c->desk = &r->hall->desk[worker];
    fanout_adopted(r->fanout[worker], c, way->mark, way->n);
}

static void
everybody_gets_every_message_once_however_they_move(void **state)
{
    struct rooms *r = *state;
    static struct way ways[HALL_CONNS];
    unsigned number = 0, wrong = 0;
    uint32_t seed = 20260101;
    unsigned sender[SENT_MAX];

    for (unsigned i = 0; i < HALL_CONNS; i++)
        r->hall->conn[i].got = got_sent;
    for (unsigned step = 0; step < 60000; step++) {
        struct conn *c = &r->hall->conn[draw(&seed, HALL_CONNS)];
        unsigned worker = draw(&seed, HALL_WORKERS), before = number;

        if (c->desk == NULL)
            step_arrive(r, c, &ways[c->id], worker);
        else if (draw(&seed, 12) == 0)
            step_move(r, c, &ways[c->id]);
        else if (draw(&seed, 3) == 0)
            fanout_heard(r->fanout[worker]);
        else
            step_send(r, c, &number, &seed);
        if (number > before)
            sender[before] = c->id;
        bus_ring(r->hall->desk[worker].bus);
    }
    for (unsigned i = 0; i < HALL_CONNS; i++)
        if (r->hall->conn[i].desk == NULL)
            step_arrive(r, &r->hall->conn[i], &ways[i], i % HALL_WORKERS);
    for (unsigned i = 0; i < 1000; i++) {
        fanout_heard(r->fanout[i % HALL_WORKERS]);
        bus_ring(r->hall->desk[i % HALL_WORKERS].bus);
    }
    assert_int_equal(number, SENT_MAX);
    for (unsigned i = 0; i < HALL_CONNS; i++)
        for (unsigned k = 0; k < number; k++)
            wrong += got[i][k] != (sender[k] != i);
    assert_int_equal(wrong, 0);
    assert_int_equal(disorder, 0);
    for (unsigned i = 0; i < HALL_WORKERS; i++)
        assert_int_equal(r->hall->desk[i].lost, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(everybody_but_the_sender_gets_a_message_wherever_they_are),
        TEST(without_a_sender_everybody_gets_it),
        TEST(one_worker_alone_needs_no_bus),
        TEST(who_cannot_take_a_message_does_not_matter_to_the_others),
        TEST(what_is_too_long_is_sent_to_nobody),
        TEST(while_others_are_behind_nobody_gets_anything),
        TEST(listeners_of_a_worker_share_one_reader_and_hear_their_own),
        TEST(what_was_overwritten_is_counted_as_lost),
        TEST(who_arrives_without_a_mark_is_counted_as_having_lost_something),
        TEST(who_moves_gets_what_the_old_worker_had_not_read),
        TEST(everybody_gets_every_message_once_however_they_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
