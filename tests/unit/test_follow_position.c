/* Where following goes on: the saved position, its floor, and its lock. */
#include "disk.h"
#include "follow_case.h"

static struct follow *following; /* for what is called back */

static void
it_goes_on_before_the_first_item_that_was_not_done(void **state)
{
    struct context *c = *state;
    struct follow_item *items[6];

    follow_case_write(c, SEGMENT_A, 1, 3, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 4, 6, SEGMENT_SEALED);
    follow_case_begin(c);
    for (unsigned i = 0; i < 6; i++)
        items[i] = follow_expect(c->follow, i + 1);
    follow_done(c->follow, items[5]);
    follow_done(c->follow, items[3]);
    follow_done(c->follow, items[2]);
    follow_done(c->follow, items[0]);
    assert_int_equal(follow_case_lag(c).records, 4); /* 2 and 3, 5 and 6 */
    assert_int_equal(follow_save(c->follow), 0);
    follow_case_begin(c);
    follow_done(c->follow, follow_expect(c->follow, 2));
    follow_done(c->follow, follow_expect(c->follow, 3));
    follow_expect_all(c->follow, 5, 6);
    assert_int_equal(follow_save(c->follow), 0);
    follow_case_begin(c);
    follow_expect_none(c->follow);
    follow_case_write(c, SEGMENT_C, 7, 7, SEGMENT_SEALED);
    follow_expect_all(c->follow, 7, 7);
}

/* What is so old that the position does not name it, and so is done, is not told again; but what
 * comes under an old name while it runs is. */
static void
a_name_behind_the_floor_that_comes_late_is_followed(void **state)
{
    static const char later[] = "journal/01ARZZ6S410000000000000000-w0.ndjson";
    static const char between[] = "journal/01ARYZ6S415000000000000000-w5.ndjson";
    struct context *c = *state;
    char *position;

    follow_case_write(c, SEGMENT_A, 1, 1, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 2, 2, SEGMENT_SEALED);
    follow_case_write(c, later, 3, 3, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 3);
    assert_int_equal(follow_save(c->follow), 0);
    follow_expect_none(c->follow);
    assert_int_equal(follow_save(c->follow), 0);
    position = fixture_read(c->f, FOLLOW_POSITION, NULL);
    assert_non_null(strstr(position, strchr(SEGMENT_B, '/') + 1));
    assert_null(strstr(position, strchr(SEGMENT_A, '/') + 1));
    free(position);
    follow_case_begin(c);
    follow_expect_none(c->follow);
    follow_case_write(c, between, 4, 5, SEGMENT_SEALED);
    follow_done(c->follow, follow_expect(c->follow, 4));
    assert_int_equal(follow_save(c->follow), 0);
    follow_case_begin(c);
    follow_expect_all(c->follow, 5, 5);
}

/* It comes between the last look and the position, and the relay dies behind that. */
static void
a_name_that_comes_before_the_floor_is_on_the_disk_is_followed(void **state)
{
    static const char later[] = "journal/01ARZZ6S410000000000000000-w0.ndjson";
    static const char before[] = "journal/01ARYZ6S400000000000000000-w5.ndjson";
    struct context *c = *state;

    follow_case_write(c, SEGMENT_A, 1, 1, SEGMENT_SEALED);
    follow_case_write(c, later, 2, 2, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 2);
    follow_case_write(c, before, 3, 3, SEGMENT_SEALED);
    assert_int_equal(follow_save(c->follow), 0);
    follow_case_begin(c);
    follow_expect_all(c->follow, 3, 3);
}

static void
one_at_a_time_follows_also_when_the_position_was_saved(void **state)
{
    struct context *c = *state;
    char error[FOLLOW_ERROR_LEN];

    follow_case_write(c, SEGMENT_A, 1, 1, SEGMENT_SEALED);
    follow_case_begin(c);
    assert_null(follow_open(&c->f->config, &file_ops_synced, error));
    assert_int_equal(errno, EAGAIN);
    assert_non_null(strstr(error, "another process"));
    follow_expect_all(c->follow, 1, 1);
    assert_int_equal(follow_save(c->follow), 0);
    assert_null(follow_open(&c->f->config, &file_ops_synced, error));
    assert_int_equal(errno, EAGAIN);
}

/* The one that follows saves between the opening and the lock of another. */
static int
save_and_lock(int fd)
{
    static bool has_saved;

    if (!has_saved) {
        has_saved = true;
        assert_int_equal(follow_save(following), 0);
    }
    return file_ops_synced.lock(fd);
}

static void
a_lock_of_the_position_before_is_none(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_synced;
    char error[FOLLOW_ERROR_LEN];

    follow_case_write(c, SEGMENT_A, 1, 1, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 1);
    following = c->follow;
    ops.lock = save_and_lock;
    assert_null(follow_open(&c->f->config, &ops, error));
    assert_int_equal(errno, EAGAIN);
}

