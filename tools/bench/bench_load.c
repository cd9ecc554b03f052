/* The phases of a load, and its schedule. */
#include "bench/bench_load.h"

#include "common/kernel.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LOAD_IDLE_MAX       8u   /* messages under way on connections that will be idle */
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

/* --- what is begun, and from when it counts --- */

/* Messages that are due and not begun. */
static uint64_t
load_due(const struct bench_load *load)
{
    double passed = (double)(load->now_ns - load->schedule_ns) / 1e9;
    uint64_t due = (uint64_t)(passed * load->options->rate) + 1;

    return due > load->scheduled ? due - load->scheduled : 0;
}

static uint64_t
load_due_ns(const struct bench_load *load, uint64_t number)
{
    return load->schedule_ns + (uint64_t)((double)number / load->options->rate * 1e9);
}

uint32_t
bench_load_take(struct bench_load *load, const struct bench_link *link, uint32_t wanted)
{
    uint64_t most = load->left;

    if (link->index >= load->options->connections) { /* it is beside the load */
        load->open_messages += link->begun_seq == 0;
        return link->begun_seq == 0;
    }
    if (!bench_load_sends(load) || (load->options->idle && link->begun_seq > 0))
        return 0;
    if (load->options->rate > 0 && load_due(load) < most)
        most = load_due(load);
    if (wanted > most)
        wanted = (uint32_t)most;
    load->left -= wanted;
    load->open_messages += wanted;
    return wanted;
}

uint64_t
bench_load_stamp(struct bench_load *load)
{
    return load->options->rate > 0 && load->phase != LOAD_CONNECT
               ? load_due_ns(load, load->scheduled++)
               : load->now_ns;
}

static void
load_latency_add(struct bench_latency *latency, uint64_t ns)
{
    latency->count++;
    latency->sum += ns;
    if (ns > latency->max)
        latency->max = ns;
    latency->bucket[histogram_index(ns, BENCH_BITS)]++;
}

/* With a rate, what was begun in time and answered behind it counts for the latency all the same.
 */
void
bench_load_count(struct bench_load *load, uint64_t began_ns)
{
    if (load->phase == LOAD_MEASURE)
        load->result->messages++;
    else if (load->phase != LOAD_DRAIN || load->options->rate <= 0)
        return;
    load_latency_add(&load->result->latency,
                     (load->only_sends ? load->sent_ns : load->now_ns) - began_ns);
}

/* What was due and could not be begun has waited since then at least. */
static void
load_count_unsent(struct bench_load *load)
{
    uint64_t due = load->options->rate > 0 ? load_due(load) : 0;

    if (load->options->messages > 0)
        return;
    for (uint64_t i = 0; i < due; i++)
        load_latency_add(&load->result->latency,
                         load->now_ns - load_due_ns(load, load->scheduled + i));
    load->result->unsent = due;
}

/* Begins what is due on connections that have room, in turn. */
static void
load_begin_due(struct bench_load *load)
{
    uint32_t n = load->options->connections;

    if (load->options->rate <= 0 || !bench_load_sends(load))
        return;
    for (uint32_t i = 0; i < n && load->left > 0 && load_due(load) > 0; i++) {
        struct bench_link *link = &load->links[load->next_due];

        load->next_due = load->next_due + 1 == n ? 0 : load->next_due + 1;
        bench_link_send(link);
    }
}

/* --- phases --- */

static void
load_enter(struct bench_load *load, enum load_phase phase)
{
    load->phase = phase;
    load->phase_ns = load->now_ns = bench_now_ns();
    if (phase != LOAD_MEASURE)
        return;
    load->cpu_ns = bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    load->server_cpu = bench_cpu_of(load->options->pids);
    load->flushes = bench_flushes_of(load->options->flush);
}

static void
load_measured(struct bench_load *load, enum load_phase next)
{
    struct bench_result *result = load->result;
    uint64_t cpu_ns = bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - load->cpu_ns;

    load->now_ns = bench_now_ns();
    result->seconds = (double)(load->now_ns - load->phase_ns) / 1e9;
    result->cpu = result->seconds > 0 ? (double)cpu_ns / 1e9 / result->seconds : 0;
    result->server_cpu =
        load->server_cpu < 0 ? -1 : bench_cpu_of(load->options->pids) - load->server_cpu;
    result->flushes =
        load->flushes < 0 ? -1 : bench_flushes_of(load->options->flush) - load->flushes;
    load_count_unsent(load);
    load_enter(load, next);
}

