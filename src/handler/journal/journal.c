/* The journal, seen from the worker's thread: messages become lines as they come in, go one of two
 * lanes to the disk, and are settled when they are safe. */
#include "handler/journal/journal.h"

#include "handler/journal/lane.h"

#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* of lines: all that a batch can number; the worker waits then, but is full long before */
#define JOURNAL_BATCH_BYTES   (1u << 30)
#define JOURNAL_INLINE_MAX    (64u << 20) /* of a body in a line, whatever is configured */
#define JOURNAL_MEND_TRIES    100         /* how long a worker that leaves waits for its recovery */
#define JOURNAL_MEND_PAUSE_US 10000
#define JOURNAL_SAY_US        10000000  /* a trouble that comes and goes is not said more often */
#define JOURNAL_REMIND_US     600000000 /* one that lasts is said again */
#define JOURNAL_AHEAD_MS      1000      /* more is said */

struct journal {
    struct handler_host host;
    struct ulid_source ids;
    struct record_clock clock;
    const struct file_ops *ops;
    struct lane lines;  /* of messages that are all in their line */
    struct lane bodies; /* of those whose bodies are stored, and what their senders send behind */
    uint32_t behind[LANE_SENDERS]; /* messages in the second lane, by the hash of their sender */
    int event_fd;                  /* an epoll descriptor: a lane has something done */
    _Atomic bool stop_mending, has_mended;
    struct helper *mender;   /* does what journal.h says of recovery, once */
    struct helper *recaller; /* and recall_run, which others wait for */
    struct helper_job mend, recall;
    bool recalls;            /* the second job is under way */
    struct data_dirs mended; /* descriptors of its own: the commit may open others meanwhile */
    struct buffer receipt;
};

/* --- settling --- */

static void
journal_say(struct journal *h, struct lane_trouble *trouble, const struct outcome *outcome)
{
    bool lost = outcome->error == ENOTRECOVERABLE;
    uint64_t *last_us = lost ? &trouble->lost_us : &trouble->said_us;
    uint64_t pause_us = lost || trouble->said ? JOURNAL_REMIND_US : JOURNAL_SAY_US;
    uint64_t now_us = clock_mono_us();
    char text[OUTCOME_TEXT_LEN];

    trouble->now = true;
    if (*last_us != 0 && now_us < *last_us + pause_us)
        return;
    trouble->said = true;
    *last_us = now_us;
    (void)outcome_verdict(outcome, text);
    log_line(LOG_journal_trouble, "journal in %s: %s; %s", h->host.config->data_dir, text,
             lost ? "an fsync of a directory has failed, and this worker does not use that "
                    "directory again: check the disk, then run msockctl reload"
                  : "messages are refused while this lasts");
}

static void
journal_say_over(struct journal *h, struct lane_trouble *trouble)
{
    if (trouble->said)
        log_line(LOG_journal_again, "journal in %s: messages are accepted again",
                 h->host.config->data_dir);
    trouble->now = trouble->said = false;
}

static void
journal_say_left(const struct segment_left *left)
{
    static const char *const what[] = {
        [SEGMENT_GONE] = "was moved away or removed while it was written",
        [SEGMENT_REPLACED] = "was replaced by another file while it was written",
        [SEGMENT_SHORTER] = "was cut short by somebody else while it was written",
        [SEGMENT_LONGER] = "was written by somebody else",
        [SEGMENT_READ_ONLY] = "was made read-only while it was written",
        [SEGMENT_UNCUT] = "was left and may end in lines that were never acknowledged",
    };

    if (left->state == SEGMENT_SOUND)
        return;
    log_line(LOG_segment_left, "journal/%s %s; what follows goes to a new segment%s", left->name,
             what[left->state],
             left->state == SEGMENT_UNCUT
                 ? ""
                 : " (take only what msockctl segments --finished prints)");
}

/* A batch in which the environment failed anything begins trouble, one in which it did not ends
 * it. */
static void
journal_watch(struct journal *h, struct lane_trouble *trouble, const struct batch *batch)
{
    const struct outcome *failed = batch->outcome.error != 0 ? &batch->outcome : NULL;

    journal_say_left(&batch->left);
    for (uint32_t i = 0; i < batch->put_count && failed == NULL; i++)
        if (batch->puts[i].outcome.error != 0)
            failed = &batch->puts[i].outcome;
    if (failed != NULL)
        journal_say(h, trouble, failed);
    else if (trouble->now)
        journal_say_over(h, trouble);
}

