#include "handler/journal/lane.h"

#include <string.h>

#define LANE_INLINE_US   2000  /* no commit in the worker's thread while the disk is that slow */
#define LANE_HOLD_MAX_US 40000 /* a commit that takes longer is not worth waiting for */

/* --- life --- */

int
lane_init(struct lane *lane, const struct handler_host *host, const struct file_ops *ops,
          const char *thread)
{
    *lane = (struct lane){.ledger = &host->store->ledger};
    STAILQ_INIT(&lane->done);
    STAILQ_INIT(&lane->spare);
    lane->filling = batch_create(lane->ledger);
    if (commit_init(&lane->commit, host->config, ops, host->worker) < 0)
        return -1;
    lane->commit.segment.id_offset_us = host->id_offset_us;
    lane->committer = helper_create(thread);
    return lane->committer != NULL ? 0 : -1;
}

static struct batch *
lane_take(struct batch_list *list)
{
    struct batch *batch = STAILQ_FIRST(list);

    if (batch != NULL)
        STAILQ_REMOVE_HEAD(list, link);
    return batch;
}

void
lane_fini(struct lane *lane)
{
    struct batch *batch;

    helper_destroy(lane->committer);
    commit_fini(&lane->commit);
    batch_destroy(lane->filling);
    STAILQ_CONCAT(&lane->done, &lane->spare);
    while ((batch = lane_take(&lane->done)) != NULL)
        batch_destroy(batch);
}

/* --- commits --- */

void
lane_add(struct lane *lane, struct message *m, const char id[ULID_LEN], bool put, uint8_t sender)
{
    uint64_t *brought = &lane->brought[sender / 64], bit = UINT64_C(1) << sender % 64;

    batch_add(lane->filling, m, id, put)->sender = sender;
    lane->senders += (*brought & bit) == 0;
    *brought |= bit;
}

/* One that takes very long says little about the next. */
static void
lane_note_time(struct lane *lane)
{
    uint64_t took_us = clock_mono_us() - lane->begun_us, most_us = 2 * lane->commit_us + 100;

    if (lane->commit_us != 0 && took_us > most_us)
        took_us = most_us;
    lane->commit_us = lane->commit_us == 0 ? took_us : (lane->commit_us * 7 + took_us) / 8;
}

static void
lane_commit_run(struct helper_job *job)
{
    struct lane *lane = job->arg;

    commit_run(&lane->commit, (struct batch *)job);
}

static void
lane_commit_done(struct helper_job *job)
{
    struct lane *lane = job->arg;

    lane_note_time(lane);
    STAILQ_INSERT_TAIL(&lane->done, lane->under_way, link);
    lane->under_way = NULL;
}

void
lane_begin(struct lane *lane, bool in_thread)
{
    struct batch *batch = lane->filling;

    if (lane->under_way != NULL)
        helper_finish(lane->committer);
    if (batch->count == 0)
        return;
    lane->filling = lane_take(&lane->spare);
    if (lane->filling == NULL)
        lane->filling = batch_create(lane->ledger);
    lane->together = lane->senders > lane->senders_before ? lane->senders : lane->senders_before;
    lane->senders_before = lane->senders;
    lane->senders = 0;
    memset(lane->brought, 0, sizeof(lane->brought));
    lane->hold_until_us = 0;
    lane->begun_us = clock_mono_us();
    batch->job = (struct helper_job){.run = lane_commit_run, .done = lane_commit_done, .arg = lane};
    if (in_thread && helper_give(lane->committer, &batch->job) == 0) {
        lane->under_way = batch;
        return;
    }
    commit_run(&lane->commit, batch);
    lane_note_time(lane);
    STAILQ_INSERT_TAIL(&lane->done, batch, link);
}

/* True while it is better to wait for the messages that are expected: with less than half of all
 * that could share it, a commit would only make the others wait for the next. Not for more senders
 * than came together lately: who is expected may bring nothing, or use the other lane. Not for
 * longer than half a commit takes, nor half of LANE_HOLD_MAX_US. */
static bool
lane_holds(struct lane *lane, unsigned expected)
{
    uint64_t now_us;

    if (lane->filling->count >= expected || lane->senders >= lane->together)
        return false;
    now_us = clock_mono_us();
    if (lane->hold_until_us == 0)
        lane->hold_until_us =
            now_us + (lane->commit_us < LANE_HOLD_MAX_US ? lane->commit_us : LANE_HOLD_MAX_US) / 2;
    return now_us < lane->hold_until_us;
}

uint64_t
lane_flush(struct lane *lane, unsigned expected)
{
    if (lane->under_way != NULL || lane->filling->count == 0)
        return 0;
    if (lane_holds(lane, expected))
        return lane->hold_until_us;
    /* Bodies never hold the worker's thread: each is many bytes, or many directories. */
    lane_begin(lane,
               expected > 0 || lane->commit_us > LANE_INLINE_US || lane->filling->put_count > 0);
    return 0;
}

struct batch *
lane_next_done(struct lane *lane)
{
    return lane_take(&lane->done);
}

void
lane_give_back(struct lane *lane, struct batch *batch)
{
    batch_reset(batch);
    STAILQ_INSERT_HEAD(&lane->spare, batch, link);
}

/* --- its segment --- */

void
lane_reopen(struct lane *lane)
{
    if (lane->under_way != NULL)
        lane->filling->rotate = true;
    else
        segment_close(&lane->commit.segment);
}

void
lane_tick(struct lane *lane, uint64_t now_us)
{
    if (lane->under_way == NULL)
        (void)commit_check_age(&lane->commit, now_us);
}
