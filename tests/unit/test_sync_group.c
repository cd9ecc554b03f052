#include "handler_fixture.h"

#include "handler/journal/journal.h"

struct context {
    struct fixture *f;
    struct sync_group group;
    int fds[SYNC_GROUP_MAX];
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    for (unsigned i = 0; i < SYNC_GROUP_MAX; i++) {
        c->fds[i] = data_dir_spill_open(&c->f->config);
        assert_int_equal(fd_pwrite_all(c->fds[i], "body", 4, 0), 0);
    }
    *state = c;
    return 0;
}

static int
teardown(void **state)
{
    struct context *c = *state;

    sync_group_fini(&c->group);
    for (unsigned i = 0; i < SYNC_GROUP_MAX; i++)
        fd_close(&c->fds[i]);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
each_file_has_its_own_result(struct context *c)
{
    int errors[SYNC_GROUP_MAX], pipes[2];

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    for (size_t count = 0; count <= SYNC_GROUP_MAX; count += count < 4 ? 1 : 15) {
        memset(errors, 0xff, sizeof(errors));
        sync_group_run(&c->group, SYNC_DATA, c->fds, count, errors);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(errors[i], 0);
    }
    fd_close(&c->fds[5]);
    c->fds[5] = fd_steal(&pipes[0]); /* no file that can be synced */
    sync_group_run(&c->group, SYNC_DATA, c->fds, 9, errors);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(errors[i], i == 5 ? EINVAL : 0);
    fd_close(&pipes[1]);
}

static void
files_are_synced_together(void **state)
{
    struct context *c = *state;

    sync_group_init(&c->group, &file_ops_synced);
    each_file_has_its_own_result(c);
}

static void
files_are_synced_one_after_the_other_where_the_kernel_cannot(void **state)
{
    struct context *c = *state;

    sync_group_init(&c->group, &file_ops_synced);
    c->group.hopeless = true;
    each_file_has_its_own_result(c);
    assert_false(c->group.open);
}

static void
calls_that_fail_on_demand_are_made_one_by_one(void **state)
{
    struct context *c = *state;
    int errors[3];

    sync_group_init(&c->group, faulty_ops());
    faults.skip_data = 1;
    faults.data_error = EIO;
    faults.data_errors = 1;
    sync_group_run(&c->group, SYNC_DATA, c->fds, 3, errors);
    assert_int_equal(faults.data_syncs, 3);
    assert_int_equal(errors[0], 0);
    assert_int_equal(errors[1], EIO);
    assert_int_equal(errors[2], 0);
}

static void
directories_are_synced_together_and_each_once(void **state)
{
    struct context *c = *state;
    struct dir_group dirs = {.count = 0};
    struct dir_syncs syncs;
    size_t data, above, pipe_end;
    int pipes[2], data_fd, above_fd;

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    sync_group_init(&c->group, &file_ops_synced);
    dir_syncs_init(&syncs, &file_ops_synced);
    data_fd = open(c->f->config.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    above_fd = openat(data_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    data = dir_group_add(&dirs, data_fd);
    pipe_end = dir_group_add(&dirs, pipes[0]);
    above = dir_group_add(&dirs, above_fd);
    assert_int_equal(dir_group_add(&dirs, data_fd), data);
    assert_int_equal(dirs.count, 3);
    dir_group_run(&dirs, &syncs, &c->group);
    assert_true(c->group.open);
    assert_int_equal(dirs.errors[data], 0);
    assert_int_equal(dirs.errors[above], 0);
    assert_int_equal(dirs.errors[pipe_end], EINVAL);
    assert_int_equal(dir_check(&syncs, pipes[0]), -1);
    assert_int_equal(dir_check(&syncs, above_fd), 0);
    dir_syncs_fini(&syncs);
    fd_close(&pipes[0]);
    fd_close(&pipes[1]);
    fd_close(&data_fd);
    fd_close(&above_fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(files_are_synced_together),
        TEST(files_are_synced_one_after_the_other_where_the_kernel_cannot),
        TEST(directories_are_synced_together_and_each_once),
        TEST(calls_that_fail_on_demand_are_made_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
