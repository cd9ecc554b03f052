/* The publisher with a link of the test's own in the place of the plugin: what it gives, when it
 * gives it again, and what it takes for confirmed. */
#include "common/fd.h"
#include "common/log.h"
#include "nats/parcel.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define GIVEN_MAX 64
#define STREAM    "{\"config\":{\"subjects\":[\"in.>\"],\"num_replicas\":3,\"storage\":\"file\"}}"

/* The test sets it forward: no wait, and no time that a slow machine could exceed. */
static uint64_t clock_ahead_us;

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);
    uint64_t us = (uint64_t)ts->tv_nsec / 1000 + clock_ahead_us;

    ts->tv_sec += (time_t)(us / 1000000);
    ts->tv_nsec = (long)(us % 1000000 * 1000);
    return rc;
}

/* The one link: what it was given, in order. */
static struct link {
    int fd;
    uint32_t epoch;
    struct link_events events;
    unsigned given_count, resets;
    struct {
        uint64_t token;
        char subject[64], body[16];
    } given[GIVEN_MAX];
} fake;

static const char *
fake_version(void)
{
    return "0";
}

static struct link *
fake_open(const struct link_config *config)
{
    assert_string_equal(config->servers[0], "nats://a");
    fake = (struct link){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    STAILQ_INIT(&fake.events);
    return &fake;
}

static bool
fake_close(struct link *l, unsigned wait_ms)
{
    struct link_event *e;

    (void)wait_ms;
    while ((e = STAILQ_FIRST(&l->events)) != NULL) {
        STAILQ_REMOVE_HEAD(&l->events, next);
        free(e);
    }
    fd_close(&l->fd);
    return true;
}

static int
fake_fd(const struct link *l)
{
    return l->fd;
}

static void
fake_take(struct link *l, struct link_events *events)
{
    uint64_t count;

    (void)fd_read(l->fd, &count, sizeof(count));
    STAILQ_CONCAT(events, &l->events);
}

static bool
fake_give(struct link *l, uint32_t epoch, struct link_message *m)
{
    if (epoch != l->epoch || epoch == 0)
        return false;
    assert_true(l->given_count < GIVEN_MAX);
    l->given[l->given_count].token = m->token;
    snprintf(l->given[l->given_count].subject, sizeof(l->given[0].subject), "%s", m->subject);
    snprintf(l->given[l->given_count++].body, sizeof(l->given[0].body), "%.*s", (int)m->len,
             m->data);
    return true;
}

static void
fake_kick(struct link *l)
{
    (void)l;
}

static void
fake_reset(struct link *l, uint32_t epoch)
{
    assert_int_equal(epoch, l->epoch);
    l->resets++;
}

static uint64_t
fake_turned(const struct link *l)
{
    (void)l;
    return clock_mono_us();
}

static const struct nats_plugin plugin = {
    .abi = LINK_ABI,
    .size = sizeof(plugin),
    .version = fake_version,
    .open = fake_open,
    .close = fake_close,
    .fd = fake_fd,
    .take = fake_take,
    .give = fake_give,
    .kick = fake_kick,
    .reset = fake_reset,
    .turned_us = fake_turned,
};

/* --- what the test says --- */

static struct publisher *p;
static bool creates; /* the stream, where there is none */
static struct ledger ledger = {.max = 8000};

static void
tell(enum link_event_kind kind, uint64_t token, const char *text)
{
    size_t n = strlen(text);
    struct link_event *e = calloc(1, sizeof(*e) + n + 1);
    const uint64_t one = 1;

    assert_non_null(e);
    *e = (struct link_event){
        .kind = kind, .token = token, .epoch = fake.epoch, .size = 1 << 20, .len = n};
    memcpy(e->text, text, n);
    STAILQ_INSERT_TAIL(&fake.events, e, next);
    assert_int_equal(fd_write_all(fake.fd, &one, sizeof(one)), 0);
    publisher_turn(p);
}

static void
open_with(uint64_t timeout_us)
{
    const struct publisher_config config = {.plugin = &plugin,
                                            .label = "nats",
                                            .servers = "a",
                                            .stream = "S",
                                            .subjects = "in.*",
                                            .timeout_us = timeout_us,
                                            .ledger = &ledger,
                                            .create = creates};
    char error[NATS_ERROR_LEN];

    log_set_level(LOG_LEVEL_ERROR);
    p = publisher_open(&config, error);
    assert_non_null(p);
}

static void
connect_as(uint32_t epoch)
{
    fake.epoch = epoch;
    fake.given_count = 0;
    tell(LINK_CONNECTED, 0, "a:4222");
}

/* Connected, and the stream is there; what was given so far is forgotten. */
static void
open_ready(uint64_t timeout_us)
{
    open_with(timeout_us);
    connect_as(1);
    assert_int_equal(fake.given_count, 1);
    assert_string_equal(fake.given[0].subject, "$JS.API.STREAM.INFO.S");
    assert_false(publisher_is_ready(p));
    tell(LINK_ANSWER, fake.given[0].token, STREAM);
    assert_true(publisher_has_room(p));
    fake.given_count = 0;
}

static struct {
    unsigned count;
    struct publish_result result;
    char text[NATS_ERROR_LEN];
} done;

static void
note_done(struct publication *publication, const struct publish_result *result)
{
    assert_ptr_equal(publication->arg, &done);
    done.count++;
    done.result = *result;
    snprintf(done.text, sizeof(done.text), "%s", result->text);
}

static void
give(const char *body, const char *same)
{
    static const char headers[] = "Sum: abc\r\n";
    struct publication *publication =
        publication_create("in.x", headers, strlen(headers), body, strlen(body));

    publication->done = note_done;
    publication->arg = &done;
    publication->same = same;
    publisher_give(p, publication);
}

static int
tear_down(void **state)
{
    (void)state;
    publisher_close(p);
    p = NULL;
    assert_int_equal(ledger.used, 0);
    creates = false;
    memset(&done, 0, sizeof(done));
    return 0;
}

/* Turns, each time a tenth of a second later. */
static void
turn_until(const unsigned *value, unsigned wanted)
{
    for (unsigned i = 0; i < 3000 && *value < wanted; i++) {
        clock_ahead_us += 100000;
        publisher_turn(p);
    }
    assert_true(*value >= wanted);
}

/* --- tests --- */

static void
only_the_streams_word_confirms(void **state)
{
    (void)state;
    open_ready(60000000);
    give("one", NULL);
    assert_int_equal(fake.given_count, 1);
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\",\"seq\":0,\"duplicate\":true}");
    tell(LINK_ANSWER, fake.given[0].token, "nonsense");
    tell(LINK_NOBODY, fake.given[0].token, "");
    tell(LINK_ANSWER, fake.given[0].token + (1 << 16), "{\"stream\":\"S\",\"seq\":4}");
    tell(LINK_ANSWER, UINT64_MAX, "{\"stream\":\"S\",\"seq\":4}");
    assert_int_equal(done.count, 0);
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\",\"seq\":5}");
    assert_int_equal(done.count, 1);
    assert_int_equal(done.result.outcome, PUBLISH_STORED);
    assert_int_equal(done.result.seq, 5);
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\",\"seq\":5}"); /* of a second copy */
    assert_int_equal(done.count, 1);
}

