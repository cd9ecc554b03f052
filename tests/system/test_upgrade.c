/* An upgrade in the middle of the day: the program's file is replaced, and msockd goes on as the
 * new one. Nobody notices, and whatever is wrong with that file changes nothing. */
#include "faults.h"
#include "load.h"
#include "program.h"
#include "relay_case.h"
#include "stats.h"
#include "target.h"

#include "support/signals.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define UPGRADES 6
#define KEPT     50

static const char two_workers[] = "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\n";

static struct daemon *
start(struct daemon_options options)
{
    options.program = program_begin();
    return daemon_start(&options);
}

static void
upgrade(const struct daemon *d)
{
    struct run_result result = daemon_control(d, "upgrade", NULL);

    if (result.status != 0)
        fail_msg("msockctl upgrade: status %d, %s%s", result.status, result.out, result.err);
    assert_non_null(strstr(result.out, "version "));
    run_result_free(&result);
}

/* An upgrade that must fail: nothing is different afterwards. */
static void
expect_failed_upgrade(const struct daemon *d, struct peer *witness, const char *said)
{
    struct proc_list before, after;
    struct run_result result;
    struct answer a;

    WAIT_FOR((daemon_workers(d, &before), before.count == 2), 10000); /* those before are gone */
    result = daemon_control(d, "upgrade", NULL);
    if (result.status != 78)
        fail_msg("msockctl upgrade: status %d, %s", result.status, result.out);
    if (strstr(result.err, said) == NULL)
        fail_msg("no \"%s\" in what msockctl upgrade said: %s", said, result.err);
    run_result_free(&result);
    WAIT_FOR((daemon_workers(d, &after), proc_list_equal(&before, &after)), 5000);
    assert_int_equal(peer_send_plain(witness, NULL, "still here", 10, &a), ANSWER_ACK);
}

