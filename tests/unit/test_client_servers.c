/* Lists of servers: which one is taken, and what is said where all fail. */
#include "support/wait.h"
#include "unit/fake/group.h"

/* --- which one is taken --- */

static void
the_first_that_answers_is_taken(void **state)
{
    struct group g = {.s = {NULL, server_create(), server_create()}};
    char at[64];
    msock *m;

    (void)state;
    group_start(&g);
    m = group_open(&g, "");
    assert_string_equal(msock_connected_to(m), "");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    snprintf(at, sizeof(at), "127.0.0.1:%u", g.port[1]);
    assert_string_equal(msock_connected_to(m), at);
    msock_close(m);
    group_stop(&g);
    expect_connections(&g, 0, 1, 0);
    assert_int_equal(g.s[1]->message_count, 3);
    group_destroy(&g);
}

static void
a_list_may_mix_families(void **state)
{
    struct server *s = start_server(0, AF_INET6);
    uint16_t dead = free_port();
    char url[160], at[64];
    msock *m;

    (void)state;
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u,[::1]:%u,localhost:%u", dead, s->port, dead);
    m = open_url(url);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    snprintf(at, sizeof(at), "[::1]:%u", s->port);
    assert_string_equal(msock_connected_to(m), at);
    msock_close(m);
    stop_server(s);
}

/* As behind a firewall. */
static void
a_server_that_does_not_answer_holds_up_no_other(void **state)
{
    struct server *s = start_server(0, AF_INET);
    struct black_hole hole;
    char url[100];
    msock *m;

    (void)state;
    black_hole_open(&hole, "127.0.0.3", s->port);
    snprintf(url, sizeof(url), "msp://127.0.0.3:%u,127.0.0.1:%u", s->port, s->port);
    m = open_url(url);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(connects.count, 2);
    msock_close(m);
    black_hole_close(&hole);
    stop_server(s);
}

static void
a_resolver_that_does_not_answer_holds_up_no_other_server(void **state)
{
    struct server *s = start_server(0, AF_INET);
    char url[160], at[64];
    msock *m;

    (void)state;
    RESOLVER_SAYS("quick.test=127.0.0.1");
    resolver.held_name = "slow.test";
    resolver_hold(true);
    snprintf(url, sizeof(url), "msp://slow.test,no.test,quick.test:%u", s->port);
    m = open_url(url);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    snprintf(at, sizeof(at), "quick.test:%u (127.0.0.1:%u)", s->port, s->port);
    assert_string_equal(msock_connected_to(m), at);
    msock_close(m);
    stop_server(s);
}

/* It answers after the others have begun, and before any is there. */
static void
an_answer_that_comes_late_in_a_race_is_used(void **state)
{
    struct server *s = start_server(0, AF_INET);
    struct black_hole hole;
    char url[160];
    msock *m;

    (void)state;
    RESOLVER_SAYS("slow.test=127.0.0.1");
    resolver_hold(true);
    black_hole_open(&hole, "127.0.0.3", s->port);
    snprintf(url, sizeof(url), "msp://slow.test:%u,127.0.0.3:%u", s->port, s->port);
    m = open_url(url);
    msock_set_timeouts(m, 300, LONG_MS);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    resolver_hold(false);
    WAIT_FOR(resolver_has_answered_all(), 20000);
    msock_set_timeouts(m, LONG_MS, LONG_MS);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(resolver_asked(), 1);
    msock_close(m);
    black_hole_close(&hole);
    stop_server(s);
}

static void
every_address_of_every_name_is_tried(void **state)
{
    struct server *s = start_server(0, AF_INET);
    char url[160];
    msock *m;

    (void)state;
    RESOLVER_SAYS("a.test=127.0.0.2", "a.test=127.0.0.3", "b.test=127.0.0.4", "b.test=127.0.0.1");
    snprintf(url, sizeof(url), "msp://a.test:%u,b.test:%u", s->port, s->port);
    m = open_url(url);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(connects.count, 4);
    assert_string_equal(connects.tried[0], "127.0.0.2");
    assert_string_equal(connects.tried[2], "127.0.0.4");
    msock_close(m);
    stop_server(s);
}