static void
what_is_under_way_is_in_the_ledger(void **state)
{
    static char body[4000];

    (void)state;
    memset(body, 'x', sizeof(body) - 1);
    open_ready(60000000);
    assert_int_equal(ledger.used, 0);
    give(body, NULL);
    assert_in_range(ledger.used, sizeof(body), 2 * sizeof(body));
    assert_true(publisher_has_room(p));
    give(body, NULL);
    assert_false(publisher_has_room(p)); /* the last quarter is not its own */
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\",\"seq\":1}");
    assert_in_range(ledger.used, sizeof(body), 2 * sizeof(body));
    assert_true(publisher_has_room(p));
    ledger.used += ledger.max;
    assert_false(publisher_has_room(p));
    tell(LINK_ANSWER, fake.given[1].token, "{\"stream\":\"S\",\"seq\":2}");
    assert_true(publisher_has_room(p)); /* one at a time, or nothing would ever end */
    ledger.used -= ledger.max;
    give(body, NULL); /* is given back with the publisher */
}

static void
what_is_not_answered_is_given_again_and_fails_in_the_end(void **state)
{
    (void)state;
    open_ready(60000000);
    give("one", NULL);
    turn_until(&done.count, 1);
    assert_int_equal(done.result.outcome, PUBLISH_BUSY);
    assert_true(fake.resets > 0); /* nothing at all was heard */
}