/* A large load is begun over many calls of send: each message's own time is what counts for it. */
static void
load_begin(struct bench_load *load)
{
    load_enter(load, load->options->warmup_s > 0 ? LOAD_WARMUP : LOAD_MEASURE);
    load->schedule_ns = load->now_ns;
    if (load->options->rate > 0 || load->options->idle)
        return;
    for (uint32_t i = 0; i < load->options->connections; i++) {
        load->now_ns = bench_now_ns();
        bench_link_send(&load->links[i]);
    }
}

static uint32_t
load_unsettled(const struct bench_load *load)
{
    return load->count[LINK_NEW] + load->count[LINK_CONNECTING] + load->count[LINK_SHAKING] +
           load->count[LINK_OPENING] + load->count[LINK_WAITING];
}

static void
load_connect(struct bench_load *load)
{
    const struct bench_result *result = load->result;
    uint32_t first =
        load->links_count < LOAD_CONNECTING_MAX ? load->links_count : LOAD_CONNECTING_MAX;

    while (load->next_new < load->links_count && load->count[LINK_CONNECTING] < LOAD_CONNECTING_MAX)
        bench_link_open(&load->links[load->next_new++]);
    if (load_signal != 0 || (result->connected == 0 && result->connect_failures >= first))
        load_enter(load, LOAD_DONE);
    else if (load_unsettled(load) == 0 && load->open_messages == 0)
        load_begin(load);
}

/* What was sent and is not acknowledged must not be taken back by closing: the server closes
 * first. */
static void
load_leave(struct bench_load *load)
{
    if (!load->only_sends) {
        load_enter(load, LOAD_DONE);
        return;
    }
    load_enter(load, LOAD_LEAVE);
    for (uint32_t i = 0; i < load->links_count; i++)
        if (load->links[i].state == LINK_UP)
            bench_link_leave(&load->links[i]);
}

/* Connections stay open until standard input ends. */
static void
load_hold(struct bench_load *load)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    load_enter(load, LOAD_HOLD);
    printf("ready %u\n", load->count[LINK_UP]);
    fflush(stdout);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        load_leave(load); /* a file, or none: it ends here and now */
}

/* A few at a time: what the server needs for all at once is not what a connection costs. */
static void
load_send_idle(struct bench_load *load)
{
    while (load->next_due < load->options->connections && load->open_messages < LOAD_IDLE_MAX)
        bench_link_send(&load->links[load->next_due++]);
}

/* Everything is answered. */
static void
load_end(struct bench_load *load)
{
    if (load->options->hold && load_signal == 0)
        load_hold(load);
    else
        load_leave(load);
}

static void
load_input_event(struct bench_load *load)
{
    char ignored[4096];
    ssize_t n = read(STDIN_FILENO, ignored, sizeof(ignored));

    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return;
    epoll_ctl(load->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    load_leave(load);
}

static bool
load_passed(const struct bench_load *load, double seconds)
{
    return (double)(load->now_ns - load->phase_ns) >= seconds * 1e9;
}

static bool
load_timed(const struct bench_load *load)
{
    return load->options->messages == 0 && !load->options->idle;
}

static void
load_measure(struct bench_load *load)
{
    if (load->options->idle && load_signal == 0)
        load_send_idle(load);
    if (load->count[LINK_DEAD] == load->links_count) {
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
load_step(struct bench_load *load)
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
        if (load->open_messages == 0 || load_signal != 0)
            load_end(load);
        break;
    case LOAD_HOLD:
        if (load_signal != 0)
            load_leave(load);
        break;
    case LOAD_LEAVE:
        if (load->count[LINK_UP] == 0)
            load_enter(load, LOAD_DONE);
        break;
    case LOAD_DONE:
        break;
    }
}

static void
load_retry(struct bench_load *load)
{
    uint64_t due = load->retry_ns;

    if (load->count[LINK_WAITING] == 0 || load->now_ns < due || load->phase == LOAD_LEAVE)
        return;
    load->retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < load->links_count; i++) {
        struct bench_link *link = &load->links[i];

        if (link->state != LINK_WAITING)
            continue;
        if (link->retry_ns <= load->now_ns && load->count[LINK_CONNECTING] < LOAD_CONNECTING_MAX)
            bench_link_open(link);
        else if (link->retry_ns < load->retry_ns)
            load->retry_ns = link->retry_ns;
    }
}

static void
load_scan(struct bench_load *load)
{
    uint64_t limit_ns = (uint64_t)(load->options->timeout_s * 1e9);

    if (load->now_ns < load->scan_ns)
        return;
    load->scan_ns = load->now_ns + LOAD_SCAN_NS;
    for (uint32_t i = 0; i < load->links_count; i++) {
        struct bench_link *link = &load->links[i];

        if (link->speech != NULL && load->options->speech->ops->tick != NULL)
            load->options->speech->ops->tick(link);
        if (bench_link_awaits(link) && link->heard_ns + limit_ns < load->now_ns)
            bench_link_expire(link);
    }
}