/* A name is asked for when its turn comes, and again for each connection. */
static void
names_are_asked_for_in_turn_and_anew(void **state)
{
    struct server *s = server_create();
    char url[160];
    msock *m;

    (void)state;
    s->leave = true;
    server_start(s, AF_INET);
    RESOLVER_SAYS("127.0.0.1");
    snprintf(url, sizeof(url), "msp://a.test:%u,b.test:%u", s->port, s->port);
    m = open_url(url);
    msock_set_retries(m, 1, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_in_range(resolver_asked(), 3, 4);
    msock_close(m);
    stop_server(s);
}

/* --- ?pick --- */

static void
spread_shares_the_handles_of_a_process_evenly(void **state)
{
    struct group g = group_create();
    msock *m[3 * GROUP_COUNT];

    (void)state;
    group_start(&g);
    for (unsigned i = 0; i < 3 * GROUP_COUNT; i++) {
        m[i] = group_open(&g, "?pick=spread");
        assert_int_equal(msock_connect(m[i]), MSOCK_OK);
    }
    for (unsigned i = 0; i < 3 * GROUP_COUNT; i++)
        msock_close(m[i]);
    group_stop(&g);
    expect_connections(&g, 3, 3, 3);
    group_destroy(&g);
}

static void
random_chooses_by_chance_and_a_dead_server_hurts_nobody(void **state)
{
    static const char *const picks[] = {"?pick=random", "?pick=spread"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct group g = {.s = {server_create(), NULL, server_create()}};

        group_start(&g);
        for (unsigned k = 0; k < 60; k++) {
            msock *m = group_open(&g, picks[i]);

            assert_int_equal(msock_connect(m), MSOCK_OK);
            msock_close(m);
        }
        group_stop(&g);
        assert_in_range(g.s[0]->connections, 5, 55);
        assert_int_equal(g.s[0]->connections + g.s[2]->connections, 60);
        group_destroy(&g);
    }
}

static void
the_server_of_a_random_choice_is_kept(void **state)
{
    static const char *const picks[] = {"?pick=random", "?pick=spread"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct group g = group_create();
        unsigned served = 0;
        msock *m;

        for (unsigned k = 0; k < GROUP_COUNT; k++)
            g.s[k]->leave = true;
        group_start(&g);
        m = group_open(&g, picks[i]);
        msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
        for (unsigned k = 0; k < 8; k++)
            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        msock_close(m);
        group_stop(&g);
        for (unsigned k = 0; k < GROUP_COUNT; k++)
            served += g.s[k]->message_count > 0;
        assert_int_equal(served, 1);
        group_destroy(&g);
    }
}

/* As soon as it has rested. */
static void
first_comes_back_to_an_earlier_server(void **state)
{
    struct group g = {.s = {NULL, server_create(), NULL}};
    struct waiting w = waiting_begin(20000);
    unsigned sent = 1;
    char at[64];
    msock *m;

    (void)state;
    g.s[1]->leave = true;
    group_start(&g);
    m = group_open(&g, "?pick=first");
    msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    g.s[0] = start_server(g.port[0], AF_INET);
    snprintf(at, sizeof(at), "127.0.0.1:%u", g.port[0]);
    while (strcmp(msock_connected_to(m), at) != 0 && sent++ < SERVER_MESSAGES && waiting_more(&w))
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_connected_to(m), at);
    msock_close(m);
    group_stop(&g);
    group_destroy(&g);
}

