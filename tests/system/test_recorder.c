/* The flight recorder of a worker, and what is left of one that died: `msockctl events` and
 * `crashes`, and the log. */
#include "daemon.h"
#include "peer.h"
#include "stats.h"
#include "support/signals.h"
#include "support/wait.h"

#include <stdio.h>
#include <string.h>

static struct daemon *
start_with_fault(void)
{
    static char url[HARNESS_PATH_LEN + 64];

    snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=module&path=%s",
             harness_program("tests/modules/fault.so"));
    return daemon_start(
        &(struct daemon_options){.workers = 1, .listen = {url}, .errors_expected = true});
}

static const char *
word_of(const json_t *row, const char *key)
{
    const char *word = json_string_value(json_object_get(row, key));

    return word != NULL ? word : "";
}

/* How many events have that name and that detail. */
static unsigned
count_events(const json_t *events, const char *event, const char *detail)
{
    unsigned n = 0;
    json_t *row;
    size_t i;

    json_array_foreach(events, i, row) n +=
        strcmp(word_of(row, "event"), event) == 0 && strcmp(word_of(row, "detail"), detail) == 0;
    return n;
}

/* The crashes, once there are n of them. */
static json_t *
read_crashes(const struct daemon *d, size_t n)
{
    json_t *crashes = NULL;

    WAIT_FOR(
        (json_decref(crashes), crashes = stats_read(d, "crashes"), json_array_size(crashes) >= n),
        5000);
    assert_int_equal(json_array_size(crashes), n);
    return crashes;
}

/* Is there a function whose name begins so in the backtrace? */
static bool
backtrace_has(const json_t *crash, const char *function)
{
    const json_t *backtrace = json_object_get(crash, "backtrace");

    for (size_t i = 0; i < json_array_size(backtrace); i++)
        if (strncmp(json_string_value(json_array_get(backtrace, i)), function, strlen(function)) ==
            0)
            return true;
    return false;
}

/* A connection sends the word, of which its worker dies. */
static void
crash_by(const struct daemon *d, const char *word, struct peer *p)
{
    struct answer a;

    peer_connect(p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(p, NULL, "x", 1, &a), ANSWER_ACK);
    assert_int_equal(peer_send_plain(p, NULL, word, strlen(word), &a), ANSWER_CLOSED);
}

static void
a_crash_says_where_and_over_whose_bytes(void **state)
{
    struct daemon *d = start_with_fault();
    json_t *crashes, *crash, *reading;
    struct run_result shown;
    struct peer p;

    (void)state;
    crash_by(d, "write", &p);
    crashes = read_crashes(d, 1);
    crash = json_array_get(crashes, 0);
    assert_int_equal(json_integer_value(json_object_get(crash, "signal")), SIGSEGV);
    assert_int_equal(json_integer_value(json_object_get(crash, "worker")), 0);
    assert_true(backtrace_has(crash, "fault_write+0x"));
    assert_true(backtrace_has(crash, "fault_message+0x"));
    assert_true(backtrace_has(crash, "worker_main"));
    assert_true(backtrace_has(crash, "main+0x"));
    reading = json_object_get(crash, "reading");
    assert_int_equal(json_array_size(reading), 1);
    assert_string_equal(word_of(json_array_get(reading, 0), "peer"), p.name);
    assert_non_null(strstr(word_of(json_array_get(reading, 0), "listener"), "msp://127.0.0.1:"));
    json_decref(crashes);

    shown = daemon_control(d, "crashes", NULL);
    assert_non_null(strstr(shown.out, "worker 0 (pid "));
    assert_non_null(strstr(shown.out, "signal 11 (Segmentation fault)"));
    assert_non_null(strstr(shown.out, p.name));
    assert_non_null(strstr(shown.out, "(fault.so+0x"));
    run_result_free(&shown);
    WAIT_FOR(daemon_logged(d, "crashed at address 0x"), 5000);
    assert_true(daemon_logged(d, "fault_write+0x"));
    WAIT_FOR(daemon_logged(d, "was reading connection"), 5000);
    assert_true(daemon_logged(d, p.name));
    daemon_stop(d);
}

static void
every_way_to_die_is_kept(void **state)
{
    static const struct {
        const char *word;
        const char *end, *function, *address;
    } ways[] = {
        {"write", "signal 11 (Segmentation fault)", "fault_write", "0x0"},
        {"recurse", "signal 11 (Segmentation fault)", "fault_recurse", "0x"},
        {"abort", "signal 6 (Aborted)", "fault_message", NULL},
        {"exit", "exit status 7", NULL, NULL},
    };
    struct daemon *d = start_with_fault();
    struct proc_list workers;
    struct peer p;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(ways); i++) {
        json_t *crashes, *crash;

        crash_by(d, ways[i].word, &p);
        crashes = read_crashes(d, i + 1);
        crash = json_array_get(crashes, i);
        assert_string_equal(word_of(crash, "end"), ways[i].end);
        if (ways[i].address == NULL)
            assert_true(json_is_null(json_object_get(crash, "address")));
        else
            assert_non_null(strstr(word_of(crash, "address"), ways[i].address));
        assert_int_equal(json_array_size(json_object_get(crash, "reading")), 1);
        if (ways[i].function != NULL)
            assert_true(backtrace_has(crash, ways[i].function));
        json_decref(crashes);
        WAIT_FOR(daemon_has_workers(d, 1), 15000);
    }
    daemon_workers(d, &workers);
    assert_int_equal(signal_send(workers.pid[0], SIGKILL), 0);
    json_decref(read_crashes(d, 5));
    daemon_stop(d);
}