static void
journal_write_receipt(struct journal *h, const struct batch_entry *entry,
                      const struct store_put *put)
{
    char name[STORE_NAME_LEN];
    struct record_place place;

    buffer_clear(&h->receipt);
    if (put == NULL) {
        record_receipt(&h->receipt, entry->id, entry->m, NULL, false);
        return;
    }
    place = batch_place(put, name);
    record_receipt(&h->receipt, entry->id, entry->m, &place, put->duplicate);
}

static void
journal_settle_entry(struct journal *h, const struct batch *batch, const struct batch_entry *entry)
{
    struct outcome outcome = batch_outcome(batch, entry);
    const struct store_put *put = batch_put(batch, entry);
    uint8_t memo[DEDUP_MEMO_LEN];
    struct verdict verdict = {.outcome = PROTO_COMMITTED, .memo = memo};
    char text[OUTCOME_TEXT_LEN];

    if (outcome.is != PROTO_COMMITTED) {
        verdict = outcome_verdict(&outcome, text);
    } else {
        recall_memo(entry->id, put, memo);
        if (entry->m->wants_reply) {
            journal_write_receipt(h, entry, put);
            verdict.reply = buffer_bytes(&h->receipt);
            verdict.reply_len = h->receipt.len;
        }
    }
    h->host.settle(h->host.ctx, entry->m, &verdict);
}

/* Settling may bring new messages in: they go to a batch that fills, never to this one. The lanes
 * leave their segments together: newest_id looks at a few of the newest, and finds those of both.
 */
static void
journal_settle_batch(struct journal *h, struct lane *lane, struct batch *batch)
{
    unsigned committed = 0;

    if (batch->rotated)
        lane_reopen(lane == &h->lines ? &h->bodies : &h->lines);
    journal_watch(h, &lane->trouble, batch);
    for (uint32_t i = 0; i < batch->count; i++)
        committed += batch_outcome(batch, &batch->entries[i]).is == PROTO_COMMITTED;
    if (committed > 0)
        h->host.committed(h->host.ctx, committed);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (lane == &h->bodies)
            h->behind[batch->entries[i].sender]--;
        journal_settle_entry(h, batch, &batch->entries[i]);
    }
    lane_give_back(lane, batch);
}

static void
journal_settle_done(struct journal *h)
{
    struct lane *lanes[] = {&h->lines, &h->bodies};
    struct batch *batch;

    for (unsigned i = 0; i < 2; i++)
        while ((batch = lane_next_done(lanes[i])) != NULL)
            journal_settle_batch(h, lanes[i], batch);
}

/* --- taking messages in --- */

static void
journal_settle_now(struct journal *h, struct message *m, struct outcome outcome)
{
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    if (outcome.error != 0)
        journal_say(h, &h->lines.trouble, &outcome);
    h->host.settle(h->host.ctx, m, &verdict);
}

static void
journal_append_head(struct journal *h, struct buffer *lines, struct message *m, char id[ULID_LEN])
{
    struct message_origin origin;
    uint64_t now_us = clock_real_us();

    h->host.origin(h->host.ctx, m, &origin);
    ulid_next(&h->ids, clock_id_us(h->host.id_offset_us), id);
    record_head(lines, id, now_us, &h->clock, &origin, m);
}

/* The whole line, body included. Returns 0, or -1 with errno and nothing appended. */
static int
journal_append_line(struct journal *h, struct buffer *lines, struct message *m, char id[ULID_LEN])
{
    size_t from = lines->len;
    const char *body;

    if (message_body(m, &body) < 0)
        return -1;
    journal_append_head(h, lines, m, id);
    record_body(lines, from, m->kind, body, (size_t)m->size);
    message_body_release(m, body);
    message_drop_body(m); /* all that is needed of it now is in the line */
    return 0;
}

