/* A message is built in memory or in a file, rolled back to its mark, and summed whatever becomes
 * of its body. */
#include "proto/message.h"

#include "guard.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct spill {
    unsigned opened, failures; /* failures: so many opens still fail */
    unsigned told;
    int error;
};

static struct spill spill;
static struct message_store store;

static int
spill_open(void *arg)
{
    struct spill *s = arg;
    FILE *f;
    int fd;

    if (s->failures > 0) {
        s->failures--;
        errno = ENOSPC;
        return -1;
    }
    s->opened++;
    f = tmpfile();
    assert_non_null(f);
    fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static void
spill_failed(void *arg, int error)
{
    struct spill *s = arg;

    s->told++;
    s->error = error;
}

static int
set_up(void **state)
{
    (void)state;
    spill = (struct spill){0};
    store = (struct message_store){
        .digester = digester_create(),
        .memory_max = 100000,
        .ledger.max = 1 << 20,
        .spill_open = spill_open,
        .spill_arg = &spill,
        .failed = spill_failed,
    };
    return store.digester != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    assert_int_equal(store.ledger.used, 0);
    digester_destroy(store.digester);
    return 0;
}

static void
assert_message(struct message *m, const uint8_t *expected, size_t n)
{
    uint8_t digest[SHA256_LEN];
    const char *body;

    message_finish(m);
    digest_sha256(store.digester, expected, n, digest);
    assert_int_equal(m->size, n);
    assert_memory_equal(m->sha256, digest, SHA256_LEN);
    assert_int_equal(m->error, 0);
    assert_int_equal(message_body(m, &body), 0);
    assert_memory_equal(body, expected, n);
    message_body_release(m, body);
}

/* Bytes that differ from place to place, so that a wrong offset shows. */
static uint8_t *
pattern(size_t n)
{
    uint8_t *p = ms_malloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 31 + i / 257);
    return p;
}

static void
any_size_arrives_whole_in_pieces_of_any_size(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 99999, 100000, 100001, 300000};
    uint8_t *bytes = pattern(300000);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++)
        for (size_t piece = 999; piece <= 300000; piece *= 17) {
            struct message *m = message_create(&store, sizes[i], UINT64_MAX, 0);

            for (size_t at = 0; at < sizes[i]; at += piece)
                message_append(m, bytes + at, sizes[i] - at < piece ? sizes[i] - at : piece);
            assert_int_equal(m->fd >= 0, sizes[i] > store.memory_max);
            assert_message(m, bytes, sizes[i]);
            message_destroy(m);
        }
    free(bytes);
}

static void
what_is_rolled_back_leaves_no_trace(void **state)
{
    static const size_t marks[] = {0, 500, 99990, 150000};
    uint8_t *bytes = pattern(200000);
    uint8_t *bad = ms_calloc(1, 120000);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(marks); i++) {
        struct message *m = message_create(&store, 200000, UINT64_MAX, 0);

        message_append(m, bytes, marks[i]);
        for (int again = 0; again < 3; again++) {
            message_mark(m);
            message_append(m, bad, 120000); /* beyond what fits in memory */
            message_rollback(m);
        }
        message_append(m, bytes + marks[i], 160000 - marks[i]);
        assert_message(m, bytes, 160000);
        message_destroy(m);
    }
    free(bad);
    free(bytes);
}

static void
a_shorter_body_behind_a_rollback_ends_where_it_should(void **state)
{
    uint8_t *bytes = pattern(200000);
    struct message *m = message_create(&store, 0, UINT64_MAX, 0);

    (void)state;
    message_append(m, bytes, 120000);
    message_mark(m);
    message_append(m, bytes, 80000);
    message_rollback(m);
    message_finish(m);
    assert_int_equal(lseek(m->fd, 0, SEEK_END), 120000);
    message_destroy(m);
    free(bytes);
}

