/* A reload may move what it has: addresses get wider, narrower and other ones, and nobody notices.
 */
#include "daemon.h"
#include "faults.h"
#include "stats.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLERS 3
#define WAITING 60 /* more than the workers accept in one turn */

#define ECHO "?framing=delimiter&handler=echo"

/* A configuration of two workers; the addresses are URLs in quotes, with %u for the port. */
static void
configure(struct daemon *d, unsigned port, const char *urls)
{
    char text[1024], filled[768];
    size_t n = 0;

    for (const char *c = urls; *c != '\0' && n + 8 < sizeof(filled); c++) {
        if (c[0] == '%' && c[1] == 'u')
            n += (size_t)snprintf(filled + n, sizeof(filled) - n, "%u", port), c++;
        else
            filled[n++] = *c;
    }
    filled[n] = '\0';
    snprintf(text, sizeof(text), "workers = 2\nlisten = {%s}\n", filled);
    daemon_configure(d, text);
}

static void
move(struct daemon *d, unsigned port, const char *urls)
{
    configure(d, port, urls);
    daemon_reload(d);
}

static struct target
at(const char *address, unsigned port)
{
    struct target target;
    char url[128];

    snprintf(url, sizeof(url), "msp://%s:%u", address, port);
    target_from_url(url, &target);
    return target;
}

/* 0, or errno. */
static int
try_connect(const char *address, unsigned port)
{
    struct target target = at(address, port);
    int fd = socket(target.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (struct sockaddr *)&target.addr, target.len) < 0 ? errno : 0;

    close(fd);
    return rc;
}

static bool
has_ipv6(void)
{
    struct target target = at("[::1]", 0);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&target.addr, target.len) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

/* --- a load of new connections --- */

struct caller {
    pthread_t thread;
    struct target target;
    _Atomic bool stop;
    _Atomic unsigned done;
    int failed; /* errno of the first that went wrong; -1: a wrong answer */
};

static int
call_once(const struct target *target)
{
    int fd = socket(target->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;
    char answer[8];

    if (connect(fd, (const struct sockaddr *)&target->addr, target->len) < 0 ||
        send(fd, "hello\n", 6, MSG_NOSIGNAL) != 6)
        rc = errno;
    else if (recv(fd, answer, 6, MSG_WAITALL) != 6)
        rc = errno != 0 ? errno : -1;
    close(fd);
    return rc;
}

static void *
call_run(void *arg)
{
    struct caller *c = arg;

    while (!atomic_load(&c->stop) && c->failed == 0) {
        errno = 0;
        c->failed = call_once(&c->target);
        atomic_fetch_add(&c->done, 1);
    }
    return NULL;
}

static void
callers_start(struct caller *callers, const char *address, unsigned port)
{
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.target = at(address, port)};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_run, &callers[i]), 0);
    }
}

static void
callers_advance(struct caller *c)
{
    unsigned now = atomic_load(&c->done);

    WAIT_FOR(atomic_load(&c->done) > now + 20 || c->failed != 0, 20000);
}

static void
callers_stop(struct caller *callers)
{
    for (int i = 0; i < CALLERS; i++) {
        atomic_store(&callers[i].stop, true);
        pthread_join(callers[i].thread, NULL);
    }
    for (int i = 0; i < CALLERS; i++)
        if (callers[i].failed != 0)
            fail_msg("after %u connections one failed: %s", atomic_load(&callers[i].done),
                     callers[i].failed > 0 ? strerror(callers[i].failed) : "no answer");
}

static void
move_under_load(const char *address, const char *const *urls)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""});
    struct caller callers[CALLERS];
    unsigned port;

    configure(d, 0, urls[0]);
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    callers_start(callers, address, port);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; urls[i] != NULL; i++) {
            move(d, port, urls[i]);
            callers_advance(&callers[0]);
        }
    callers_stop(callers);
    daemon_stop(d);
}

