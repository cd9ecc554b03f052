/* Every batch begins by looking whether the directories and the segment are still where they were:
 * whatever happened to them, the next batch starts afresh, and nothing needs a restart. */
#include "handler/journal/journal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define REMOVAL_US       100000 /* a commit waits so long for the name of a body */
#define REMOVAL_PAUSE_MS 1

#define COMMIT_TRIES 10 /* segments for one batch, where somebody takes them away at once */

/* --- batch --- */

/* Arrays that keep their memory from batch to batch: in a steady load nothing is allocated here. */

#define BATCH_KEEP_BYTES   (4u << 20) /* of lines, from one batch to the next */
#define BATCH_KEEP_ENTRIES 8192u
#define PLACE_BYTES        512u /* of a line: where its body is, about */

struct batch *
batch_create(struct ledger *ledger)
{
    struct batch *batch = ms_calloc(1, sizeof(*batch));

    batch->ledger = ledger;
    return batch;
}

/* Counts its memory in the ledger, with what batch_join will need, since that may run in another
 * thread. */
static void
batch_account(struct batch *batch)
{
    size_t joined = batch->put_count > 0 ? batch->lines.cap + batch->put_count * PLACE_BYTES : 0;
    size_t cost = batch->lines.cap + batch->cap * sizeof(*batch->entries) +
                  batch->put_cap * sizeof(*batch->puts);

    cost += joined > batch->joined.cap ? joined : batch->joined.cap;
    ledger_take(batch->ledger, cost);
    ledger_give(batch->ledger, batch->cost);
    batch->cost = cost;
}

static void
batch_free_arrays(struct batch *batch)
{
    free(batch->entries);
    free(batch->puts);
    batch->entries = NULL;
    batch->puts = NULL;
    batch->cap = batch->put_cap = 0;
}

void
batch_destroy(struct batch *batch)
{
    if (batch == NULL)
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        message_destroy(batch->entries[i].m);
    buffer_fini(&batch->lines);
    buffer_fini(&batch->joined);
    batch_free_arrays(batch);
    ledger_give(batch->ledger, batch->cost);
    free(batch);
}

/* Doubles an array that is full. */
static void *
batch_room(void *array, uint32_t count, uint32_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    MS_ASSERT(*cap < UINT32_MAX / 2);
    *cap = *cap != 0 ? *cap * 2 : 16;
    array = realloc(array, *cap * size);
    MS_ASSERT(array != NULL);
    return array;
}

static uint32_t
batch_add_put(struct batch *batch, struct message *m)
{
    struct store_put put = {
        .m = m, .blob = m->kind != MESSAGE_FILE, .dir_fd = -1, .temp = TEMP_FILE_NONE};

    batch->puts = batch_room(batch->puts, batch->put_count, &batch->put_cap, sizeof(put));
    batch->puts[batch->put_count] = put;
    return batch->put_count++;
}

struct batch_entry *
batch_add(struct batch *batch, struct message *m, const char id[ULID_LEN], bool put)
{
    struct batch_entry *entry;

    batch->entries = batch_room(batch->entries, batch->count, &batch->cap, sizeof(*entry));
    entry = &batch->entries[batch->count++];
    entry->m = m;
    entry->line_end = batch->lines.len;
    entry->put = put ? batch_add_put(batch, m) : BATCH_NO_PUT;
    entry->sender = 0;
    memcpy(entry->id, id, ULID_LEN);
    batch_account(batch);
    return entry;
}

struct record_place
batch_place(const struct store_put *put, char name_out[STORE_NAME_LEN])
{
    const char *name = store_name(put, name_out);

    if (put->blob)
        return (struct record_place){"blob", "blobs/", name, NULL};
    return (struct record_place){"file", "files/", name, put->number != 0 ? put->m->value : NULL};
}

static void
batch_join_put(struct batch *batch, const struct store_put *put, const char *head, size_t n)
{
    char name[STORE_NAME_LEN];
    struct record_place place;
    size_t from;

    if (put->outcome.is != PROTO_COMMITTED)
        return;
    place = batch_place(put, name);
    from = batch->joined.len;
    buffer_append(&batch->joined, head, n);
    record_end_with_place(&batch->joined, from, &place);
}

const struct buffer *
batch_join(struct batch *batch)
{
    uint32_t at = 0;

    if (batch->put_count == 0)
        return &batch->lines;
    buffer_clear(&batch->joined);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_entry *entry = &batch->entries[i];
        const char *line = buffer_bytes(&batch->lines) + at;
        size_t n = entry->line_end - at;

        if (entry->put == BATCH_NO_PUT)
            buffer_append(&batch->joined, line, n);
        else
            batch_join_put(batch, &batch->puts[entry->put], line, n);
        at = entry->line_end;
    }
    return &batch->joined;
}