static void
another_pick_is_refused(void **state)
{
    static const char *const bad[] = {"msp://a,b?pick=last", "msp://a?pick=", "msp://a?pick=First"};
    char error[200];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(msock_url_error(bad[i], error, sizeof(error)), MSOCK_USAGE);
        assert_non_null(strstr(error, "pick is first, random or spread"));
    }
    for (int i = 0; i < 4; i++) {
        static const char *const schemes[] = {"msp", "cnp", "tinyproto", "frame"};
        char url[64];
        msock *m;

        snprintf(url, sizeof(url), "%s://a:1,b?pick=spread", schemes[i]);
        m = msock_open(url);
        assert_non_null(m);
        msock_close(m);
    }
}

/* --- what is said --- */

static void
the_error_names_each_server_and_its_reason(void **state)
{
    static const char *const leaves[] = {HANGUP, HANGUP, NULL};
    struct group g = {.s = {NULL, server_create(), NULL}};
    char url[200], expected[500];
    msock *m;

    (void)state;
    g.s[1]->answers = leaves;
    group_start(&g);
    RESOLVER_SAYS("two.test=127.0.0.2", "two.test=127.0.0.3");
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u,no.test,two.test:%u", g.port[0], g.port[2]);
    m = open_url(url);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    snprintf(expected, sizeof(expected),
             "127.0.0.1:%u: connection refused; cannot find the address of \"no.test\": Name or"
             " service not known; two.test:%u: 127.0.0.2:%u: connection refused, 127.0.0.3:%u:"
             " connection refused",
             g.port[0], g.port[2], g.port[2], g.port[2]);
    assert_string_equal(msock_error(m), expected);
    msock_close(m);

    m = group_open(&g, "");
    msock_set_retries(m, 1, 1, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_GIVEN_UP);
    snprintf(expected, sizeof(expected),
             "127.0.0.1:%u: connection refused; 127.0.0.1:%u: the server closed the connection;"
             " 127.0.0.1:%u: connection refused (given up after 2 attempts; ",
             g.port[0], g.port[1], g.port[2]);
    assert_memory_equal(msock_error(m), expected, strlen(expected));
    msock_close(m);
    group_stop(&g);
    group_destroy(&g);
}

static void
sixteen_dead_servers_have_an_error_that_fits(void **state)
{
    char url[400] = "msp://", long_url[16 * 260] = "msp://";
    uint16_t port = free_port();
    msock *m;

    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        size_t n = strlen(url), k = strlen(long_url);

        snprintf(url + n, sizeof(url) - n, "%s127.0.1.%u:%u", i > 0 ? "," : "", i + 1, port);
        snprintf(long_url + k, sizeof(long_url) - k, "%s%0240u.test", i > 0 ? "," : "", i);
    }
    m = open_url(url);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(connects.count, 16);
    assert_non_null(strstr(msock_error(m), "127.0.1.16:"));
    assert_non_null(strstr(msock_error(m), "refused (is msockd running there?)"));
    msock_close(m);
    m = open_url(long_url);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "not known; and others"));
    msock_close(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(the_first_that_answers_is_taken),
        NET_TEST(a_list_may_mix_families),
        NET_TEST(a_server_that_does_not_answer_holds_up_no_other),
        NET_TEST(a_resolver_that_does_not_answer_holds_up_no_other_server),
        NET_TEST(an_answer_that_comes_late_in_a_race_is_used),
        NET_TEST(every_address_of_every_name_is_tried),
        NET_TEST(names_are_asked_for_in_turn_and_anew),
        NET_TEST(spread_shares_the_handles_of_a_process_evenly),
        NET_TEST(random_chooses_by_chance_and_a_dead_server_hurts_nobody),
        NET_TEST(the_server_of_a_random_choice_is_kept),
        NET_TEST(first_comes_back_to_an_earlier_server),
        NET_TEST(another_pick_is_refused),
        NET_TEST(the_error_names_each_server_and_its_reason),
        NET_TEST(sixteen_dead_servers_have_an_error_that_fits),
    };

    if (net_begin() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
