/* A worker's set-up and its end: everything it holds is opened and closed here. */
#include "worker/worker_state.h"

#include "common/fd.h"
#include "common/text.h"
#include "worker/conn.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define RECALL_TRIES       200 /* a second in all */
#define RECALL_PAUSE_MS    5
#define DESCRIPTORS_ENOUGH (1u << 20)
#define DESCRIPTORS_SPARE  12u /* for commits, and for what is open for a moment */
#define DESCRIPTORS_LEAST  8u
#define REFUSED_MAX        256u

int
worker_watch(struct worker *w, int fd, struct watch *watch, void (*ready)(struct watch *, uint32_t))
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = watch};

    watch->ready = ready;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* SplitMix64: what it is for must not repeat; nobody is kept out by it. */
uint64_t
worker_nonce(struct worker *w)
{
    uint64_t x = w->nonce += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Descriptors that are open now. */
static unsigned
worker_open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

/* What connections and bodies may have together: the rest of the limit but for what commits and
 * handlers come to need. */
static void
worker_share_descriptors(struct worker *w)
{
    uint64_t needed = worker_open_descriptors() + DESCRIPTORS_SPARE, max = DESCRIPTORS_ENOUGH;
    struct rlimit limit;

    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->descriptors != NULL)
            needed += w->handlers[i].ops->descriptors(w->handlers[i].handler);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < max)
        max = limit.rlim_cur;
    max = max > needed + DESCRIPTORS_LEAST ? max - needed : DESCRIPTORS_LEAST;
    w->store.ledger.descriptors_max = (unsigned)max;
    w->refused_max = max / 8 < REFUSED_MAX ? (unsigned)max / 8 : REFUSED_MAX;
}

static int
worker_spill_open(void *arg)
{
    const struct worker *w = arg;

    return w->setup->spill_open(w->config);
}

/* One line a second at most: a full disk fails every message. */
static void
worker_store_failed(void *arg, int error)
{
    struct worker *w = arg;

    if (w->store_failed_us != 0 && w->now_us < w->store_failed_us + WORKER_TICK_US)
        return;
    w->store_failed_us = w->now_us;
    log_line(LOG_store_failed, "a message that is arriving cannot be stored in %s: %s",
             w->config->data_dir, strerror(error));
}

static int
worker_transforms_open(struct worker *w, struct worker_listener *l, char error[HANDLER_ERROR_LEN])
{
    const struct transforms *common = w->setup->transforms;
    const struct listener_config *config = l->child->config;
    struct transform sealing = {.seal = NULL};

    for (size_t i = 0; common != NULL && i < common->count; i++)
        if (transforms_add(&l->transforms, &common->list[i]) < 0)
            return -1;
    if (config->keys.count == 0)
        return 0;
    sealing.seal = seal_create(&config->keys, SEAL_TO_CLIENT, error);
    return sealing.seal != NULL ? transforms_add(&l->transforms, &sealing) : -1;
}

/* What is too large for what comes behind the protocol is refused by its size alone. */
static void
worker_take_limit(struct worker_listener *l)
{
    const struct worker_handler *wh = l->handler;
    struct proto_limits *limits = &l->limits;

    if (transforms_whole(&l->transforms) > 0) {
        uint64_t half = l->worker->config->worker_memory_max / 2; /* as it came, and as it is */

        limits->take_max = half < TRANSFORM_BODY_MAX ? half : TRANSFORM_BODY_MAX;
        snprintf(limits->taker, sizeof(limits->taker), "what its transforms take");
    } else if (wh->ops->take_max != NULL) {
        limits->take_max = wh->ops->take_max(wh->handler);
        snprintf(limits->taker, sizeof(limits->taker), "what handler=%s takes", wh->ops->name);
    }
}

/* First of all: whatever fails then, worker_close closes them. */
static void
worker_sockets_open(struct worker *w)
{
    for (size_t i = 0; i < w->child->socket_count; i++) {
        const struct child_socket *cs = &w->child->sockets[i];

        w->sockets[i] =
            (struct worker_socket){.listener = &w->listeners[cs->listener], .fd = cs->fd};
        w->socket_count++;
    }
}

/* The scope of a listener's ids, by its name as the journal has it. */
static uint64_t
worker_scope(const struct worker *w, const char *name, unsigned alike)
{
    char escaped[512];

    if (!text_is_utf8(name, strlen(name))) {
        (void)text_escape(name, strlen(name), escaped, sizeof(escaped));
        name = escaped;
    }
    return dedup_scope(w->dedup, name, alike);
}

/* How many listeners before this one have its name. */
static unsigned
worker_alike(const struct worker *w, size_t listener)
{
    const struct child_listener *all = w->child->listeners;
    unsigned alike = 0;

    for (size_t i = 0; i < listener; i++)
        alike += strcmp(all[i].config->name, all[listener].config->name) == 0;
    return alike;
}