static void
upgrades_under_load_disturb_nobody(void **state)
{
    struct daemon *d = start((struct daemon_options){.set = {LOAD_PATIENCE}});
    struct load *load = load_start(&d->listeners[0], "up", 4, 6000);
    struct peer kept[KEPT];
    struct proc_list before;
    struct answer a;
    int descriptors = 0;

    (void)state;
    for (unsigned i = 0; i < KEPT; i++) {
        peer_connect(&kept[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
    }
    for (unsigned i = 0; i < UPGRADES; i++) {
        load_advance(load, 20, 20000);
        program_put_good();
        daemon_workers(d, &before);
        upgrade(d);
        daemon_expect_new_workers(d, &before);
        if (i == 0)
            descriptors = proc_descriptors(d->run.pid);
    }
    WAIT_FOR(proc_descriptors(d->run.pid) <= descriptors, 5000);
    for (unsigned i = 0; i < KEPT; i++)
        assert_int_equal(peer_send_plain(&kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
    load_stop(load);
    if (load->repeated + load->refused_connects + load->broken + load->errors != 0)
        fail_msg("%llu repeated, %llu refused, %s", (unsigned long long)load->repeated,
                 (unsigned long long)load->refused_connects, load->complaint);
    assert_int_equal(load->connects, load->thread_count);
    assert_int_equal(stats_total(d, "accepted"), KEPT + load->thread_count);
    assert_int_equal(stats_total(d, "messages"), 2 * KEPT + load->acked);
    daemon_stop(d);
    assert_int_equal(load_check_stored(load, d->data_dir), 0);
}

/* As its own msockctl shows it: what accepted connections add, each the value of "next". */
static json_int_t
next_total(const struct daemon *d)
{
    struct run_result result = run_program(harness_program("next/build/msockctl"), "-r",
                                           d->runtime_dir, "stats", "--json", NULL);
    json_t *stats = json_loads(result.out, 0, NULL);
    json_int_t n = -1;

    assert_int_equal(json_unpack(stats, "{s:{s:I}}", "total", "next_total", &n), 0);
    json_decref(stats);
    run_result_free(&result);
    return n;
}

static void
an_option_and_counters_more_are_no_other_layout(void **state)
{
    struct daemon *d =
        start((struct daemon_options){.config = two_workers, .set = {LOAD_PATIENCE}});
    struct load *load = load_start(&d->listeners[0], "next", 2, 6000);
    struct peer kept, more[2];
    struct answer a;

    (void)state;
    peer_connect(&kept, &d->listeners[0]);
    for (unsigned i = 0; i < 2; i++) {
        load_advance(load, 20, 20000);
        program_put_next();
        daemon_configure(d, "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nnext = 500\n");
        upgrade(d);
        peer_connect(&more[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&more[i], NULL, "new", 3, &a), ANSWER_ACK);
        load_advance(load, 20, 20000);
        program_put_good();
        daemon_configure(d, two_workers);
        upgrade(d);
        assert_int_equal(peer_send_plain(&kept, NULL, "kept", 4, &a), ANSWER_ACK);
        assert_int_equal(next_total(d), 500 * (i + 1));
    }
    load_stop(load);
    if (load->repeated + load->refused_connects + load->broken + load->errors != 0)
        fail_msg("%llu repeated, %llu refused, %s", (unsigned long long)load->repeated,
                 (unsigned long long)load->refused_connects, load->complaint);
    assert_int_equal(load->connects, load->thread_count);
    assert_int_equal(stats_total(d, "accepted"), 3 + load->thread_count);
    assert_int_equal(stats_total(d, "messages"), 4 + load->acked);
    daemon_stop(d);
    assert_int_equal(load_check_stored(load, d->data_dir), 0);
}

static void
expect_wait(const struct daemon *d, int status, const char *generation, const char *said)
{
    struct run_result result = daemon_control(d, "wait", "--drained", "--generation", generation,
                                              "--timeout", status == 0 ? "20" : "0.3", NULL);

    if (result.status != status || strstr(status == 0 ? result.out : result.err, said) == NULL)
        fail_msg("msockctl wait: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

/* As "current" in a folder of versions. */
static void
a_link_that_leads_to_another_program_is_followed(void **state)
{
    const char *first = program_begin();
    char link[HARNESS_PATH_LEN + 8], second[HARNESS_PATH_LEN + 8], exe[64];
    char runs[HARNESS_PATH_LEN + 8] = "";
    struct daemon *d;

    (void)state;
    snprintf(link, sizeof(link), "%s.link", first);
    snprintf(second, sizeof(second), "%s.two", first);
    assert_int_equal(symlink(first, link), 0);
    d = daemon_start(&(struct daemon_options){.config = two_workers, .program = link});
    assert_int_equal(rename(first, second), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(second, link), 0);
    upgrade(d);
    snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)d->run.pid);
    assert_true(readlink(exe, runs, sizeof(runs) - 1) > 0);
    assert_string_equal(runs, second);
    daemon_stop(d);
}

/* A message that has begun keeps its worker. */
static void
a_script_can_wait_for_the_end_of_the_old_workers(void **state)
{
    struct daemon *d =
        start((struct daemon_options){.config = two_workers, .set = {"timeout=60s", "min_rate=0"}});
    struct peer p;

    (void)state;
    expect_wait(d, 0, "1", "generation 1");
    expect_wait(d, 75, "2", "the generation does not run yet");
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, "\0\0\0", 3), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == 3, 5000);
    upgrade(d);
    expect_wait(d, 75, "2", "workers of an earlier generation");
    peer_close(&p);
    expect_wait(d, 0, "2", "generation 2");
    daemon_stop(d);
    expect_wait(d, 69, "2", "");
}

static void
expect_start(struct daemon *d, const char *const argv[])
{
    struct run_result result;
    struct running waits;

    run_start(&waits, argv, NULL);
    daemon_launch(d);
    run_finish(&waits, 60000, &result);
    if (result.status != 0 || strcmp(result.out, "generation 1\n") != 0)
        fail_msg("msockctl wait: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

static void
wait_for_start(struct daemon *d, const char *rules)
{
    static const char script[] = "until test -s \"$1\"; do sleep 0.01; done; exec \"$0\" "
                                 "-r \"$2\" wait --timeout 60";
    char strikes[HARNESS_PATH_LEN + 8];
    const char *const argv[] = {"/bin/sh", "-c",           script, harness_program("msockctl"),
                                strikes,   d->runtime_dir, NULL};

    snprintf(strikes, sizeof(strikes), "%s.log", d->faults_path);
    (void)unlink(strikes);
    faults_set(d, rules);
    expect_start(d, argv);
    faults_set(d, "");
}

/* "msockd & msockctl wait" */
static void
a_script_can_wait_for_what_has_not_begun_yet(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1});
    const char *const argv[] = {harness_program("msockctl"), "-r", d->runtime_dir, "wait", NULL};

    (void)state;
    expect_start(d, argv);
    daemon_kill(d);
    expect_start(d, argv);
    daemon_stop(d);
}

static void
a_script_can_wait_for_a_start(void **state)
{
    static const char locked[] = "mode delay-1500 /lock 1\n"; /* with no statistics yet */
    struct daemon *d = daemon_create(
        &(struct daemon_options){.workers = 1, .faults = true, .errors_expected = true});

    (void)state;
    faults_need();
    wait_for_start(d, locked);
    daemon_reload(d);
    daemon_kill(d); /* what it leaves says generation 2 */
    wait_for_start(d, locked);
    daemon_kill(d);
    wait_for_start(d, "fork delay-1500 - 1\n");
    daemon_stop(d);
}

static void
change_workers(const struct daemon *d, const char *change, int status, const char *said)
{
    struct run_result result = daemon_control(d, "workers", change, NULL);

    if (result.status != status || strstr(status == 0 ? result.out : result.err, said) == NULL)
        fail_msg("msockctl workers %s: status %d, %s%s", change, result.status, result.out,
                 result.err);
    run_result_free(&result);
}

static json_int_t
generation(const struct daemon *d)
{
    json_t *stats = stats_read(d, "stats");
    json_int_t now = json_integer_value(json_object_get(stats, "generation"));

    json_decref(stats);
    return now;
}

static void
workers_come_and_go_until_the_next_reload(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = two_workers, .errors_expected = true});
    struct peer p;
    struct answer a;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    change_workers(d, "+2", 0, "generation 2: 4 workers");
    WAIT_FOR(daemon_has_workers(d, 4), 10000);
    change_workers(d, "=1000", 78, "there can be 1 to 64 workers, not 1000");
    change_workers(d, "-9", 78, "there can be 1 to 64 workers, not -5");
    assert_int_equal(generation(d), 2);
    change_workers(d, "-3", 0, "generation 3: 1 worker");
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    change_workers(d, "-1", 78, "1 to 64 workers");
    change_workers(d, "=3", 0, "3 workers");
    WAIT_FOR(daemon_has_workers(d, 3), 10000);
    change_workers(d, "=3", 0, "as it is");
    change_workers(d, "=1", 0, "1 worker");
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    change_workers(d, "=0", 64, "no number of workers");
    change_workers(d, "=2x", 64, "no number of workers");
    signal_send(d->run.pid, SIGTTIN);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    signal_send(d->run.pid, SIGTTOU);
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    assert_int_equal(peer_send_plain(&p, NULL, "still here", 10, &a), ANSWER_ACK);
    daemon_stop(d);
}

