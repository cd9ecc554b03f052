/* Invariant: slot->job is set in EXEC_SLOT_BUSY alone. The state changes after a message was
 * settled, so that a message which comes in meanwhile is not given to this child. */
#include "handler/exec/exec.h"

#include "common/fd.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXEC_TRIES    3                 /* more children that get a message which nobody answered */
#define EXEC_LEAVE_US 1000000           /* between the end of its input and SIGTERM */
#define EXEC_TERM_US  2000000           /* between SIGTERM and SIGKILL */
#define EXEC_STEP     (4u * EXEC_CHUNK) /* bytes written to one child before others have a turn */
#define EXEC_LOOK_US  5000              /* between two looks whether a child has ended */

struct exec_job *
exec_slot_take_job(struct exec_slot *slot)
{
    struct exec_job *job = slot->job;

    slot->job = NULL;
    exec_feed_fini(&slot->feed);
    return job;
}

/* A pool's child that waits for a message needs no look: the end of its output tells, or the next
 * message does. */
static void
exec_slot_look_soon(struct exec *h, const struct exec_slot *slot)
{
    if ((slot->state == EXEC_SLOT_BUSY || slot->state == EXEC_SLOT_ENDING) &&
        !exec_child_end_is_told(&slot->child))
        exec_arm(h, clock_mono_us() + EXEC_LOOK_US);
}

void
exec_slot_look(struct exec *h, struct exec_slot *slot)
{
    if (slot->state == EXEC_SLOT_FREE || exec_child_end_is_told(&slot->child))
        return;
    exec_slot_event(h, slot, EXEC_CHILD_EXIT);
    exec_slot_look_soon(h, slot);
}

/* --- ending a child --- */

void
exec_slot_end(struct exec *h, struct exec_slot *slot, enum exec_slot_end how)
{
    uint64_t now_us = clock_mono_us();

    slot->state = EXEC_SLOT_ENDING;
    exec_answer_fini(&slot->answer);
    exec_child_close(&slot->child, &slot->child.in);
    exec_child_close(&slot->child, &slot->child.out);
    switch (how) {
    case EXEC_END_LEAVE:
        slot->next_signal = SIGTERM;
        slot->deadline_us = now_us + EXEC_LEAVE_US;
        break;
    case EXEC_END_TERM:
        exec_child_signal(&slot->child, SIGTERM);
        slot->next_signal = SIGKILL;
        slot->deadline_us = now_us + EXEC_TERM_US;
        break;
    case EXEC_END_KILL:
        exec_child_signal(&slot->child, SIGKILL);
        slot->deadline_us = UINT64_MAX;
        break;
    }
    exec_arm(h, slot->deadline_us);
    exec_slot_look_soon(h, slot);
}

void
exec_slot_fail(struct exec *h, struct exec_slot *slot, enum exec_slot_end how, const char *what,
               int error)
{
    struct exec_job *job = exec_slot_take_job(slot);

    exec_slot_end(h, slot, how);
    if (job != NULL)
        exec_settle_failed(h, job, what, error);
    else
        exec_warn(h, what, NULL);
}

void
exec_slot_due(struct exec *h, struct exec_slot *slot)
{
    if (slot->state == EXEC_SLOT_BUSY)
        exec_slot_fail(h, slot, EXEC_END_TERM, "the command took longer than exec_timeout", 0);
    else if (slot->state == EXEC_SLOT_ENDING)
        exec_slot_end(h, slot, slot->next_signal == SIGTERM ? EXEC_END_TERM : EXEC_END_KILL);
}

/* --- answers --- */

static void
exec_slot_answered(struct exec *h, struct exec_slot *slot)
{
    struct exec_job *job = exec_slot_take_job(slot);

    slot->served++;
    if (slot->answer.refused)
        exec_settle_refused(h, job, slot->answer.text, (size_t)slot->answer.len);
    else
        exec_settle_committed(h, job, &slot->answer);
    exec_answer_fini(&slot->answer);
}

/* A child that reads no more needs no more of a body in memory. One in a file is read to its end
 * all the same: what the child has got may be wrong, and only the whole can be compared. */
static bool
exec_slot_is_fed(const struct exec_slot *slot)
{
    return exec_feed_done(&slot->feed) || (slot->child.in < 0 && slot->feed.digest == NULL);
}

/* A child that answers early has to read the rest all the same, or the next message would begin in
 * the middle of this one; unless it reads no more at all. */
static void
exec_slot_check_answered(struct exec *h, struct exec_slot *slot)
{
    if (slot->job == NULL || !slot->is_answered || !exec_slot_is_fed(slot))
        return;
    exec_slot_answered(h, slot);
    if (slot->said_more)
        exec_slot_fail(h, slot, EXEC_END_KILL, "the command says more than its answer", 0);
    else if (slot->child.in < 0 || slot->child.out < 0)
        exec_slot_end(h, slot, EXEC_END_LEAVE);
    else
        slot->state = EXEC_SLOT_IDLE;
}

