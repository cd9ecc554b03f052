/* The dialer alone: which address comes next, and how long one that has failed is left alone. */
#include "common/dial.h"

#include "guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 3

/* Three literal servers on ports that nobody else has: each listens or refuses. */
struct three {
    int fd[COUNT];
    uint16_t port[COUNT];
    struct url url;
    struct dialer d;
};

static useconds_t pause_us; /* behind each connect(2) */

int
connect(int fd, const struct sockaddr *to, socklen_t len)
{
    int rc = (int)syscall(SYS_connect, fd, to, len), saved = errno;

    usleep(pause_us);
    errno = saved;
    return rc;
}

static void
three_begin(struct three *t, const char *options)
{
    char text[128], error[URL_ERROR_LEN];
    enum dial_pick pick;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (unsigned i = 0; i < COUNT; i++) {
        socklen_t len = sizeof(sa);

        sa.sin_port = 0;
        t->fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(t->fd[i], (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(getsockname(t->fd[i], (struct sockaddr *)&sa, &len), 0);
        t->port[i] = ntohs(sa.sin_port);
    }
    snprintf(text, sizeof(text), "msp://127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u%s", t->port[0],
             t->port[1], t->port[2], options);
    assert_int_equal(url_parse_servers(text, 8000, &t->url, error), 0);
    assert_int_equal(dial_read_pick(&t->url, &pick), 0);
    assert_int_equal(dialer_init(&t->d, &t->url, pick), 0);
}

static void
three_end(struct three *t)
{
    dialer_fini(&t->d);
    url_fini(&t->url);
    for (unsigned i = 0; i < COUNT; i++)
        close(t->fd[i]);
}

static void
three_listen(struct three *t, unsigned i)
{
    assert_int_equal(listen(t->fd[i], 64), 0);
}

/* Which one is connected to; -1: none. */
static int
three_connect(struct three *t)
{
    int fd = -1;

    if (dial_connect(&t->d, 20000, &fd) < 0)
        return -1;
    dial_reset(&fd);
    return (int)t->d.last;
}

static struct dial_record *
three_record(struct three *t, unsigned i)
{
    return &t->d.servers[i].list[0].record;
}

/* Its time is over, or longer than that of all others. */
static void
three_wake(struct three *t, unsigned i)
{
    three_record(t, i)->rest_us = 0;
}

static void
three_rest(struct three *t, unsigned i)
{
    three_record(t, i)->rest_us = UINT64_MAX;
}

static void
the_first_that_does_not_rest_comes_first(void **state)
{
    struct three t;

    (void)state;
    three_begin(&t, "");
    three_listen(&t, 1);
    three_listen(&t, 2);
    assert_int_equal(three_connect(&t), 1);
    dial_begin_call(&t.d);
    three_listen(&t, 0);
    three_rest(&t, 0);
    assert_int_equal(three_connect(&t), 1);
    three_wake(&t, 0);
    assert_int_equal(three_connect(&t), 0);
    dial_failed(&t.d);
    three_rest(&t, 0);
    assert_int_equal(three_connect(&t), 1);
    three_end(&t);
}

static void
a_server_that_was_chosen_is_kept_while_it_works(void **state)
{
    static const char *const picks[] = {"?pick=random", "?pick=spread"};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct three t;
        int chosen;

        three_begin(&t, picks[k]);
        for (unsigned i = 0; i < COUNT; i++)
            three_listen(&t, i);
        chosen = three_connect(&t);
        for (unsigned i = 0; i < 5; i++)
            assert_int_equal(three_connect(&t), chosen);
        dial_failed(&t.d);
        three_rest(&t, (unsigned)chosen);
        assert_int_not_equal(three_connect(&t), chosen);
        three_end(&t);
    }
}

/* Each connection is made at once, but the process goes on only when the next one would be due. */
static void
a_process_that_had_to_wait_for_a_processor_keeps_its_server(void **state)
{
    struct three t;

    (void)state;
    three_begin(&t, "?pick=random");
    assert_int_equal(three_connect(&t), -1);
    three_listen(&t, 2);
    assert_int_equal(three_connect(&t), 2);
    dial_begin_call(&t.d);
    for (unsigned i = 0; i < COUNT; i++) {
        three_listen(&t, i);
        three_wake(&t, i);
    }
    pause_us = DIAL_STAGGER_US;
    assert_int_equal(three_connect(&t), 2);
    pause_us = 0;
    three_end(&t);
}

static void
what_is_connected_when_the_time_is_over_is_used(void **state)
{
    struct three t;
    int fd;

    (void)state;
    three_begin(&t, "");
    three_listen(&t, 2);
    pause_us = 20000;
    assert_int_equal(dial_connect(&t.d, 10, &fd), 0);
    pause_us = 0;
    dial_reset(&fd);
    three_end(&t);
}

static void
a_failed_one_rests_longer_each_time_up_to_a_bound(void **state)
{
    struct three t;
    uint64_t full = DIAL_REST_MS;

    (void)state;
    three_begin(&t, "");
    for (unsigned n = 1; n < 40; n++) {
        uint64_t before = clock_mono_us();

        assert_int_equal(three_connect(&t), -1);
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(three_record(&t, i)->failures, n);
            assert_in_range(three_record(&t, i)->rest_us, before + full * 500,
                            clock_mono_us() + full * 1000);
        }
        full = full * 2 < DIAL_REST_MAX_MS ? full * 2 : DIAL_REST_MAX_MS;
    }
    three_end(&t);
}

