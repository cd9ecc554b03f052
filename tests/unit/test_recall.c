/* What the journal tells the other workers after a start. */
#include "handler_fixture.h"

#include "dedup/table.h"
#include "handler/journal/data_dir.h"
#include "handler/journal/journal.h"

#include <pthread.h>
#include <sys/mman.h>

#define NAME    "01M00000000000000000000000-w0.ndjson"
#define RECORDS 2000
#define WINDOW  1000000
#define NOW     ulid_ms("01M00000010000000000000000")

struct context {
    struct fixture *f;
    struct data_dirs dirs;
    struct config config;
    _Atomic int64_t id_offset_us; /* so that it is NOW */
    struct dedup_table *table;
    struct stats_control *control;
    struct dedup *dedup;
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dirs = DATA_DIRS_CLOSED;
    c->dirs.root = open(fixture_path(c->f, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    c->dirs.journal = open(fixture_path(c->f, "journal"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    c->config.dedup_window_us = WINDOW * 1000;
    c->config.drain_timeout_us = 60000000;
    c->id_offset_us = (int64_t)(NOW * 1000 - clock_boot_us());
    c->table = dedup_table_create(2 * RECORDS);
    c->control =
        mmap(NULL, sizeof(*c->control), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(c->dirs.root >= 0 && c->dirs.journal >= 0 && c->table != NULL &&
                c->control != MAP_FAILED);
    atomic_store(&c->control->worker[0].incarnation, 7);
    c->dedup = dedup_open(c->table, 0, 7, c->control, WINDOW);
    *state = c;
    return 0;
}

static int
teardown(void **state)
{
    struct context *c = *state;

    dedup_close(c->dedup);
    dedup_table_destroy(c->table);
    munmap(c->control, sizeof(*c->control));
    data_dirs_close(&c->dirs);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
put(const struct context *c, const void *bytes, size_t n)
{
    int fd = openat(c->dirs.journal, NAME, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, bytes, n), 0);
    fd_close(&fd);
}

/* The record of a message with that id. */
static void
put_record(const struct context *c, const char *key)
{
    struct message_origin origin = {.listener = "msp://a:1", .proto = "msp", .peer = "b:2"};
    struct message m = {.kind = MESSAGE_PLAIN, .value_len = (uint16_t)strlen(key)};
    struct record_clock clock = {0};
    struct buffer line;

    m.value = (char *)(uintptr_t)key;
    memset(m.sha256, 'x', sizeof(m.sha256));
    buffer_init(&line);
    record_head(&line, "01M00000000000000000000001", 0, &clock, &origin, &m);
    record_body(&line, 0, MESSAGE_PLAIN, "body", 4);
    put(c, buffer_bytes(&line), line.len);
    buffer_fini(&line);
}

static bool
is_known(const struct context *c, const char *key)
{
    struct dedup_claim claim = {.window_ms = WINDOW};
    bool known;

    memset(claim.sha256, 'x', sizeof(claim.sha256));
    claim.name =
        dedup_name(c->dedup, dedup_scope(c->dedup, "msp://a:1", 0), false, NULL, key, strlen(key));
    known = dedup_ask(c->dedup, &claim, NOW) == DEDUP_COMMITTED;
    dedup_release(c->dedup, claim.entry);
    return known;
}

static void
put_all(const struct context *c)
{
    char key[16];

    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        put_record(c, key);
    }
}

static void
assert_all_known(const struct context *c)
{
    char key[16];

    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        if (!is_known(c, key))
            fail_msg("%s is not known", key);
    }
}

static void
recall(struct context *c, const struct file_ops *ops, const _Atomic bool *stop)
{
    const struct handler_host host = {
        .config = &c->config, .dedup = c->dedup, .id_offset_us = &c->id_offset_us};

    recall_run(&host, &c->dirs, ops, stop);
}

static void
every_record_of_the_window_is_told(void **state)
{
    struct context *c = *state;

    put_all(c);
    assert_false(dedup_is_filled(c->dedup));
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup));
    assert_all_known(c);
}

static void
what_is_older_is_not(void **state)
{
    struct context *c = *state;

    put_record(c, "old");
    c->id_offset_us += WINDOW * 1000;
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup));
    assert_false(is_known(c, "old"));
}

/* Another worker recovers the segment while it is read. */
static const char torn[] = "{\"id\":\"01M0000000000000000";
static bool is_cut;