static void
the_number_of_workers_goes_on_over_upgrades(void **state)
{
    struct daemon *d = start((struct daemon_options){.config = two_workers});

    (void)state;
    change_workers(d, "=3", 0, "3 workers");
    daemon_configure(d, "workers = 4\nlisten = {\"msp://127.0.0.1:0\"}\n");
    upgrade(d);
    upgrade(d);
    WAIT_FOR(daemon_has_workers(d, 3), 10000);
    daemon_reload(d);
    upgrade(d);
    WAIT_FOR(daemon_has_workers(d, 4), 10000);
    daemon_stop(d);
}

/* What is there about a message with an id, and about a listener, is there afterwards too. */
static void
what_the_master_knew_goes_on(void **state)
{
    struct daemon *d = start((struct daemon_options){.config = two_workers});
    struct proc_list before;
    struct peer p;
    struct answer a;
    struct journal j;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "once", "body", 4, &a), ANSWER_ACK);
    upgrade(d);
    assert_int_equal(peer_send_plain(&p, "once", "body", 4, &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "duplicates"), 1);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    daemon_workers(d, &before);
    signal_send(before.pid[0], SIGKILL); /* the new master replaces its workers, */
    WAIT_FOR(stats_workers_sum(d, "restarts") == 1, 10000);
    peer_close(&p); /* it may have been that worker's */
    peer_connect(&p, &d->listeners[0]);
    daemon_configure(d, "workers = 3\nlisten = {\"msp://127.0.0.1:0\"}\n");
    daemon_reload(d); /* reads its configuration, */
    WAIT_FOR(daemon_has_workers(d, 3), 10000);
    upgrade(d); /* and goes on to a next one */
    assert_int_equal(peer_send_plain(&p, "once", "body", 4, &a), ANSWER_ACK);
    d->options.errors_expected = true; /* the killed worker */
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(journal_find_key(&j, "once", NULL), 1);
    journal_free(&j);
}

