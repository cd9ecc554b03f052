/* The program msockctl against shared memory that a toy master wrote: what it prints, what it
 * signals, how it ends. */
#include "guard.h"

#include "common/base.h"
#include "stats/stats_writer.h"

#include "support/signals.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX (1 << 18)

struct fixture {
    char dir[128];
    pid_t master;
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
};

/* --- a toy master: one worker's worth of numbers, and an answer to every signal --- */

/* The worker has died, and has left in its region whatever it liked. */
static void
toy_crash(struct stats_master *sm, const struct stats_place *place, struct stats_writer *sw,
          const struct stats_slot *slot)
{
    struct stats_crash_note *note = &sw->recorder->note;

    stats_record(sw, STATS_EVENT_refused, slot, clock_mono_us(), 1, "\033[31mred and more of it");
    stats_record(sw, (enum stats_event_kind)200, slot, clock_mono_us(), 1, NULL);
    atomic_store(&sw->recorder->reading[0], 1);
    atomic_store(&sw->recorder->reading[1], UINT32_MAX);
    memset(note->frames[0].function, '\033', sizeof(note->frames[0].function));
    memset(note->frames[0].module, 'm', sizeof(note->frames[0].module));
    atomic_store(&note->frame_count, UINT32_MAX);
    atomic_store(&note->signal, 11);
    stats_master_crashed(sm, place, 11);
}

static void
toy_count(struct stats_master *sm)
{
    struct endpoint peer = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (void *)&peer.addr;
    struct stats_place place;
    struct stats_writer sw;
    struct stats_slot *slot;
    struct stats_worker *row;

    in->sin_family = AF_INET;
    in->sin_port = htons(50412);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (stats_master_claim(sm, 0, 1, &place) < 0 || stats_writer_open(&sw, &place) < 0)
        _exit(1);
    row = stats_master_worker(sm, &place);
    atomic_store(&row->state, STATS_WORKER_READY);
    atomic_store(&row->pid, 4242);
    slot = stats_writer_claim(&sw, 0, &peer, clock_mono_us() - 5000000);
    stats_add(&slot->counters.messages, 3);
    slot = stats_writer_claim(&sw, 1, &peer, clock_mono_us());
    stats_add(&slot->counters.messages, 30);
    stats_add(&sw.block->counters.messages, 33);
    stats_add(&sw.block->counters.accepted, 2);
    for (int i = 0; i < 33; i++)
        stats_latency(sw.block, 100);
    toy_crash(sm, &place, &sw, slot);
    stats_writer_close(&sw);
}

static int
toy_open(struct stats_master *sm, const char *dir)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[256], error[256];
    int fd;

    snprintf(path, sizeof(path), "%s/lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 ||
        stats_master_open(sm, -1, dir, (gid_t)-1, error) < 0)
        return -1;
    stats_master_listener(sm, -1, "msp://127.0.0.1:0", "127.0.0.1:43117", "msp", "journal");
    stats_master_listener(sm, -1, "msp://[::1]:0", "[::1]:43118", "msp", "\033[31mecho");
    toy_count(sm);
    stats_master_ready(sm);
    return 0;
}

static void
toy_reload(struct stats_master *sm)
{
    stats_master_reload(sm);
    if (atomic_load(&sm->control->reload_requests) == 1)
        stats_master_verdict(sm, true, "generation 2 is in force");
    else
        stats_master_verdict(sm, false, "msockd.conf:3: there is no\noption \"workres\"");
}

/* In the child: answers signals until one of them ends it, or the test program is gone. */
static _Noreturn void
toy_run(const char *dir, int ready_fd)
{
    struct stats_master sm;
    sigset_t set;
    int sig = 0;

    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    if (toy_open(&sm, dir) < 0 || write(ready_fd, "R", 1) != 1)
        _exit(1);
    while (sig != SIGTERM && sig != SIGQUIT && sig != SIGALRM) {
        alarm(30);
        sigwait(&set, &sig);
        if (sig == SIGHUP)
            toy_reload(&sm);
        if (sig == SIGUSR1) /* the toy's worker never follows */
            atomic_fetch_add(&sm.control->reopens, 1);
    }
    stats_master_close(&sm);
    _exit(0);
}

