/* Servers by name: the resolver, the addresses that it gives, and connect(2), all of which may do
 * as they like. */
#include "fake/net.h"
#include "support/wait.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define HANG_S 240 /* a child that hangs must not hold the tests up */
#define LATE   16  /* lookups of a process that nobody waits for */

/* --- the addresses of a name --- */

static void
each_address_is_tried_until_one_connects(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m = open_name("many.test", s->port);

    (void)state;
    RESOLVER_SAYS("127.0.0.2", "::1", "127.0.0.3", "127.0.0.1", "127.0.0.4");
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_string_equal(connects.tried[0], "127.0.0.2");
    assert_int_equal(connects.count, 4);
    msock_close(m);
    server_stop(s);
    assert_int_equal(s->connections, 1);
    server_destroy(s);
}

static void
the_families_take_turns(void **state)
{
    static const char *const order[] = {"2001:db8::1", "192.0.2.1", "2001:db8::2",
                                        "192.0.2.2",   "192.0.2.4", "192.0.2.3"};
    msock *m = open_name("many.test", 8000);

    (void)state;
    RESOLVER_SAYS("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3",
                  "::ffff:192.0.2.4");
    connects.address = "";
    connects.error = ENETUNREACH;
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(connects.count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(connects.tried[i], order[i]);
    msock_close(m);
}

static void
an_address_that_does_not_answer_holds_up_no_other(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m = open_name("many.test", s->port);
    struct black_hole hole;

    (void)state;
    black_hole_open(&hole, "127.0.0.3", s->port);
    RESOLVER_SAYS("127.0.0.3", "127.0.0.1");
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(connects.count, 2);
    msock_close(m);
    black_hole_close(&hole);
    stop_server(s);
}

/* There is no time for a quarter of a second each. */
static void
with_little_time_every_address_still_gets_its_turn(void **state)
{
    uint16_t port = free_port();
    msock *m = open_name("many.test", port);
    struct black_hole holes[3];

    (void)state;
    black_hole_open(&holes[0], "127.0.0.3", port);
    black_hole_open(&holes[1], "127.0.0.4", port);
    black_hole_open(&holes[2], "127.0.0.5", port);
    RESOLVER_SAYS("127.0.0.3", "127.0.0.4", "127.0.0.5");
    msock_set_timeouts(m, 600, 600);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(connects.count, 3);
    assert_non_null(strstr(msock_error(m), "127.0.0.5:"));
    assert_non_null(strstr(msock_error(m), "no connection within 600 ms"));
    msock_close(m);
    for (size_t i = 0; i < 3; i++)
        black_hole_close(&holes[i]);
}

static void
the_address_that_worked_is_the_first_next_time(void **state)
{
    struct server *s = server_create();
    msock *m;
    int other;

    (void)state;
    s->leave = true;
    server_start(s, AF_INET);
    m = open_name("many.test", s->port);
    msock_set_retries(m, 2, 1, 1);
    RESOLVER_SAYS("127.0.0.2", "127.0.0.1");
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(connects.count, 2);
    other = listen_at("127.0.0.2", s->port, 8);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(accept(other, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    msock_close(m);
    close(other);
    stop_server(s);
}

static void
a_name_that_changes_is_followed(void **state)
{
    struct server *first = server_create(), *second;
    msock *m;

    (void)state;
    first->leave = true;
    server_start(first, AF_INET);
    second = start_server(first->port, AF_INET6);
    m = open_name("moves.test", first->port);
    msock_set_retries(m, 2, 1, 1);
    RESOLVER_SAYS("127.0.0.1");
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    RESOLVER_SAYS("::1");
    for (unsigned i = 0; i < 2; i++) /* the first may still find the old connection */
        assert_int_equal(msock_send(m, "two", 3), MSOCK_OK);
    assert_int_equal(resolver_asked(), 2);
    msock_close(m);
    server_stop(first);
    server_stop(second);
    assert_int_equal(first->message_count, 1);
    assert_int_equal(second->message_count, 2);
    server_destroy(first);
    server_destroy(second);
}

static void
the_error_names_each_address_and_its_reason(void **state)
{
    uint16_t port = free_port();
    msock *m = open_name("many.test", port);
    char expected[256];

    (void)state;
    RESOLVER_SAYS("127.0.0.2", "::1");
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    snprintf(expected, sizeof(expected),
             "many.test:%u: 127.0.0.2:%u: connection refused; [::1]:%u: connection refused"
             " (is msockd running there?)",
             port, port, port);
    assert_string_equal(msock_error(m), expected);
    RESOLVER_SAYS("127.0.0.2");
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    snprintf(expected, sizeof(expected),
             "many.test:%u: 127.0.0.2:%u: connection refused (is msockd running there?)", port,
             port);
    assert_string_equal(msock_error(m), expected);
    msock_close(m);
}

static void
a_name_with_very_many_addresses_has_a_bound(void **state)
{
    static char texts[60][INET6_ADDRSTRLEN];
    static const char *list[61];
    msock *m = open_name("many.test", 8000);

    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        snprintf(texts[i], sizeof(texts[i]), "2001:db8:1234:5678:9abc:def0:1234:%x", 0x1000 + i);
        list[i] = texts[i];
    }
    resolver.addresses = list;
    connects.address = "";
    connects.error = ENETUNREACH;
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(connects.count, 16);
    assert_true(strlen(msock_error(m)) > 900);
    msock_close(m);
}

/* --- servers that turn us away --- */

/* A wait would be longer than the test may take. */
static void
a_server_that_is_busy_or_leaves_sends_us_to_the_next_address_at_once(void **state)
{
    static const char *const busy[] = {"ERR busy", "ERR busy", "ERR busy", "ERR busy", NULL};
    static const char *const leaving[] = {"ERR shutdown", "ERR shutdown", NULL};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server *away = server_create(), *good;
        msock *m;

        away->answers = i == 0 ? busy : leaving;
        server_start(away, AF_INET);
        good = start_server(away->port, AF_INET6);
        m = open_name("many.test", good->port);
        msock_set_retries(m, 1, 1000000, 1000000);
        RESOLVER_SAYS("127.0.0.1", "::1");
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        msock_close(m);
        server_stop(away);
        stop_server(good);
        assert_int_equal(away->connections, 1);
        server_destroy(away);
    }
}

/* Each has its turn before there is a wait, and then again. */
static void
busy_addresses_take_turns_and_all_of_them_are_one_attempt(void **state)
{
    static const char *const busy[] = {"ERR busy", "ERR busy", "ERR busy", "ERR busy", NULL};
    struct server *a = server_create(), *b = server_create();
    msock *m;

    (void)state;
    a->answers = b->answers = busy;
    server_start(a, AF_INET);
    b->port = a->port;
    server_start(b, AF_INET6);
    m = open_name("many.test", a->port);
    msock_set_retries(m, 3, 1, 1);
    RESOLVER_SAYS("127.0.0.1", "::1");
    assert_int_equal(msock_send(m, "x", 1), MSOCK_GIVEN_UP);
    assert_string_equal(msock_error_code(m), "busy");
    assert_non_null(strstr(msock_error(m), "given up after 4 attempts"));
    assert_int_equal(connects.count, 8);
    for (size_t i = 0; i < 8; i += 2)
        assert_string_not_equal(connects.tried[i], connects.tried[i + 1]);
    msock_close(m);
    stop_server(a);
    stop_server(b);
}

/* --- what connect(2) may say --- */

static void
an_address_that_fails_in_any_way_leads_to_the_next(void **state)
{
    static const int errors[] = {ENETUNREACH,  EHOSTUNREACH, EADDRNOTAVAIL, EACCES,      EPERM,
                                 EAFNOSUPPORT, EINVAL,       ECONNRESET,    ECONNABORTED};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct server *s = start_server(0, AF_INET);
        msock *m = open_name("many.test", s->port);

        connects.count = 0;
        connects.address = "127.0.0.2";
        connects.error = errors[i];
        RESOLVER_SAYS("127.0.0.2", "127.0.0.1");
        assert_int_equal(msock_connect(m), MSOCK_OK);
        assert_int_equal(connects.count, 2);
        msock_close(m);
        stop_server(s);
    }
}

