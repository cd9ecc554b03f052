/* The client against every answer that docs/protocol.md 1.2 knows, and against some that it does
 * not, at every place of a message where they can come. */
#include "msock.h"
#include "scripted_server.h"

#define SMALL 100
#define LARGE 9000 /* 1998 + 4 packets of 2042 at most */

struct run {
    struct server *server;
    msock *m;
    enum msock_status status;
    struct msock_counts counts;
    char error[512], code[32];
};

static msock *
client_open(const struct server *s)
{
    msock *m = msock_open(s->url);

    assert_non_null(m);
    msock_set_timeouts(m, 5000, 5000);
    msock_set_retries(m, 3, 1, 2);
    return m;
}

/* Sends n bytes to a server with this script, and ends both. */
static struct run
run_script(struct server *s, size_t n, void (*set)(msock *))
{
    struct run r = {.server = s};
    uint8_t *data = test_bytes(n);
    msock *m;

    server_start(s, AF_INET);
    m = client_open(s);
    if (set != NULL)
        set(m);
    r.status = msock_send(m, data, n);
    snprintf(r.error, sizeof(r.error), "%s", msock_error(m));
    snprintf(r.code, sizeof(r.code), "%s", msock_error_code(m));
    msock_get_counts(m, &r.counts);
    msock_close(m);
    server_stop(s);
    if (r.status == MSOCK_OK) {
        assert_int_equal(server_distinct(s), 1);
        assert_int_equal(s->messages[0].size, n);
        assert_memory_equal(s->messages[0].body, data, n);
        assert_string_equal(r.error, "");
    } else {
        assert_string_not_equal(r.error, "");
    }
    free(data);
    return r;
}

static void
check_units(const struct server *s, const char *expected)
{
    char got[256] = "";
    size_t len = 0;

    for (size_t i = 0; i < s->unit_count && len < sizeof(got) - 4; i++) {
        if (i > 0 && s->units[i].connection != s->units[i - 1].connection)
            got[len++] = '|';
        got[len++] = s->units[i].what;
    }
    assert_string_equal(got, expected);
}

struct answer_case {
    const char *name;
    size_t size;
    const char *answers[16];
    enum msock_status status;
    const char *code;
    const char *units; /* packets and trailers as they came; | is a new connection */
};

