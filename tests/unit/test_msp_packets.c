/* Reading and summing a message piece by piece, without a network: msp_packets, and the files of
 * client/source. */
#include "client/source.c"
#include "proto/msp/msp_packets.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SIZE 2000000

struct fixture {
    struct digester *digester;
    uint8_t *data;
    char path[64];
};

static struct waiter waiter;

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
walk(struct fixture *f, const struct outgoing *source, unsigned bites)
{
    static const uint32_t grants[] = {64, 2048, 1048576, 500000, 65, 300000, 300000, 64};
    uint8_t expected[SHA256_LEN], got[SHA256_LEN];
    struct msp_packets p;
    size_t k = 0;

    msp_packets_init(&p, source, f->digester, true, 65536);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(msp_packets_first(&p), 0);
        assert_int_equal(p.current.len, 1998);
        for (;;) {
            const struct msp_chunk *c = &p.current;

            assert_int_equal(c->len, c->want);
            assert_memory_equal(c->data, f->data + c->offset, c->len);
            assert_int_equal(c->crc, digest_crc32(0, f->data + c->offset, c->len));
            for (unsigned i = 0; i < bites && msp_packets_work(&p); i++)
                continue;
            if (msp_packets_at_end(&p) || (round == 0 && k == 9))
                break;
            assert_int_equal(msp_packets_next(&p, grants[k++ % 8]), 0);
        }
    }
    msp_packets_digest(&p, got);
    digest_sha256(f->digester, f->data, SIZE, expected);
    assert_memory_equal(got, expected, SHA256_LEN);
    msp_packets_digest(&p, got);
    assert_memory_equal(got, expected, SHA256_LEN);
    msp_packets_fini(&p);
}

static void
packets_are_right_however_much_was_prepared(void **state)
{
    struct fixture *f = *state;
    static const unsigned bites[] = {0, 1, 2, 3, 5, 8, 1000000};
    struct outgoing streamed = {0}, memory = {.data = f->data, .size = SIZE};
    struct source file;

    assert_int_equal(source_open(&file, f->path, &waiter), 0);
    source_attach(&file, &streamed);
    for (size_t i = 0; i < MS_ARRAY_LEN(bites); i++) {
        walk(f, &memory, bites[i]);
        walk(f, &streamed, bites[i]);
    }
    source_close(&file);
}

/* All of it hashed without a packet. 1, or -1. */
static int
hash_ahead(struct fixture *f, const struct outgoing *out, uint8_t got[SHA256_LEN])
{
    struct msp_packets p;
    int done;

    msp_packets_init(&p, out, f->digester, true, 65536);
    while ((done = msp_packets_hash_ahead(&p)) == 0)
        continue;
    if (done > 0)
        msp_packets_digest(&p, got);
    else
        errno = p.error;
    msp_packets_fini(&p);
    return done;
}

static void
the_digest_of_a_whole_source_is_that_of_its_bytes(void **state)
{
    struct fixture *f = *state;
    uint8_t expected[SHA256_LEN], got[SHA256_LEN];
    struct outgoing streamed = {0};
    struct source file;

    assert_int_equal(source_open(&file, f->path, &waiter), 0);
    source_attach(&file, &streamed);
    assert_int_equal(hash_ahead(f, &streamed, got), 1);
    digest_sha256(f->digester, f->data, SIZE, expected);
    assert_memory_equal(got, expected, SHA256_LEN);
    assert_int_equal(truncate(f->path, SIZE - 1), 0);
    assert_int_equal(hash_ahead(f, &streamed, got), -1);
    assert_int_equal(errno, EBUSY);
    source_close(&file);
}

static void
a_file_that_shrinks_or_grows_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct outgoing streamed = {0};
    struct source file;
    struct msp_packets p;

    assert_int_equal(source_open(&file, f->path, &waiter), 0);
    source_attach(&file, &streamed);
    assert_int_equal(source_unchanged(&file), 0);
    assert_int_equal(truncate(f->path, SIZE + 1), 0);
    assert_int_equal(source_unchanged(&file), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(truncate(f->path, 3000), 0);
    assert_int_equal(source_unchanged(&file), -1);
    msp_packets_init(&p, &streamed, f->digester, true, 65536);
    assert_int_equal(msp_packets_first(&p), 0);
    while (msp_packets_work(&p))
        continue;
    assert_int_equal(p.error, EBUSY);
    assert_int_equal(msp_packets_next(&p, 65536), -1);
    assert_int_equal(p.error, EBUSY);
    msp_packets_fini(&p);
    source_close(&file);
}

static void
an_empty_source_is_one_packet_without_a_body(void **state)
{
    struct fixture *f = *state;
    struct outgoing streamed = {0}, memory = {.data = (const uint8_t *)""};
    struct source file;

    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(source_open(&file, f->path, &waiter), 0);
    source_attach(&file, &streamed);
    for (int i = 0; i < 2; i++) {
        struct msp_packets p;

        msp_packets_init(&p, i == 0 ? &memory : &streamed, f->digester, false, 2048);
        assert_int_equal(msp_packets_first(&p), 0);
        assert_true(msp_packets_at_end(&p));
        assert_int_equal(p.current.len, 0);
        assert_int_equal(p.current.crc, 0);
        assert_false(msp_packets_work(&p));
        msp_packets_fini(&p);
    }
    source_close(&file);
}

/* A FIFO, a pipe, a file that says it is empty, and one of which a part was read: all of what they
 * hold is sent, and nothing else. */
static void
what_tells_no_size_is_read_to_its_end(void **state)
{
    static const char *const unsized[] = {"/proc/self/status",
                                          "/sys/kernel/mm/transparent_hugepage/enabled"};
    struct fixture *f = *state;
    struct source source;
    uint8_t *data;
    int ends[2], fd;

    for (size_t i = 0; i < 2; i++) {
        if (access(unsized[i], R_OK) < 0)
            continue;
        assert_int_equal(source_open(&source, unsized[i], &waiter), 0);
        assert_true(source.size > 0);
        assert_int_equal(source_read(&source, &data), 0);
        assert_true(data[source.size - 1] == '\n');
        free(data);
        source_close(&source);
    }
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    close(ends[1]);
    assert_int_equal(source_take(&source, ends[0], &waiter), 0);
    close(ends[0]);
    assert_int_equal(source.size, 5);
    assert_int_equal(source_read(&source, &data), 0);
    assert_memory_equal(data, "piped", 5);
    free(data);
    source_close(&source);
    fd = open(f->path, O_RDONLY);
    assert_int_equal(lseek(fd, 1000, SEEK_SET), 1000);
    assert_int_equal(source_take(&source, fd, &waiter), 0);
    close(fd);
    assert_int_equal(source.size, SIZE - 1000);
    assert_int_equal(source_read(&source, &data), 0);
    assert_memory_equal(data, f->data + 1000, SIZE - 1000);
    free(data);
    source_close(&source);
    assert_int_equal(source_open(&source, "/", &waiter), -1);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(source_open(&source, "/dev/zero", &waiter), -1);
    assert_int_equal(errno, ENXIO);
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
        cmocka_unit_test_setup_teardown(what_tells_no_size_is_read_to_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_source_is_one_packet_without_a_body, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