static void
ports_that_are_used_up_have_a_sentence(void **state)
{
    msock *m = open_name("127.0.0.1", 8000);

    (void)state;
    connects.address = "";
    connects.error = EADDRNOTAVAIL;
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error(m), "127.0.0.1:8000: no connection: this host has no free port"
                                        " or no address for it");
    msock_close(m);
}

static void
a_connect_that_a_signal_interrupts_goes_on(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m = open_name("127.0.0.1", s->port);

    (void)state;
    connects.address = "";
    connects.error = EINTR;
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_close(m);
    stop_server(s);
}

static void
a_connection_to_itself_is_none(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"};
    uint16_t port = free_port();

    (void)state;
    connects.to_self = true;
    for (size_t i = 0; i < 3; i++) {
        msock *m = open_name(hosts[i], port);

        assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
        assert_non_null(strstr(msock_error(m), "connection refused"));
        msock_close(m);
    }
}

static void
without_a_descriptor_there_is_a_sentence(void **state)
{
    struct rlimit before, none;
    msock *m = open_name("many.test", 8000);

    (void)state;
    RESOLVER_SAYS("127.0.0.2", "::1");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_non_null(strstr(msock_error(m), strerror(EMFILE)));
    msock_close(m);
}

/* --- the resolver --- */

