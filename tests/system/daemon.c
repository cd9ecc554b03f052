/* Starts msockd and learns from its "ready:" line where it listens. A list of all daemons of a test
 * lets teardown show the log of one that a failed assertion left running. */
#include "daemon.h"

#include "support/signals.h"

#include "target.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS    60000
#define STOP_MS     20000
#define ARGV_MAX    96
#define LOG_SHOWN   6000 /* bytes of the log of a daemon whose test failed */
#define CONFIG_NAME "msockd.conf"

static struct daemon *daemons;

struct daemon *
daemon_create(const struct daemon_options *options)
{
    struct daemon *d = calloc(1, sizeof(*d));

    assert_non_null(d);
    d->options = *options;
    harness_directory(d->dir);
    harness_join(d->runtime_dir, d->dir, "run");
    harness_join(d->log_path, d->dir, "log");
    harness_join(d->config_path, d->dir, CONFIG_NAME);
    harness_join(d->faults_path, d->dir, "faults");
    harness_join(d->clock_path, d->dir, "clock");
    harness_write_file(d->faults_path, "", 0);
    daemon_shift_clock(d, 0);
    if (options->data_dir != NULL)
        snprintf(d->data_dir, sizeof(d->data_dir), "%s", options->data_dir);
    else
        harness_join(d->data_dir, d->dir, "data");
    if (options->config != NULL)
        daemon_configure(d, options->config);
    d->run.pidfd = -1;
    d->next = daemons;
    daemons = d;
    return d;
}

void
daemon_configure(struct daemon *d, const char *text)
{
    harness_write_file(d->config_path, text, strlen(text));
}

/* In place: the daemon has mapped it. */
void
daemon_shift_clock(struct daemon *d, int64_t seconds)
{
    int fd = open(d->clock_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &seconds, sizeof(seconds), 0), sizeof(seconds));
    close(fd);
}

static size_t
file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

/* Appends flag and word for each word of a NULL-ended list. */
static size_t
add_words(const char **argv, size_t n, const char *flag, const char *const *words, size_t max)
{
    for (size_t i = 0; i < max && words[i] != NULL; i++) {
        assert_true(n + 3 < ARGV_MAX);
        if (flag != NULL)
            argv[n++] = flag;
        argv[n++] = words[i];
    }
    return n;
}

static size_t
command_line(const struct daemon *d, const char **argv, char workers[16])
{
    static const char *const anywhere[] = {"msp://127.0.0.1:0", NULL};
    static const char *const unconfined[] = {"sandbox=off", NULL};
    const struct daemon_options *o = &d->options;
    size_t n = 0;

    argv[n++] = o->program != NULL ? o->program : harness_program("msockd");
    argv[n++] = "-r";
    argv[n++] = d->runtime_dir;
    argv[n++] = "-d";
    argv[n++] = d->data_dir;
    if (o->config != NULL) {
        argv[n++] = "-c";
        argv[n++] = d->config_path;
    } else {
        snprintf(workers, 16, "%u", o->workers > 0 ? o->workers : 2);
        argv[n++] = "-w";
        argv[n++] = workers;
        n = add_words(argv, n, "-l", o->listen[0] != NULL ? o->listen : anywhere,
                      o->listen[0] != NULL ? DAEMON_LISTEN_MAX : 1);
        if (o->handler != NULL) {
            argv[n++] = "-H";
            argv[n++] = o->handler;
        }
    }
    if (!harness_is_sandboxed)
        n = add_words(argv, n, "-o", unconfined, 1);
    n = add_words(argv, n, "-o", o->set, DAEMON_WORDS_MAX);
    n = add_words(argv, n, NULL, o->more, DAEMON_WORDS_MAX);
    argv[n] = NULL;
    return n;
}

static void
spawn(struct daemon *d, const char *error_file)
{
    char preload[HARNESS_PATH_LEN + 16], control[HARNESS_PATH_LEN + 16], workers[16];
    struct run_options how = {.error_file = error_file,
                              .files = d->options.files,
                              .refused = d->options.refused,
                              .child = d->options.child};
    const char *argv[ARGV_MAX];

    command_line(d, argv, workers);
    if (d->options.faults) {
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/faults.so"));
        snprintf(control, sizeof(control), "MSOCK_FAULTS=%s", d->faults_path);
        how.env[0] = preload;
        how.env[1] = control;
    } else if (d->options.clock) {
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/clock.so"));
        snprintf(control, sizeof(control), "MSOCK_CLOCK=%s", d->clock_path);
        how.env[0] = preload;
        how.env[1] = control;
        /* It takes no function that the sanitizers' runtime has to take first. */
        how.env[2] = "ASAN_OPTIONS=verify_asan_link_order=0";
    }
    if (d->options.hosts != NULL) {
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/hosts.so"));
        snprintf(control, sizeof(control), "MSOCK_HOSTS=%s", d->options.hosts);
        how.env[0] = preload;
        how.env[1] = control;
    }
    d->log_from = file_size(d->log_path);
    run_start(&d->run, argv, &how);
    d->running = true;
}

