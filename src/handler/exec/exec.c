/* Gives every message to a program. Messages wait in one queue for a free child; exec_slot.c does
 * the rest. A waiting message fails only if no message was served for the time that a single one
 * may take: a long queue before a slow command is no failure. Invariant: exec_dispatch is called
 * whenever a slot or a message may have become free; while the first message still waits, an event
 * of a child or a timer is to come. */
#include "handler/exec/exec.h"
#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define EXEC_EVENTS         64
#define EXEC_TIMER          UINT64_MAX /* no child's key */
#define EXEC_START_FIRST_US 10000
#define EXEC_START_MAX_US   10000000
#define EXEC_FINISH_US      2000000 /* the master does not wait much longer for a worker */
#define EXEC_GONE_US        1000000 /* the same for children: then SIGKILL */
#define EXEC_REAP_US        1000000 /* and after that they are nobody's */

static const char exec_leaves[] = "the server leaves before the command has answered";

/* --- the time --- */

void
exec_arm(struct exec *h, uint64_t when_us)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(when_us / 1000000),
                                         .tv_nsec = (long)(when_us % 1000000) * 1000}};

    if (when_us >= h->armed_us)
        return;
    h->armed_us = when_us;
    MS_ASSERT(timerfd_settime(h->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

void
exec_start_failed(struct exec *h)
{
    uint64_t now_us = clock_mono_us();

    if (now_us < h->start_at_us)
        return; /* several ended together: that is one failure */
    h->start_delay_us = h->start_delay_us == 0 ? EXEC_START_FIRST_US : h->start_delay_us * 2;
    if (h->start_delay_us > EXEC_START_MAX_US)
        h->start_delay_us = EXEC_START_MAX_US;
    h->start_at_us = now_us + h->start_delay_us;
}

/* --- the queue --- */

static struct exec_job *
exec_take_first(struct exec *h)
{
    struct exec_job *job = STAILQ_FIRST(&h->queue);

    if (job != NULL)
        STAILQ_REMOVE_HEAD(&h->queue, link);
    return job;
}

static uint64_t
exec_queue_deadline(const struct exec *h)
{
    uint64_t since_us = STAILQ_FIRST(&h->queue)->queued_us;

    if (since_us < h->served_us)
        since_us = h->served_us;

    return since_us + h->config.timeout_us;
}

static void
exec_expire_queue(struct exec *h, uint64_t now_us)
{
    while (!STAILQ_EMPTY(&h->queue) && exec_queue_deadline(h) <= now_us)
        exec_settle_failed(h, exec_take_first(h),
                           "the command was not ready for the message within exec_timeout", 0);
}

/* --- giving messages to children --- */

static struct exec_slot *
exec_find(struct exec *h, enum exec_slot_state state)
{
    for (unsigned i = 0; i < h->config.children; i++)
        if (h->slots[i].state == state)
            return &h->slots[i];
    return NULL;
}

/* A new child takes a message that an older child left behind when it ended: the other old children
 * may be about to end too. */
static struct exec_slot *
exec_choose(struct exec *h, const struct exec_job *job)
{
    struct exec_slot *slot = job->tries > 0 ? NULL : exec_find(h, EXEC_SLOT_IDLE);

    if (slot == NULL && clock_mono_us() >= h->start_at_us)
        slot = exec_find(h, EXEC_SLOT_FREE);
    if (slot == NULL)
        slot = exec_find(h, EXEC_SLOT_IDLE);
    return slot;
}

/* Where a child cannot be started the next one must not be tried at once, so this ends. */
static void
exec_dispatch(struct exec *h)
{
    struct exec_slot *slot;

    while (!h->is_leaving && !STAILQ_EMPTY(&h->queue) &&
           (slot = exec_choose(h, STAILQ_FIRST(&h->queue))) != NULL) {
        struct exec_job *job = exec_take_first(h);
        char text[HANDLER_ERROR_LEN];

        if (exec_slot_give(h, slot, job) == 0)
            continue;
        snprintf(text, sizeof(text), "the command cannot be started: %s", strerror(errno));
        exec_warn(h, text, NULL);
        STAILQ_INSERT_HEAD(&h->queue, job, link);
        exec_start_failed(h);
    }
    if (STAILQ_EMPTY(&h->queue))
        return;
    exec_arm(h, exec_queue_deadline(h));
    if (h->start_at_us > clock_mono_us())
        exec_arm(h, h->start_at_us);
}

static void
exec_note_origin(struct exec *h, struct exec_job *job)
{
    struct message_origin origin;

    h->host.origin(h->host.ctx, job->m, &origin);
    job->proto = ms_strdup(origin.proto);
    job->peer = ms_strdup(origin.peer);
    job->identity = ms_strdup(origin.identity != NULL ? origin.identity : "-");
}

/* The header that a child of a pool gets counts in 32 bits. */
static uint64_t
exec_take_max(void *handler)
{
    const struct exec *h = handler;

    return h->config.once ? 0 : UINT32_MAX / 2;
}

static void
exec_submit(void *handler, struct message *m)
{
    struct exec *h = handler;
    struct exec_job *job = ms_calloc(1, sizeof(*job));
    const char *refusal = h->config.once ? exec_env_refuses(m) : NULL;

    if (!h->config.once && m->size > exec_take_max(h))
        refusal = "the message is too long for exec=pool";
    ledger_take(&h->host.store->ledger, EXEC_JOB_COST);
    job->m = m;
    h->out++;
    if (m->error != 0) {
        exec_settle_failed(h, job, OUTCOME_NOT_KEPT, m->error);
    } else if (refusal != NULL) {
        exec_settle_unfit(h, job, refusal);
    } else if (h->is_leaving) {
        exec_settle_failed(h, job, exec_leaves, 0);
    } else {
        job->queued_us = clock_mono_us();
        if (h->config.once)
            exec_note_origin(h, job);
        STAILQ_INSERT_TAIL(&h->queue, job, link);
        exec_dispatch(h);
    }
}

/* --- events --- */

static void
exec_timer(struct exec *h)
{
    uint64_t now_us = clock_mono_us(), times;

    (void)fd_read(h->timer_fd, &times, sizeof(times));
    h->armed_us = UINT64_MAX;
    for (unsigned i = 0; i < h->config.children; i++) {
        struct exec_slot *slot = &h->slots[i];

        if (slot->state == EXEC_SLOT_FREE || slot->state == EXEC_SLOT_IDLE)
            continue;
        if (slot->deadline_us <= now_us) {
            exec_slot_due(h, slot);
        } else {
            exec_arm(h, slot->deadline_us);
            exec_slot_event(h, slot, EXEC_CHILD_IN);
        }
        exec_slot_look(h, slot);
    }
    exec_expire_queue(h, now_us);
}

static int
exec_event_fd(void *handler)
{
    struct exec *h = handler;

    return h->epoll_fd;
}

static void
exec_complete(void *handler)
{
    struct exec *h = handler;
    struct epoll_event events[EXEC_EVENTS];
    int n = epoll_wait(h->epoll_fd, events, EXEC_EVENTS, 0);

    for (int i = 0; i < n; i++) {
        uint64_t key = events[i].data.u64;

        if (key == EXEC_TIMER)
            exec_timer(h);
        else
            exec_slot_event(h, &h->slots[key / EXEC_CHILD_KEY(1)],
                            (enum exec_child_part)(key % EXEC_CHILD_KEY(1)));
    }
    exec_dispatch(h);
}

/* --- leaving --- */

static void
exec_wait(struct exec *h, uint64_t now_us, uint64_t until_us)
{
    struct pollfd event = {.fd = h->epoll_fd, .events = POLLIN};

    (void)poll(&event, 1, (int)((until_us - now_us) / 1000 + 1));
    exec_complete(h);
}

static void
exec_finish(void *handler)
{
    struct exec *h = handler;
    uint64_t until_us = clock_mono_us() + EXEC_FINISH_US, now_us;
    struct exec_job *job;

    while (h->out > 0 && (now_us = clock_mono_us()) < until_us)
        exec_wait(h, now_us, until_us);
    if (h->out == 0)
        return;
    h->is_leaving = true;
    while ((job = exec_take_first(h)) != NULL)
        exec_settle_failed(h, job, exec_leaves, 0);
    for (unsigned i = 0; i < h->config.children; i++)
        if (h->slots[i].state == EXEC_SLOT_BUSY)
            exec_slot_fail(h, &h->slots[i], EXEC_END_TERM, exec_leaves, 0);
}

static void
exec_drop_job(struct exec *h, struct exec_job *job)
{
    message_destroy(job->m);
    exec_job_destroy(h, job);
}

static void
exec_tell_children_to_end(struct exec *h)
{
    for (unsigned i = 0; i < h->config.children; i++) {
        struct exec_slot *slot = &h->slots[i];

        if (slot->state == EXEC_SLOT_IDLE) {
            exec_slot_end(h, slot, EXEC_END_LEAVE);
        } else if (slot->state == EXEC_SLOT_BUSY) {
            exec_drop_job(h, exec_slot_take_job(slot));
            exec_slot_end(h, slot, EXEC_END_TERM);
        }
    }
}

static bool
exec_has_children(struct exec *h)
{
    for (unsigned i = 0; i < h->config.children; i++)
        if (h->slots[i].state != EXEC_SLOT_FREE)
            return true;
    return false;
}

static void
exec_await_children(struct exec *h)
{
    uint64_t now_us = clock_mono_us();
    uint64_t until_us = now_us + EXEC_GONE_US;

    for (; exec_has_children(h) && now_us < until_us; now_us = clock_mono_us())
        exec_wait(h, now_us, until_us);
    for (unsigned i = 0; i < h->config.children; i++)
        if (h->slots[i].state != EXEC_SLOT_FREE)
            exec_slot_end(h, &h->slots[i], EXEC_END_KILL);
    until_us = now_us + EXEC_REAP_US;
    for (; exec_has_children(h) && now_us < until_us; now_us = clock_mono_us())
        exec_wait(h, now_us, until_us);
}

static void
exec_destroy(void *handler)
{
    struct exec *h = handler;
    struct exec_job *job;

    h->is_leaving = true;
    while ((job = exec_take_first(h)) != NULL)
        exec_drop_job(h, job);
    if (h->slots != NULL) {
        exec_tell_children_to_end(h);
        exec_await_children(h);
    }
    exec_helper_stop(&h->helper);
    fd_close(&h->timer_fd);
    fd_close(&h->epoll_fd);
    free(h->slots);
    free(h->chunk);
    free(h);
}

/* --- life --- */

/* The helpers that were started before the worker was confined. */
static struct {
    const struct listener_config *listener;
    struct exec_place place;
    struct exec_helper helper;
} exec_outside_helpers[CONFIG_LISTENERS_MAX];

static struct exec_place
exec_place(const struct config *config, const struct listener_config *l, unsigned worker)
{
    return (struct exec_place){.command = l->text[OPTION_COMMAND],
                               .listener = l->name,
                               .data_dir = config->data_dir,
                               .env = l->text[OPTION_EXEC_ENV],
                               .worker = worker};
}

static int
exec_outside(const struct config *config, const struct listener_config *l, unsigned worker)
{
    size_t i = (size_t)(l - config->listeners);

    exec_outside_helpers[i].place = exec_place(config, l, worker);
    exec_outside_helpers[i].listener = l;
    return exec_helper_start(&exec_outside_helpers[i].helper, &exec_outside_helpers[i].place);
}

/* Takes the one that was started before, or starts one now. */
static int
exec_open_helper(struct exec *h)
{
    const struct listener_config *l = h->host.listener;

    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++)
        if (exec_outside_helpers[i].listener == l) {
            h->helper = exec_outside_helpers[i].helper;
            exec_outside_helpers[i].listener = NULL;
            return 0;
        }
    h->place = exec_place(h->host.config, l, h->host.worker);
    return exec_helper_start(&h->helper, &h->place);
}

static int
exec_open(struct exec *h)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = EXEC_TIMER};

    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    h->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (h->epoll_fd < 0 || h->timer_fd < 0 || exec_open_helper(h) < 0)
        return -1;
    return epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, h->timer_fd, &ev);
}

