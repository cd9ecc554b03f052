/* Reading and summing a message piece by piece, without a network. */
#include "client/packets.c"
#include "client/source.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 2000000

struct fixture {
    struct digester *digester;
    uint8_t *data;
    char path[64];
};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    int fd;

    f->digester = digester_create();
    f->data = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        f->data[i] = (uint8_t)(i * 2654435761u >> 13);
    snprintf(f->path, sizeof(f->path), "%.40s/msockXXXXXX", tmp != NULL ? tmp : "/tmp");
    fd = mkstemp(f->path);
    assert_int_equal(fd_write_all(fd, f->data, SIZE), 0);
    close(fd);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    digester_destroy(f->digester);
    free(f->data);
    free(f);
    return 0;
}

/* Takes a whole message in packets of changing size, with some work done before each, and checks
 * every byte and sum. */
static void
walk(struct fixture *f, const struct source *source, unsigned bites)
{
    static const uint32_t grants[] = {64, 2048, 1048576, 500000, 65, 300000, 300000, 64};
    uint8_t expected[SHA256_LEN], got[SHA256_LEN];
    struct packets p;
    size_t k = 0;

    packets_init(&p, source, f->digester, true, 65536);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(packets_first(&p), 0);
        assert_int_equal(p.current.len, 1998);
        for (;;) {
            const struct chunk *c = &p.current;

            assert_int_equal(c->len, c->want);
            assert_memory_equal(c->data, f->data + c->offset, c->len);
            assert_int_equal(c->crc, digest_crc32(0, f->data + c->offset, c->len));
            for (unsigned i = 0; i < bites && packets_work(&p); i++)
                continue;
            if (packets_at_end(&p) || (round == 0 && k == 9))
                break;
            assert_int_equal(packets_next(&p, grants[k++ % 8]), 0);
        }
    }
    packets_digest(&p, got);
    digest_sha256(f->digester, f->data, SIZE, expected);
    assert_memory_equal(got, expected, SHA256_LEN);
    packets_digest(&p, got);
    assert_memory_equal(got, expected, SHA256_LEN);
    packets_fini(&p);
}

static void
packets_are_right_however_much_was_prepared(void **state)
{
    struct fixture *f = *state;
    static const unsigned bites[] = {0, 1, 2, 3, 5, 8, 1000000};
    struct source file, memory;

    source_memory(&memory, f->data, SIZE);
    assert_int_equal(source_open(&file, f->path), 0);
    for (size_t i = 0; i < sizeof(bites) / sizeof(bites[0]); i++) {
        walk(f, &memory, bites[i]);
        walk(f, &file, bites[i]);
    }
    source_close(&file);
}

static void
the_digest_of_a_whole_source_is_that_of_its_bytes(void **state)
{
    struct fixture *f = *state;
    uint8_t expected[SHA256_LEN], got[SHA256_LEN];
    struct source file;

    assert_int_equal(source_open(&file, f->path), 0);
    assert_int_equal(source_digest(&file, f->digester, got), 0);
    digest_sha256(f->digester, f->data, SIZE, expected);
    assert_memory_equal(got, expected, SHA256_LEN);
    assert_int_equal(truncate(f->path, SIZE - 1), 0);
    assert_int_equal(source_digest(&file, f->digester, got), -1);
    assert_int_equal(errno, EBUSY);
    source_close(&file);
}

static void
a_file_that_shrinks_or_grows_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct source file;
    struct packets p;

    assert_int_equal(source_open(&file, f->path), 0);
    assert_int_equal(source_unchanged(&file), 0);
    assert_int_equal(truncate(f->path, SIZE + 1), 0);
    assert_int_equal(source_unchanged(&file), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(truncate(f->path, 3000), 0);
    assert_int_equal(source_unchanged(&file), -1);
    packets_init(&p, &file, f->digester, true, 65536);
    assert_int_equal(packets_first(&p), 0);
    while (packets_work(&p))
        continue;
    assert_int_equal(p.error, EBUSY);
    assert_int_equal(packets_next(&p, 65536), -1);
    assert_int_equal(p.error, EBUSY);
    packets_fini(&p);
    source_close(&file);
}

static void
an_empty_source_is_one_packet_without_a_body(void **state)
{
    struct fixture *f = *state;
    struct source memory, file;

    source_memory(&memory, NULL, 0);
    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(source_open(&file, f->path), 0);
    for (int i = 0; i < 2; i++) {
        struct packets p;

        packets_init(&p, i == 0 ? &memory : &file, f->digester, false, 2048);
        assert_int_equal(packets_first(&p), 0);
        assert_true(packets_at_end(&p));
        assert_int_equal(p.current.len, 0);
        assert_int_equal(p.current.crc, 0);
        assert_false(packets_work(&p));
        packets_fini(&p);
    }
    source_close(&file);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packets_are_right_however_much_was_prepared, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_digest_of_a_whole_source_is_that_of_its_bytes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_shrinks_or_grows_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_source_is_one_packet_without_a_body, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
