#include "bench_load.h"

#include "numbers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LOAD_CONNECTING_MAX 128u /* at one time: below the backlog of any server */
#define LOAD_SCAN_NS        100000000u
#define LOAD_EVENTS         512

static volatile sig_atomic_t load_signal;

static void
load_on_signal(int signo)
{
    load_signal = signo;
}

/* The first signal ends the load in good order, a second one ends the program. */
static void
load_catch_signals(void)
{
    struct sigaction action = {.sa_handler = load_on_signal, .sa_flags = SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

uint32_t
load_take(struct load *load, const struct conn *conn, uint32_t wanted)
{
    if (load->phase != LOAD_WARMUP && load->phase != LOAD_MEASURE)
        return 0;
    if (load->options->idle && conn->begun_seq > 0)
        return 0;
    if (wanted > load->left)
        wanted = (uint32_t)load->left;
    load->left -= wanted;
    load->open_messages += wanted;
    return wanted;
}

static uint64_t
load_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
load_enter(struct load *load, enum load_phase phase)
{
    load->phase = phase;
    load->phase_ns = load->now_ns = number_now_ns();
    if (phase == LOAD_MEASURE)
        load->cpu_ns = load_cpu_ns();
}

static void
load_measured(struct load *load, enum load_phase next)
{
    struct bench_result *result = load->result;
    uint64_t cpu_ns = load_cpu_ns() - load->cpu_ns;

    load->now_ns = number_now_ns();
    result->seconds = (double)(load->now_ns - load->phase_ns) / 1e9;
    result->cpu = result->seconds > 0 ? (double)cpu_ns / 1e9 / result->seconds : 0;
    load_enter(load, next);
}

/* A large load is begun over many calls of send: each message's own time is what counts for it. */
static void
load_begin(struct load *load)
{
    load_enter(load, load->options->warmup_s > 0 ? LOAD_WARMUP : LOAD_MEASURE);
    for (uint32_t i = 0; i < load->options->connections; i++) {
        load->now_ns = number_now_ns();
        conn_send(&load->conns[i]);
    }
}

static uint32_t
load_unsettled(const struct load *load)
{
    return load->count[CONN_NEW] + load->count[CONN_CONNECTING] + load->count[CONN_OPENING] +
           load->count[CONN_WAITING];
}

static void
load_connect(struct load *load)
{
    const struct bench_result *result = load->result;
    uint32_t first = load->options->connections < LOAD_CONNECTING_MAX ? load->options->connections
                                                                      : LOAD_CONNECTING_MAX;

    while (load->next_new < load->options->connections &&
           load->count[CONN_CONNECTING] < LOAD_CONNECTING_MAX)
        conn_open(&load->conns[load->next_new++]);
    if (load_signal != 0 || (result->connected == 0 && result->connect_failures >= first))
        load_enter(load, LOAD_DONE);
    else if (load_unsettled(load) == 0)
        load_begin(load);
}

/* What was sent and is not acknowledged must not be taken back by closing: the server closes
 * first. */
static void
load_leave(struct load *load)
{
    if (!bench_only_sends(load->options)) {
        load_enter(load, LOAD_DONE);
        return;
    }
    load_enter(load, LOAD_LEAVE);
    for (uint32_t i = 0; i < load->options->connections; i++)
        if (load->conns[i].state == CONN_UP)
            conn_leave(&load->conns[i]);
}

/* Connections stay open until whoever started this has seen enough. */
static void
load_hold(struct load *load)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    load_enter(load, LOAD_HOLD);
    printf("ready %u\n", load->count[CONN_UP]);
    fflush(stdout);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        load_leave(load); /* a file, or none: it ends here and now */
}

/* Everything is answered. */
static void
load_end(struct load *load)
{
    if (load->options->hold && load_signal == 0)
        load_hold(load);
    else
        load_leave(load);
}

static void
load_input_event(struct load *load)
{
    char ignored[4096];
    ssize_t n = read(STDIN_FILENO, ignored, sizeof(ignored));

    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return;
    epoll_ctl(load->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    load_leave(load);
}

static bool
load_passed(const struct load *load, double seconds)
{
    return (double)(load->now_ns - load->phase_ns) >= seconds * 1e9;
}

static bool
load_timed(const struct load *load)
{
    return load->options->messages == 0 && !load->options->idle;
}

static void
load_measure(struct load *load)
{
    if (load->count[CONN_DEAD] == load->options->connections) {
        load_measured(load, LOAD_DONE);
    } else if (load_signal != 0 ||
               (load_timed(load) && load_passed(load, load->options->seconds))) {
        load->result->interrupted = load_signal != 0;
        load_measured(load, LOAD_DRAIN);
    } else if (load->left == 0 && load->open_messages == 0) {
        load_measured(load, LOAD_DRAIN);
        load_end(load);
    }
}

/* Moves on to the next phase where its time has come. */
static void
load_step(struct load *load)
{
    switch (load->phase) {
    case LOAD_CONNECT:
        load_connect(load);
        break;
    case LOAD_WARMUP:
        if (load_passed(load, load->options->warmup_s) || load_signal != 0)
            load_enter(load, LOAD_MEASURE);
        break;
    case LOAD_MEASURE:
        load_measure(load);
        break;
    case LOAD_DRAIN:
        if (load->open_messages == 0)
            load_end(load);
        break;
    case LOAD_HOLD:
        if (load_signal != 0)
            load_leave(load);
        break;
    case LOAD_LEAVE:
        if (load->count[CONN_UP] == 0)
            load_enter(load, LOAD_DONE);
        break;
    case LOAD_DONE:
        break;
    }
}

static void
load_retry(struct load *load)
{
    uint64_t due = load->retry_ns;

    if (load->count[CONN_WAITING] == 0 || load->now_ns < due || load->phase == LOAD_LEAVE)
        return;
    load->retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < load->options->connections; i++) {
        struct conn *conn = &load->conns[i];

        if (conn->state != CONN_WAITING)
            continue;
        if (conn->retry_ns <= load->now_ns && load->count[CONN_CONNECTING] < LOAD_CONNECTING_MAX)
            conn_open(conn);
        else if (conn->retry_ns < load->retry_ns)
            load->retry_ns = conn->retry_ns;
    }
}

static void
load_scan(struct load *load)
{
    uint64_t limit_ns = (uint64_t)(load->options->timeout_s * 1e9);

    if (load->now_ns < load->scan_ns)
        return;
    load->scan_ns = load->now_ns + LOAD_SCAN_NS;
    for (uint32_t i = 0; i < load->options->connections; i++) {
        struct conn *conn = &load->conns[i];

        if (conn_awaits(conn) && conn->heard_ns + limit_ns < load->now_ns)
            conn_expire(conn);
    }
}

/* How long epoll may wait, in milliseconds: until the phase, a retry or the next scan is due. */
static int
load_wait_ms(const struct load *load)
{
    uint64_t due = load->scan_ns;
    double seconds = load->phase == LOAD_WARMUP ? load->options->warmup_s : load->options->seconds;

    if (load->phase == LOAD_WARMUP || (load->phase == LOAD_MEASURE && load_timed(load))) {
        uint64_t end = load->phase_ns + (uint64_t)(seconds * 1e9);

        due = end < due ? end : due;
    }
    if (load->count[CONN_WAITING] > 0 && load->retry_ns < due)
        due = load->retry_ns;
    if (due <= load->now_ns)
        return load->count[CONN_CONNECTING] > 0 ? 1 : 0;
    return (int)((due - load->now_ns) / 1000000) + 1;
}

static void
load_loop(struct load *load)
{
    struct epoll_event events[LOAD_EVENTS];

    load->now_ns = number_now_ns();
    load_step(load);
    while (load->phase != LOAD_DONE) {
        int n = epoll_wait(load->epoll, events, LOAD_EVENTS, load_wait_ms(load));

        load->now_ns = number_now_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL)
                conn_event(events[i].data.ptr, events[i].events);
            else
                load_input_event(load);
        }
        load_retry(load);
        load_scan(load);
        load_step(load);
    }
}