static void *
exec_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    const struct listener_config *l = host->listener;
    const char *command = l->text[OPTION_COMMAND];
    struct exec *h;

    if (command == NULL || command[0] == '\0') {
        snprintf(error, HANDLER_ERROR_LEN, "handler=exec needs command=...");
        return NULL;
    }
    h = ms_calloc(1, sizeof(*h));
    h->host = *host;
    h->config = (struct exec_config){
        .once = l->number[OPTION_EXEC] == 1,
        .children = (unsigned)l->number[OPTION_EXEC_CHILDREN],
        .timeout_us = l->number[OPTION_EXEC_TIMEOUT],
    };
    STAILQ_INIT(&h->queue);
    h->epoll_fd = h->timer_fd = h->helper.fd = -1;
    h->armed_us = UINT64_MAX;
    if (exec_open(h) < 0) {
        snprintf(error, HANDLER_ERROR_LEN, "handler=exec on %s cannot begin: %s", l->name,
                 strerror(errno));
        exec_destroy(h);
        return NULL;
    }
    h->chunk = ms_malloc(EXEC_CHUNK);
    h->slots = ms_calloc(h->config.children, sizeof(*h->slots));
    for (unsigned i = 0; i < h->config.children; i++)
        h->slots[i].child = EXEC_CHILD_NONE;
    return h;
}

/* Of a child: its three pipes and the process. */
static unsigned
exec_descriptors(void *handler)
{
    return 4 * ((struct exec *)handler)->config.children;
}

const struct handler_ops exec_handler = {
    .name = "exec",
    .per_listener = true,
    .answers = true,
    .outside = exec_outside,
    .create = exec_create,
    .destroy = exec_destroy,
    .keep_max = UINT64_MAX,
    .take_max = exec_take_max,
    .descriptors = exec_descriptors,
    .submit = exec_submit,
    .event_fd = exec_event_fd,
    .complete = exec_complete,
    .finish = exec_finish,
};