static int
set_up(void **state)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));
    int ready[2];
    char byte;

    guard_directory(f->dir, sizeof(f->dir));
    *state = f;
    assert_int_equal(pipe(ready), 0);
    f->master = fork();
    assert_true(f->master >= 0);
    if (f->master == 0)
        toy_run(f->dir, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return 0;
}

static void
master_end(struct fixture *f, int sig)
{
    if (f->master <= 0)
        return;
    signal_send(f->master, sig);
    assert_int_equal(waitpid(f->master, NULL, 0), f->master);
    f->master = -1;
}

static int
tear_down(void **state)
{
    static const char *const names[] = {"control", "stats.0", "lock", "baseline"};
    struct fixture *f = *state;
    char path[256];

    master_end(f, SIGKILL);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* --- running the program --- */

static _Noreturn void
ctl_exec(const struct fixture *f, const char *const args[], int out, int err)
{
    const char *argv[16] = {"msockctl", "-r", f->dir};
    char path[512];
    size_t n = 3;

    for (size_t i = 0; args[i] != NULL; i++)
        argv[n++] = args[i];
    snprintf(path, sizeof(path), "%s/msockctl", getenv("MSOCK_BUILD"));
    dup2(out, 1);
    dup2(err, 2);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void
read_all(int fd, char text[OUTPUT_MAX])
{
    ssize_t n = pread(fd, text, OUTPUT_MAX - 1, 0);

    assert_true(n >= 0);
    text[n] = '\0';
}

/* Runs msockctl -r DIR args... to its end; the outputs are in f. Returns the exit status. */
static int
ctl(struct fixture *f, const char *const args[])
{
    FILE *out = tmpfile(), *err = tmpfile();
    int status;
    pid_t pid;

    assert_true(out != NULL && err != NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        ctl_exec(f, args, fileno(out), fileno(err));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    read_all(fileno(out), f->out);
    read_all(fileno(err), f->err);
    fclose(out);
    fclose(err);
    return WEXITSTATUS(status);
}

#define CTL(f, ...) ctl(f, (const char *const[]){__VA_ARGS__, NULL})

static json_t *
parse(const char *text)
{
    json_error_t error;
    json_t *document = json_loads(text, 0, &error);

    if (document == NULL)
        fail_msg("%s in: %s", error.text, text);
    return document;
}

static json_int_t
integer_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* --- what is printed --- */

static void
stats_as_json_has_totals_and_workers(void **state)
{
    static const char *const keys[] = {
        "acks",    "nack1",    "nack2",   "rej",  "err",   "messages", "bytes_in",  "bytes_out",
        "packets", "accepted", "refused", "open", "turns", "commits",  "committed", "cut"};
    struct fixture *f = *state;
    json_t *document, *total, *worker;

    assert_int_equal(CTL(f, "stats", "--json"), 0);
    document = parse(f->out);
    total = json_object_get(document, "total");
    worker = json_array_get(json_object_get(document, "workers"), 0);
    for (size_t i = 0; i < MS_ARRAY_LEN(keys); i++) {
        integer_at(total, keys[i]);
        integer_at(worker, keys[i]);
    }
    assert_int_equal(integer_at(total, "messages"), 33);
    assert_int_equal(integer_at(total, "open"), 2);
    assert_int_equal(integer_at(worker, "pid"), 4242);
    assert_int_equal(integer_at(document, "pid"), f->master);
    assert_true(json_is_true(json_object_get(document, "alive")));
    assert_true(json_is_number(json_object_get(document, "uptime")));
    assert_in_range(integer_at(json_object_get(total, "latency_us"), "p99_9"), 94, 106);
    json_decref(document);
}

static void
stats_for_people_and_for_prometheus_are_printed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "stats"), 0);
    assert_non_null(strstr(f->out, "messages committed"));
    assert_non_null(strstr(f->out, "4242"));
    assert_int_equal(CTL(f, "stats", "--prometheus"), 0);
    assert_non_null(strstr(f->out, "\n# TYPE msockd_messages_total counter\n"
                                   "msockd_messages_total 33\n"));
    assert_non_null(strstr(f->out, "\nmsockd_connections_open 2\n"));
    assert_non_null(strstr(f->out, "_bucket{le=\"6.4e-05\"} 0\n"));
    assert_non_null(strstr(f->out, "_bucket{le=\"0.000128\"} 33\n"));
    assert_non_null(strstr(f->out, "_bucket{le=\"+Inf\"} 33\n"));
    assert_non_null(strstr(f->out, "_count 33\n"));
    assert_int_equal(CTL(f, "workers"), 0);
    assert_non_null(strstr(f->out, "ready"));
}