static const struct answer_case answer_cases[] = {
    {"small, all well", SMALL, {NULL}, MSOCK_OK, "", "HT"},
    {"large, all well", LARGE, {NULL}, MSOCK_OK, "", "HPPPPT"},
    {"NACK1 to what was sent ahead", SMALL, {"NACK1"}, MSOCK_OK, "", "H|HT"},
    {"NACK1 to a trailer sent ahead", SMALL, {RIGHT, "NACK1"}, MSOCK_OK, "", "HT|HT"},
    {"NACK1 again in strict mode",
     SMALL,
     {"NACK1", "NACK1", RIGHT, "NACK1"},
     MSOCK_OK,
     "",
     "H|HHTT"},
    {"NACK2 to what was sent ahead", SMALL, {"NACK2"}, MSOCK_OK, "", "H|HT"},
    {"NACK2 again in strict mode", SMALL, {"NACK2", "NACK2"}, MSOCK_OK, "", "H|HHT"},
    {"NACK1 to a first packet", LARGE, {"NACK1"}, MSOCK_OK, "", "HHPPPPT"},
    {"NACK1 to a later packet", LARGE, {RIGHT, RIGHT, "NACK1"}, MSOCK_OK, "", "HPPPPPT"},
    {"NACK1 to the last packet",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, "NACK1"},
     MSOCK_OK,
     "",
     "HPPPPPT"},
    {"NACK1 to the trailer",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, "NACK1"},
     MSOCK_OK,
     "",
     "HPPPPTT"},
    {"NACK2 to the last packet",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, "NACK2"},
     MSOCK_OK,
     "",
     "HPPPPHPPPPT"},
    {"NACK2 to the trailer",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, "NACK2"},
     MSOCK_OK,
     "",
     "HPPPPTHPPPPT"},
    {"REJ to a trailer sent ahead",
     SMALL,
     {RIGHT, "REJ bad-json line 1"},
     MSOCK_REFUSED,
     "bad-json",
     "HT"},
    {"REJ to what was sent ahead", SMALL, {"REJ refused no"}, MSOCK_REFUSED, "refused", "H"},
    {"REJ to a first packet", LARGE, {"REJ no-space full"}, MSOCK_REFUSED, "no-space", "H"},
    {"REJ to a later packet", LARGE, {RIGHT, "REJ no-space full"}, MSOCK_REFUSED, "no-space", "HP"},
    {"REJ to a trailer",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, "REJ exists"},
     MSOCK_REFUSED,
     "exists",
     "HPPPPT"},
    {"ERR busy, then well", SMALL, {"ERR busy try later"}, MSOCK_OK, "", "H|HT"},
    {"ERR to a trailer, then well", SMALL, {RIGHT, "ERR internal x"}, MSOCK_OK, "", "HT|HT"},
    {"ERR in the middle, then well", LARGE, {RIGHT, "ERR timeout x"}, MSOCK_OK, "", "HP|HPPPPT"},
    {"ERR retries, then well", LARGE, {"ERR retries"}, MSOCK_OK, "", "H|HPPPPT"},
    {"ERR shutdown, then well", LARGE, {"ERR shutdown bye"}, MSOCK_OK, "", "H|HPPPPT"},
    {"ERR busy without end",
     SMALL,
     {"ERR busy", "ERR busy", "ERR busy", "ERR busy"},
     MSOCK_GIVEN_UP,
     "busy",
     "H|H|H|H"},
    {"ERR bad-header is tried twice",
     SMALL,
     {"ERR bad-header", "ERR bad-header"},
     MSOCK_GIVEN_UP,
     "bad-header",
     "H|H"},
    {"ERR denied is tried twice",
     SMALL,
     {"ERR denied", "ERR denied"},
     MSOCK_GIVEN_UP,
     "denied",
     "H|H"},
    {"ERR too-long is tried twice",
     LARGE,
     {"ERR too-long", "ERR too-long"},
     MSOCK_GIVEN_UP,
     "too-long",
     "H|H"},
    {"ERR denied once", SMALL, {"ERR denied"}, MSOCK_OK, "", "H|HT"},
    {"control bytes in an answer", SMALL, {"REJ refused \x1b[31m"}, MSOCK_OK, "", "H|HT"},
    {"not an answer", SMALL, {"HELLO"}, MSOCK_OK, "", "H|HT"},
    {"an ACK with a wrong number", LARGE, {"ACK 63"}, MSOCK_OK, "", "H|HPPPPT"},
    {"a grant where the message is whole", SMALL, {"ACK 2048"}, MSOCK_OK, "", "H|HT"},
    {"a grant to a trailer",
     LARGE,
     {RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, "ACK 2048"},
     MSOCK_OK,
     "",
     "HPPPPT|HPPPPT"},
    {"an ACK where more is to come", LARGE, {"ACK"}, MSOCK_OK, "", "H|HPPPPT"},
    {"nonsense without end", LARGE, {"ACK", "ACK", "ACK", "ACK"}, MSOCK_GIVEN_UP, "", "H|H|H|H"},
    {"lost after a packet", LARGE, {RIGHT, HANGUP}, MSOCK_OK, "", "HP|HPPPPT"},
    {"lost after the trailer", SMALL, {RIGHT, HANGUP}, MSOCK_OK, "", "HT|HT"},
};

static void
every_answer_leads_to_what_the_protocol_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(answer_cases) / sizeof(answer_cases[0]); i++) {
        const struct answer_case *c = &answer_cases[i];
        struct server *s = server_create();
        struct run r;

        print_message("%s\n", c->name);
        s->answers = c->answers;
        r = run_script(s, c->size, NULL);
        assert_int_equal(r.status, c->status);
        assert_string_equal(r.code, c->code);
        check_units(s, c->units);
        server_destroy(s);
    }
}

