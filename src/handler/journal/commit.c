/* Every batch begins by looking whether the directories and the segment are still where they were:
 * whatever happened to them, the next batch starts afresh, and nothing needs a restart. */
#include "handler/journal/commit.h"

#include "common/clock.h"

#include <errno.h>
#include <string.h>

int
commit_init(struct commit *commit, const struct config *config, const struct file_ops *ops,
            unsigned worker)
{
    commit->config = config;
    commit->ops = ops;
    commit->dirs = DATA_DIRS_CLOSED;
    commit->segment_dirs = 0;
    segment_init(&commit->segment, ops, worker);
    return store_init(&commit->store, config->on_conflict, &commit->dirs, ops);
}

void
commit_fini(struct commit *commit)
{
    segment_close(&commit->segment);
    data_dirs_close(&commit->dirs);
    store_fini(&commit->store);
}

static int
commit_open_segment(struct commit *commit)
{
    if (segment_is_open(&commit->segment))
        return 0;
    commit->segment_dirs = commit->dirs.opened;
    return segment_open(&commit->segment, commit->dirs.journal);
}

/* A segment that nobody can find any more, or that is no longer where journal/ is, gets no line. */
static void
commit_check_segment(struct commit *commit, bool rotate)
{
    if (!segment_is_open(&commit->segment))
        return;
    if (rotate || commit->segment_dirs != commit->dirs.opened ||
        !segment_is_there(&commit->segment))
        segment_close(&commit->segment);
}

static struct outcome
commit_lines(struct commit *commit, const struct buffer *lines)
{
    if (lines->len == 0)
        return outcome_committed();
    if (commit_open_segment(commit) < 0)
        return outcome_failed("a journal segment cannot be opened", errno);
    if (segment_append(&commit->segment, buffer_bytes(lines), lines->len) < 0)
        return outcome_failed("the journal cannot be written", errno);
    return outcome_committed();
}

void
commit_check_age(struct commit *commit, uint64_t now_us)
{
    if (segment_is_open(&commit->segment) &&
        now_us >= commit->segment.opened_us + commit->config->segment_age_us)
        segment_close(&commit->segment);
}

static void
commit_rotate(struct commit *commit)
{
    if (segment_is_open(&commit->segment) && commit->segment.good >= commit->config->segment_size)
        segment_close(&commit->segment);
    commit_check_age(commit, clock_mono_us());
}

void
commit_run(struct commit *commit, struct batch *batch)
{
    if (data_dirs_open(&commit->dirs, commit->config->data_dir, commit->ops) < 0) {
        batch->outcome = outcome_failed("the data directory cannot be used", errno);
        for (uint32_t i = 0; i < batch->put_count; i++)
            batch->puts[i].outcome = batch->outcome;
        return;
    }
    commit_check_segment(commit, batch->rotate);
    store_run(&commit->store, batch->puts, batch->put_count);
    batch->outcome = commit_lines(commit, batch_join(batch));
    memcpy(batch->uncut, commit->segment.uncut, sizeof(batch->uncut));
    commit->segment.uncut[0] = '\0';
    commit_rotate(commit);
}