static void
a_corpse_is_shown_and_said_to_be_one(void **state)
{
    struct fixture *f = *state;
    json_t *document;

    master_end(f, SIGKILL);
    assert_int_equal(CTL(f, "stats", "--json"), 0);
    document = parse(f->out);
    assert_true(json_is_false(json_object_get(document, "alive")));
    assert_int_equal(integer_at(json_object_get(document, "total"), "messages"), 33);
    json_decref(document);
    assert_int_equal(CTL(f, "stats"), 0);
    assert_non_null(strstr(f->out, "not running any more"));
    assert_int_equal(CTL(f, "reload"), 69);
    assert_non_null(strstr(f->err, "no msockd is running in"));
}

static void
connections_are_listed_sorted_and_filtered(void **state)
{
    struct fixture *f = *state;
    json_t *rows, *row;

    assert_int_equal(CTL(f, "conns", "--json", "--sort", "messages"), 0);
    rows = parse(f->out);
    assert_int_equal(json_array_size(rows), 2);
    row = json_array_get(rows, 0);
    assert_int_equal(integer_at(row, "messages"), 30);
    assert_string_equal(json_string_value(json_object_get(row, "peer")), "127.0.0.1:50412");
    assert_string_equal(json_string_value(json_object_get(row, "listener")), "msp://[::1]:0");
    assert_string_equal(json_string_value(json_object_get(row, "state")), "idle");
    row = json_array_get(rows, 1);
    assert_true(json_number_value(json_object_get(row, "age")) >= 5);
    json_decref(rows);
    assert_int_equal(CTL(f, "conns", "--json", "--listener", "43117"), 0);
    rows = parse(f->out);
    assert_int_equal(json_array_size(rows), 1);
    json_decref(rows);
    assert_int_equal(CTL(f, "conns", "--sort", "age"), 0);
    assert_non_null(strstr(f->out, "IDLE"));
    assert_int_equal(CTL(f, "conns", "--sort", "colour"), 64);
}

static void
every_counter_of_a_connection_is_a_column(void **state)
{
#define X(name, help) #name,
    static const char *const names[] = {STATS_CONN_COUNTERS(X)};
#undef X
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "conns", "--sort", "colour"), 64);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++)
        assert_non_null(strstr(f->err, names[i]));
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        json_t *rows;

        assert_int_equal(CTL(f, "conns", "--json", "--sort", names[i]), 0);
        rows = parse(f->out);
        assert_non_null(json_object_get(json_array_get(rows, 0), names[i]));
        json_decref(rows);
    }
    assert_int_equal(CTL(f, "conns"), 0);
    assert_non_null(strstr(f->out, " CUT "));
    assert_non_null(strstr(f->out, " IN "));
}

static void
text_from_shared_memory_cannot_steer_the_terminal(void **state)
{
    struct fixture *f = *state;
    json_t *rows;

    assert_int_equal(CTL(f, "listeners"), 0);
    assert_null(strchr(f->out, '\033'));
    assert_non_null(strstr(f->out, "[31mecho"));
    assert_int_equal(CTL(f, "listeners", "--json"), 0);
    assert_null(strchr(f->out, '\033'));
    rows = parse(f->out);
    assert_int_equal(json_array_size(rows), 2);
    assert_int_equal(integer_at(json_array_get(rows, 0), "open"), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "address")),
                        "127.0.0.1:43117");
    json_decref(rows);
}