static void
a_literal_address_asks_nobody(void **state)
{
    static const struct {
        const char *host;
        bool reaches;
    } cases[] = {{"127.0.0.1", true},       {"[::ffff:127.0.0.1]", true},
                 {"127.1", true},           {"localhost", true},
                 {"localhost.", true},      {"LocalHost", true},
                 {"a.b.localhost", true},   {"[::1]", false},
                 {"127.0.0.1.", false},     {"300.1.2.3", false},
                 {"1.2.3.4.5", false},      {"[fe80::1%25nosuch0]", false},
                 {"[::1%25nosuch0]", false}};
    struct server *s = start_server(0, AF_INET);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msock *m = open_name(cases[i].host, s->port);

        if (msock_connect(m) != (cases[i].reaches ? MSOCK_OK : MSOCK_UNREACHABLE))
            fail_msg("%s: %s", cases[i].host, msock_error(m));
        if (strstr(cases[i].host, "nosuch0") != NULL)
            assert_non_null(strstr(msock_error(m), "no such interface"));
        msock_close(m);
    }
    assert_int_equal(resolver_asked(), 0);
    stop_server(s);
}

static void
other_names_do_ask(void **state)
{
    static const char *const hosts[] = {"localhost.example", "notlocalhost", "name.", "0x7f.test",
                                        "xn--bcher-kva.example"};
    struct server *s = start_server(0, AF_INET);

    (void)state;
    RESOLVER_SAYS("127.0.0.1");
    for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        msock *m = open_name(hosts[i], s->port);

        assert_int_equal(msock_connect(m), MSOCK_OK);
        assert_int_equal(resolver_asked(), i + 1);
        msock_close(m);
    }
    stop_server(s);
}