static void
a_damaged_position_begins_at_the_beginning(void **state)
{
    struct context *c = *state;
    char *line;
    size_t n;

    follow_case_write(c, SEGMENT_A, 1, 2, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 2);
    assert_int_equal(follow_save(c->follow), 0);
    follow_close(c->follow);
    c->follow = NULL;
    line = fixture_read(c->f, FOLLOW_POSITION, &n);
    for (size_t at = 0; at < n; at += 7) {
        line[at] ^= 1;
        fixture_write(c->f, FOLLOW_POSITION, line, n);
        line[at] ^= 1;
        follow_case_begin(c);
        follow_done(c->follow, follow_expect(c->follow, 1));
    }
    free(line);
}

/* Whichever call fails while it saves, the position is the old one, or the new one where that was
 * said. */
static void
a_position_that_cannot_be_saved_is_the_old_one(void **state)
{
    static const int errors[] = {ENOSPC, EIO, DISK_SHORT};
    struct context *c = *state;
    unsigned done = 0, failed = 0;
    bool over = false;

    follow_case_write(c, SEGMENT_A, 1, 100, SEGMENT_SEALED);
    disk_begin(c->f->dir);
    for (unsigned i = 0; !over || i % MS_ARRAY_LEN(errors) != 0; i++) {
        follow_case_begin_with(c, disk_ops());
        follow_done(c->follow, follow_expect(c->follow, done + 1));
        disk_fail(1 + i / MS_ARRAY_LEN(errors), errors[i % MS_ARRAY_LEN(errors)]);
        if (follow_save(c->follow) == 0)
            done++;
        else if (disk_failed() != NULL && strcmp(disk_failed(), "sync_dir") == 0)
            done++; /* it has its name already, and is true */
        failed += disk_failed() != NULL;
        over = disk_failed() == NULL;
        disk_fail(0, 0);
        assert_true(i < 90);
    }
    disk_end();
    assert_true(failed >= 5);
    assert_int_equal(fixture_count(c->f, ".", DATA_DIR_TEMP_PREFIX, NULL), 0);
}

/* What a power cut leaves of a save is the position before it or the new one. */
static void
a_position_survives_a_power_cut(void **state)
{
    struct context *c = *state;
    struct fixture *f = c->f;
    char states[300], *dir = f->config.data_dir;
    struct stat st;
    unsigned saved = 0;
    size_t counts[8];

    follow_case_write(c, SEGMENT_A, 1, 8, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_done(c->follow, follow_expect(c->follow, 1));
    assert_int_equal(follow_save(c->follow), 0);
    disk_begin(f->dir);
    follow_case_begin_with(c, disk_ops());
    for (unsigned i = 0; i < 5; i++) {
        follow_done(c->follow, follow_expect(c->follow, i + 2));
        assert_int_equal(follow_save(c->follow), 0);
        counts[i] = disk_count();
    }
    snprintf(states, sizeof(states), "%s-cut", f->dir);
    for (size_t at = 0; at <= counts[4]; at++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            struct follow_item *item = NULL;
            unsigned expected = 2;

            for (unsigned i = 0; i < 5; i++)
                expected += counts[i] <= at;
            assert_int_equal(mkdir(states, 0750), 0);
            disk_cut(at, seed, states);
            assert_int_equal(stat(states, &st), 0);
            f->config.data_dir = states;
            f->config.data_inode = st.st_ino;
            follow_case_begin(c);
            assert_int_equal(follow_next(c->follow, &item), 1);
            assert_true(strcmp(item->id, follow_id(expected)) == 0 ||
                        strcmp(item->id, follow_id(expected + 1)) == 0);
            saved += strcmp(item->id, follow_id(expected)) == 0;
            follow_close(c->follow);
            c->follow = NULL;
            fixture_remove_tree(states);
        }
    }
    assert_true(saved > 0);
    f->config.data_dir = dir;
    disk_end();
}

/* Each call fails once while it reads: all is told all the same. */
static void
whichever_call_fails_all_is_told_once(void **state)
{
    struct context *c = *state;
    bool over = false;

    follow_case_write(c, SEGMENT_A, 1, 3, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 4, 6, 0);
    disk_begin(c->f->dir);
    for (size_t call = 1; !over; call++) {
        char error[FOLLOW_ERROR_LEN];
        unsigned number = 1;

        follow_close(c->follow);
        disk_fail(call, EIO);
        c->follow = follow_open(&c->f->config, disk_ops(), error);
        if (c->follow == NULL) {
            assert_non_null(disk_failed());
            continue;
        }
        while (number <= 6) {
            struct follow_item *item;

            if (follow_next(c->follow, &item) != 1) {
                usleep(1000);
                continue;
            }
            assert_true(strcmp(item->id, follow_id(number)) == 0 || disk_failed() != NULL);
            number++;
        }
        over = disk_failed() == NULL;
        disk_fail(0, 0);
        assert_true(call < 200);
    }
    disk_end();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_goes_on_before_the_first_item_that_was_not_done),
        TEST(a_name_behind_the_floor_that_comes_late_is_followed),
        TEST(a_name_that_comes_before_the_floor_is_on_the_disk_is_followed),
        TEST(one_at_a_time_follows_also_when_the_position_was_saved),
        TEST(a_lock_of_the_position_before_is_none),
        TEST(a_damaged_position_begins_at_the_beginning),
        TEST(a_position_that_cannot_be_saved_is_the_old_one),
        TEST(a_position_survives_a_power_cut),
        TEST(whichever_call_fails_all_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