static void
whatever_is_wrong_with_the_new_program_changes_nothing(void **state)
{
    static const struct {
        const char *text, *said;
    } scripts[] = {
        {"#!/bin/sh\nexit 0\n", "ended with status 0 and without a word"},
        {"#!/bin/sh\nkill -SEGV $$\n", "was ended by signal 11"},
        {"#!/bin/sh\nsleep 1000 & wait\n", "within ready_timeout"},
        {"#!/no/such/shell\n", "not a script"},
        {"no program", "cannot be executed"},
    };
    struct daemon *d =
        start((struct daemon_options){.config = two_workers, .errors_expected = true});
    char wrapper[HARNESS_PATH_LEN + 32];
    struct peer witness;

    (void)state;
    peer_connect(&witness, &d->listeners[0]);
    for (size_t i = 0; i < MS_ARRAY_LEN(scripts); i++) {
        program_put(scripts[i].text, strlen(scripts[i].text), 0755);
        expect_failed_upgrade(d, &witness, scripts[i].said);
    }
    snprintf(wrapper, sizeof(wrapper), "#!/bin/sh\nexec %s \"$@\"\n", harness_program("msockd"));
    program_put(wrapper, strlen(wrapper), 0755);
    expect_failed_upgrade(d, &witness, "not a script");
    program_put(scripts[0].text, strlen(scripts[0].text), 0644);
    expect_failed_upgrade(d, &witness, "cannot be executed: Permission denied");
    assert_int_equal(unlink(d->options.program), 0);
    expect_failed_upgrade(d, &witness, "cannot open");
    program_put_other_layout();
    expect_failed_upgrade(d, &witness, "another layout");
    program_put_changed("handshakes:8", "otherwise:8\0");
    expect_failed_upgrade(d, &witness, "another layout of the counters of a worker");
    program_put_changed("libjansson.so.4", "libjansson.so.X");
    expect_failed_upgrade(d, &witness, "libjansson.so.X: cannot open shared object file");
    program_put_good();
    daemon_configure(d, "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nno_such_option = 1\n");
    expect_failed_upgrade(d, &witness, "msockd.conf:3");
    daemon_configure(d, two_workers);
    upgrade(d);
    daemon_stop(d);
}

static void
workers_of_the_new_program_that_die_or_hang_change_nothing(void **state)
{
    struct daemon *d;
    struct peer witness;

    (void)state;
    faults_need();
    d = start(
        (struct daemon_options){.config = two_workers, .faults = true, .errors_expected = true});
    peer_connect(&witness, &d->listeners[0]);
    faults_set(d, "fork abort - 5\n"); /* not the child that reads the configuration */
    expect_failed_upgrade(d, &witness, "died");
    faults_set(d, "fork hang - 4\n");
    expect_failed_upgrade(d, &witness, "ready");
    faults_set(d, "");
    upgrade(d);
    daemon_stop(d);
}