struct outcome
batch_outcome(const struct batch *batch, const struct batch_entry *entry)
{
    const struct store_put *put = batch_put(batch, entry);

    if (put != NULL && put->outcome.is != PROTO_COMMITTED)
        return put->outcome;
    if (put != NULL && batch->outcome.is == PROTO_REFUSED)
        return outcome_named_failed(batch->outcome.what, batch->outcome.error);
    return batch->outcome;
}

/* The memory that a batch may keep: little of what there is. */
static size_t
batch_keep_max(const struct batch *batch)
{
    const struct ledger *l = batch->ledger;

    return l != NULL && l->max / 16 < BATCH_KEEP_BYTES ? (size_t)(l->max / 16) : BATCH_KEEP_BYTES;
}

void
batch_reset(struct batch *batch)
{
    size_t keep = batch_keep_max(batch);

    if (batch->cap > BATCH_KEEP_ENTRIES || batch->put_cap > BATCH_KEEP_ENTRIES)
        batch_free_arrays(batch);
    if (batch->lines.cap > keep || batch->joined.cap > keep) {
        buffer_fini(&batch->lines);
        buffer_fini(&batch->joined);
    }
    buffer_clear(&batch->lines);
    buffer_clear(&batch->joined);
    batch->count = batch->put_count = 0;
    batch->rotate = batch->rotated = false;
    batch->left.state = SEGMENT_SOUND;
    batch_account(batch);
}

/* --- commit --- */

int
commit_init(struct commit *commit, const struct config *config, const struct file_ops *ops,
            unsigned worker)
{
    commit->config = config;
    commit->ops = ops;
    commit->dirs = DATA_DIRS_CLOSED;
    commit->segment_dirs = 0;
    dir_syncs_init(&commit->syncs, ops);
    segment_init(&commit->segment, &commit->syncs, worker);
    return store_init(&commit->store, config->on_conflict, &commit->dirs, &commit->syncs);
}

void
commit_fini(struct commit *commit)
{
    segment_close(&commit->segment);
    data_dirs_close(&commit->dirs);
    store_fini(&commit->store);
    dir_syncs_fini(&commit->syncs);
}

/* EAGAIN: the relay would take it for one that it has passed on, since the clock was set back, or
 * this worker was slow; the next name is behind that. 0, or why nobody can tell. */
static int
commit_late(struct commit *commit)
{
    char relayed[ULID_LEN];
    int found = position_newest(commit->ops, commit->dirs.root, relayed);

    if (found < 0)
        return errno;
    if (found == 0 || memcmp(commit->segment.name, relayed, ULID_LEN) > 0)
        return 0;
    ulid_begin_after(&commit->segment.ids, relayed);
    return EAGAIN;
}

static int
commit_open_segment(struct commit *commit)
{
    int error = 0;

    if (segment_is_open(&commit->segment))
        return 0;
    commit->segment_dirs = commit->dirs.opened;
    for (unsigned tries = 0; tries < COMMIT_TRIES; tries++) {
        if (segment_open(&commit->segment, commit->dirs.journal) < 0)
            return -1;
        error = commit_late(commit);
        if (error == 0)
            return 0;
        segment_close(&commit->segment);
    }
    errno = error;
    return -1;
}

/* Is the open segment still what anybody finds under its whole path? */
static enum segment_state
commit_look(const struct commit *commit)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/journal/%s", commit->config->data_dir,
                     commit->segment.name);

    return segment_look(&commit->segment, n < (int)sizeof(path) ? path : NULL);
}

/* A segment that nobody can find any more, or that is no longer as we left it, gets no line. */
static void
commit_check_segment(struct commit *commit, bool rotate)
{
    enum segment_state state;

    if (!segment_is_open(&commit->segment))
        return;
    state = commit_look(commit);
    if (state != SEGMENT_SOUND)
        segment_lose(&commit->segment, state);
    else if (rotate || commit->segment_dirs != commit->dirs.opened)
        segment_close(&commit->segment);
}

static struct outcome
commit_without_dirs(int error)
{
    if (error == ESTALE)
        return outcome_failed(
            "the data directory, or a part of it, was unmounted, moved or replaced", error);
    return outcome_failed("the data directory cannot be used", error);
}

/* Writes the lines to the open segment or a new one. Returns false where they have to go to another
 * one, since others have the file now. */