static void
exec_slot_output(struct exec *h, struct exec_slot *slot, const char *data, size_t n)
{
    size_t consumed = 0;

    if (slot->state == EXEC_SLOT_IDLE) {
        exec_slot_fail(h, slot, EXEC_END_KILL, "the command answers what it was not asked", 0);
        return;
    }
    if (!slot->is_answered) {
        switch (exec_answer_feed(&slot->answer, data, n, &consumed)) {
        case EXEC_ANSWER_MORE:
            break;
        case EXEC_ANSWER_WHOLE:
            slot->is_answered = true;
            break;
        case EXEC_ANSWER_BAD:
            exec_slot_fail(h, slot, EXEC_END_KILL, "the command's answer is too long", 0);
            return;
        }
    }
    slot->said_more = slot->said_more || consumed < n;
    exec_slot_check_answered(h, slot);
}

/* --- the pipes --- */

/* Writes to the child. Returns how much it has taken, all where it reads no more, or -1 where no
 * more should be written now. */
static ssize_t
exec_slot_write(struct exec_slot *slot, const char *data, size_t n)
{
    ssize_t done = slot->child.in >= 0 ? write(slot->child.in, data, n) : (ssize_t)n;

    if (done < 0 && errno == EINTR)
        return 0;
    if (done < 0 && errno != EAGAIN)
        exec_child_close(&slot->child, &slot->child.in); /* its end, or its answer, says the rest */
    return done;
}

/* A piece more. Returns false where no more is given in this turn. */
static bool
exec_slot_feed_piece(struct exec *h, struct exec_slot *slot, size_t *budget)
{
    const char *data;
    ssize_t n = exec_feed_next(&slot->feed, h->chunk, EXEC_CHUNK, &data), done;

    if (n < 0) {
        exec_slot_fail(h, slot, EXEC_END_KILL, OUTCOME_NOT_READ, errno);
        return false;
    }
    done = exec_slot_write(slot, data, (size_t)n);
    if (done < 0)
        return false;
    exec_feed_take(&slot->feed, data, (size_t)done);
    *budget -= (size_t)done < *budget ? (size_t)done : *budget;
    return *budget > 0;
}

/* Without a pipe that would tell, the timer goes on with it. */
static void
exec_slot_feed(struct exec *h, struct exec_slot *slot)
{
    size_t budget = EXEC_STEP;

    while (slot->state == EXEC_SLOT_BUSY && !exec_slot_is_fed(slot))
        if (!exec_slot_feed_piece(h, slot, &budget))
            break;
    if (slot->state != EXEC_SLOT_BUSY)
        return;
    exec_child_watch_in(&slot->child, !exec_slot_is_fed(slot));
    if (slot->child.in < 0 && !exec_slot_is_fed(slot))
        exec_arm(h, clock_mono_us());
    if (exec_slot_is_fed(slot) && h->config.once)
        exec_child_close(&slot->child, &slot->child.in);
    exec_slot_check_answered(h, slot);
}

/* The end of its output: a pool's child ends by that, and its exit status decides. */
static void
exec_slot_output_ended(struct exec *h, struct exec_slot *slot)
{
    exec_child_close(&slot->child, &slot->child.out);
    if (h->config.once)
        return;
    if (slot->state == EXEC_SLOT_IDLE) {
        exec_slot_end(h, slot, EXEC_END_LEAVE);
        return;
    }
    exec_child_close(&slot->child, &slot->child.in);
    exec_slot_feed(h, slot);
}

/* Reads up to n bytes of output. Returns how many there were. */
static size_t
exec_slot_read_out(struct exec *h, struct exec_slot *slot, size_t n)
{
    ssize_t got = fd_read(slot->child.out, h->chunk, n < EXEC_CHUNK ? n : EXEC_CHUNK);

    if (got > 0)
        exec_slot_output(h, slot, h->chunk, (size_t)got);
    else if (got == 0 || errno != EAGAIN)
        exec_slot_output_ended(h, slot);
    return got > 0 ? (size_t)got : 0;
}

static size_t
exec_slot_read_err(struct exec *h, struct exec_slot *slot, size_t n)
{
    ssize_t got = fd_read(slot->child.err, h->chunk, n < EXEC_CHUNK ? n : EXEC_CHUNK);

    if (got > 0)
        exec_tail_feed(&slot->tail, h->chunk, (size_t)got, exec_heard_line, h);
    else if (got == 0 || errno != EAGAIN)
        exec_child_close(&slot->child, &slot->child.err);
    return got > 0 ? (size_t)got : 0;
}

/* --- the end of a child --- */

