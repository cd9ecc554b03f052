/* What was acknowledged is there after a power cut, whatever the disk had done of what was not
 * synced yet; and no call that fails makes the journal acknowledge what is not there. */
#include "disk.h"
#include "guard.h"
#include "handler_fixture.h"

#include "handler/journal/journal.h"
#include "support/wait.h"

#include <dirent.h>

#define CUT_STATES 20000u /* a run; CUT_STATES in the environment: more */
#define CUT_NAMES  64
#define CUT_BODY   9000

/* One message of a play, and after how many notes it was acknowledged. */
struct sent {
    char sha256[SHA256_HEX_LEN + 1];
    char path[300]; /* beneath the data directory; "" where its body is in the line */
    bool acked;
    size_t acked_at;
};

struct play {
    struct fixture *f;
    char state[300]; /* the directory in which states are made */
    struct sent sent[CUT_NAMES];
    unsigned count;
};

/* --- the play: what is sent --- */

static void
play_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    struct play *p = ctx;
    struct sent *s = &p->sent[(uintptr_t)m->owner];
    json_t *receipt;

    if (verdict->outcome == PROTO_COMMITTED) {
        receipt = json_loadb(verdict->reply, verdict->reply_len, 0, NULL);
        assert_non_null(receipt);
        snprintf(s->path, sizeof(s->path), "%s%s", fixture_member(receipt, "file"),
                 fixture_member(receipt, "blob"));
        json_decref(receipt);
        s->acked = true;
        s->acked_at = disk_count();
    }
    message_destroy(m);
}

static void
play_committed(void *ctx, unsigned messages)
{
    (void)ctx;
    (void)messages;
}

static struct play *
play_create(enum on_conflict on_conflict)
{
    struct play *p = ms_calloc(1, sizeof(*p));
    const char *memory = "/dev/shm/msockd-cut-XXXXXX";

    p->f = fixture_create();
    p->f->config.on_conflict = on_conflict;
    p->f->config.segment_size = 6000;
    p->f->host.ctx = p;
    p->f->host.settle = play_settle;
    p->f->host.committed = play_committed;
    snprintf(p->state, sizeof(p->state), "%s",
             access("/dev/shm", W_OK) == 0 ? memory : "/tmp/msockd-cut-XXXXXX");
    assert_non_null(mkdtemp(p->state));
    return p;
}

static void
play_destroy(struct play *p)
{
    disk_end();
    fixture_remove_tree(p->state);
    fixture_destroy(p->f);
    free(p);
}

/* Bodies differ, so that each has a digest of its own. */
static void
play_send(struct play *p, enum message_kind kind, const char *path, size_t n)
{
    char body[CUT_BODY + 1];
    struct message *m;
    int head;

    assert_true(p->count < CUT_NAMES && n <= CUT_BODY);
    head = snprintf(body, sizeof(body), "\"message %u ", p->count);
    memset(body + head, 'a' + (int)(p->count % 26), n - (size_t)head);
    body[n - 1] = '"';
    m = fixture_message(p->f, kind, path, body, n);
    m->owner = (void *)(uintptr_t)p->count;
    digest_hex(m->sha256, SHA256_LEN, p->sent[p->count].sha256);
    if (kind == MESSAGE_FILE)
        snprintf(p->sent[p->count].path, sizeof(p->sent[0].path), "files/%s", path);
    p->count++;
    journal_handler.submit(p->f->handler, m);
}

static void
play_flush(struct play *p)
{
    journal_handler.finish(p->f->handler);
}

/* Lines, blobs and files, alone and in groups, in directories old and new, on names that are taken;
 * bodies from memory and from files; segments that are left. */
static void
play_messages(struct play *p)
{
    play_send(p, MESSAGE_PLAIN, "", 100);
    play_flush(p);
    play_send(p, MESSAGE_FILE, "a/b/one", 700);
    play_send(p, MESSAGE_JSON, "", 200);
    play_send(p, MESSAGE_FILE, "a/c/two", 700);
    play_flush(p);
    play_send(p, MESSAGE_PLAIN, "", 2000); /* a blob */
    play_send(p, MESSAGE_PLAIN, "", 6000); /* a blob that was in a file */
    play_flush(p);
    play_send(p, MESSAGE_FILE, "a/b/one", 900); /* the name is taken */
    play_send(p, MESSAGE_FILE, "top", 8000);
    play_flush(p);
    for (unsigned i = 0; i < 10; i++)
        play_send(p, MESSAGE_PLAIN, "", 900); /* beyond a segment's size */
    play_flush(p);
    play_send(p, MESSAGE_FILE, "a/b/d/e/three", 600);
    play_flush(p);
    play_send(p, MESSAGE_JSON, "", 800);
    journal_handler.reopen(p->f->handler);
    play_send(p, MESSAGE_PLAIN, "", 300);
    play_flush(p);
}

