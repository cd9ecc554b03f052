#include "store_fixture.h"

/* Stores a body as a blob; its path in the data directory in path_out. */
static enum proto_outcome
store_blob(struct context *c, const void *body, size_t n, char path_out[300])
{
    struct message *m = fixture_message(c->f, MESSAGE_PLAIN, "", body, n);
    struct store_put put = {.m = m, .blob = true};
    char name[STORE_NAME_LEN];

    store_run(&c->store, &put, 1);
    snprintf(path_out, 300, "blobs/%.200s", store_name(&put, name));
    message_destroy(m);
    return put.outcome.is;
}

static void
assert_blob(struct context *c, const char *path, const void *body, size_t n)
{
    size_t got = 0;
    char *data = fixture_read(c->f, path, &got);

    assert_non_null(data);
    assert_int_equal(got, n);
    assert_memory_equal(data, body, n);
    free(data);
}

static void
a_blob_is_named_by_its_digest(void **state)
{
    struct context *c = *state;
    char path[300];

    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    assert_string_equal(path,
                        "blobs/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_blob(c, path, "abc", 3);
    assert_int_equal(faults.data_syncs, 1);
    assert_int_equal(faults.dir_syncs, 1);
}

static void
a_blob_that_is_there_is_used_again_and_its_name_made_safe(void **state)
{
    struct context *c = *state;
    char path[300];
    struct stat before, after;

    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    assert_int_equal(stat(fixture_path(c->f, path), &before), 0);
    faults = (struct faults){0};
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    assert_int_equal(stat(fixture_path(c->f, path), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(faults.writes, 0);
    assert_int_equal(faults.dir_syncs, 1);
}

/* A consumer takes the blob of an earlier message and knows nothing of the later one. */
static void
a_blob_that_is_taken_away_before_its_second_message_is_answered_fails_that(void **state)
{
    struct context *c = *state;
    struct store_put puts[2];
    char path[300];

    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    puts[0] = (struct store_put){.m = fixture_message(c->f, MESSAGE_PLAIN, "", "abc", 3)};
    puts[1] = (struct store_put){.m = fixture_message(c->f, MESSAGE_PLAIN, "", "def", 3)};
    for (unsigned i = 0; i < 2; i++) {
        puts[i].blob = true;
        puts[i].dir_fd = -1;
    }
    store_run(&c->store, puts, 2);
    store_check(&c->store, puts, 2);
    assert_int_equal(puts[0].outcome.is, PROTO_COMMITTED);
    fixture_remove_tree(fixture_path(c->f, "blobs"));
    store_check(&c->store, puts, 2);
    assert_int_equal(puts[0].outcome.is, PROTO_FAILED);
    assert_int_equal(puts[1].outcome.is, PROTO_COMMITTED); /* whoever took this knew it */
    for (unsigned i = 0; i < 2; i++)
        message_destroy(puts[i].m);
}

static void
a_damaged_blob_is_replaced(void **state)
{
    struct context *c = *state;
    char path[300];

    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    fixture_write(c->f, path, "a", 1);
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    assert_blob(c, path, "abc", 3);
    fixture_write(c->f, path, "abd", 3); /* of the right size */
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    assert_blob(c, path, "abc", 3);
    assert_int_equal(fixture_count(c->f, ".", ".msockd", NULL), 0);
}

static void
the_same_body_twice_in_one_group_is_one_blob(void **state)
{
    struct context *c = *state;
    struct store_put puts[3];

    for (unsigned i = 0; i < 3; i++)
        puts[i] = (struct store_put){.m = fixture_message(c->f, MESSAGE_PLAIN, "", "abc", 3),
                                     .blob = true};
    store_run(&c->store, puts, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(puts[i].outcome.is, PROTO_COMMITTED);
        message_destroy(puts[i].m);
    }
    assert_int_equal(fixture_count(c->f, "blobs", "", NULL), 1);
}

static void
a_large_blob_is_linked_and_not_copied(void **state)
{
    struct context *c = *state;
    char body[20000], path[300];

    memset(body, 'z', sizeof(body));
    assert_int_equal(store_blob(c, body, sizeof(body), path), PROTO_COMMITTED);
    assert_blob(c, path, body, sizeof(body));
    assert_int_equal(faults.writes, 0);
}

static void
a_blob_that_cannot_be_made_safe_has_failed(void **state)
{
    struct context *c = *state;
    char path[300];
    struct stat before, after;

    faults.data_error = EIO;
    faults.data_errors = 1;
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_FAILED);
    assert_false(fixture_exists(c->f, path));
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_COMMITTED);
    faults.dir_error = ENOSPC;
    faults.dir_errors = 1;
    assert_int_equal(store_blob(c, "def", 3, path), PROTO_FAILED);
    assert_int_equal(stat(fixture_path(c->f, path), &before), 0); /* it has its name by then */
    assert_int_equal(store_blob(c, "def", 3, path), PROTO_COMMITTED);
    assert_int_equal(stat(fixture_path(c->f, path), &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino); /* the name is given anew */
    faults.dir_error = EIO;
    faults.dir_errors = 1;
    assert_int_equal(store_blob(c, "ghi", 3, path), PROTO_FAILED);
    assert_int_equal(store_blob(c, "abc", 3, path), PROTO_FAILED); /* the directory is not used */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_blob_is_named_by_its_digest, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(a_blob_that_is_there_is_used_again_and_its_name_made_safe,
                                        store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(
            a_blob_that_is_taken_away_before_its_second_message_is_answered_fails_that, store_setup,
            store_teardown),
        cmocka_unit_test_setup_teardown(a_damaged_blob_is_replaced, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(the_same_body_twice_in_one_group_is_one_blob, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(a_large_blob_is_linked_and_not_copied, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(a_blob_that_cannot_be_made_safe_has_failed, store_setup,
                                        store_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