static void
a_name_that_is_not_found_is_unreachable(void **state)
{
    static const struct {
        int rc;
        enum msock_status status;
    } cases[] = {{EAI_NONAME, MSOCK_UNREACHABLE},
                 {EAI_AGAIN, MSOCK_UNREACHABLE},
                 {EAI_FAIL, MSOCK_UNREACHABLE},
                 {EAI_SYSTEM, MSOCK_UNREACHABLE},
                 {EAI_MEMORY, MSOCK_LOCAL}};
    msock *m = open_name("no.test", 8000);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        resolver.rc = cases[i].rc;
        assert_int_equal(msock_send(m, "x", 1), cases[i].status);
        if (cases[i].status == MSOCK_UNREACHABLE)
            assert_non_null(strstr(msock_error(m), "cannot find the address of \"no.test\": "));
        else
            assert_string_equal(msock_error(m), "there is no memory");
    }
    msock_close(m);
}

static void
a_resolver_that_never_answers_holds_up_neither_send_nor_close(void **state)
{
    msock *m = open_name("slow.test", 8000);

    (void)state;
    resolver_hold(true);
    msock_set_timeouts(m, 50, 50);
    msock_set_retries(m, 2, 1, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error(m), "cannot find the address of \"slow.test\": the resolver has"
                                        " not answered within 50 ms");
    assert_int_equal(msock_send_ahead(m, 'A', "x", 1), MSOCK_UNREACHABLE);
    msock_close(m);
    WAIT_FOR(resolver_asked() == 1, 20000); /* and not once an attempt */
}

static void
a_late_answer_is_still_used(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m = open_name("slow.test", s->port);

    (void)state;
    RESOLVER_SAYS("127.0.0.1");
    for (int i = 0; i < 2; i++) {
        resolver_hold(true);
        msock_set_timeouts(m, 50, 50);
        assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
        resolver_hold(false);
        if (i == 1) /* it comes while nobody waits */
            WAIT_FOR(resolver_has_answered_all(), 20000);
        msock_set_timeouts(m, LONG_MS, LONG_MS);
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        assert_int_equal(resolver_asked(), i + 1);
        msock_close(m);
        m = open_name("slow.test", s->port);
    }
    msock_close(m);
    stop_server(s);
}

static void
lookups_that_are_left_behind_have_a_bound(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m;

    (void)state;
    RESOLVER_SAYS("127.0.0.1");
    resolver_hold(true);
    for (unsigned i = 0; i < LATE + 3; i++) {
        m = open_name("slow.test", s->port);
        msock_set_timeouts(m, 1, 1);
        assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
        assert_true((strstr(msock_error(m), "16 earlier questions") != NULL) == (i >= LATE));
        msock_close(m);
    }
    WAIT_FOR(resolver_asked() == LATE, 20000);
    resolver_hold(false);
    m = open_name("slow.test", s->port);
    WAIT_FOR(msock_connect(m) == MSOCK_OK, 20000); /* as soon as the threads have ended */
    msock_close(m);
    stop_server(s);
}

static void
without_a_thread_there_is_a_sentence(void **state)
{
    struct server *s = start_server(0, AF_INET);
    msock *m = open_name("some.test", s->port);

    (void)state;
    RESOLVER_SAYS("127.0.0.1");
    no_threads = true;
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "no thread can be started"));
    no_threads = false;
    assert_int_equal(msock_connect(m), MSOCK_OK);
    msock_close(m);
    stop_server(s);
}