/* Reads the URLs behind "ready: 2 workers, listening on". False while the line is not there. */
static bool
read_ready_line(struct daemon *d)
{
    char *log = daemon_log(d), *line = log != NULL ? strstr(log, "ready: ") : NULL;
    char *end = line != NULL ? strstr(line, " [ready]\n") : NULL;
    char *at, *save = NULL;

    d->listener_count = 0;
    if (end == NULL) {
        free(log);
        return false;
    }
    *end = '\0';
    at = strstr(line, "listening on ");
    assert_non_null(at);
    for (char *url = strtok_r(at + strlen("listening on "), ", ", &save); url != NULL;
         url = strtok_r(NULL, ", ", &save)) {
        assert_true(d->listener_count < DAEMON_LISTEN_MAX);
        target_from_url(url, &d->listeners[d->listener_count++]);
    }
    free(log);
    return true;
}

void
daemon_launch(struct daemon *d)
{
    struct waiting w = waiting_begin(READY_MS);

    spawn(d, d->log_path);
    while (!read_ready_line(d)) {
        if (run_ended(&d->run, 0))
            fail_msg("msockd ended before it was ready");
        if (!waiting_more(&w))
            fail_msg("msockd is not ready after %u ms", READY_MS);
    }
    assert_true(d->listener_count > 0);
}

struct daemon *
daemon_start(const struct daemon_options *options)
{
    struct daemon *d = daemon_create(options);

    daemon_launch(d);
    return d;
}

struct run_result
daemon_fail(struct daemon *d)
{
    struct run_result result;

    spawn(d, NULL);
    run_finish(&d->run, STOP_MS, &result);
    d->running = false;
    return result;
}

void
daemon_launch_behind(struct daemon *d, struct target *target_out)
{
    static char option[HARNESS_PATH_LEN + 16], url[HARNESS_PATH_LEN + 16];
    struct run_result result;

    snprintf(option, sizeof(option), "log_file=%s", d->log_path);
    snprintf(url, sizeof(url), "msp://%s/sock", d->dir);
    d->options.set[0] = option;
    d->options.listen[0] = url;
    d->options.more[0] = "-D";
    result = daemon_fail(d);
    if (result.status != 0)
        fail_msg("msockd -D: %d, %s", result.status, result.err);
    run_result_free(&result);
    target_from_url(url, target_out);
}

char *
daemon_log(const struct daemon *d)
{
    size_t n = 0;
    char *log = harness_read_file(d->log_path, &n);

    if (log != NULL && d->log_from <= n)
        memmove(log, log + d->log_from, n - d->log_from + 1);
    return log;
}

bool
daemon_logged(const struct daemon *d, const char *text)
{
    char *log = daemon_log(d);
    bool found = log != NULL && strstr(log, text) != NULL;

    free(log);
    return found;
}

void
daemon_check_log(const struct daemon *d)
{
    static const char *const bad[] = {
        "AddressSanitizer", "LeakSanitizer", "runtime error:", "assertion", "Assertion", " error "};
    size_t count = MS_ARRAY_LEN(bad) - (d->options.errors_expected ? 1 : 0);

    for (size_t i = 0; i < count; i++)
        if (daemon_logged(d, bad[i]))
            fail_msg("the log holds \"%s\"", bad[i]);
}

static bool
all_gone(const struct proc_list *pids)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ; /* orphans are ours (see harness_begin) */
    for (size_t i = 0; i < pids->count; i++)
        if (proc_alive(pids->pid[i]))
            return false;
    return true;
}

/* Bound and nothing more: the kernel gives the port to nobody who asks for any, and the daemon can
 * have it again. */