/* Returns false where the journal could not even be opened. */
static bool
play_run(struct play *p)
{
    char error[HANDLER_ERROR_LEN];

    p->f->handler = journal_create_with(&p->f->host, disk_ops(), error);
    if (p->f->handler == NULL)
        return false;
    play_messages(p);
    journal_handler.finish(p->f->handler);
    journal_handler.destroy(p->f->handler);
    return true;
}

/* --- a state: what is there --- */

static void
state_clear(struct play *p)
{
    fixture_remove_tree(p->state);
    assert_int_equal(mkdir(p->state, 0750), 0);
}

static void
state_recover(struct play *p, const struct file_ops *ops, struct recovery_tally *tally_out)
{
    struct config config = p->f->config;
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct dir_syncs syncs;
    struct stat st;

    config.data_dir = p->state;
    assert_int_equal(stat(p->state, &st), 0);
    config.data_device = st.st_dev;
    config.data_inode = st.st_ino;
    dir_syncs_init(&syncs, ops);
    assert_int_equal(data_dirs_open(&dirs, &config, &syncs), 0);
    recovery_run(&dirs, ops, NULL, tally_out);
    data_dirs_close(&dirs);
    dir_syncs_fini(&syncs);
}

static int
state_is_segment(const struct dirent *entry)
{
    return segment_is_name(entry->d_name);
}

/* All lines of all segments, each of which must be whole. */
static char *
state_lines(const struct play *p)
{
    char path[700], *lines = ms_strdup("");
    struct dirent **names;
    int count;

    snprintf(path, sizeof(path), "%s/journal", p->state);
    count = scandir(path, &names, state_is_segment, alphasort);
    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        char *data;
        size_t n, have = strlen(lines);

        snprintf(path, sizeof(path), "%s/journal/%s", p->state, names[i]->d_name);
        free(names[i]);
        assert_int_equal(fd_read_file(path, 1 << 30, &data, &n), 0);
        for (char *line = data, *end; *line != '\0'; line = end + 1) {
            end = strchr(line, '\n');
            assert_non_null(end);
            assert_true(record_is_whole(line, (size_t)(end - line)));
        }
        assert_int_equal(strlen(data), n);
        lines = realloc(lines, have + n + 1);
        assert_non_null(lines);
        memcpy(lines + have, data, n + 1);
        free(data);
    }
    free(names);
    return lines;
}

static bool
state_has_file(const struct play *p, const struct sent *s)
{
    struct digester *digester = digester_create();
    char path[700], hex[SHA256_HEX_LEN + 1] = "";
    uint8_t sha256[SHA256_LEN];
    char *data;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", p->state, s->path);
    if (fd_read_file(path, 1 << 30, &data, &n) == 0) {
        digest_sha256(digester, data, n, sha256);
        digest_hex(sha256, SHA256_LEN, hex);
        free(data);
    }
    digester_destroy(digester);
    return strcmp(hex, s->sha256) == 0;
}

/* A file whose name was given to a later message meanwhile is that message's. */
static bool
sent_was_replaced(const struct play *p, const struct sent *s)
{
    if (p->f->config.on_conflict != ON_CONFLICT_REPLACE)
        return false;
    for (const struct sent *later = s + 1; later < p->sent + p->count; later++)
        if (strcmp(later->path, s->path) == 0)
            return true;
    return false;
}

/* What was acknowledged by then is there, whole. Returns NULL, or what is missing. */
static const char *
state_missing(const struct play *p, size_t count)
{
    static char text[400];
    char *lines = state_lines(p);
    const char *missing = NULL;

    for (const struct sent *s = p->sent; s < p->sent + p->count && missing == NULL; s++) {
        if (!s->acked || s->acked_at > count)
            continue;
        if (strstr(lines, s->sha256) == NULL)
            missing = "the line";
        else if (s->path[0] != '\0' && !sent_was_replaced(p, s) && !state_has_file(p, s))
            missing = s->path;
        if (missing != NULL)
            snprintf(text, sizeof(text), "message %u: %s", (unsigned)(s - p->sent), missing);
    }
    free(lines);
    return missing != NULL ? text : NULL;
}

static void
state_check(const struct play *p, size_t count, uint64_t seed)
{
    const char *missing = state_missing(p, count);

    if (missing == NULL)
        return;
    fail_msg("a cut after %zu calls, seed %llu, on_conflict %d: lost %s", count,
             (unsigned long long)seed, (int)p->f->config.on_conflict, missing);
}

/* --- power cuts --- */

