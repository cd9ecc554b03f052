/* IPv4, IPv6 and Unix sockets, side by side in one daemon. */
#include "journal.h"
#include "stats.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
all_kinds_of_sockets_work_side_by_side(void **state)
{
    struct daemon *d = daemon_create(
        &(struct daemon_options){.workers = 2, .listen = {"msp://127.0.0.1:0", "msp://[::1]:0"}});
    char url[HARNESS_PATH_LEN + 32], path[HARNESS_PATH_LEN];
    struct peer_counts seen;
    struct stat st;
    struct answer a;
    struct peer peers[3];

    (void)state;
    harness_join(path, d->dir, "sock");
    snprintf(url, sizeof(url), "msp://%s?mode=0600", path);
    d->options.listen[2] = url;
    daemon_launch(d);
    assert_int_equal(d->listener_count, 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    for (unsigned i = 0; i < 3; i++) {
        peer_connect(&peers[i], &d->listeners[i]);
        assert_int_equal(peer_send_plain(&peers[i], NULL, "over any socket", 15, &a), ANSWER_ACK);
    }
    assert_true(stats_conn(d, peers[0].name, &seen, NULL));
    assert_true(stats_conn(d, peers[1].name, &seen, NULL));
    WAIT_FOR(stats_total(d, "messages") == 3, 2000);
    daemon_stop(d);
    assert_int_equal(access(path, F_OK), -1); /* its socket goes with the daemon */
    assert_int_equal(journal_count(d->data_dir), 3);
}

static void
a_socket_left_by_a_killed_daemon_is_taken_over(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1});
    char url[HARNESS_PATH_LEN + 32];
    struct answer a;
    struct peer p;

    (void)state;
    snprintf(url, sizeof(url), "msp://%s/sock", d->dir);
    d->options.listen[0] = url;
    daemon_launch(d);
    daemon_kill(d);
    daemon_launch(d);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    daemon_stop(d);
}

static void
a_socket_of_a_living_daemon_is_in_use(void **state)
{
    struct daemon *first = daemon_create(&(struct daemon_options){.workers = 1});
    struct daemon *second = daemon_create(&(struct daemon_options){.workers = 1});
    char url[HARNESS_PATH_LEN + 32];
    struct run_result result;
    struct answer a;
    struct peer p;

    (void)state;
    snprintf(url, sizeof(url), "msp://%s/sock", first->dir);
    first->options.listen[0] = second->options.listen[0] = url;
    daemon_launch(first);
    result = daemon_fail(second);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, "/sock"));
    run_result_free(&result);
    peer_connect(&p, &first->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    daemon_stop(first);
}

/* What is no socket is somebody's file. */
static void
a_file_in_the_place_of_a_socket_is_left_alone(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1});
    char url[HARNESS_PATH_LEN + 32], path[HARNESS_PATH_LEN];
    struct run_result result;
    char *text;

    (void)state;
    harness_join(path, d->dir, "sock");
    harness_write_file(path, "mine", 4);
    snprintf(url, sizeof(url), "msp://%s", path);
    d->options.listen[0] = url;
    result = daemon_fail(d);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
    text = harness_read_file(path, NULL);
    assert_string_equal(text, "mine");
    free(text);
}

static void
the_listener_s_options_are_its_own(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .listen = {"msp://127.0.0.1:0?handler=echo", "msp://127.0.0.1:0?max_json_depth=1"}});
    struct outgoing m = {.kind = 'J', .flags = WIRE_REPLY, .body = "[[1]]", .len = 5};
    json_t *listeners;
    struct answer a;
    struct peer p;
    char *reply;
    size_t n;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send(&p, &m, &a), ANSWER_ACK);
    reply = peer_reply(&p, &n);
    assert_non_null(reply);
    assert_string_equal(reply, "[[1]]");
    free(reply);
    peer_close(&p);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_send(&p, &m, &a), ANSWER_REJ);
    listeners = stats_read(d, "listeners");
    assert_int_equal(json_array_size(listeners), 2);
    json_decref(listeners);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(all_kinds_of_sockets_work_side_by_side),
        SYSTEM_TEST(a_socket_left_by_a_killed_daemon_is_taken_over),
        SYSTEM_TEST(a_socket_of_a_living_daemon_is_in_use),
        SYSTEM_TEST(a_file_in_the_place_of_a_socket_is_left_alone),
        SYSTEM_TEST(the_listener_s_options_are_its_own),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