static ssize_t
cut_and_read(int fd, void *data, size_t n, off_t at)
{
    struct stat st;
    char path[64];

    if (!is_cut && fstat(fd, &st) == 0) {
        is_cut = true;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        assert_int_equal(truncate(path, st.st_size - (off_t)strlen(torn)), 0);
    }
    return file_ops_unsynced.read(fd, data, n, at);
}

static void
a_segment_that_is_cut_meanwhile_is_told_whole(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_unsynced;

    ops.read = cut_and_read;
    put_all(c);
    put(c, torn, strlen(torn));
    recall(c, &ops, NULL);
    assert_true(is_cut && dedup_is_filled(c->dedup));
    assert_all_known(c);
}

static int
no_descriptor(int dir_fd, const char *name, int flags)
{
    (void)dir_fd;
    (void)name;
    (void)flags;
    errno = EMFILE;
    return -1;
}

static void
without_descriptors_it_is_done_again_later(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_unsynced;

    ops.open = no_descriptor;
    put_record(c, "a");
    recall(c, &ops, NULL);
    assert_false(dedup_is_filled(c->dedup));
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup) && is_known(c, "a"));
}

/* --- who else uses the journal --- */

static void *
recall_in_thread(void *arg)
{
    recall(arg, &file_ops_unsynced, NULL);
    return NULL;
}

static void
what_an_earlier_daemon_writes_to_the_end_is_told(void **state)
{
    struct context *c = *state;
    int earlier = open(fixture_path(c->f, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int own = open(fixture_path(c->f, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pthread_t thread;

    recall_hold(&c->dirs, c->dedup);
    data_dir_hold(own, dedup_run(c->dedup)); /* another worker of this daemon is none */
    data_dir_hold(earlier, dedup_run(c->dedup) - 1);
    assert_int_equal(pthread_create(&thread, NULL, recall_in_thread, c), 0);
    usleep(50000);
    assert_false(dedup_is_filled(c->dedup));
    put_record(c, "late");
    fd_close(&earlier);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(dedup_is_filled(c->dedup) && is_known(c, "late"));
    fd_close(&own);
}

/* A reload, say, while it waits: the next worker has to. */
static void
a_worker_that_leaves_meanwhile_has_not_told_anything(void **state)
{
    struct context *c = *state;
    int earlier = open(fixture_path(c->f, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const _Atomic bool stop = true;

    data_dir_hold(earlier, dedup_run(c->dedup) + 1);
    recall(c, &file_ops_unsynced, &stop);
    assert_false(dedup_is_filled(c->dedup));
    fd_close(&earlier);
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup));
}

static void
an_earlier_daemon_that_stays_is_not_awaited_for_ever(void **state)
{
    struct context *c = *state;
    int earlier = open(fixture_path(c->f, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    data_dir_hold(earlier, dedup_run(c->dedup) + 1);
    put_record(c, "a");
    c->config.drain_timeout_us = 50000;
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup) && is_known(c, "a"));
    fd_close(&earlier);
}

static void
a_worker_that_is_stopped_while_it_looks_is_replaced(void **state)
{
    struct context *c = *state;
    struct dedup *stopped = dedup_open(c->table, 1, 8, c->control, WINDOW);
    struct dedup_ring *ring = dedup_table_memory(c->table, &(size_t){0});

    atomic_store(&c->control->worker[1].incarnation, 8);
    put_record(c, "a");
    assert_true(dedup_fill_begin(stopped));
    recall(c, &file_ops_unsynced, NULL);
    assert_false(dedup_is_filled(c->dedup));
    ring->fill_said_us -= 10000000;
    recall(c, &file_ops_unsynced, NULL);
    assert_true(dedup_is_filled(c->dedup) && is_known(c, "a"));
    dedup_fill_end(stopped, false);
    assert_true(dedup_is_filled(c->dedup));
    dedup_close(stopped);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_record_of_the_window_is_told),
        TEST(what_is_older_is_not),
        TEST(a_segment_that_is_cut_meanwhile_is_told_whole),
        TEST(without_descriptors_it_is_done_again_later),
        TEST(what_an_earlier_daemon_writes_to_the_end_is_told),
        TEST(a_worker_that_leaves_meanwhile_has_not_told_anything),
        TEST(an_earlier_daemon_that_stays_is_not_awaited_for_ever),
        TEST(a_worker_that_is_stopped_while_it_looks_is_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