static void
answers_may_come_a_byte_at_a_time(void **state)
{
    static const char *const answers[] = {RIGHT, "NACK1", RIGHT,   RIGHT,
                                          RIGHT, RIGHT,   "NACK1", NULL};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->answers = answers;
    s->slow = true;
    r = run_script(s, LARGE, NULL);
    assert_int_equal(r.status, MSOCK_OK);
    check_units(s, "HPPPPPTT");
    assert_int_equal(r.counts.nack1, 2);
    assert_int_equal(r.counts.acks, 6);
    server_destroy(s);
}

static void
a_packet_is_sent_again_in_the_same_size(void **state)
{
    static const uint32_t grants[] = {5000, 64, 0};
    static const char *const answers[] = {RIGHT, "NACK1", "NACK1", NULL};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->grants = grants;
    s->answers = answers;
    r = run_script(s, 7100, NULL);
    assert_int_equal(r.status, MSOCK_OK);
    for (int i = 1; i < 4; i++)
        assert_int_equal(s->units[i].body, 4994);
    assert_int_equal(s->units[4].body, 58);
    server_destroy(s);
}

static void
packets_follow_a_grant_that_goes_up_and_down(void **state)
{
    static const uint32_t grants[] = {64,   100000, 2048, 2048, 1048576, 64,
                                      4096, 300000, 65,   64,   1048576, 0};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->grants = grants;
    r = run_script(s, 3000000, NULL);
    assert_int_equal(r.status, MSOCK_OK);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(s->units[i + 1].body, grants[i] - 6);
    server_destroy(s);
}

static void
limit_to_two_nacks(msock *m)
{
    msock_set_nack_limit(m, 2);
}

static void
too_many_nacks_end_the_connection(void **state)
{
    static const char *const answers[] = {"NACK1", "NACK2", "NACK1", NULL};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->answers = answers;
    r = run_script(s, LARGE, limit_to_two_nacks);
    assert_int_equal(r.status, MSOCK_OK);
    check_units(s, "HHH|HPPPPT");
    assert_int_equal(r.counts.retries, 1);
    server_destroy(s);
}

static void
without_retries(msock *m)
{
    msock_set_retries(m, 0, 1, 1);
}

static void
a_nack_to_what_was_sent_ahead_is_no_retry(void **state)
{
    static const char *const answers[] = {"NACK1", NULL};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->answers = answers;
    r = run_script(s, SMALL, without_retries);
    assert_int_equal(r.status, MSOCK_OK);
    assert_int_equal(r.counts.connects, 2);
    server_destroy(s);
}

static void
with_short_timeouts(msock *m)
{
    msock_set_timeouts(m, 100, 100);
    msock_set_retries(m, 1, 1, 1);
}

static void
a_server_that_never_answers_is_given_up(void **state)
{
    static const char *const answers[] = {SILENT, SILENT, SILENT, NULL};
    static const size_t sizes[] = {SMALL, LARGE};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server *s = server_create();
        struct run r;

        s->answers = answers;
        r = run_script(s, sizes[i], with_short_timeouts);
        assert_int_equal(r.status, MSOCK_GIVEN_UP);
        check_units(s, "H|H");
        assert_non_null(strstr(r.error, "no answer within 100 ms (given up after 2 attempts"));
        assert_non_null(strstr(r.error, i == 0 ? "may have been committed" : "is not committed"));
        server_destroy(s);
    }
}