static int
load_prepare(struct load *load)
{
    const struct bench_options *options = load->options;
    size_t ahead = options->ahead > 0 ? options->ahead : 1;

    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->conns = calloc(options->connections, sizeof(*load->conns));
    load->stamps = calloc(options->connections * ahead, sizeof(*load->stamps));
    load->marks = calloc(options->connections * ahead, sizeof(*load->marks));
    if (load->epoll < 0 || load->conns == NULL || load->stamps == NULL || load->marks == NULL)
        return -1;
    load->left = options->idle           ? options->connections
                 : options->messages > 0 ? options->messages
                                         : UINT64_MAX;
    load->retry_ns = UINT64_MAX;
    load->random = load->message->run;
    load->count[CONN_NEW] = options->connections;
    for (uint32_t i = 0; i < options->connections; i++) {
        load->conns[i].load = load;
        load->conns[i].index = i;
        load->conns[i].fd = -1;
        load->conns[i].stamps = load->stamps + i * ahead;
        load->conns[i].marks = load->marks + i * ahead;
    }
    return 0;
}

static void
load_fini(struct load *load)
{
    if (load->conns != NULL)
        for (uint32_t i = 0; i < load->options->connections; i++) {
            load->result->unanswered += load->conns[i].begun_seq - load->conns[i].done_seq;
            conn_fini(&load->conns[i]);
        }
    free(load->conns);
    free(load->stamps);
    free(load->marks);
    if (load->epoll >= 0)
        close(load->epoll);
    free(load);
}

int
load_run(const struct bench_options *options, const struct endpoint *endpoint,
         struct bench_message *message, struct bench_result *result)
{
    struct load *load = calloc(1, sizeof(*load));
    int rc = -1;

    if (load == NULL)
        return -1;
    load->options = options;
    load->endpoint = endpoint;
    load->message = message;
    load->result = result;
    if (load_prepare(load) == 0) {
        load_catch_signals();
        load_loop(load);
        rc = 0;
    }
    load_fini(load);
    return rc;
}