static void
a_listener_moves_between_one_ipv4_address_and_all(void **state)
{
    static const char *const urls[] = {
        "\"frame://0.0.0.0:%u" ECHO "\"", "\"frame://127.0.0.1:%u" ECHO "\"",
        "\"frame://[::]:%u" ECHO "\"", "\"frame://127.0.0.1:%u" ECHO "\"", NULL};

    (void)state;
    move_under_load("127.0.0.1", urls);
}

static void
a_listener_moves_between_one_ipv6_address_and_all(void **state)
{
    static const char *const urls[] = {"\"frame://[::]:%u" ECHO "\"",
                                       "\"frame://[::1]:%u" ECHO "\"", NULL};

    (void)state;
    if (!has_ipv6())
        skip();
    move_under_load("[::1]", urls);
}

static void
two_listeners_change_places(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""});
    unsigned one, two;
    char urls[256];
    struct peer p;
    struct answer a;
    struct target target;

    (void)state;
    configure(d, 0, "\"frame://127.0.0.1:0" ECHO "\", \"msp://0.0.0.0:0\"");
    daemon_launch(d);
    one = target_port(&d->listeners[0]);
    two = target_port(&d->listeners[1]);
    snprintf(urls, sizeof(urls), "\"frame://127.0.0.1:%u" ECHO "\", \"msp://0.0.0.0:%u\"", two,
             one);
    for (int round = 0; round < 3; round++) {
        move(d, 0, urls);
        target = at("127.0.0.1", one);
        peer_connect(&p, &target);
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
        peer_close(&p);
        target = at("127.0.0.1", two);
        assert_int_equal(call_once(&target), 0);
    }
    daemon_stop(d);
}

static bool
can_join(const char *address, unsigned port)
{
    struct target target = at(address, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    bool joined;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    joined = bind(fd, (struct sockaddr *)&target.addr, target.len) == 0 && listen(fd, 1) == 0;
    close(fd);
    return joined;
}

static void
nobody_joins_a_port_that_was_moved(void **state)
{
    static const char *const urls[] = {"\"msp://127.0.0.1:%u\"", "\"msp://0.0.0.0:%u\""};
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""}), *other;
    struct run_result result;
    char url[64];
    unsigned port;

    (void)state;
    if (!has_ipv6())
        skip(); /* see the threat model */
    configure(d, 0, urls[1]);
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u", port);
    for (int i = 0; i < 4; i++) {
        move(d, port, urls[i % 2]);
        assert_false(can_join("127.0.0.1", port));
        assert_false(can_join("0.0.0.0", port));
        other = daemon_create(&(struct daemon_options){.listen = {url}});
        result = daemon_fail(other);
        assert_int_equal(result.status, 69);
        assert_non_null(strstr(result.err, "another program listens there"));
        run_result_free(&result);
    }
    assert_false(can_join("127.0.0.2", port));
    daemon_stop(d);
}

static void
what_waits_at_an_address_that_goes_is_served_and_the_port_is_closed(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""});
    struct outgoing m = {.kind = 'A', .body = "waiting", .len = 7};
    struct target target;
    struct proc_list old;
    struct answer a;
    static struct peer p[WAITING];
    unsigned port;

    (void)state;
    configure(d, 0, "\"msp://0.0.0.0:%u\"");
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    daemon_workers(d, &old);
    proc_stop_all(&old);
    target = at("127.0.0.2", port);
    for (int i = 0; i < WAITING; i++) {
        peer_connect(&p[i], &target);
        peer_post(&p[i], &m);
    }
    move(d, port, "\"msp://127.0.0.1:%u\"");
    proc_go_on_all(&old);
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(peer_answer(&p[i], &a), ANSWER_ACK);
        assert_int_equal(peer_answer(&p[i], &a), ANSWER_ACK);
    }
    WAIT_FOR(try_connect("127.0.0.2", port) == ECONNREFUSED, 20000);
    assert_int_equal(try_connect("127.0.0.1", port), 0);
    move(d, port, "\"msp://127.0.0.2:%u\"");
    assert_int_equal(try_connect("127.0.0.2", port), 0);
    WAIT_FOR(try_connect("127.0.0.1", port) == ECONNREFUSED, 20000);
    daemon_stop(d);
}