static void
a_body_that_nobody_wants_is_only_summed(void **state)
{
    uint8_t *bytes = pattern(300000);
    struct message *m = message_create(&store, 300000, 1000, 0);
    uint8_t digest[SHA256_LEN];

    (void)state;
    for (size_t at = 0; at < 300000; at += 500)
        message_append(m, bytes + at, 500);
    assert_int_equal(spill.opened, 0);
    message_finish(m);
    assert_true(m->body_dropped);
    assert_in_range(store.ledger.used, 1, 1024); /* itself */
    digest_sha256(store.digester, bytes, 300000, digest);
    assert_memory_equal(m->sha256, digest, SHA256_LEN);
    message_destroy(m);
    free(bytes);
}

static void
a_packet_that_is_taken_back_takes_no_body_with_it(void **state)
{
    uint8_t *bytes = pattern(3000);
    struct message *m = message_create(&store, 0, 1000, 0);
    uint8_t digest[SHA256_LEN];
    const char *body;

    (void)state;
    message_append(m, bytes, 600);
    message_mark(m);
    message_append(m, bytes, 300);
    message_append(m, bytes, 900);
    message_rollback(m);
    message_append(m, bytes + 600, 400);
    message_finish(m);
    assert_false(m->body_dropped);
    assert_int_equal(m->size, 1000);
    assert_int_equal(message_body(m, &body), 0);
    assert_memory_equal(body, bytes, 1000);
    message_body_release(m, body);
    digest_sha256(store.digester, bytes, 1000, digest);
    assert_memory_equal(m->sha256, digest, SHA256_LEN);
    message_destroy(m);
    free(bytes);
}

static void
what_is_over_at_a_mark_stays_dropped(void **state)
{
    uint8_t *bytes = pattern(3000);
    struct message *m = message_create(&store, 0, 1000, 0);

    (void)state;
    message_append(m, bytes, 1500);
    message_mark(m);
    assert_true(m->body_dropped);
    message_append(m, bytes, 10);
    message_rollback(m);
    message_append(m, bytes, 20);
    message_finish(m);
    assert_true(m->body_dropped);
    assert_int_equal(m->size, 1520);
    assert_in_range(store.ledger.used, 1, 1024);
    message_destroy(m);
    free(bytes);
}

static void
the_first_failure_stays_and_is_told_once(void **state)
{
    uint8_t *bytes = pattern(200000);
    struct message *m = message_create(&store, 0, UINT64_MAX, 0);
    const char *body;

    (void)state;
    spill.failures = 1;
    message_append(m, bytes, 200000);
    message_append(m, bytes, 1000);
    assert_int_equal(m->error, ENOSPC);
    assert_int_equal(m->size, 201000);
    assert_int_equal(spill.told, 1);
    assert_int_equal(spill.error, ENOSPC);
    assert_int_equal(spill.opened, 0);
    assert_int_equal(message_body(m, &body), -1);
    assert_int_equal(errno, ENOSPC);
    message_destroy(m);
    free(bytes);
}

static void
where_all_together_use_too_much_only_small_ones_stay_in_memory(void **state)
{
    uint8_t *bytes = pattern(50000);
    struct message *hog = message_create(&store, 0, UINT64_MAX, 0);
    struct message *large = message_create(&store, 0, UINT64_MAX, 0);
    struct message *little = message_create(&store, 0, UINT64_MAX, 0);

    (void)state;
    store.ledger.max = 40000;
    message_append(hog, bytes, 50000);
    message_append(large, bytes, 50000);
    message_append(little, bytes, 4000);
    assert_int_equal(hog->fd, -1);
    assert_true(large->fd >= 0);
    assert_int_equal(little->fd, -1);
    assert_message(large, bytes, 50000);
    message_destroy(hog);
    message_destroy(large);
    message_destroy(little);
    free(bytes);
}

static void
a_size_from_the_wire_earns_little_memory(void **state)
{
    struct message *m = message_create(&store, UINT64_MAX, UINT64_MAX, 0);

    (void)state;
    assert_in_range(store.ledger.used, 1, 1024); /* itself */
    message_append(m, "x", 1);
    assert_in_range(store.ledger.used, 1024, 4096);
    message_destroy(m);
}

