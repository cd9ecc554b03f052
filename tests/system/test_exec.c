/* Programs that misbehave behind a running msockd: each message gets the answer that is due, others
 * are served meanwhile, and no process is left behind. */
#include "load.h"
#include "raw_cnp.h"

#include "support/signals.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_SIZE 400
#define IDS_MAX  100000

/* The URL of a listener with that command. Static, as many as a daemon has, by turns. */
static const char *
exec_url(const char *proto, const char *options, const char *command)
{
    static char urls[DAEMON_LISTEN_MAX][URL_SIZE];
    static unsigned turn;
    char *url = urls[turn++ % DAEMON_LISTEN_MAX];
    int n = snprintf(url, URL_SIZE, "%s://127.0.0.1:0?handler=exec&%s&command=", proto, options);

    for (const char *c = command; *c != '\0'; c++)
        n += snprintf(url + n, URL_SIZE - (size_t)n, isalnum((unsigned char)*c) ? "%c" : "%%%02X",
                      (unsigned char)*c);
    return url;
}

/* Processes of commands, and of what they have started: all have the data directory in their
 * environment. */
static size_t
count_children(const struct daemon *d)
{
    char mark[HARNESS_PATH_LEN + 20], path[64];
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    size_t count = 0, n;

    assert_non_null(dir);
    snprintf(mark, sizeof(mark), "MSOCK_DATA_DIR=%s", d->data_dir);
    while ((entry = readdir(dir)) != NULL) {
        char *env;

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%.20s/environ", entry->d_name);
        env = harness_read_file(path, &n);
        count += env != NULL && memmem(env, n, mark, strlen(mark)) != NULL;
        free(env);
    }
    closedir(dir);
    return count;
}

static const struct {
    const char *name, *command;
    bool refused;
    bool committed;
    bool endless; /* it has to be ended; the others have all the time that they need */
} commands[] = {
    {.name = "hangs", .command = "exec sleep 1000", .endless = true},
    {.name = "prints a gigabyte", .command = "exec head -c 1000000000 /dev/zero"},
    {.name = "complains by the gigabyte",
     .command = "head -c 100000000 /dev/zero >&2; cat; exit 0",
     .committed = true},
    {.name = "forks", .command = "sleep 1000 >/dev/null 2>&1 & cat", .committed = true},
    {.name = "ignores SIGTERM",
     .command = "trap '' TERM; while :; do sleep 1; done",
     .endless = true},
    {.name = "dies by a signal", .command = "kill -SEGV $$"},
    {.name = "fails", .command = "cat; exit 1"},
    {.name = "refuses", .command = "cat >/dev/null; echo not today >&2; exit 65", .refused = true},
};

#define COMMANDS (MS_ARRAY_LEN(commands))

static void
check_msp(const struct daemon *d, size_t i)
{
    struct peer p;
    struct answer a;
    enum answer_kind kind;

    peer_connect(&p, &d->listeners[2 * i]);
    kind = peer_send_plain(&p, "m", "hello", 5, &a);
    if (commands[i].committed ? kind != ANSWER_ACK
        : commands[i].refused ? strcmp(a.text, "REJ refused not today") != 0
                              : kind != ANSWER_ERR || strcmp(a.code, "internal") != 0)
        fail_msg("over msp, it %s: %s", commands[i].name, a.text);
    peer_close(&p);
}

static void
check_cnp(const struct daemon *d, size_t i)
{
    struct raw r;
    struct raw_packet p;
    char code[64], text[64];

    raw_connect(&r, &raw_cnp_step, &d->listeners[2 * i + 1], RAW_WHOLE);
    assert_int_equal(raw_cnp_put(&r, RAW_CNP_DATA, 1, "hello", 5), 0);
    assert_int_equal(raw_cnp_get(&r, &p), 0);
    raw_cnp_word(p.payload, "error", code);
    raw_cnp_word(p.payload, "message", text);
    if (commands[i].committed ? p.type != RAW_CNP_ACK
        : commands[i].refused ? strcmp(code, "refused") != 0 || strcmp(text, "not today") != 0
                              : strcmp(code, "internal") != 0)
        fail_msg("over cnp, it %s: type %u, %.100s", commands[i].name, p.type, p.payload);
    if (!commands[i].committed && !commands[i].refused)
        assert_true(peer_closed(&r.peer, 5000));
    free(p.payload);
    raw_close(&r);
}

static void
each_misbehaviour_gets_its_answer_and_leaves_no_process(void **state)
{
    struct daemon_options options = {.errors_expected = true};
    struct daemon *d;

    (void)state;
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *once =
            commands[i].endless ? "exec=once&exec_timeout=1s" : "exec=once&exec_timeout=60s";

        options.listen[2 * i] = exec_url("msp", once, commands[i].command);
        options.listen[2 * i + 1] = exec_url("cnp", once, commands[i].command);
    }
    d = daemon_start(&options);
    for (size_t i = 0; i < COMMANDS; i++) {
        check_msp(d, i);
        check_cnp(d, i);
    }
    WAIT_FOR(count_children(d) == 0, 5000);
    daemon_stop(d);
}

