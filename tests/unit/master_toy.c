#include "master_toy.h"
#include "guard.h"

#include "stats/stats_writer.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>

static struct toy *toy_shared; /* the worker's entry has no argument of its own for it */

static int
toy_wait(const struct child *child, int mode, struct toy *toy, int signal_fd)
{
    struct pollfd fds[2] = {{.fd = signal_fd, .events = POLLIN},
                            {.fd = child->master_fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    for (;;) {
        poll(fds, 2, -1);
        if (fds[1].revents) {
            atomic_fetch_add(&toy->eofs, 1);
            return CHILD_EXIT_DONE;
        }
        if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
            return 9;
        if (info.ssi_signo == SIGUSR1)
            atomic_fetch_add(&toy->reopened, 1);
        if (info.ssi_signo == SIGQUIT)
            atomic_fetch_add(&toy->quits, 1);
        if (info.ssi_signo == SIGTERM)
            atomic_fetch_add(&toy->terms, 1);
        if ((info.ssi_signo == SIGQUIT && mode != TOY_STAY && mode != TOY_DEAF) ||
            (info.ssi_signo == SIGTERM && mode != TOY_DEAF))
            return CHILD_EXIT_DONE;
    }
}

static int
toy_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int
toy_main(const struct child *child)
{
    struct toy *toy = toy_shared;
    int index = atomic_load(&toy->mode_index), mode = atomic_load(&toy->mode);
    int n = atomic_fetch_add(&toy->forks, 1), signal_fd = toy_signals(), ready_fd = child->ready_fd;
    struct stats_writer sw;

    if (n < 64)
        atomic_store(&toy->forked_us[n], clock_mono_us());
    if (index != -1 && index != (int)child->index)
        mode = TOY_GOOD;
    if (mode == TOY_DIE)
        return 7;
    if (mode == TOY_REFUSE) {
        static const char sentence[] = "Really\nnot today";

        return write(ready_fd, sentence, sizeof(sentence) - 1) < 0 ? 9 : CHILD_EXIT_NOT_READY;
    }
    if (stats_writer_open(&sw, &child->stats) < 0)
        return 8;
    stats_add(&sw.block->counters.acks, 1);
    atomic_store(&toy->pid[child->index], (int)getpid());
    if (mode != TOY_SILENT) {
        if (write(ready_fd, "R", 1) != 1)
            return 9;
        fd_close(&ready_fd);
    }
    return mode == TOY_CRASH ? 7 : toy_wait(child, mode, toy, signal_fd);
}

static int
toy_build(void *arg, struct config **config_out, char error[CONFIG_ERROR_LEN])
{
    const struct bench *b = arg;
    struct config_args args = {.data_dir = "data", .runtime_dir = b->toy->runtime_dir};
    char workers[16], ready[64], drain[64], log[128];

    while (b->toy->hangs)
        pause();
    if (b->toy->wrong[0] != '\0') {
        snprintf(error, CONFIG_ERROR_LEN, "%s", b->toy->wrong);
        return -1;
    }
    snprintf(workers, sizeof(workers), "%d", b->toy->workers);
    snprintf(ready, sizeof(ready), "ready_timeout=%s", b->toy->ready_timeout);
    snprintf(drain, sizeof(drain), "drain_timeout=%s", b->toy->drain_timeout);
    snprintf(log, sizeof(log), "log_file=%s", b->log);
    args.workers = workers;
    args.set[args.set_count++] = ready;
    args.set[args.set_count++] = drain;
    args.set[args.set_count++] = log;
    args.set[args.set_count++] = "log_level=debug";
    for (int i = 0; i < b->toy->url_count; i++)
        args.listen[args.listen_count++] = b->toy->url[i];
    return config_build(&args, b->dir, config_out, error);
}

static int
toy_prepare(void *arg, struct config *config, const struct config *now,
            char error[CONFIG_ERROR_LEN])
{
    (void)arg, (void)config, (void)now, (void)error;
    return 0;
}

void
bench_master(struct bench *b)
{
    struct master_hooks hooks = {
        .build = toy_build, .prepare = toy_prepare, .arg = b, .entry = toy_main, .verdict_fd = -1};
    char error[CONFIG_ERROR_LEN];
    struct config *config;
    int code;

    toy_shared = b->toy;
    if (toy_build(b, &config, error) < 0) {
        fprintf(stderr, "%s\n", error);
        exit(99);
    }
    code = master_run(config, &hooks, b->why);
    exit(code);
}

void
bench_start(struct bench *b)
{
    fflush(NULL);
    b->master = fork();
    assert_true(b->master >= 0);
    if (b->master == 0)
        bench_master(b);
}

bool
bench_is_ready(struct bench *b)
{
    char error[256];

    if (b->reading && atomic_load(&b->reader.control->master_pid) == (int32_t)b->master)
        return true;
    if (b->reading)
        stats_reader_close(&b->reader);
    b->reading = stats_reader_open(&b->reader, b->run, error) == 0;
    return b->reading && atomic_load(&b->reader.control->master_pid) == (int32_t)b->master;
}

void
bench_start_ready(struct bench *b)
{
    bench_start(b);
    WAIT_FOR(bench_is_ready(b), TOY_WAIT_MS);
}

int
bench_end(struct bench *b)
{
    int status = 0;
    pid_t pid = 0;

    WAIT_FOR((pid = waitpid(b->master, &status, WNOHANG)) != 0, TOY_WAIT_MS);
    assert_int_equal(pid, b->master);
    b->master = 0;
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

int
bench_stop(struct bench *b, int signo)
{
    signal_send(b->master, signo);
    return bench_end(b);
}

bool
bench_reload(struct bench *b)
{
    uint64_t before = atomic_load(&b->reader.control->reloads);

    signal_send(b->master, SIGHUP);
    WAIT_FOR(atomic_load(&b->reader.control->reloads) > before, TOY_WAIT_MS);
    return atomic_load(&b->reader.control->reload_verdict) == STATS_VERDICT_OK;
}

bool
bench_logged(const struct bench *b, const char *text)
{
    char *data;
    size_t len;
    bool found;

    if (fd_read_file(b->log, 64 << 20, &data, &len) < 0)
        return false;
    found = strstr(data, text) != NULL;
    free(data);
    return found;
}

unsigned
bench_fds(const struct bench *b)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)b->master);
    return guard_entries(path);
}