/* The output of an ended child is in the pipes now. Other processes with these pipes open may go on
 * for ever, and their output is not read. */
static void
exec_slot_drain(struct exec *h, struct exec_slot *slot)
{
    size_t left = exec_child_pending(slot->child.out), got;

    while (left > 0 && slot->child.out >= 0 && (got = exec_slot_read_out(h, slot, left)) > 0)
        left -= got;
    left = exec_child_pending(slot->child.err);
    while (left > 0 && slot->child.err >= 0 && (got = exec_slot_read_err(h, slot, left)) > 0)
        left -= got;
    exec_tail_end(&slot->tail, exec_heard_line, h);
}

/* A child of a pool that ends in order may do so after any message, also when it has just been
 * given the next one. */
static void
exec_slot_unanswered(struct exec *h, struct exec_job *job)
{
    job->tries++;
    if (job->tries > EXEC_TRIES)
        exec_settle_failed(h, job, "the command ends without an answer again and again", 0);
    else
        STAILQ_INSERT_HEAD(&h->queue, job, link);
}

static void
exec_slot_decide(struct exec *h, struct exec_slot *slot, int status)
{
    struct exec_job *job = exec_slot_take_job(slot);
    bool in_order = status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool refused = status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXEC_REFUSED_STATUS;

    if (!h->config.once && slot->served == 0 && !refused)
        exec_start_failed(h);
    if (job == NULL)
        return;
    if (!in_order)
        exec_settle_status(h, job, status, &slot->tail);
    else if (h->config.once)
        exec_settle_committed(h, job, &slot->answer);
    else
        exec_slot_unanswered(h, job);
}

static void
exec_slot_exited(struct exec *h, struct exec_slot *slot)
{
    int status;

    if (!exec_child_has_ended(&slot->child))
        return;
    exec_child_close(&slot->child, &slot->child.in);
    if (slot->state == EXEC_SLOT_BUSY)
        exec_slot_feed(h, slot);
    if (slot->state == EXEC_SLOT_BUSY && !exec_slot_is_fed(slot))
        return; /* its end is told again */
    exec_slot_drain(h, slot);
    status = exec_child_reap(&slot->child);
    if (slot->state != EXEC_SLOT_ENDING)
        exec_slot_decide(h, slot, status);
    exec_answer_fini(&slot->answer);
    slot->state = EXEC_SLOT_FREE;
}

void
exec_slot_event(struct exec *h, struct exec_slot *slot, enum exec_child_part part)
{
    switch (part) {
    case EXEC_CHILD_IN:
        if (slot->state == EXEC_SLOT_BUSY)
            exec_slot_feed(h, slot);
        break;
    case EXEC_CHILD_OUT:
        if (slot->child.out >= 0)
            (void)exec_slot_read_out(h, slot, EXEC_CHUNK);
        break;
    case EXEC_CHILD_ERR:
        if (slot->child.err >= 0)
            (void)exec_slot_read_err(h, slot, EXEC_CHUNK);
        break;
    case EXEC_CHILD_EXIT:
        exec_slot_exited(h, slot);
        break;
    }
}

/* --- a message for it --- */

static int
exec_slot_start(struct exec *h, struct exec_slot *slot, const struct exec_job *job)
{
    bool once = h->config.once;
    struct exec_facts facts = {
        .m = job->m, .proto = job->proto, .peer = job->peer, .identity = job->identity};
    struct buffer vars;
    struct exec_child_setup setup = {
        .helper = &h->helper,
        .vars = &vars,
        .epoll_fd = h->epoll_fd,
        .key = EXEC_CHILD_KEY(slot - h->slots),
    };
    int rc;

    buffer_init(&vars);
    if (once)
        exec_vars_pack(&facts, &vars);
    rc = exec_child_start(&slot->child, &setup);
    buffer_fini(&vars);
    slot->served = 0;
    return rc;
}

int
exec_slot_give(struct exec *h, struct exec_slot *slot, struct exec_job *job)
{
    bool once = h->config.once;

    MS_ASSERT(slot->state != EXEC_SLOT_BUSY && slot->job == NULL);
    if (slot->state == EXEC_SLOT_FREE && exec_slot_start(h, slot, job) < 0)
        return -1;
    slot->state = EXEC_SLOT_BUSY;
    slot->job = job;
    slot->is_answered = slot->said_more = false;
    slot->deadline_us = clock_mono_us() + h->config.timeout_us;
    exec_arm(h, slot->deadline_us);
    exec_slot_look_soon(h, slot);
    exec_answer_init(&slot->answer, !once, job->m->wants_reply ? h->host.store : NULL);
    exec_tail_init(&slot->tail);
    exec_feed_init(&slot->feed, job->m, !once);
    exec_slot_feed(h, slot);
    return 0;
}