static void
a_setback_is_given_again_soon(void **state)
{
    (void)state;
    open_ready(60000000);
    give("one", NULL);
    tell(LINK_NOBODY, fake.given[0].token, "");
    turn_until(&fake.given_count, 2);
    assert_int_equal(fake.given[1].token, fake.given[0].token);
    assert_string_equal(fake.given[1].body, "one");
    assert_int_equal(fake.resets, 0);
}

static void
what_nobody_took_meanwhile_does_not_hide_that_the_stream_is_gone(void **state)
{
    (void)state;
    open_ready(60000000);
    publisher_ask_again(p);
    give("one", NULL);
    tell(LINK_ANSWER, fake.given[0].token,
         "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}");
    tell(LINK_NOBODY, 0, "");
    assert_non_null(strstr(publisher_trouble(p), "there is no stream S"));
}

static void
after_a_lost_connection_all_goes_out_in_its_order(void **state)
{
    (void)state;
    open_ready(60000000);
    give("one", NULL);
    give("two", NULL);
    give("three", NULL);
    tell(LINK_ANSWER, fake.given[1].token, "{\"stream\":\"S\",\"seq\":1}");
    tell(LINK_LOST, 0, "it was closed");
    fake.epoch = 0;
    assert_false(publisher_has_room(p));
    give("four", NULL);
    connect_as(2);
    assert_int_equal(fake.given_count, 4); /* and the question about the stream */
    assert_string_equal(fake.given[0].body, "one");
    assert_string_equal(fake.given[1].body, "three");
    assert_string_equal(fake.given[2].body, "four");
}

/* The server tells of it in the middle of a connection, and libnats keeps the word to itself. */
static void
a_server_that_takes_less_now_is_connected_to_again(void **state)
{
    (void)state;
    open_ready(60000000);
    give("one", NULL);
    tell(LINK_UNSENT, fake.given[0].token, "Maximum Payload");
    assert_int_equal(done.count, 1);
    assert_int_equal(done.result.outcome, PUBLISH_BUSY);
    assert_int_equal(fake.resets, 1);
}

/* --- chunks --- */

static struct parcel parcel;
static unsigned parcels_stored;

static void
note_parcel(struct parcel *of, const struct publish_result *result)
{
    assert_int_equal(result->outcome, PUBLISH_STORED);
    parcels_stored++;
    parcel_fini(of);
}

/* Three that were given, and the manifest is given then. */
static void
confirm_chunks(struct parcels *ps, unsigned from)
{
    char answer[64];

    assert_int_equal(fake.given_count, from + 3);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(answer, sizeof(answer), "{\"stream\":\"S\", \"seq\":%u}", i + 1);
        tell(LINK_ANSWER, fake.given[from + i].token, answer);
    }
    parcels_pump(ps);
    assert_int_equal(fake.given_count, from + 4);
    assert_string_equal(fake.given[from + 3].body, "{\"chunks\":3,\"ch");
}

static void
connect_again(struct parcels *ps, uint32_t epoch)
{
    tell(LINK_LOST, 0, "it was closed");
    fake.epoch = 0;
    parcels_pump(ps);
    connect_as(epoch);
    parcels_pump(ps);
}

/* A server that was killed may have lost what it had confirmed: two chunks, and then, when the
 * manifest is on its way, all; and then somebody removes the stream; and then its server is away,
 * and not ours. */
static void
a_manifest_speaks_of_chunks_of_its_own_round(void **state)
{
    static char body[2500000];
    struct digester *digester = digester_create();
    struct parcels ps;

    (void)state;
    open_ready(60000000);
    ledger.max += 10 * sizeof(body);
    parcels_init(&ps, p, digester, "S", "in.x");
    parcel = (struct parcel){.v = {.msg_id = "m",
                                   .id = "i",
                                   .time = "t",
                                   .kind = "plain",
                                   .proto = "msp",
                                   .listener = "l",
                                   .peer = "p",
                                   .size = sizeof(body),
                                   .mem = body,
                                   .fd = -1},
                             .done = note_parcel};
    digest_sha256(digester, body, sizeof(body), parcel.v.sha256);
    parcel_begin(&ps, &parcel);
    parcels_pump(&ps);
    assert_int_equal(fake.given_count, 3);
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\", \"seq\":1}");
    tell(LINK_ANSWER, fake.given[1].token, "{\"stream\":\"S\", \"seq\":2}");
    connect_again(&ps, 2);
    assert_int_equal(fake.given_count, 2); /* the third chunk, and the question */
    tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\", \"seq\":1}");
    parcels_pump(&ps);
    confirm_chunks(&ps, 2);
    connect_again(&ps, 3);
    confirm_chunks(&ps, 1);
    tell(LINK_ANSWER, fake.given[0].token,
         "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}");
    turn_until(&fake.given_count, 6); /* it is asked for again */
    tell(LINK_ANSWER, fake.given[5].token, STREAM);
    parcels_pump(&ps);
    confirm_chunks(&ps, 6);
    tell(LINK_NOBODY, 0, "");
    parcels_pump(&ps);
    confirm_chunks(&ps, 10);
    assert_int_equal(parcels_stored, 0);
    tell(LINK_ANSWER, fake.given[13].token, "{\"stream\":\"S\", \"seq\":4}");
    assert_int_equal(parcels_stored, 1);
    ledger.max -= 10 * sizeof(body);
    parcels_fini(&ps);
    digester_destroy(digester);
}