/* To connect is not enough: a server may take each connection and no message. */
static void
only_use_makes_a_clean_record(void **state)
{
    struct three t;

    (void)state;
    three_begin(&t, "");
    three_listen(&t, 0);
    for (unsigned n = 1; n < 4; n++) {
        assert_int_equal(three_connect(&t), 0);
        dial_failed(&t.d);
        assert_int_equal(three_record(&t, 0)->failures, n);
        dial_begin_round(&t.d);
        three_wake(&t, 0);
    }
    assert_int_equal(three_connect(&t), 0);
    dial_proved(&t.d);
    assert_int_equal(three_record(&t, 0)->failures, 0);
    dial_failed(&t.d);
    assert_int_equal(three_record(&t, 0)->failures, 1);
    dial_failed(&t.d); /* there is no connection any more */
    assert_int_equal(three_record(&t, 0)->failures, 1);
    three_end(&t);
}

static void
where_all_rest_the_one_with_the_shortest_rest_is_tried_at_once(void **state)
{
    struct three t;

    (void)state;
    three_begin(&t, "");
    assert_int_equal(three_connect(&t), -1);
    for (unsigned i = 0; i < COUNT; i++)
        three_listen(&t, i);
    dial_begin_call(&t.d);
    for (unsigned i = 0; i < COUNT; i++)
        three_rest(&t, i);
    three_record(&t, 2)->rest_us--;
    assert_int_equal(three_connect(&t), 2);
    three_end(&t);
}

/* Whether it rests or not. */
static void
in_a_round_each_has_its_turn(void **state)
{
    struct three t;

    (void)state;
    three_begin(&t, "");
    for (unsigned i = 0; i < COUNT; i++)
        three_listen(&t, i);
    for (unsigned round = 0; round < 3; round++) {
        unsigned seen = 0;

        dial_begin_round(&t.d);
        for (unsigned i = 0; i < COUNT; i++) {
            int chosen = three_connect(&t);

            assert_in_range(chosen, 0, COUNT - 1);
            seen |= 1u << chosen;
            assert_true(dial_has_other(&t.d));
            dial_failed(&t.d);
            three_wake(&t, (unsigned)chosen);
        }
        assert_int_equal(seen, 7);
        assert_false(dial_has_other(&t.d));
    }
    three_end(&t);
}

/* Each of them makes one choice, which begins anywhere. */
static void
the_children_of_a_process_spread_too(void **state)
{
    unsigned seen[COUNT] = {0};
    struct three t;

    (void)state;
    three_begin(&t, "?pick=spread");
    for (unsigned i = 0; i < COUNT; i++)
        three_listen(&t, i);
    for (unsigned i = 0; i < 60; i++) {
        pid_t child = fork();
        int status;

        if (child == 0)
            _exit(three_connect(&t));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < COUNT);
        seen[WEXITSTATUS(status)]++;
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_in_range(seen[i], 3, 57);
    three_end(&t);
}

static void
what_failed_is_told_until_the_next_call(void **state)
{
    char expected[200];
    struct three t;

    (void)state;
    three_begin(&t, "");
    three_listen(&t, 1);
    assert_null(dial_failures(&t.d));
    assert_int_equal(three_connect(&t), 1);
    dial_note(&t.d, "the second one is busy");
    snprintf(expected, sizeof(expected), "127.0.0.1:%u: connection refused; the second one is busy",
             t.port[0]);
    assert_string_equal(dial_failures(&t.d), expected);
    dial_begin_call(&t.d);
    assert_null(dial_failures(&t.d));
    three_end(&t);
}

static void
a_lone_literal_needs_no_connection_to_be_known(void **state)
{
    static const struct {
        const char *url;
        bool is_only;
    } cases[] = {{"msp://127.0.0.1:1", true},    {"msp://[::1]:1", true},
                 {"msp:///run/x.sock", true},    {"msp://localhost:1", false},
                 {"msp://example.org:1", false}, {"msp://127.0.0.1:1,127.0.0.1:2", false},
                 {"msp://1.2.3.4.5:1", false}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char error[URL_ERROR_LEN];
        struct dialer d;
        struct url url;

        assert_int_equal(url_parse_servers(cases[i].url, 8000, &url, error), 0);
        assert_int_equal(dialer_init(&d, &url, DIAL_FIRST), 0);
        assert_int_equal(dial_only(&d) != NULL, cases[i].is_only);
        dialer_fini(&d);
        url_fini(&url);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_does_not_rest_comes_first),
        cmocka_unit_test(a_server_that_was_chosen_is_kept_while_it_works),
        cmocka_unit_test(a_process_that_had_to_wait_for_a_processor_keeps_its_server),
        cmocka_unit_test(what_is_connected_when_the_time_is_over_is_used),
        cmocka_unit_test(a_failed_one_rests_longer_each_time_up_to_a_bound),
        cmocka_unit_test(only_use_makes_a_clean_record),
        cmocka_unit_test(where_all_rest_the_one_with_the_shortest_rest_is_tried_at_once),
        cmocka_unit_test(in_a_round_each_has_its_turn),
        cmocka_unit_test(the_children_of_a_process_spread_too),
        cmocka_unit_test(what_failed_is_told_until_the_next_call),
        cmocka_unit_test(a_lone_literal_needs_no_connection_to_be_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