/* How long epoll may wait: until the phase, a message, a retry or the next scan is due. */
static uint64_t
load_wait_ns(const struct bench_load *load)
{
    bool sends = bench_load_sends(load);
    double seconds = load->phase == LOAD_WARMUP ? load->options->warmup_s : load->options->seconds;
    uint64_t due = load->scan_ns, end = load->phase_ns + (uint64_t)(seconds * 1e9);

    if ((load->phase == LOAD_WARMUP || (sends && load_timed(load))) && end < due)
        due = end;
    /* What is due already waits for a connection, not for its time. */
    if (sends && load->options->rate > 0 && load->left > 0 && load_due(load) == 0 &&
        load_due_ns(load, load->scheduled) < due)
        due = load_due_ns(load, load->scheduled);
    if (load->count[LINK_WAITING] > 0 && load->retry_ns < due)
        due = load->retry_ns;
    if (due <= load->now_ns)
        return load->count[LINK_CONNECTING] > 0 ? 1000000 : 0;
    return due - load->now_ns;
}

static void
load_loop(struct bench_load *load)
{
    struct epoll_event events[LOAD_EVENTS];

    load->now_ns = bench_now_ns();
    load_step(load);
    while (load->phase != LOAD_DONE) {
        int n = kernel_epoll_wait_ns(load->epoll, events, LOAD_EVENTS, load_wait_ns(load));

        load->now_ns = bench_now_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL)
                bench_link_event(events[i].data.ptr, events[i].events);
            else
                load_input_event(load);
        }
        load_retry(load);
        load_scan(load);
        load_step(load);
        load_begin_due(load); /* last: time goes on in the others */
    }
}

static int
load_make_body(struct bench_load *load)
{
    const struct bench_options *options = load->options;

    load->body = malloc((size_t)options->size + 1);
    if (load->body == NULL)
        return -1;
    switch (options->kind) {
    case BENCH_PLAIN:
        document_text(load->body, (size_t)options->size);
        break;
    case BENCH_JSON:
        document_json(load->body, (size_t)options->size);
        break;
    case BENCH_FILE:
        document_binary(load->body, (size_t)options->size);
        break;
    }
    ms_random(&load->run, sizeof(load->run));
    return 0;
}

static int
load_prepare(struct bench_load *load)
{
    const struct bench_options *options = load->options;

    load->only_sends = bench_only_sends(options);
    load->slots = options->ahead > 0 ? options->ahead : 1;
    load->links_count = options->connections + options->beside;
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->links = calloc(load->links_count, sizeof(*load->links));
    load->stamps = calloc(load->links_count * load->slots, sizeof(*load->stamps));
    if (load->epoll < 0 || load->links == NULL || load->stamps == NULL ||
        load_make_body(load) < 0 || options->speech->ops->prepare(load) < 0)
        return -1;
    load->left = options->idle           ? options->connections
                 : options->messages > 0 ? options->messages
                                         : UINT64_MAX;
    load->retry_ns = UINT64_MAX;
    load->random = load->run;
    load->count[LINK_NEW] = load->links_count;
    for (uint32_t i = 0; i < load->links_count; i++) {
        load->links[i].load = load;
        load->links[i].index = i;
        load->links[i].fd = -1;
        load->links[i].stamps = load->stamps + i * load->slots;
    }
    return 0;
}

static void
load_fini(struct bench_load *load)
{
    if (load->links != NULL)
        for (uint32_t i = 0; i < load->links_count && load->links[i].load != NULL; i++) {
            load->result->unanswered += load->links[i].begun_seq - load->links[i].done_seq;
            bench_link_fini(&load->links[i]);
        }
    load->options->speech->ops->release(load);
    free(load->links);
    free(load->stamps);
    free(load->body);
    if (load->epoll >= 0)
        close(load->epoll);
    free(load);
}

int
bench_load_run(const struct bench_options *options, const struct endpoint *endpoint,
               struct bench_result *result)
{
    struct bench_load *load = calloc(1, sizeof(*load));
    int rc = -1;

    if (load == NULL)
        return -1;
    load->options = options;
    load->endpoint = endpoint;
    load->result = result;
    load->flushes = -1;
    result->server_cpu = -1;
    result->flushes = -1;
    if (load_prepare(load) == 0) {
        load_catch_signals();
        load_loop(load);
        rc = 0;
    }
    load_fini(load);
    return rc;
}