static void
a_baseline_is_made_kept_and_subtracted(void **state)
{
    struct fixture *f = *state;
    char path[256];
    json_t *document;
    FILE *file;

    snprintf(path, sizeof(path), "%s/baseline", f->dir);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(CTL(f, "stats", "--json", "--since", path), 0);
        document = parse(f->out);
        assert_int_equal(integer_at(json_object_get(document, "total"), "messages"), 0);
        assert_int_equal(integer_at(json_object_get(document, "total"), "open"), 2);
        assert_true(json_is_string(json_object_get(document, "since")));
        json_decref(document);
    }
    file = fopen(path, "w"); /* of another run: nothing is subtracted */
    assert_non_null(file);
    fputs("{\"boot_id\":\"0\",\"time\":\"x\",\"total\":{\"messages\":30},\"workers\":{}}", file);
    fclose(file);
    assert_int_equal(CTL(f, "stats", "--json", "--since", path), 0);
    document = parse(f->out);
    assert_int_equal(integer_at(json_object_get(document, "total"), "messages"), 33);
    json_decref(document);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("[1,2", file);
    fclose(file);
    assert_int_equal(CTL(f, "stats", "--since", path), 65);
}

/* One line after the other comes, until nobody reads any more. */
static void
watching_prints_one_document_a_line(void **state)
{
    struct fixture *f = *state;
    int out[2];
    FILE *lines;
    pid_t pid;
    char *line = NULL;
    size_t room = 0;

    assert_int_equal(pipe(out), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(out[0]);
        ctl_exec(f, (const char *const[]){"stats", "--json", "--watch", "0.01", NULL}, out[1], 2);
    }
    close(out[1]);
    lines = fdopen(out[0], "r");
    for (int i = 0; i < 3; i++) {
        assert_true(getline(&line, &room, lines) > 0);
        json_decref(parse(line));
    }
    signal_send(pid, SIGTERM);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    free(line);
    fclose(lines);
}

/* --- what is signalled --- */

static void
reload_waits_for_the_verdict(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "reload"), 0);
    assert_string_equal(f->out, "generation 2 is in force\n");
    assert_int_equal(CTL(f, "reload", "--timeout", "20"), 78);
    assert_non_null(strstr(f->err, "msockd.conf:3: there is no"));
    assert_string_equal(strchr(f->err, '\n'), "\n"); /* one line, whatever the text */
    assert_string_equal(f->out, "");
}

/* The toy is a child of this program, which reaps it only afterwards: the lock tells. */
static void
ends_with(struct fixture *f, const char *command)
{
    assert_int_equal(CTL(f, command), 0);
    assert_non_null(strstr(f->out, "has ended"));
    assert_int_equal(waitpid(f->master, NULL, 0), f->master);
    f->master = -1;
    assert_int_equal(CTL(f, command), 69);
}

static void
stop_waits_until_it_is_gone(void **state)
{
    ends_with(*state, "stop");
}

static void
quit_waits_until_it_is_gone(void **state)
{
    ends_with(*state, "quit");
}

static void
reopen_says_when_a_worker_has_not_followed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "reopen", "--timeout", "50ms"), 75);
    assert_non_null(strstr(f->err, "not every process"));
}

static void
a_process_that_is_not_the_master_gets_no_signal(void **state)
{
    struct fixture *f = *state;
    const int32_t init = 1;
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/control", f->dir);
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &init, 4, offsetof(struct stats_control, master_pid)), 4);
    assert_in_range(CTL(f, "reload"), 69, 77);
    assert_int_equal(pwrite(fd, &(int32_t){-1}, 4, offsetof(struct stats_control, master_pid)), 4);
    assert_int_equal(CTL(f, "stop"), 69);
    assert_int_equal(pwrite(fd, &(int32_t){0}, 4, offsetof(struct stats_control, master_pid)), 4);
    assert_int_equal(CTL(f, "stop"), 69);
    close(fd);
}