static void
each_refusal_has_its_outcome(void **state)
{
    static const struct {
        const char *answer;
        enum publish_outcome outcome;
    } cases[] = {
        {"{\"error\":{\"err_code\":10077,\"description\":\"maximum messages exceeded\"}}",
         PUBLISH_FULL},
        {"{\"error\":{\"err_code\":10054,\"description\":\"too large\"}}", PUBLISH_TOO_LARGE},
        {"{\"error\":{\"err_code\":10060,\"description\":\"another stream\"}}", PUBLISH_MISSET},
        {"{\"error\":{\"err_code\":10109,\"description\":\"sealed\"}}", PUBLISH_REFUSED},
    };

    (void)state;
    open_ready(60000000);
    for (unsigned i = 0; i < MS_ARRAY_LEN(cases); i++) {
        give("one", NULL);
        tell(LINK_ANSWER, fake.given[i].token, cases[i].answer);
        assert_int_equal(done.count, i + 1);
        assert_int_equal(done.result.outcome, cases[i].outcome);
    }
}

/* "NATS/1.0\r\nSum: abc\r\n\r\n", and the same with another value. */
#define SAME  "{\"message\":{\"hdrs\":\"TkFUUy8xLjANClN1bTogYWJjDQoNCg==\"}}"
#define OTHER "{\"message\":{\"hdrs\":\"TkFUUy8xLjANClN1bTogYWJkDQoNCg==\"}}"

static void
a_duplicate_is_compared_with_the_first_copy(void **state)
{
    static const struct {
        const char *answer;
        enum publish_outcome outcome;
    } cases[] = {
        {SAME, PUBLISH_STORED},
        {OTHER, PUBLISH_REUSED},
        {"{\"message\":{}}", PUBLISH_REUSED},
        {"{\"error\":{\"err_code\":10037,\"description\":\"no message found\"}}", PUBLISH_STORED},
        {"", PUBLISH_STORED},
    };

    (void)state;
    open_ready(60000000);
    for (unsigned i = 0; i < MS_ARRAY_LEN(cases); i++) {
        give("one", "Sum");
        tell(LINK_ANSWER, fake.given[0].token, "{\"stream\":\"S\",\"seq\":7,\"duplicate\":true}");
        assert_int_equal(done.count, i);
        assert_string_equal(fake.given[1].subject, "$JS.API.STREAM.MSG.GET.S");
        assert_string_equal(fake.given[1].body, "{\"seq\":7}");
        tell(LINK_ANSWER, fake.given[1].token, cases[i].answer);
        assert_int_equal(done.count, i + 1);
        assert_int_equal(done.result.outcome, cases[i].outcome);
        assert_int_equal(done.result.seq, 7);
        assert_true(done.result.duplicate);
        fake.given_count = 0;
    }
}

#define MISSING  "{\"error\":{\"err_code\":10059,\"description\":\"stream not found\"}}"
#define OVERLAPS "{\"error\":{\"err_code\":10065,\"description\":\"subjects overlap\"}}"

static void
nothing_goes_out_before_the_stream_is_known(void **state)
{
    char error[NATS_ERROR_LEN];

    (void)state;
    open_with(60000000);
    give("one", NULL);
    connect_as(1);
    assert_int_equal(fake.given_count, 1);
    tell(LINK_ANSWER, fake.given[0].token, MISSING);
    assert_int_equal(publisher_wait(p, clock_mono_us(), error), PUBLISHER_REFUSED);
    assert_non_null(strstr(error, "there is no stream S"));
    assert_int_equal(fake.given_count, 1);
    turn_until(&fake.given_count, 2); /* it is asked for again */
    tell(LINK_ANSWER, fake.given[1].token, STREAM);
    assert_int_equal(fake.given_count, 3);
    assert_string_equal(fake.given[2].body, "one");
    assert_string_equal(stream_stored(publisher_stream(p)), "quorum");
}