/* A hash will do: who shares it with another sender only waits longer. */
static uint8_t
journal_sender(const struct message *m)
{
    return (uint8_t)((uintptr_t)m->owner * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static void
journal_submit(void *handler, struct message *m)
{
    struct journal *h = handler;
    bool put = m->kind == MESSAGE_FILE || m->size > h->host.config->inline_max ||
               m->size > JOURNAL_INLINE_MAX;
    uint8_t sender = journal_sender(m);
    struct lane *lane = put || h->behind[sender] > 0 ? &h->bodies : &h->lines;
    struct buffer *lines = &lane->filling->lines;
    char id[ULID_LEN];

    if (m->error != 0) {
        journal_settle_now(h, m, outcome_failed(OUTCOME_NOT_KEPT, m->error));
        return;
    }
    if (put) {
        journal_append_head(h, lines, m, id);
    } else if (journal_append_line(h, lines, m, id) < 0) {
        journal_settle_now(h, m, outcome_failed(OUTCOME_NOT_READ, errno));
        return;
    }
    lane_add(lane, m, id, put, sender);
    if (lane == &h->bodies)
        h->behind[sender]++;
    if (lines->len > JOURNAL_BATCH_BYTES)
        lane_begin(lane, true);
}

static uint64_t
journal_flush(void *handler, unsigned expected)
{
    struct journal *h = handler;
    uint64_t lines_us = lane_flush(&h->lines, expected);
    uint64_t bodies_us = lane_flush(&h->bodies, expected);

    journal_settle_done(h);
    return lines_us == 0 || (bodies_us != 0 && bodies_us < lines_us) ? bodies_us : lines_us;
}

static int
journal_event_fd(void *handler)
{
    struct journal *h = handler;

    return h->event_fd;
}

/* Settles only: the worker flushes at the end of the same turn, and knows then who is expected. */
static void
journal_complete(void *handler)
{
    struct journal *h = handler;

    helper_collect(h->bodies.committer);
    helper_collect(h->lines.committer);
    journal_settle_done(h);
}

static const void *
journal_again(void *handler, const struct message *m, const void *memo, size_t *n_out)
{
    struct journal *h = handler;

    buffer_clear(&h->receipt);
    recall_receipt(&h->receipt, m, memo);
    *n_out = h->receipt.len;
    return buffer_bytes(&h->receipt);
}

static void
journal_finish(void *handler)
{
    struct journal *h = handler;

    do {
        lane_begin(&h->lines, false);
        lane_begin(&h->bodies, false);
        journal_settle_done(h);
    } while (!lane_is_idle(&h->bodies) || !lane_is_idle(&h->lines));
}

/* --- files --- */

static void
journal_reopen(void *handler)
{
    struct journal *h = handler;

    lane_reopen(&h->bodies);
    lane_reopen(&h->lines);
}

static void
journal_tick(void *handler, uint64_t now_us)
{
    struct journal *h = handler;

    lane_tick(&h->bodies, now_us);
    lane_tick(&h->lines, now_us);
}

/* --- life --- */

/* It may have much to read: a worker that leaves does not wait for all of that, and the next one
 * goes on. */
static void
journal_end_mending(struct journal *h)
{
    for (unsigned i = 0; h->mender != NULL && i < JOURNAL_MEND_TRIES; i++) {
        if (atomic_load(&h->has_mended))
            break;
        usleep(JOURNAL_MEND_PAUSE_US);
    }
    atomic_store(&h->stop_mending, true);
    helper_destroy(h->mender);
    helper_destroy(h->recaller);
}

static void
journal_destroy(void *handler)
{
    struct journal *h = handler;

    journal_end_mending(h);
    fd_close(&h->event_fd);
    lane_fini(&h->bodies);
    lane_fini(&h->lines);
    data_dirs_close(&h->mended); /* nothing is committed any more: recall_hold */
    buffer_fini(&h->receipt);
    free(h);
}

/* Says early what the first message would otherwise say. */
static int
journal_open_dirs(struct journal *h, struct commit *commit)
{
    struct data_dirs *dirs = &commit->dirs;

    if (data_dirs_open(dirs, h->host.config, &commit->syncs) < 0)
        return -1;
    if (kernel_access(dirs->journal, ".", W_OK | X_OK) < 0 ||
        kernel_access(dirs->files, ".", W_OK | X_OK) < 0 ||
        kernel_access(dirs->blobs, ".", W_OK | X_OK) < 0)
        return -1;
    return 0;
}

static void
journal_mend_run(struct helper_job *job)
{
    struct journal *h = job->arg;
    struct recovery_tally tally;

    recovery_run(&h->mended, h->ops, &h->stop_mending, &tally);
    atomic_store(&h->has_mended, true);
}

static void
journal_recall_run(struct helper_job *job)
{
    struct journal *h = job->arg;

    recall_run(&h->host, &h->mended, h->ops, &h->stop_mending);
}

static void
journal_recall_done(struct helper_job *job)
{
    struct journal *h = job->arg;

    h->recalls = false;
}

static void
journal_recall(void *handler)
{
    struct journal *h = handler;

    helper_collect(h->recaller);
    if (h->recalls)
        return;
    h->recall =
        (struct helper_job){.run = journal_recall_run, .done = journal_recall_done, .arg = h};
    h->recalls = helper_give(h->recaller, &h->recall) == 0;
}

/* In threads of their own: they look at each segment of the journal, and the start of the worker
 * must not wait for that. */
static int
journal_mend(struct journal *h)
{
    const struct data_dirs *dirs = &h->lines.commit.dirs;
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

    /* Open files of its own: the kernel tells each of them once that a write has failed. */
    h->mended.root = openat(dirs->root, ".", flags);
    h->mended.journal = openat(dirs->journal, ".", flags);
    h->mended.files = openat(dirs->files, ".", flags);
    h->mended.blobs = openat(dirs->blobs, ".", flags);
    if (h->mended.root < 0 || h->mended.journal < 0 || h->mended.files < 0 || h->mended.blobs < 0)
        return -1;
    if (h->host.dedup != NULL) {
        recall_hold(&h->mended, h->host.dedup);
        journal_recall(h);
    }
    h->mend = (struct helper_job){.run = journal_mend_run, .arg = h};
    if (helper_give(h->mender, &h->mend) < 0)
        journal_mend_run(&h->mend);
    return 0;
}

/* Behind all that was written before, whatever the clock says now. The time of ids is raised for
 * all workers, so that they also agree where the clock was set back before a restart. */
static void
journal_go_on(struct journal *h)
{
    char id[ULID_LEN] = "", relayed[ULID_LEN];
    bool found = newest_id(h->lines.commit.dirs.journal, id);

    if (position_newest(h->ops, h->lines.commit.dirs.root, relayed) > 0 &&
        memcmp(relayed, id, ULID_LEN) > 0) {
        memcpy(id, relayed, ULID_LEN);
        found = true;
    }
    if (!found)
        return;
    ulid_begin_after(&h->ids, id);
    ulid_begin_after(&h->lines.commit.segment.ids, id);
    ulid_begin_after(&h->bodies.commit.segment.ids, id);
    if (h->ids.ms == ulid_ms(id) + 1) /* else it is none that was ever given */
        clock_id_raise(h->host.id_offset_us, ulid_ms(id) * 1000);
    if (h->ids.ms > clock_real_us() / 1000 + JOURNAL_AHEAD_MS)
        log_line(LOG_clock_behind,
                 "the clock is %llu s behind the newest record of the journal: ids go on from "
                 "there",
                 (unsigned long long)((h->ids.ms - clock_real_us() / 1000) / 1000));
}

static int
journal_watch_lane(struct journal *h, const struct lane *lane)
{
    struct epoll_event ev = {.events = EPOLLIN};

    return epoll_ctl(h->event_fd, EPOLL_CTL_ADD, helper_fd(lane->committer), &ev);
}

static int
journal_open_lanes(struct journal *h)
{
    int lines = lane_init(&h->lines, &h->host, h->ops, "msockd-commit");
    int bodies = lane_init(&h->bodies, &h->host, h->ops, "msockd-bodies");

    h->event_fd = fd_above_standard(epoll_create1(EPOLL_CLOEXEC));
    if (lines < 0 || bodies < 0 || h->event_fd < 0)
        return -1;
    return journal_watch_lane(h, &h->lines) < 0 || journal_watch_lane(h, &h->bodies) < 0 ? -1 : 0;
}

struct journal *
journal_create_with(const struct handler_host *host, const struct file_ops *ops,
                    char error[HANDLER_ERROR_LEN])
{
    struct journal *h = ms_calloc(1, sizeof(*h));
    const char *step;

    h->host = *host;
    h->mended = DATA_DIRS_CLOSED;
    h->ops = ops;
    ulid_init(&h->ids);
    step = "its threads cannot begin";
    if (journal_open_lanes(h) < 0 || (h->mender = helper_create("msockd-mend")) == NULL ||
        (h->recaller = helper_create("msockd-recall")) == NULL)
        goto failed;
    step = "its directories cannot be opened, written and made safe";
    if (journal_open_dirs(h, &h->lines.commit) == 0 &&
        journal_open_dirs(h, &h->bodies.commit) == 0 && journal_mend(h) == 0) {
        journal_go_on(h);
        return h;
    }
failed:
    snprintf(error, HANDLER_ERROR_LEN, "the journal in %s cannot be used, since %s: %s",
             host->config->data_dir, step, strerror(errno));
    journal_destroy(h);
    return NULL;
}

static void *
journal_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    return journal_create_with(host, host->config->sync ? &file_ops_synced : &file_ops_unsynced,
                               error);
}

const struct handler_ops journal_handler = {
    .name = "journal",
    .create = journal_create,
    .destroy = journal_destroy,
    .keep_max = UINT64_MAX,
    .submit = journal_submit,
    .flush = journal_flush,
    .event_fd = journal_event_fd,
    .complete = journal_complete,
    .again = journal_again,
    .recall = journal_recall,
    .finish = journal_finish,
    .reopen = journal_reopen,
    .tick = journal_tick,
};