/* A stale directory while the next master begins: the lock is held, and the pid is somebody
 * else's. */
static void
a_stranger_with_the_pid_of_a_dead_master_gets_no_signal(void **state)
{
    static const char *const commands[] = {"reload", "stop", "quit", "reopen"};
    struct fixture *f = *state;
    const struct timespec step = {.tv_nsec = 50000000}; /* more than a tick of the kernel's clock */
    char path[256];
    int32_t stranger;
    int fd, status;

    nanosleep(&step, NULL);
    stranger = fork();
    assert_true(stranger >= 0);
    if (stranger == 0)
        for (;;)
            pause();
    snprintf(path, sizeof(path), "%s/control", f->dir);
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &stranger, 4, offsetof(struct stats_control, master_pid)), 4);
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        assert_int_equal(CTL(f, commands[i]), 69);
        assert_non_null(strstr(f->err, "is younger than"));
    }
    assert_int_equal(waitpid(stranger, &status, WNOHANG), 0); /* it lives */
    signal_send(stranger, SIGKILL);
    assert_int_equal(waitpid(stranger, &status, 0), stranger);
    close(fd);
}

static void
wrong_usage_is_said_in_one_sentence(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "dance"), 64);
    assert_int_equal(CTL(f, "stats", "--jsn"), 64);
    assert_non_null(strstr(f->err, "there is no option --jsn"));
    assert_int_equal(CTL(f, "stats", "--json", "--prometheus"), 64);
    assert_int_equal(CTL(f, "stats", "--watch", "0"), 64);
    assert_int_equal(CTL(f, "stats", "--watch"), 64);
    assert_int_equal(CTL(f, "stats", "extra"), 64);
    assert_int_equal(CTL(f, "conns", "-h"), 0);
    assert_non_null(strstr(f->out, "--sort COLUMN"));
    assert_int_equal(CTL(f, "stats", "-r", "/nonexistent"), 69);
    assert_non_null(strstr(f->err, "no msockd has run in /nonexistent"));
}

static void
a_damaged_flight_recorder_is_shown_escaped(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(CTL(f, "events"), 0);
    assert_null(strchr(f->out, '\033'));
    assert_non_null(strstr(f->out, "\\x1B[31mred and m"));
    assert_null(strstr(f->out, "red and mo"));
    assert_non_null(strstr(f->out, "unknown"));
    assert_int_equal(CTL(f, "crashes"), 0);
    assert_null(strchr(f->out, '\033'));
    assert_non_null(strstr(f->out, "worker 0 (pid 4242) died: signal 11"));
    assert_non_null(strstr(f->out, "was reading connection 4242.1, from 127.0.0.1:50412 over msp"));
    assert_non_null(strstr(f->out, "\\x1B+0x0 (mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm+0x0)"));
    assert_int_equal(CTL(f, "crashes", "--json"), 0);
    assert_null(strchr(f->out, '\033'));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(stats_as_json_has_totals_and_workers),
        TEST(stats_for_people_and_for_prometheus_are_printed),
        TEST(a_corpse_is_shown_and_said_to_be_one),
        TEST(connections_are_listed_sorted_and_filtered),
        TEST(every_counter_of_a_connection_is_a_column),
        TEST(text_from_shared_memory_cannot_steer_the_terminal),
        TEST(a_damaged_flight_recorder_is_shown_escaped),
        TEST(a_baseline_is_made_kept_and_subtracted),
        TEST(watching_prints_one_document_a_line),
        TEST(reload_waits_for_the_verdict),
        TEST(stop_waits_until_it_is_gone),
        TEST(quit_waits_until_it_is_gone),
        TEST(reopen_says_when_a_worker_has_not_followed),
        TEST(a_process_that_is_not_the_master_gets_no_signal),
        TEST(a_stranger_with_the_pid_of_a_dead_master_gets_no_signal),
        TEST(wrong_usage_is_said_in_one_sentence),
    };

    if (getenv("MSOCK_BUILD") == NULL) {
        fputs("MSOCK_BUILD is not set: run this through tests/run.sh\n", stderr);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