static void
an_address_that_comes_back_at_once_is_there_at_once(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""});
    struct caller callers[CALLERS];
    unsigned port;

    (void)state;
    configure(d, 0, "\"frame://0.0.0.0:%u" ECHO "\"");
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    for (int i = 0; i < 5; i++) {
        move(d, port, "\"frame://127.0.0.1:%u" ECHO "\"");
        move(d, port, "\"frame://127.0.0.2:%u" ECHO "\"");
        move(d, port, "\"frame://0.0.0.0:%u" ECHO "\"");
        callers_start(callers, "127.0.0.1", port);
        callers_advance(&callers[0]);
        callers_stop(callers);
    }
    daemon_stop(d);
}

static void
nobody_is_answered_at_an_address_before_the_reload_is_done(void **state)
{
    struct daemon *d;
    struct running reload;
    struct run_result result;
    char text[128];
    unsigned port;

    (void)state;
    faults_need();
    d = daemon_create(
        &(struct daemon_options){.config = "", .faults = true, .errors_expected = true});
    configure(d, 0, "\"msp://127.0.0.1:%u\"");
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    faults_set(d, "fork hang - 3\n");
    snprintf(text, sizeof(text),
             "workers = 2\nlisten = {\"msp://0.0.0.0:%u\"}\nready_timeout = 1500ms\n", port);
    daemon_configure(d, text);
    run_start(&reload,
              (const char *[]){harness_program("msockctl"), "-r", d->runtime_dir, "reload", NULL},
              NULL);
    do
        assert_int_equal(try_connect("127.0.0.2", port), ECONNREFUSED);
    while (!run_ended(&reload, 0));
    run_finish(&reload, 20000, &result);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
    faults_set(d, "");
    assert_int_equal(try_connect("127.0.0.1", port), 0);
    move(d, port, "\"msp://0.0.0.0:%u\"");
    assert_int_equal(try_connect("127.0.0.2", port), 0);
    daemon_stop(d);
}

static void
a_port_of_our_own_is_told_by_the_name_of_its_listener(void **state)
{
    struct daemon *d =
        daemon_create(&(struct daemon_options){.config = "", .errors_expected = true});
    struct run_result result;

    (void)state;
    configure(d, 0, "\"msp://127.0.0.1:0\"");
    daemon_launch(d);
    configure(d, target_port(&d->listeners[0]), "\"msp://127.0.0.1:0\", \"frame://0.0.0.0:%u\"");
    result = daemon_control(d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    if (strstr(result.err, "the listener msp://127.0.0.1:0 of this configuration") == NULL &&
        strstr(result.out, "the listener msp://127.0.0.1:0 of this configuration") == NULL)
        fail_msg("reload said: %s%s", result.out, result.err);
    run_result_free(&result);
    daemon_stop(d);
}

static void
a_unix_socket_moves_and_changes_its_mode(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.config = ""});
    char one[HARNESS_PATH_LEN], two[HARNESS_PATH_LEN], urls[2 * HARNESS_PATH_LEN];
    struct target target;
    struct answer a;
    struct peer p;
    struct stat st;

    (void)state;
    harness_join(one, d->dir, "one");
    harness_join(two, d->dir, "two");
    snprintf(urls, sizeof(urls), "\"msp://%s?mode=0600\"", one);
    configure(d, 0, urls);
    daemon_launch(d);
    for (int i = 0; i < 2; i++) {
        const char *path = i == 0 ? two : one, *gone = i == 0 ? one : two;

        snprintf(urls, sizeof(urls), "\"msp://%s?mode=0640\"", path);
        move(d, 0, urls);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        assert_int_equal(access(gone, F_OK), -1);
        snprintf(urls, sizeof(urls), "msp://%s", path);
        target_from_url(urls, &target);
        peer_connect(&p, &target);
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
        peer_close(&p);
    }
    daemon_stop(d);
}