static unsigned
cut_states(void)
{
    const char *wanted = getenv("CUT_STATES");

    return wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : CUT_STATES / WAIT_SCALE;
}

static void
cut_once(struct play *p, size_t count, uint64_t seed, bool again)
{
    struct recovery_tally tally;

    state_clear(p);
    disk_cut(count, seed, p->state);
    state_recover(p, disk_uncounted_ops(), &tally);
    assert_int_equal(tally.failed, 0);
    state_check(p, count, seed);
    if (!again)
        return;
    state_recover(p, disk_uncounted_ops(), &tally);
    assert_int_equal(tally.cut + tally.emptied + tally.damaged + tally.leftovers, 0);
    state_check(p, count, seed);
}

static void
cut_everywhere(enum on_conflict on_conflict)
{
    struct play *p = play_create(on_conflict);
    unsigned states = cut_states() / 3 + 1, made = 0;
    size_t count;

    disk_begin(p->f->dir);
    assert_true(play_run(p));
    count = disk_count();
    for (unsigned i = 0; i < p->count; i++)
        assert_true(p->sent[i].acked || on_conflict == ON_CONFLICT_KEEP);
    for (uint64_t seed = 1; made < states; seed++)
        for (size_t at = 0; at <= count && made < states; at++, made++)
            cut_once(p, at, seed * 1000003 + at, made % 16 == 0);
    print_message("%u states after cuts at %zu places, seeds from 1000003\n", made, count + 1);
    play_destroy(p);
}

static void
what_was_acknowledged_survives_a_power_cut(void **state)
{
    (void)state;
    cut_everywhere(ON_CONFLICT_KEEP);
    cut_everywhere(ON_CONFLICT_REPLACE);
    cut_everywhere(ON_CONFLICT_NUMBER);
}

/* A second cut hits the recovery from the first one. */
static void
cut_recovery(struct play *p, size_t at, uint64_t seed)
{
    struct recovery_tally tally;
    size_t count;

    state_clear(p);
    disk_cut(at, seed, p->state);
    disk_begin(p->state);
    state_recover(p, disk_ops(), &tally);
    count = disk_count();
    for (size_t second = 0; second <= count; second++) {
        state_clear(p);
        disk_cut(second, seed + second, p->state);
        state_recover(p, disk_uncounted_ops(), &tally);
        state_check(p, at, seed);
    }
}

static void
a_power_cut_during_the_recovery_loses_nothing_either(void **state)
{
    struct play *p = play_create(ON_CONFLICT_NUMBER);
    size_t count;

    (void)state;
    disk_begin(p->f->dir);
    assert_true(play_run(p));
    count = disk_count();
    for (size_t at = 1; at <= count; at += 7) {
        struct play *other = play_create(ON_CONFLICT_NUMBER);

        disk_begin(other->f->dir);
        assert_true(play_run(other));
        cut_recovery(other, at, at * 7919 + 1);
        play_destroy(other);
    }
    play_destroy(p);
}

/* --- calls that fail --- */

/* Returns the name of the call that failed, or NULL where the play is over before. */
static const char *
fail_once(enum on_conflict on_conflict, size_t call, int error)
{
    unsigned before = guard_entries("/proc/self/fd");
    struct play *p = play_create(on_conflict);
    const char *failed;
    size_t count;

    disk_begin(p->f->dir);
    disk_fail(call, error);
    (void)play_run(p);
    failed = disk_failed();
    count = disk_count();
    for (uint64_t seed = 1; seed <= 4; seed++) {
        const char *missing;
        struct recovery_tally tally;

        state_clear(p);
        disk_cut(count, seed * 7907 + call, p->state);
        state_recover(p, disk_uncounted_ops(), &tally);
        missing = state_missing(p, count);
        if (missing != NULL)
            fail_msg("call %zu, %s, fails with %d: acknowledged, but lost: %s", call, failed, error,
                     missing);
        assert_int_equal(fixture_count(p->f, ".", "no such", NULL), 0);
    }
    play_destroy(p);
    assert_int_equal(guard_entries("/proc/self/fd"), before);
    return failed;
}

static void
no_call_that_fails_makes_a_false_ack(void **state)
{
    const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, DISK_SHORT};
    const char *failed;

    (void)state;
    for (size_t call = 1;; call++) {
        for (size_t i = 0; i < MS_ARRAY_LEN(errors); i++)
            failed = fail_once((enum on_conflict)(call % 3), call, errors[i]);
        if (failed == NULL)
            break;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives_a_power_cut),
        cmocka_unit_test(a_power_cut_during_the_recovery_loses_nothing_either),
        cmocka_unit_test(no_call_that_fails_makes_a_false_ack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