/* ERR in place of the first ACK; later the message may be the copy of one that is committed. */
static void
an_error_says_whether_the_message_may_have_been_committed(void **state)
{
    static const struct {
        const char *answers[7], *sentence;
    } cases[] = {
        {{"ERR denied x", "ERR denied x"}, "the message is not committed"},
        {{"ERR busy x", "ERR busy x"}, "the message is not committed"},
        {{RIGHT, "ERR internal x", "ERR busy x"}, "the message may have been committed"},
        {{"NACK1", RIGHT, "ERR internal x", "ERR busy x"}, "the message may have been committed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server *s = server_create();
        struct run r;

        s->answers = cases[i].answers;
        r = run_script(s, SMALL, with_short_timeouts);
        assert_int_equal(r.status, MSOCK_GIVEN_UP);
        assert_non_null(strstr(r.error, cases[i].sentence));
        server_destroy(s);
    }
}

static void
a_late_digest_that_is_refused_goes_into_the_header(void **state)
{
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->late_size_limit = 5000;
    r = run_script(s, LARGE, without_retries);
    assert_int_equal(r.status, MSOCK_OK);
    assert_false(s->messages[0].late);
    check_units(s, "H|HPPPPT");
    server_destroy(s);
}

static void
a_size_over_the_servers_limit_ends_with_its_own_refusal(void **state)
{
    static const char *const answers[] = {RIGHT, RIGHT, "ERR too-long re-read limit", NULL};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->late_size_limit = 5000;
    s->answers = answers;
    r = run_script(s, LARGE, NULL);
    assert_int_equal(r.status, MSOCK_REFUSED);
    assert_string_equal(r.code, "bad-flags");
    assert_non_null(strstr(r.error, "refused the message: bad-flags: late digest"));
    server_destroy(s);
}

static void
a_small_message_carries_its_digest_in_front_and_a_large_one_behind(void **state)
{
    static const size_t sizes[] = {0, 1, 1997, 1998, 1999, 2000, 4039, 4040, 4041};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct server *s = server_create();
        struct run r = run_script(s, sizes[i], NULL);

        assert_int_equal(r.status, MSOCK_OK);
        assert_int_equal(s->messages[0].late, sizes[i] > 1998);
        check_units(s, sizes[i] <= 1998 ? "HT" : sizes[i] <= 4040 ? "HPT" : "HPPT");
        server_destroy(s);
    }
}

static void
ten_mebibytes_arrive_byte_for_byte(void **state)
{
    static const uint32_t grants[] = {2048, 16384, 1048576, 0};
    struct server *s = server_create();
    struct run r;

    (void)state;
    s->grants = grants;
    r = run_script(s, 10 << 20, NULL);
    assert_int_equal(r.status, MSOCK_OK);
    assert_int_equal(r.counts.connects, 1);
    assert_true(r.counts.bytes_out > 10 << 20);
    server_destroy(s);
}

static void
the_connection_stays_usable_after_a_refusal(void **state)
{
    static const char *const answers[] = {RIGHT, "REJ bad-json line 1 column 3: no \\x1B here",
                                          NULL};
    struct server *s = server_create();
    struct msock_counts counts;
    msock *m;

    (void)state;
    s->answers = answers;
    server_start(s, AF_INET);
    m = client_open(s);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_REFUSED);
    assert_non_null(strstr(msock_error(m), " refused the message: bad-json: line 1 column 3: "));
    assert_non_null(strstr(msock_error(m), "column 3: no \\x1B here"));
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_error(m), "");
    assert_string_equal(msock_error_code(m), "");
    msock_get_counts(m, &counts);
    assert_int_equal(counts.connects, 1);
    assert_int_equal(counts.rej, 1);
    assert_int_equal(counts.messages, 1);
    assert_int_equal(counts.retries, 0);
    msock_close(m);
    server_stop(s);
    server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_leads_to_what_the_protocol_says),
        cmocka_unit_test(answers_may_come_a_byte_at_a_time),
        cmocka_unit_test(a_packet_is_sent_again_in_the_same_size),
        cmocka_unit_test(packets_follow_a_grant_that_goes_up_and_down),
        cmocka_unit_test(too_many_nacks_end_the_connection),
        cmocka_unit_test(a_nack_to_what_was_sent_ahead_is_no_retry),
        cmocka_unit_test(a_server_that_never_answers_is_given_up),
        cmocka_unit_test(an_error_says_whether_the_message_may_have_been_committed),
        cmocka_unit_test(a_late_digest_that_is_refused_goes_into_the_header),
        cmocka_unit_test(a_size_over_the_servers_limit_ends_with_its_own_refusal),
        cmocka_unit_test(a_small_message_carries_its_digest_in_front_and_a_large_one_behind),
        cmocka_unit_test(ten_mebibytes_arrive_byte_for_byte),
        cmocka_unit_test(the_connection_stays_usable_after_a_refusal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