/* --- both families --- */

static void
all_addresses_are_those_of_ipv4_too(void **state)
{
    struct daemon *d;
    struct target target;
    const char *peer;
    struct answer a;
    unsigned port;
    json_t *conns;
    struct peer p;

    (void)state;
    if (!has_ipv6())
        skip();
    d = daemon_create(&(struct daemon_options){.config = ""});
    configure(d, 0, "\"msp://[::]:0\"");
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    assert_int_equal(d->listener_count, 1);
    assert_int_equal(try_connect("[::1]", port), 0);
    target = at("127.0.0.1", port);
    peer_connect(&p, &target);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    conns = stats_read(d, "conns");
    peer = json_string_value(json_object_get(json_array_get(conns, 0), "peer"));
    assert_non_null(peer);
    assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
    json_decref(conns);
    move(d, port, "\"msp://[::]:%u?v6only=yes\"");
    assert_int_equal(try_connect("[::1]", port), 0);
    WAIT_FOR(try_connect("127.0.0.1", port) == ECONNREFUSED, 20000);
    daemon_stop(d);
}

static void
msock_listens_on_all_addresses_as_well(void **state)
{
    const char *argv[] = {harness_program("msock"), "listen",    "-l",
                          "msp://[::]:0",           "--count=1", NULL};
    char dir[HARNESS_PATH_LEN], err[HARNESS_PATH_LEN], url[64], *said = NULL;
    struct run_options how = {.error_file = err};
    struct run_result result;
    struct running running;
    unsigned port = 0;

    (void)state;
    harness_directory(dir);
    harness_join(err, dir, "err");
    run_start(&running, argv, &how);
    WAIT_FOR((free(said), said = harness_read_file(err, NULL), said != NULL && strchr(said, '\n')),
             20000);
    assert_true(sscanf(strrchr(said, ':'), ":%u", &port) == 1);
    free(said);
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u", port);
    result = run_program(harness_program("msock"), "-u", url, "send", "hello", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    run_finish(&running, 30000, &result);
    assert_string_equal(result.out, "hello\n");
    run_result_free(&result);
}

/* --- names --- */

static struct daemon *
start_with_name(char hosts[HARNESS_PATH_LEN], const char *addresses)
{
    static const char urls[] = "\"msp://several.test:0\"";
    char dir[HARNESS_PATH_LEN];
    struct daemon *d;

    faults_need();
    harness_directory(dir);
    harness_join(hosts, dir, "hosts");
    harness_write_file(hosts, addresses, strlen(addresses));
    d = daemon_create(&(struct daemon_options){.config = "", .hosts = hosts});
    configure(d, 0, urls);
    return d;
}

static void
a_name_listens_on_all_its_addresses(void **state)
{
    static const char three[] = "several.test 127.0.0.2\nseveral.test 127.0.0.3\n"
                                "several.test 127.0.0.2\nseveral.test 192.0.2.77\n";
    static const char other[] = "several.test 127.0.0.3\nseveral.test 127.0.0.4\n";
    char hosts[HARNESS_PATH_LEN], said[64];
    struct daemon *d = start_with_name(hosts, three);
    struct target target;
    json_t *listeners, *row;
    struct answer a;
    struct peer p;
    unsigned port;

    (void)state;
    daemon_launch(d);
    assert_int_equal(d->listener_count, 2);
    port = target_port(&d->listeners[0]);
    assert_int_equal(target_port(&d->listeners[1]), port);
    assert_true(daemon_logged(d, "192.0.2.77"));
    listeners = stats_read(d, "listeners");
    row = json_array_get(listeners, 0);
    assert_int_equal(json_array_size(json_object_get(row, "addresses")), 2);
    snprintf(said, sizeof(said), "127.0.0.2:%u, 127.0.0.3:%u", port, port);
    assert_string_equal(json_string_value(json_object_get(row, "address")), said);
    json_decref(listeners);
    target = at("127.0.0.3", port);
    peer_connect(&p, &target);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);

    harness_write_file(hosts, other, strlen(other));
    daemon_reload(d);
    assert_int_equal(try_connect("127.0.0.3", port), 0);
    assert_int_equal(try_connect("127.0.0.4", port), 0);
    WAIT_FOR(try_connect("127.0.0.2", port) == ECONNREFUSED, 20000);
    listeners = stats_read(d, "listeners");
    snprintf(said, sizeof(said), "127.0.0.3:%u, 127.0.0.4:%u", port, port);
    assert_string_equal(json_string_value(json_object_get(json_array_get(listeners, 0), "address")),
                        said);
    json_decref(listeners);
    daemon_stop(d);
}