static int
worker_tls_open(const struct worker *w, struct worker_listener *l, char error[HANDLER_ERROR_LEN])
{
    const struct listener_config *config = l->child->config;
    char why[TLS_ERROR_LEN];

    if (config->number[OPTION_TLS] == 0)
        return 0;
    l->tls = listener_tls_context(config, &w->child->tls_secret, why);
    if (l->tls == NULL)
        snprintf(error, HANDLER_ERROR_LEN, "%.60s: %.180s", config->name, why);
    return l->tls != NULL ? 0 : -1;
}

static void
worker_listener_close(struct worker_listener *l)
{
    transforms_fini(&l->transforms);
    tls_context_destroy(l->tls);
}

static int
worker_listeners_open(struct worker *w, char error[HANDLER_ERROR_LEN])
{
    for (size_t i = 0; i < w->child->listener_count; i++) {
        const struct child_listener *cl = &w->child->listeners[i];
        struct worker_listener *l = &w->listeners[i];

        l->worker = w;
        l->child = cl;
        l->limits = cl->config->limits;
        l->proto = proto_find(cl->config->proto);
        MS_ASSERT(l->proto != NULL);
        l->handler = worker_handler(w, cl, error);
        if (l->handler == NULL || worker_transforms_open(w, l, error) < 0)
            return -1;
        l->limits.answers = l->handler->ops->answers;
        if (l->handler->ops->is_silent)
            l->limits.reply = REPLY_NO;
        worker_take_limit(l);
        if (worker_tls_open(w, l, error) < 0)
            return -1;
        l->meaning = handover_meaning(cl->config);
        l->dedup_window_ms = cl->config->number[OPTION_DEDUP_WINDOW] / 1000;
        if (l->dedup_window_ms > 0)
            l->dedup_scope = worker_scope(w, cl->config->name, worker_alike(w, i));
        w->listener_count++;
    }
    return 0;
}

int
child_signals_open(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGUSR1);
    /* A terminal's ^C and ^\ reach the whole group; only the master acts on them. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN); /* with `stty tostop` a line of the log would stop it */
    signal(SIGXFSZ, SIG_IGN); /* writes beyond `ulimit -f` fail instead */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int
worker_signals_open(struct worker *w, const struct worker_events *events)
{
    w->signal_fd = child_signals_open();
    if (w->signal_fd < 0 || worker_watch(w, w->signal_fd, &w->signal_watch, events->signals) < 0)
        return -1;
    return worker_watch(w, w->child->master_fd, &w->master_watch, events->master_gone);
}

/* That the turn ends is all that it is for. */
static void
worker_wake(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, wake_watch));
    uint64_t count;

    (void)events;
    (void)fd_read(w->setup->wake_fd, &count, sizeof(count));
}

static int
worker_wake_open(struct worker *w)
{
    int fd = w->setup->wake_fd;

    return fd < 0 ? 0 : worker_watch(w, fd, &w->wake_watch, worker_wake);
}

/* The bell is never read: edge-triggered, it wakes every worker once each time it is rung. */
static void
worker_bell(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, bus_watch));

    (void)events;
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->heard != NULL)
            w->handlers[i].ops->heard(w->handlers[i].handler);
}

/* Only where a handler listens: the others need not be woken. */
static bool
worker_needs_bus(const struct worker *w)
{
    for (size_t i = 0; i < w->child->listener_count; i++) {
        const char *name = w->child->listeners[i].config->handler;

        if (w->child->bus.memory_fd >= 0 && w->setup->find_handler(name)->heard != NULL)
            return true;
    }
    return false;
}

static int
worker_bus_open(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &w->bus_watch};

    if (!worker_needs_bus(w))
        return 0;
    w->bus_watch.ready = worker_bell;
    w->bus = bus_open(&w->child->bus, w->child->stats.region);
    if (w->bus == NULL)
        return -1;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, bus_bell(w->bus), &ev);
}

/* Without them no more of the bus can be written than what is mapped. */
static void
worker_bus_forget(const struct child *child)
{
    int memory_fd = child->bus.memory_fd, read_fd = child->bus.read_fd;

    fd_close(&memory_fd);
    fd_close(&read_fd);
}

static void
worker_helped(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, helper_watch));

    (void)events;
    helper_collect(w->helper);
}

struct helper *
worker_helper(struct worker *w)
{
    struct helper *h = w->helper;

    if (h != NULL)
        return h;
    h = helper_create("msockd-helper");
    if (h == NULL || worker_watch(w, helper_fd(h), &w->helper_watch, worker_helped) < 0) {
        helper_destroy(h);
        return NULL;
    }
    w->helper = h;
    return h;
}