static void
values_are_copied_terminated_and_cut(void **state)
{
    struct message *m = message_create(&store, 0, UINT64_MAX, 0);

    (void)state;
    message_set_value(m, "digest:path", 11);
    assert_int_equal(m->value_len, 11);
    message_value_cut_front(m, 7);
    assert_string_equal(m->value, "path");
    assert_int_equal(m->value_len, 4);
    message_value_cut_front(m, 4);
    assert_string_equal(m->value, "");
    message_destroy(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* As after a write-back that failed: the pages are gone, and the disk has something else. */
static void
assert_change_is_seen(struct message *m, const char *bytes, size_t n)
{
    const char *body;

    message_finish(m);
    assert_true(m->fd >= 0);
    assert_int_equal(message_body(m, &body), 0);
    assert_memory_equal(body, bytes, n);
    message_body_release(m, body);
    assert_int_equal(pwrite(m->fd, "x", 1, (off_t)n - 1), 1);
    assert_int_equal(message_body(m, &body), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(ftruncate(m->fd, 10), 0);
    assert_int_equal(message_body(m, &body), -1);
    assert_int_equal(errno, EIO);
}

static void
a_body_that_its_file_gives_back_changed_is_not_taken(void **state)
{
    size_t n = store.memory_max + 1;
    char *bytes = ms_calloc(1, n);
    struct message *m = message_create(&store, n, UINT64_MAX, 0);

    (void)state;
    message_append(m, bytes, n);
    assert_change_is_seen(m, bytes, n);
    message_destroy(m);
    free(bytes);
}

static uint64_t
blocks_of(const struct message *m)
{
    struct stat st;

    assert_int_equal(fstat(m->fd, &st), 0);
    assert_int_equal(st.st_size, m->size);
    return (uint64_t)st.st_blocks * 512;
}

static void
disk_is_set_aside_as_announced_and_given_back(void **state)
{
    static const uint8_t piece[9 << 20];
    struct message *m = message_create(&store, 64 << 20, UINT64_MAX, 0);
    int fd = spill_open(&spill);
    bool is_able = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;

    (void)state;
    fd_close(&fd);
    message_append(m, piece, sizeof(piece));
    if (is_able)
        assert_true(blocks_of(m) >= 16 << 20);
    message_finish(m);
    assert_true(blocks_of(m) < 10 << 20);
    message_destroy(m);
}

/* Whether the mark stands before the file or in it, and whatever came behind it and was taken
 * back. */
static void
a_digest_that_was_skipped_is_taken_of_what_goes_to_a_file(void **state)
{
    static const size_t marks[] = {0, 1, 99999, 100000, 100001, 150000};
    static const size_t taken_back[] = {0, 1, 200000};
    size_t n = 200000;
    char *bytes = ms_calloc(1, n), *wrong = ms_calloc(1, n);

    (void)state;
    memset(bytes, 'b', n);
    for (size_t i = 0; i < MS_ARRAY_LEN(marks) * MS_ARRAY_LEN(taken_back); i++) {
        size_t mark = marks[i % MS_ARRAY_LEN(marks)];
        struct message *m = message_create(&store, n, UINT64_MAX, 0);

        message_skip_digest(m);
        message_append(m, bytes, mark);
        message_mark(m);
        message_append(m, wrong, taken_back[i / MS_ARRAY_LEN(marks)]);
        message_rollback(m);
        message_append(m, bytes + mark, n - mark);
        assert_change_is_seen(m, bytes, n);
        message_destroy(m);
    }
    free(wrong);
    free(bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_body_that_its_file_gives_back_changed_is_not_taken),
        TEST(disk_is_set_aside_as_announced_and_given_back),
        TEST(a_digest_that_was_skipped_is_taken_of_what_goes_to_a_file),
        TEST(any_size_arrives_whole_in_pieces_of_any_size),
        TEST(what_is_rolled_back_leaves_no_trace),
        TEST(a_shorter_body_behind_a_rollback_ends_where_it_should),
        TEST(a_body_that_nobody_wants_is_only_summed),
        TEST(a_packet_that_is_taken_back_takes_no_body_with_it),
        TEST(what_is_over_at_a_mark_stays_dropped),
        TEST(the_first_failure_stays_and_is_told_once),
        TEST(where_all_together_use_too_much_only_small_ones_stay_in_memory),
        TEST(a_size_from_the_wire_earns_little_memory),
        TEST(values_are_copied_terminated_and_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