unsigned
bench_rows(const struct bench *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < STATS_REGIONS; i++)
        n += atomic_load(&b->reader.control->worker[i].state) != STATS_WORKER_NONE;
    return n;
}

int
bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    guard_directory(b->dir, sizeof(b->dir));
    snprintf(b->run, sizeof(b->run), "%s/run", b->dir);
    snprintf(b->log, sizeof(b->log), "%s/log", b->dir);
    b->toy = mmap(NULL, sizeof(*b->toy), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b->why = mmap(NULL, sizeof(*b->why), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b->toy->workers = 2;
    b->toy->url_count = 1;
    b->toy->mode_index = -1;
    snprintf(b->toy->url[0], sizeof(b->toy->url[0]), "msp://127.0.0.1:0");
    snprintf(b->toy->runtime_dir, sizeof(b->toy->runtime_dir), "%s", b->run);
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "10s");
    snprintf(b->toy->drain_timeout, sizeof(b->toy->drain_timeout), "10s");
    *state = b;
    return 0;
}

int
bench_teardown(void **state)
{
    static const char *const names[] = {
        "log",    "log.1",          "run/control",     "run/stats",    "run/lock",
        "s.sock", "run/msockd.pid", "run/control.new", "run/stats.new"};
    struct bench *b = *state;
    char path[128];

    if (b->master > 0) {
        signal_send(b->master, SIGKILL);
        waitpid(b->master, NULL, 0);
    }
    if (b->reading)
        stats_reader_close(&b->reader);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
        unlink(path);
    }
    rmdir(b->run);
    rmdir(b->dir);
    munmap(b->toy, sizeof(*b->toy));
    munmap(b->why, sizeof(*b->why));
    free(b);
    return 0;
}