/* The child has no thread that could answer: it asks by itself, and all its lookups are its own. */
static void
a_child_that_is_forked_during_a_lookup_asks_anew(void **state)
{
    static struct server *s; /* the child has no thread that knows it */
    msock *m[LATE];
    int status;
    pid_t child;

    (void)state;
#ifdef __SANITIZE_THREAD__ /* it allows no threads after such a fork */
    skip();
#endif
    s = start_server(0, AF_INET);
    RESOLVER_SAYS("127.0.0.1");
    resolver_hold(true);
    for (unsigned i = 0; i < LATE; i++) {
        m[i] = open_name("slow.test", s->port);
        msock_set_timeouts(m[i], 1, 1);
        assert_int_equal(msock_connect(m[i]), MSOCK_UNREACHABLE);
        msock_set_timeouts(m[i], LONG_MS, LONG_MS);
    }
    WAIT_FOR(resolver_asked() == LATE, 20000);
    pthread_mutex_lock(&resolver.lock); /* so that it is free in the child */
    child = fork();
    pthread_mutex_unlock(&resolver.lock);
    if (child == 0) {
        alarm(HANG_S);
        resolver.held = false;
        status = msock_send(m[0], "x", 1) == MSOCK_OK ? 0 : 1;
        for (unsigned i = 0; i < LATE; i++)
            msock_close(m[i]);
        _exit(status);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (unsigned i = 0; i < LATE; i++)
        msock_close(m[i]);
    stop_server(s);
}

/* The thread that is left behind goes on in code that is no longer anybody's. */
static void
the_library_may_be_unloaded_during_a_lookup(void **state)
{
    char path[512];
    void *library;
    msock *(*open_it)(const char *);
    void (*close_it)(msock *);
    void (*set_timeouts)(msock *, unsigned, unsigned);
    void (*set_retries)(msock *, unsigned, unsigned, unsigned);
    enum msock_status (*connect_it)(msock *);
    msock *m;

    (void)state;
    if (getenv("MSOCK_BUILD") == NULL)
        skip();
    snprintf(path, sizeof(path), "%s/libmsock.so", getenv("MSOCK_BUILD"));
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail_msg("%s", dlerror());
    *(void **)&open_it = dlsym(library, "msock_open");
    *(void **)&close_it = dlsym(library, "msock_close");
    *(void **)&set_timeouts = dlsym(library, "msock_set_timeouts");
    *(void **)&set_retries = dlsym(library, "msock_set_retries");
    *(void **)&connect_it = dlsym(library, "msock_connect");
    resolver.rc = EAI_NONAME;
    resolver_hold(true);
    m = open_it("msp://slow.test");
    assert_non_null(m);
    set_timeouts(m, 1, 1);
    set_retries(m, 0, 1, 1);
    assert_int_equal(connect_it(m), MSOCK_UNREACHABLE);
    close_it(m);
    assert_int_equal(dlclose(library), 0);
    WAIT_FOR(resolver_asked() == 1, 20000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(each_address_is_tried_until_one_connects),
        NET_TEST(the_families_take_turns),
        NET_TEST(an_address_that_does_not_answer_holds_up_no_other),
        NET_TEST(with_little_time_every_address_still_gets_its_turn),
        NET_TEST(the_address_that_worked_is_the_first_next_time),
        NET_TEST(a_name_that_changes_is_followed),
        NET_TEST(the_error_names_each_address_and_its_reason),
        NET_TEST(a_name_with_very_many_addresses_has_a_bound),
        NET_TEST(a_server_that_is_busy_or_leaves_sends_us_to_the_next_address_at_once),
        NET_TEST(busy_addresses_take_turns_and_all_of_them_are_one_attempt),
        NET_TEST(an_address_that_fails_in_any_way_leads_to_the_next),
        NET_TEST(ports_that_are_used_up_have_a_sentence),
        NET_TEST(a_connect_that_a_signal_interrupts_goes_on),
        NET_TEST(a_connection_to_itself_is_none),
        NET_TEST(without_a_descriptor_there_is_a_sentence),
        NET_TEST(a_literal_address_asks_nobody),
        NET_TEST(other_names_do_ask),
        NET_TEST(a_name_that_is_not_found_is_unreachable),
        NET_TEST(a_resolver_that_never_answers_holds_up_neither_send_nor_close),
        NET_TEST(a_late_answer_is_still_used),
        NET_TEST(lookups_that_are_left_behind_have_a_bound),
        NET_TEST(without_a_thread_there_is_a_sentence),
        NET_TEST(a_child_that_is_forked_during_a_lookup_asks_anew),
        NET_TEST(the_library_may_be_unloaded_during_a_lookup),
    };

    if (net_begin() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