/* What a worker did is there after its end, beside what the next one does. */
static void
events_outlive_the_worker(void **state)
{
    struct daemon *d = start_with_fault();
    struct proc_list workers;
    struct run_result shown;
    char pid[32];
    struct answer a;
    json_t *events = NULL;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    p.spoil_digest = 1;
    (void)peer_send_plain(&p, NULL, "x", 1, &a);
    daemon_workers(d, &workers);
    assert_int_equal(signal_send(workers.pid[0], SIGKILL), 0);
    json_decref(read_crashes(d, 1));
    WAIT_FOR(daemon_has_workers(d, 1), 5000);
    peer_close(&p);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    /* The last is noted behind the answer. */
    WAIT_FOR((json_decref(events), events = stats_read(d, "events"),
              count_events(events, "state", "idle") >= 2),
             5000);
    assert_int_equal(count_events(events, "accepted", ""), 2);
    assert_int_equal(count_events(events, "answered", "nack2"), 1);
    json_decref(events);

    snprintf(pid, sizeof(pid), "%d.1", (int)workers.pid[0]);
    shown = daemon_control(d, "events", "--worker", "0", "--conn", pid, NULL);
    assert_int_equal(shown.status, 0);
    assert_non_null(strstr(shown.out, "accepted"));
    assert_non_null(strstr(shown.out, "nack2"));
    assert_null(strstr(shown.out, p.name)); /* of the new worker */
    run_result_free(&shown);
    shown = daemon_control(d, "events", "--worker", "1", "--json", NULL);
    assert_string_equal(shown.out, "[]\n");
    run_result_free(&shown);
    daemon_stop(d);
}

/* And when all of it is gone. */
static void
events_and_crashes_outlive_msockd(void **state)
{
    struct daemon *d = start_with_fault();
    json_t *events, *crashes;
    struct peer p;

    (void)state;
    crash_by(d, "abort", &p);
    json_decref(read_crashes(d, 1));
    daemon_kill(d);
    crashes = stats_read(d, "crashes");
    assert_int_equal(json_array_size(crashes), 1);
    events = stats_read(d, "events");
    assert_int_equal(count_events(events, "accepted", ""), 1);
    json_decref(crashes);
    json_decref(events);
}

static void
a_worker_that_is_told_to_leave_is_no_crash(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    json_t *crashes;

    (void)state;
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 2), 5000);
    crashes = stats_read(d, "crashes");
    assert_int_equal(json_array_size(crashes), 0);
    json_decref(crashes);
    daemon_stop(d);
}

static void
who_was_turned_away_is_told_with_the_reason(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1, .listen = {"msp://127.0.0.1:0?deny=127.0.0.1"}});
    struct peer p;
    json_t *events;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "refused") == 1, 5000);
    events = stats_read(d, "events");
    assert_int_equal(count_events(events, "turned_away", "denied"), 1);
    assert_string_equal(word_of(json_array_get(events, 0), "peer"), p.name);
    json_decref(events);
    daemon_stop(d);
}

/* In both the master and its workers. */
static void
a_reload_changes_the_form_of_the_log(void **state)
{
    char config[HARNESS_PATH_LEN + 200];
    struct daemon *d;
    struct peer p;

    (void)state;
    snprintf(config, sizeof(config),
             "workers = 1\nlisten = {\"msp://127.0.0.1:0?handler=module&path=%s\"}\n",
             harness_program("tests/modules/fault.so"));
    d = daemon_start(&(struct daemon_options){.config = config, .errors_expected = true});
    strcat(config, "log_format = json\n");
    daemon_configure(d, config);
    daemon_reload(d);
    WAIT_FOR(daemon_logged(d, "\"level\":\"notice\",\"id\":\"reloaded\",\"process\":\"master\""),
             5000);
    WAIT_FOR(daemon_has_workers(d, 1), 5000);
    crash_by(d, "abort", &p);
    WAIT_FOR(daemon_logged(d, "\"id\":\"worker_died\""), 5000);
    daemon_stop(d);
    assert_true(daemon_logged(d, "\"id\":\"stopped\""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_crash_says_where_and_over_whose_bytes),
        SYSTEM_TEST(every_way_to_die_is_kept),
        SYSTEM_TEST(events_outlive_the_worker),
        SYSTEM_TEST(events_and_crashes_outlive_msockd),
        SYSTEM_TEST(a_worker_that_is_told_to_leave_is_no_crash),
        SYSTEM_TEST(a_reload_changes_the_form_of_the_log),
        SYSTEM_TEST(who_was_turned_away_is_told_with_the_reason),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