/* What was tried is what the workers and then the master execute. */
static void
a_file_that_is_replaced_once_more_in_the_upgrade_waits_for_the_next(void **state)
{
    struct proc_list workers;
    struct run_result result;
    struct running upgrades;
    struct daemon *d;

    (void)state;
    faults_need();
    d = start((struct daemon_options){.config = two_workers, .faults = true});
    const char *const argv[] = {harness_program("msockctl"), "-r", d->runtime_dir, "upgrade", NULL};
    program_put_next();
    faults_set(d, "fork hold - 3\n"); /* the second new worker, until it may */
    run_start(&upgrades, argv, NULL);
    WAIT_FOR((daemon_workers(d, &workers), workers.count == 4), 10000);
    program_put_bad(0);
    faults_set(d, "");
    run_finish(&upgrades, 20000, &result);
    if (result.status != 0 || strstr(result.out, "version 0.2.0") == NULL)
        fail_msg("msockctl upgrade: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
    program_put_good();
    upgrade(d);
    daemon_stop(d);
}

static void
a_new_program_that_fails_as_the_master_changes_nothing(void **state)
{
    static const struct {
        const char *rule, *said;
    } failures[] = {{"alarm abort - 1\n", "crashed when it was to go on as the master"},
                    {"alarm exit - 1\n", "ended when it was to go on as the master"},
                    {"alarm hang - 1\n", "was not ready within ready_timeout"}};
    struct daemon *d;
    struct load *load;
    struct peer witness;
    int descriptors;

    (void)state;
    faults_need();
    d = start((struct daemon_options){
        .config = two_workers, .set = {LOAD_PATIENCE}, .faults = true, .errors_expected = true});
    peer_connect(&witness, &d->listeners[0]);
    load = load_start(&d->listeners[0], "back", 2, 600);
    descriptors = proc_descriptors(d->run.pid);
    for (size_t i = 0; i < MS_ARRAY_LEN(failures); i++) {
        load_advance(load, 20, 20000);
        faults_set(d, failures[i].rule);
        program_put_next();
        expect_failed_upgrade(d, &witness, failures[i].said);
        faults_set(d, "");
        WAIT_FOR(proc_descriptors(d->run.pid) <= descriptors, 5000);
        daemon_reload(d); /* the master that went back still is one */
        program_put_good();
        upgrade(d);
    }
    load_stop(load);
    if (load->repeated + load->refused_connects + load->broken + load->errors != 0)
        fail_msg("%llu repeated, %llu refused, %s", (unsigned long long)load->repeated,
                 (unsigned long long)load->refused_connects, load->complaint);
    assert_int_equal(load->connects, load->thread_count);
    daemon_stop(d);
}

/* On a port of its own, to which others that do not listen can bind as well. */
static int
bound_socket(int *port_out)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port_out = ntohs(at.sin_port);
    return fd;
}

/* Between the new master's bind and its listen another program listens there. */
static void
a_new_program_that_cannot_listen_changes_nothing(void **state)
{
    struct proc_list workers;
    struct run_result result;
    struct running upgrades;
    struct daemon *d;
    char config[256], exe[64], runs[HARNESS_PATH_LEN + 16] = "";
    int port, other = bound_socket(&port);

    (void)state;
    faults_need();
    d = start(
        (struct daemon_options){.config = two_workers, .faults = true, .errors_expected = true});
    const char *const argv[] = {harness_program("msockctl"), "-r", d->runtime_dir, "upgrade", NULL};
    snprintf(config, sizeof(config),
             "workers = 2\nlisten = {\"msp://127.0.0.1:0\", \"msp://127.0.0.1:%d\"}\n", port);
    daemon_configure(d, config);
    program_put_next();
    faults_set(d, "fork hold - 3\n"); /* the second new worker, until it may */
    run_start(&upgrades, argv, NULL);
    WAIT_FOR((daemon_workers(d, &workers), workers.count == 4), 10000);
    assert_int_equal(listen(other, 1), 0);
    faults_set(d, "");
    run_finish(&upgrades, 20000, &result);
    if (result.status != 78 || strstr(result.err, "address already in use") == NULL)
        fail_msg("msockctl upgrade: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
    snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)d->run.pid);
    assert_true(readlink(exe, runs, sizeof(runs) - 1) > 0);
    assert_non_null(strstr(runs, "(deleted)")); /* the program of before */
    close(other);
    upgrade(d);
    daemon_stop(d);
}