/* frame has no word for a reload: its connections move, or they are cut. */
static void
a_connection_stays_while_the_addresses_of_its_name_change(void **state)
{
    static const char one[] = "several.test 127.0.0.2\n", other[] = "several.test 127.0.0.3\n";
    char hosts[HARNESS_PATH_LEN], answer[8] = "";
    struct daemon *d = start_with_name(hosts, one);
    struct target target;
    unsigned port;
    int fd;

    (void)state;
    configure(d, 0, "\"frame://several.test:0" ECHO "\"");
    daemon_launch(d);
    port = target_port(&d->listeners[0]);
    move(d, port, "\"frame://several.test:%u" ECHO "\"");
    target = at("127.0.0.2", port);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&target.addr, target.len), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send(fd, "hello\n", 6, MSG_NOSIGNAL), 6);
        assert_int_equal(recv(fd, answer, 6, MSG_WAITALL), 6);
        harness_write_file(hosts, i % 2 == 0 ? other : one, strlen(one));
        daemon_reload(d);
    }
    WAIT_FOR(stats_total(d, "adopted") >= 1, 5000);
    close(fd);
    daemon_stop(d);
}

static void
a_name_needs_one_address_at_least(void **state)
{
    char hosts[HARNESS_PATH_LEN];
    struct daemon *d = start_with_name(hosts, "several.test 192.0.2.77\nseveral.test 192.0.2.78\n");
    struct run_result result = daemon_fail(d);

    (void)state;
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, "192.0.2.77"));
    assert_non_null(strstr(result.err, "no such address on this machine"));
    run_result_free(&result);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_listener_moves_between_one_ipv4_address_and_all),
        SYSTEM_TEST(a_listener_moves_between_one_ipv6_address_and_all),
        SYSTEM_TEST(two_listeners_change_places),
        SYSTEM_TEST(nobody_joins_a_port_that_was_moved),
        SYSTEM_TEST(what_waits_at_an_address_that_goes_is_served_and_the_port_is_closed),
        SYSTEM_TEST(an_address_that_comes_back_at_once_is_there_at_once),
        SYSTEM_TEST(nobody_is_answered_at_an_address_before_the_reload_is_done),
        SYSTEM_TEST(a_port_of_our_own_is_told_by_the_name_of_its_listener),
        SYSTEM_TEST(a_unix_socket_moves_and_changes_its_mode),
        SYSTEM_TEST(all_addresses_are_those_of_ipv4_too),
        SYSTEM_TEST(msock_listens_on_all_addresses_as_well),
        SYSTEM_TEST(a_name_listens_on_all_its_addresses),
        SYSTEM_TEST(a_connection_stays_while_the_addresses_of_its_name_change),
        SYSTEM_TEST(a_name_needs_one_address_at_least),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