static bool
commit_write(struct commit *commit, const struct buffer *lines, struct outcome *outcome_out)
{
    enum segment_state state;

    *outcome_out = outcome_committed();
    if (commit_open_segment(commit) < 0) {
        *outcome_out = outcome_failed("a journal segment cannot be opened", errno);
        return true;
    }
    if (segment_append(&commit->segment, buffer_bytes(lines), lines->len) < 0) {
        *outcome_out = outcome_failed("the journal cannot be written", errno);
        return errno != EPERM;
    }
    state = commit_look(commit);
    if (state == SEGMENT_SOUND)
        file_unmark(commit->segment.fd);
    else
        segment_take_back(&commit->segment, state, lines->len);
    return state == SEGMENT_SOUND;
}

/* Who takes a segment away while it is written has perhaps copied it before the last lines were in
 * it, and removes it. So lines count that stand, once they are safe, where they can be found; else
 * they are taken back where that is possible, and written again. A line twice is better than none.
 */
static struct outcome
commit_lines(struct commit *commit, const struct buffer *lines)
{
    struct outcome outcome = outcome_committed();

    for (unsigned tries = 0; lines->len > 0; tries++) {
        if (commit_write(commit, lines, &outcome))
            break;
        if (tries == COMMIT_TRIES)
            return outcome_failed("the journal's segments are taken away while they are written",
                                  outcome.error != 0 ? outcome.error : ESTALE);
        if (data_dirs_open(&commit->dirs, commit->config, &commit->syncs) < 0)
            return commit_without_dirs(errno);
    }
    return outcome;
}

bool
commit_check_age(struct commit *commit, uint64_t now_us)
{
    if (!segment_is_open(&commit->segment) ||
        now_us < commit->segment.opened_us + commit->config->segment_age_us)
        return false;
    segment_close(&commit->segment);
    return true;
}

static bool
commit_rotate(struct commit *commit)
{
    if (segment_is_open(&commit->segment) && commit->segment.good >= commit->config->segment_size) {
        segment_close(&commit->segment);
        return true;
    }
    return commit_check_age(commit, clock_mono_us());
}

/* All of it. */
static void
commit_fail(struct batch *batch, struct outcome outcome)
{
    batch->outcome = outcome;
    for (uint32_t i = 0; i < batch->put_count; i++)
        batch->puts[i].outcome = outcome;
}

/* Without retain, which does not begin where there are no locks, nobody removes it. */
static struct outcome
commit_take_name(const struct commit *commit, const struct store_put *put)
{
    if (data_name_take(commit->dirs.root, NAME_COMMITTED, store_place_of(put)) == 0 ||
        !commit->config->retain_relayed)
        return outcome_committed();
    return outcome_failed("the name of the body cannot be locked", errno);
}

/* All names of bodies, or returns false where one is being removed: that body fails if it stays so.
 */
static bool
commit_take_names(struct commit *commit, struct batch *batch)
{
    const int root = commit->dirs.root;
    bool has_all = true;

    data_dirs_begin_commit(&commit->dirs);
    for (uint32_t i = 0; i < batch->put_count; i++)
        batch->puts[i].outcome = commit_take_name(commit, &batch->puts[i]);
    for (uint32_t i = 0; i < batch->put_count; i++) {
        struct store_put *put = &batch->puts[i];

        if (put->outcome.is != PROTO_COMMITTED) {
            has_all = false;
            continue;
        }
        if (!data_name_is_taken(root, NAME_REMOVED, store_place_of(put)))
            continue;
        put->outcome = outcome_failed("what had its name before is being removed", EBUSY);
        has_all = false;
    }
    return has_all;
}

/* Whoever removes it may be stopped, for ever: so nothing else waits for that long. */
static void
commit_begin(struct commit *commit, struct batch *batch)
{
    uint64_t until_us = clock_mono_us() + REMOVAL_US;

    while (!commit_take_names(commit, batch) && clock_mono_us() < until_us) {
        data_dirs_end_commit(&commit->dirs);
        (void)poll(NULL, 0, REMOVAL_PAUSE_MS);
    }
}

static void
commit_bodies_and_lines(struct commit *commit, struct batch *batch)
{
    if (batch->put_count > 0)
        commit_begin(commit, batch);
    store_run(&commit->store, batch->puts, batch->put_count);
    batch->outcome = commit_lines(commit, batch_join(batch));
    store_check(&commit->store, batch->puts, batch->put_count);
    if (batch->put_count > 0)
        data_dirs_end_commit(&commit->dirs);
}

void
commit_run(struct commit *commit, struct batch *batch)
{
    if (data_dirs_open(&commit->dirs, commit->config, &commit->syncs) < 0) {
        commit_fail(batch, commit_without_dirs(errno));
        return;
    }
    commit_check_segment(commit, batch->rotate);
    commit_bodies_and_lines(commit, batch);
    batch->left = commit->segment.left;
    commit->segment.left.state = SEGMENT_SOUND;
    batch->rotated = commit_rotate(commit);
}