/* Children that hang hold up neither the other listeners nor the end of the daemon. */
static void
serve_others(const char *options, bool reloads)
{
    static const char stubborn[] = "trap '' TERM; while :; do sleep 1; done";
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {exec_url("msp", options, stubborn), "msp://127.0.0.1:0"},
        .set = {"drain_timeout=500ms"},
        .errors_expected = true});
    struct outgoing m = {.kind = 'A', .body = "hangs", .len = 5};
    struct peer hung[8], p;
    struct proc_list before, after;
    struct answer a;

    daemon_workers(d, &before);
    for (unsigned i = 0; i < 8; i++) {
        peer_connect(&hung[i], &d->listeners[0]);
        peer_post(&hung[i], &m);
    }
    WAIT_FOR(count_children(d) >= 3, 5000);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_send_plain(&p, NULL, "goes on", 7, &a), ANSWER_ACK);
    if (!reloads) {
        daemon_stop(d);
        WAIT_FOR(count_children(d) == 0, 5000);
        return;
    }
    daemon_reload(d);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_send_plain(&p, NULL, "goes on", 7, &a), ANSWER_ACK);
    WAIT_FOR((daemon_workers(d, &after), after.count == 2 &&
                                             !proc_list_has(&after, before.pid[0]) &&
                                             !proc_list_has(&after, before.pid[1])),
             15000);
    WAIT_FOR(count_children(d) == 0, 5000);
    daemon_stop(d);
}

static void
others_are_served_while_children_hang_and_none_of_them_is_left(void **state)
{
    (void)state;
    serve_others("exec=once&exec_children=3", true);
    serve_others("exec=pool&exec_children=3", false);
}

/* --- what was acknowledged has been done --- */

/* Each line of the file is an id "TAG-THREAD-NUMBER". Of each thread the numbers from 0 on must be
 * there. */
static uint64_t
count_done(const struct daemon *d, const char *tag, unsigned threads)
{
    char path[HARNESS_PATH_LEN];
    bool *has = calloc((size_t)threads * IDS_MAX, sizeof(*has));
    char *text, *at;
    uint64_t done = 0;

    assert_non_null(has);
    harness_join(path, d->data_dir, "done");
    text = at = harness_read_file(path, NULL);
    assert_non_null(text);
    for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0';) {
        unsigned thread, number;

        assert_int_equal(strncmp(line, tag, strlen(tag)), 0);
        assert_int_equal(sscanf(line + strlen(tag), "-%u-%u", &thread, &number), 2);
        assert_true(thread < threads && number < IDS_MAX);
        has[thread * IDS_MAX + number] = true;
    }
    for (unsigned t = 0; t < threads; t++)
        for (unsigned n = 0; n < IDS_MAX && has[t * IDS_MAX + n]; n++)
            done++;
    free(text);
    free(has);
    return done;
}

static const struct {
    const char *name, *options, *command;
} workers_at_work[] = {
    {"once", "exec=once", "cat >/dev/null; printf '%s\\n' $MSOCK_ID >>$MSOCK_DATA_DIR/done"},
    {"once, slowly", "exec=once",
     "cat >/dev/null; sleep 0.02; printf '%s\\n' $MSOCK_ID >>$MSOCK_DATA_DIR/done"},
};

static void
what_was_acknowledged_is_done_over_reloads_and_at_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(workers_at_work); i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .listen = {exec_url("msp", workers_at_work[i].options, workers_at_work[i].command)},
            .set = {LOAD_PATIENCE},
            .errors_expected = true});
        struct load *l = load_start(&d->listeners[0], "e", 4, 200);
        uint64_t done;

        for (unsigned k = 0; k < 10; k++) {
            load_advance(l, 20, 20000);
            daemon_reload(d);
        }
        load_advance(l, 20, 20000);
        if (l->cut + l->errors + l->rejected + l->broken != 0)
            fail_msg("%s: %s", workers_at_work[i].name, l->complaint);
        daemon_stop(d); /* while they send */
        load_stop(l);
        WAIT_FOR(count_children(d) == 0, 5000);
        done = count_done(d, "e", 4);
        if (done < l->acked)
            fail_msg("%s: %llu acknowledged, %llu done", workers_at_work[i].name,
                     (unsigned long long)l->acked, (unsigned long long)done);
        load_end_all();
    }
}

/* The process beside the worker that starts commands; 0: there is none. */
static pid_t
find_helper(const struct daemon *d)
{
    struct proc_list workers, children;
    char path[64];
    pid_t found = 0;

    daemon_workers(d, &workers);
    if (workers.count == 1)
        proc_children(workers.pid[0], &children);
    for (size_t i = 0; workers.count == 1 && i < children.count; i++) {
        char *name;

        snprintf(path, sizeof(path), "/proc/%d/comm", (int)children.pid[i]);
        name = harness_read_file(path, NULL);
        if (name != NULL && strcmp(name, "msockd-exec\n") == 0)
            found = children.pid[i];
        free(name);
    }
    return found;
}

static void
expect_other_worker(int signo)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .listen = {exec_url("msp", "exec=once", "cat >/dev/null")},
                                 .errors_expected = true});
    struct answer a;
    struct peer p;
    pid_t helper, next;

    WAIT_FOR((helper = find_helper(d)) != 0, 10000);
    signal_send(helper, signo);
    WAIT_FOR(signo != SIGKILL || find_helper(d) == 0, 10000); /* its name goes with it */
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ERR);
    peer_close(&p);
    WAIT_FOR((next = find_helper(d)) != 0 && next != helper, 10000);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "y", 1, &a), ANSWER_ACK);
    daemon_stop(d);
}

static void
a_worker_whose_helper_has_died_is_replaced(void **state)
{
    (void)state;
    expect_other_worker(SIGKILL);
}

static void
a_worker_whose_helper_is_stopped_is_replaced(void **state)
{
    (void)state;
    expect_other_worker(SIGSTOP);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_misbehaviour_gets_its_answer_and_leaves_no_process),
        SYSTEM_TEST(others_are_served_while_children_hang_and_none_of_them_is_left),
        SYSTEM_TEST(what_was_acknowledged_is_done_over_reloads_and_at_the_end),
        SYSTEM_TEST(a_worker_whose_helper_has_died_is_replaced),
        SYSTEM_TEST(a_worker_whose_helper_is_stopped_is_replaced),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