static int
worker_store_open(struct worker *w)
{
    w->store = (struct message_store){
        .digester = digester_create(),
        .memory_max = w->config->memory_message_max,
        .ledger.max = w->config->worker_memory_max,
        .spill_open = worker_spill_open,
        .spill_close = disk_close,
        .spill_arg = w,
        .failed = worker_store_failed,
        .disk_reserve = w->sources != NULL ? disk_reserve : NULL,
        .disk_release = disk_release,
    };
    w->read_buf = ms_malloc(WORKER_READ_SIZE + WORKER_SEND_SIZE);
    w->send_buf = w->read_buf + WORKER_READ_SIZE;
    return w->store.digester != NULL && w->read_buf != NULL ? 0 : -1;
}

/* After a start of msockd: where it does not take long, nobody has to wait for it later. */
static void
worker_await_recall(const struct worker *w)
{
    bool recalls = false;

    for (unsigned i = 0; i < w->handler_count; i++)
        recalls |= w->handlers[i].ops->recall != NULL;
    for (unsigned i = 0; i < RECALL_TRIES && recalls && !dedup_is_filled(w->dedup); i++)
        poll(NULL, 0, RECALL_PAUSE_MS);
}

int
worker_open(struct worker *w, const struct child *child, const struct worker_setup *setup,
            const struct worker_events *events, char error[HANDLER_ERROR_LEN])
{
    const char *step = "shared memory";

    w->child = child;
    w->config = child->config;
    w->epoll_fd = w->signal_fd = w->spare_fd = -1;
    worker_sockets_open(w);
    w->now_us = clock_mono_us();
    timer_wheel_init(&w->wheel, w->now_us);
    TAILQ_INIT(&w->copies);
    STAILQ_INIT(&w->documents);
    TAILQ_INIT(&w->paused);
    TAILQ_INIT(&w->unknown);
    STAILQ_INIT(&w->touched);
    TAILQ_INIT(&w->unread);
    TAILQ_INIT(&w->handshakes);
    TAILQ_INIT(&w->proxied);
    w->setup = setup;
    ms_random(&w->nonce, sizeof(w->nonce));
    if (setup->is_process) {
        json_seed();
        (void)fd_raise_limit();
    }
    if (stats_writer_open(&w->stats, &child->stats) < 0)
        goto failed;
    if (setup->is_process)
        events->watch_crashes(w->stats.recorder);
    if (child->sources != NULL) {
        w->sources = sources_open(child->sources, child->stats.region, child->stats.incarnation,
                                  w->stats.control, child->stats.stats_fd, w->now_us);
        if (w->sources == NULL)
            goto failed;
        w->crashes = sources_crashes(w->sources);
    }
    if (child->config->dedup_window_us > 0) {
        w->dedup = dedup_open(child->dedup, child->stats.region, child->stats.incarnation,
                              w->stats.control, child->config->dedup_window_us / 1000);
        if (w->dedup == NULL)
            goto failed;
    }
    step = "digests";
    if (worker_store_open(w) < 0)
        goto failed;
    step = "event loop";
    w->epoll_fd = fd_above_standard(epoll_create1(EPOLL_CLOEXEC));
    if (w->epoll_fd < 0 || (setup->is_process && worker_signals_open(w, events) < 0) ||
        worker_wake_open(w) < 0)
        goto failed;
    step = "the bus between the workers";
    if (worker_bus_open(w) < 0)
        goto failed;
    worker_bus_forget(child);
    if (worker_listeners_open(w, error) < 0)
        return -1;
    worker_share_descriptors(w);
    step = "listeners";
    if (!w->setup->is_process && worker_go(w) < 0)
        goto failed;
    if (w->dedup != NULL)
        worker_await_recall(w);
    timer_set(&w->wheel, &w->tick_timer, w->now_us + WORKER_TICK_US);
    return 0;
failed:
    snprintf(error, HANDLER_ERROR_LEN, "%s: %s", step, strerror(errno));
    return -1;
}

int
worker_go(struct worker *w)
{
    return accept_start(w) < 0 ? -1 : handover_start(w);
}

void
worker_close(struct worker *w)
{
    if (w->helper != NULL)
        helper_finish(w->helper);
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->finish != NULL)
            w->handlers[i].ops->finish(w->handlers[i].handler);
    conn_end_copies(w);
    conn_finish_turn(w);
    conn_drain_all(w, true);
    conn_finish_turn(w);
    proxied_expire(w, true);
    conn_close_all(w);
    w->store.spill_close = NULL;
    helper_destroy(w->helper);
    conn_finish_turn(w);
    for (unsigned i = 0; i < w->handler_count; i++)
        w->handlers[i].ops->destroy(w->handlers[i].handler);
    for (size_t i = 0; i < w->listener_count; i++)
        worker_listener_close(&w->listeners[i]);
    accept_end(w);
    bus_close(w->bus);
    dedup_close(w->dedup);
    sources_close(w->sources);
    stats_writer_close(&w->stats);
    MS_ASSERT(w->store.ledger.used == 0); /* whoever took memory has given it back */
    digester_destroy(w->store.digester);
    fd_close(&w->epoll_fd);
    fd_close(&w->signal_fd);
    fd_close(&w->spare_fd);
    free(w->settled_begun);
    free(w->read_buf);
}