static void
listen_on(struct daemon *d, bool first, bool second)
{
    char text[256], one[64], two[64];

    snprintf(one, sizeof(one), "\"msp://127.0.0.1:%u\"", target_port(&d->listeners[0]));
    snprintf(two, sizeof(two), "\"msp://127.0.0.1:%u\"", target_port(&d->listeners[1]));
    snprintf(text, sizeof(text), "workers = 2\nlisten = {%s%s%s}\n", first ? one : "",
             first && second ? ", " : "", second ? two : "");
    daemon_configure(d, text);
}

static void
expect_served(const struct target *target)
{
    struct peer p;
    struct answer a;

    peer_connect(&p, target);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
}

/* They end as those do that may not move; a message that has begun is finished before. */
static void
connections_of_another_layout_end_between_messages(void **state)
{
    struct daemon *d = start((struct daemon_options){.config = two_workers});
    const struct outgoing m = {.kind = 'A', .body = "whole", .len = 5};
    uint8_t bytes[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    const size_t n = wire_ahead(bytes, &m);
    struct peer idle, busy;
    struct run_result result;
    struct answer a;

    (void)state;
    peer_connect(&idle, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&idle, NULL, "kept", 4, &a), ANSWER_ACK);
    peer_connect(&busy, &d->listeners[0]);
    assert_int_equal(peer_write(&busy, bytes, n / 2), 0);
    WAIT_FOR(stats_total(d, "bytes_in") >= idle.counts.bytes_in + n / 2, 5000);
    program_put_changed("handover 1", "handover 2");
    result = daemon_control(d, "upgrade", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.out, "open connections end between messages"));
    run_result_free(&result);
    assert_int_equal(peer_answer(&idle, &a), ANSWER_ERR);
    assert_string_equal(a.code, "shutdown");
    assert_int_equal(peer_write(&busy, bytes + n / 2, n - n / 2), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    expect_served(&d->listeners[0]);
    upgrade(d); /* of one layout again */
    daemon_stop(d);
}

static bool
is_refused(const struct target *target)
{
    struct peer p;

    if (peer_try_connect(&p, target, NULL) < 0)
        return true;
    peer_close(&p);
    return false;
}

/* Sockets that both configurations have, that only one has, and that come back while they are still
 * open. */
static void
listeners_change_with_the_program(void **state)
{
    struct daemon *d = start((struct daemon_options){
        .config =
            "workers = 2\nlisten = {\"msp://127.0.0.1:0\", \"msp://127.0.0.1:0?handler=echo\"}\n"});

    (void)state;
    listen_on(d, true, true);
    upgrade(d);
    listen_on(d, true, false);
    upgrade(d);
    expect_served(&d->listeners[0]);
    listen_on(d, true, true);
    upgrade(d);
    expect_served(&d->listeners[1]);
    listen_on(d, false, true);
    daemon_reload(d);
    listen_on(d, true, true);
    upgrade(d);
    expect_served(&d->listeners[0]);
    expect_served(&d->listeners[1]);
    listen_on(d, true, false);
    daemon_reload(d); /* closes the socket of the other one, which nobody has twice */
    WAIT_FOR(is_refused(&d->listeners[1]), 10000);
    daemon_stop(d);
}

/* Signals of one kind that come together are one, but none is forgotten. */
static void
upgrades_and_reloads_that_come_together_follow_each_other(void **state)
{
    struct daemon *d = start((struct daemon_options){.config = two_workers});

    (void)state;
    signal_send(d->run.pid, SIGHUP);
    signal_send(d->run.pid, SIGUSR2);
    WAIT_FOR(generation(d) >= 3, 20000);
    signal_send(d->run.pid, SIGUSR2);
    WAIT_FOR(generation(d) >= 4, 20000);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    upgrade(d);
    daemon_stop(d);
}