/* A cluster without a leader drops it, and the first answer counts, however late. */
static void
a_question_without_an_answer_is_asked_again(void **state)
{
    (void)state;
    open_with(60000000);
    connect_as(1);
    turn_until(&fake.given_count, 2);
    assert_int_equal(fake.given[1].token, fake.given[0].token);
    assert_int_equal(fake.resets, 0);
    tell(LINK_ANSWER, fake.given[0].token, STREAM);
    assert_true(publisher_is_ready(p));
}

/* They would all be asked as fast as they answer. */
static void
servers_without_a_leader_are_not_asked_at_once(void **state)
{
    (void)state;
    creates = true;
    open_with(60000000);
    connect_as(1);
    tell(LINK_ANSWER, fake.given[0].token,
         "{\"error\":{\"err_code\":10008,\"description\":\"temporarily unavailable\"}}");
    assert_int_equal(fake.given_count, 1);
    turn_until(&fake.given_count, 2);
    tell(LINK_ANSWER, fake.given[1].token, STREAM);
    assert_true(publisher_is_ready(p));
}

/* Two workers make the stream at the same time, and to one of them it seems to be another one. */
static void
a_stream_that_somebody_else_makes_meanwhile_is_asked_for_again(void **state)
{
    char error[NATS_ERROR_LEN];

    (void)state;
    creates = true;
    open_with(60000000);
    connect_as(1);
    for (unsigned i = 0; i < 4; i += 2) {
        tell(LINK_ANSWER, fake.given[i].token, MISSING);
        assert_int_equal(fake.given_count, i + 2);
        assert_string_equal(fake.given[i + 1].subject, "$JS.API.STREAM.CREATE.S");
        tell(LINK_ANSWER, fake.given[i + 1].token, OVERLAPS);
        turn_until(&fake.given_count, i + 3);
        assert_string_equal(fake.given[i + 2].subject, "$JS.API.STREAM.INFO.S");
        if (i == 0)
            assert_int_not_equal(publisher_wait(p, clock_mono_us(), error), PUBLISHER_REFUSED);
    }
    assert_int_equal(publisher_wait(p, clock_mono_us(), error), PUBLISHER_REFUSED);
    assert_non_null(strstr(error, "subjects overlap"));
    tell(LINK_ANSWER, fake.given[4].token, STREAM);
    assert_true(publisher_is_ready(p));
}

static void
the_room_is_bounded_and_what_is_forgotten_makes_room(void **state)
{
    struct publication *first = publication_create("in.x", "", 0, NULL, PUBLISHER_BYTES);

    (void)state;
    memset(publication_data(first), 'x', PUBLISHER_BYTES);
    open_ready(60000000);
    first->done = note_done;
    publisher_give(p, first);
    assert_false(publisher_has_room(p));
    publisher_cancel(p, first);
    assert_true(publisher_has_room(p));
    assert_int_equal(done.count, 0);
}

#define TEST(f) cmocka_unit_test_teardown(f, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_the_streams_word_confirms),
        TEST(what_is_under_way_is_in_the_ledger),
        TEST(what_is_not_answered_is_given_again_and_fails_in_the_end),
        TEST(a_setback_is_given_again_soon),
        TEST(what_nobody_took_meanwhile_does_not_hide_that_the_stream_is_gone),
        TEST(after_a_lost_connection_all_goes_out_in_its_order),
        TEST(a_server_that_takes_less_now_is_connected_to_again),
        TEST(a_manifest_speaks_of_chunks_of_its_own_round),
        TEST(each_refusal_has_its_outcome),
        TEST(a_duplicate_is_compared_with_the_first_copy),
        TEST(nothing_goes_out_before_the_stream_is_known),
        TEST(a_question_without_an_answer_is_asked_again),
        TEST(servers_without_a_leader_are_not_asked_at_once),
        TEST(a_stream_that_somebody_else_makes_meanwhile_is_asked_for_again),
        TEST(the_room_is_bounded_and_what_is_forgotten_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