static void
hold_ports(struct daemon *d)
{
    static const int on = 1;

    for (size_t i = 0; d->keeps_ports && i < d->listener_count; i++) {
        const struct target *target = &d->listeners[i];

        if (d->held[i] != 0 || target->addr.ss_family == AF_UNIX)
            continue;
        d->held[i] = socket(target->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(setsockopt(d->held[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        if (bind(d->held[i], (const struct sockaddr *)&target->addr, target->len) < 0) {
            close(d->held[i]); /* somebody has it who keeps it for the daemon */
            d->held[i] = 0;
        }
    }
}

void
daemon_finish(struct daemon *d, unsigned timeout_ms)
{
    struct proc_list workers;
    struct run_result result;

    daemon_workers(d, &workers);
    run_finish(&d->run, timeout_ms, &result);
    if (result.status != 0)
        fail_msg("msockd ended with status %d", result.status);
    run_result_free(&result);
    if (!all_gone(&workers))
        fail_msg("a worker outlived its master");
    hold_ports(d);
    daemon_check_log(d);
    d->running = false;
}

void
daemon_stop(struct daemon *d)
{
    signal_send(d->run.pid, SIGTERM);
    daemon_finish(d, STOP_MS);
}

void
daemon_kill_master(struct daemon *d)
{
    struct run_result result;

    signal_send(d->run.pid, SIGKILL);
    run_finish(&d->run, STOP_MS, &result);
    run_result_free(&result);
    d->running = false;
}

void
daemon_kill(struct daemon *d)
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    daemon_kill_master(d);
    WAIT_FOR(all_gone(&workers), STOP_MS);
    hold_ports(d);
}

struct run_result
daemon_control(const struct daemon *d, ...)
{
    const char *argv[16] = {harness_program("msockctl"), "-r", d->runtime_dir};
    struct run_result result;
    struct running r;
    size_t n = 3;
    va_list ap;

    va_start(ap, d);
    while (n < 15 && (argv[n] = va_arg(ap, const char *)) != NULL)
        n++;
    va_end(ap);
    run_start(&r, argv, NULL);
    run_finish(&r, 60000, &result);
    return result;
}

void
daemon_reload(struct daemon *d)
{
    struct run_result result = daemon_control(d, "reload", NULL);

    if (result.status != 0)
        fail_msg("msockctl reload: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

void
daemon_workers(const struct daemon *d, struct proc_list *list_out)
{
    proc_children(d->run.pid, list_out);
}

bool
daemon_has_workers(const struct daemon *d, size_t count)
{
    struct proc_list list;

    daemon_workers(d, &list);
    return list.count == count;
}

void
daemon_expect_new_workers(const struct daemon *d, const struct proc_list *before)
{
    struct proc_list now;

    WAIT_FOR((daemon_workers(d, &now), now.count == 2 && !proc_list_has(before, now.pid[0]) &&
                                           !proc_list_has(before, now.pid[1])),
             10000);
}

void
daemon_keep_ports(struct daemon *d)
{
    d->keeps_ports = true;
    for (size_t i = 0; i < d->listener_count; i++)
        d->options.listen[i] = d->listeners[i].url;
}

/* What went wrong in all of it, and how it ends. On stderr: cmocka would cut it. */
static void
report_log(const struct daemon *d, const char *log)
{
    size_t n = strlen(log), tail = n > LOG_SHOWN ? n - LOG_SHOWN : 0, shown = 0;

    fprintf(stderr, "-- log of msockd [%d]:\n", (int)d->run.pid);
    for (const char *line = log; line < log + tail && shown < LOG_SHOWN;) {
        int len = (int)strcspn(line, "\n");

        if (memmem(line, (size_t)len, " warn ", 6) || memmem(line, (size_t)len, " error ", 7))
            shown += (size_t)fprintf(stderr, "%.*s\n", len, line);
        line += len + (line[len] == '\n');
    }
    fprintf(stderr, "%s%s", tail > 0 ? "[...]\n" : "", log + tail);
}

void
daemon_report_unfinished(void)
{
    for (struct daemon *d = daemons; d != NULL; d = d->next) {
        char *log = d->running ? daemon_log(d) : NULL;

        if (log != NULL)
            report_log(d, log);
        free(log);
    }
}

void
daemon_forget_all(void)
{
    while (daemons != NULL) {
        struct daemon *next = daemons->next;

        if (daemons->run.pidfd >= 0)
            close(daemons->run.pidfd);
        for (size_t i = 0; i < DAEMON_LISTEN_MAX; i++)
            if (daemons->held[i] > 0)
                close(daemons->held[i]);
        free(daemons);
        daemons = next;
    }
}