/* The trial of a program that hangs holds neither the lock nor the port. */
static void
a_master_that_dies_in_an_upgrade_leaves_nothing_behind(void **state)
{
    static const char hangs[] = "#!/bin/sh\nsleep 1000 & wait\n";
    struct daemon *d = start((struct daemon_options){.config = two_workers});
    struct proc_list children;
    struct peer p;
    struct answer a;

    (void)state;
    program_put(hangs, strlen(hangs), 0755);
    signal_send(d->run.pid, SIGUSR2);
    WAIT_FOR((proc_children(d->run.pid, &children), children.count == 3), 5000);
    daemon_kill(d);
    program_put_good();
    daemon_launch(d);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "again", 5, &a), ANSWER_ACK);
    daemon_stop(d);
}

/* Neither a terminal nor a parent is left, and its only listener is a file. */
static void
the_background_and_a_unix_socket_go_on(void **state)
{
    struct daemon *d =
        daemon_create(&(struct daemon_options){.workers = 2, .program = program_begin()});
    struct run_result result;
    struct stat before, after;
    struct target target;
    const char *path;
    struct answer a;
    struct peer p;

    (void)state;
    daemon_launch_behind(d, &target);
    path = target.url + strlen("msp://");
    assert_int_equal(stat(path, &before), 0);
    peer_connect(&p, &target);
    for (unsigned i = 0; i < 3; i++) {
        upgrade(d);
        assert_int_equal(peer_send_plain(&p, NULL, "kept", 4, &a), ANSWER_ACK);
        assert_int_equal(stat(path, &after), 0);
        assert_int_equal(after.st_ino, before.st_ino);
    }
    peer_close(&p);
    peer_connect(&p, &target);
    assert_int_equal(peer_send_plain(&p, NULL, "new", 3, &a), ANSWER_ACK);
    result = daemon_control(d, "stop", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    assert_int_equal(stat(path, &after), -1);
}

static void
a_relay_goes_on_where_the_one_before_was(void **state)
{
    char plugin[HARNESS_PATH_LEN], *bytes;
    struct nats n = {0};
    size_t size;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    d = daemon_create(&(struct daemon_options){.workers = 1,
                                               .program = program_begin(),
                                               .set = {relay_option(&n, "stream_create=yes")},
                                               .errors_expected = true});
    snprintf(plugin, sizeof(plugin), "%s_nats.so", d->options.program);
    bytes = harness_read_file(harness_program("msockd_nats.so"), &size);
    harness_write_file(plugin, bytes, size);
    free(bytes);
    daemon_launch(d);
    for (unsigned i = 0; i < 3; i++) {
        relay_send_text(d, "before");
        upgrade(d);
        relay_send_text(d, "after");
        relay_check_stream(d, &n);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(upgrades_under_load_disturb_nobody),
        SYSTEM_TEST(an_option_and_counters_more_are_no_other_layout),
        SYSTEM_TEST(a_new_program_that_cannot_listen_changes_nothing),
        SYSTEM_TEST(connections_of_another_layout_end_between_messages),
        SYSTEM_TEST(a_link_that_leads_to_another_program_is_followed),
        SYSTEM_TEST(a_script_can_wait_for_the_end_of_the_old_workers),
        SYSTEM_TEST(a_script_can_wait_for_what_has_not_begun_yet),
        SYSTEM_TEST(a_script_can_wait_for_a_start),
        SYSTEM_TEST(workers_come_and_go_until_the_next_reload),
        SYSTEM_TEST(the_number_of_workers_goes_on_over_upgrades),
        SYSTEM_TEST(what_the_master_knew_goes_on),
        SYSTEM_TEST(whatever_is_wrong_with_the_new_program_changes_nothing),
        SYSTEM_TEST(workers_of_the_new_program_that_die_or_hang_change_nothing),
        SYSTEM_TEST(a_file_that_is_replaced_once_more_in_the_upgrade_waits_for_the_next),
        SYSTEM_TEST(a_new_program_that_fails_as_the_master_changes_nothing),
        SYSTEM_TEST(listeners_change_with_the_program),
        SYSTEM_TEST(upgrades_and_reloads_that_come_together_follow_each_other),
        SYSTEM_TEST(a_master_that_dies_in_an_upgrade_leaves_nothing_behind),
        SYSTEM_TEST(the_background_and_a_unix_socket_go_on),
        SYSTEM_TEST(a_relay_goes_on_where_the_one_before_was),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
