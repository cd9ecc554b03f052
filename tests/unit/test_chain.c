/* The queue of bytes and blobs that leave, whatever pieces they leave in; what comes back from a
 * file is proven before its end leaves. */
#include "proto/blob.h"

#include "guard.h"

#include "common/fd.h"

#include <errno.h>
#include <unistd.h>

#define LARGE 100000

static int last_fd;

static int
spill_open(void *arg)
{
    (void)arg;
    last_fd = fd_open_scratch();
    return last_fd;
}

static struct message_store store = {.memory_max = 8192, .spill_open = spill_open};
static uint8_t pattern[LARGE];

static int
chain_begin(void **state)
{
    (void)state;
    store.digester = digester_create();
    store.ledger = (struct ledger){.max = 1 << 20};
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 31 + i / 251);
    return store.digester != NULL ? 0 : -1;
}

/* Whoever has taken memory, files or digests has given them back. */
static int
chain_end(void **state)
{
    (void)state;
    assert_int_equal(store.ledger.used, 0);
    digester_destroy(store.digester);
    return 0;
}

/* Takes all that is ready, at most `piece` bytes at a time. Returns how many there were, or -1 with
 * errno. */
static ssize_t
drain(struct chain *c, size_t piece, uint8_t *out, size_t size)
{
    size_t at = 0;

    while (!chain_is_empty(c)) {
        uint8_t scratch[1000];
        struct iovec iov[3];
        uint64_t before = chain_len(c);
        int count = chain_peek(c, scratch, sizeof(scratch), iov, 3);
        size_t left = piece;

        if (count < 0)
            return -1;
        assert_in_range(count, 1, 3);
        for (int i = 0; i < count && left > 0; i++) {
            size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

            assert_true(at + n <= size);
            memcpy(out + at, iov[i].iov_base, n);
            at += n;
            left -= n;
        }
        chain_sent(c, scratch, piece - left);
        assert_int_equal(chain_len(c), before - (piece - left));
    }
    return (ssize_t)at;
}

/* Bytes, a small blob (which is copied), one in memory, one in a file, a part, and bytes. */
static void
fill(struct chain *c)
{
    chain_append(c, "front", 5);
    chain_add(c, blob_create(&store, pattern, 100));
    chain_add(c, blob_create(&store, pattern, 5000));
    chain_append(c, "between", 7);
    chain_add(c, blob_store(&store, pattern, LARGE));
    chain_add_part(c, blob_create(&store, pattern, 9000), 1000, 4000);
    chain_append(c, "behind", 6);
}

static size_t
expected(uint8_t *out)
{
    size_t at = 0;

#define PUT(bytes, n) (memcpy(out + at, bytes, n), at += (n))
    PUT("front", 5);
    PUT(pattern, 100);
    PUT(pattern, 5000);
    PUT("between", 7);
    PUT(pattern, LARGE);
    PUT(pattern + 1000, 4000);
    PUT("behind", 6);
#undef PUT
    return at;
}

static void
all_leaves_in_its_order_in_whatever_pieces(void **state)
{
    static const size_t pieces[] = {7, 999, 1000, 4096, 1 << 20};
    static uint8_t wants[2 * LARGE], got[2 * LARGE];
    size_t n = expected(wants);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(pieces); i++) {
        struct chain c;

        chain_init(&c, &store.ledger);
        fill(&c);
        assert_int_equal(chain_len(&c), n);
        assert_int_equal(c.filed, LARGE);
        assert_int_equal(drain(&c, pieces[i], got, sizeof(got)), n);
        assert_memory_equal(got, wants, n);
        assert_int_equal(c.filed, 0);
        chain_fini(&c);
    }
}

static void
a_chain_moves_to_the_end_of_another(void **state)
{
    static uint8_t wants[4 * LARGE], got[4 * LARGE];
    size_t n = expected(wants);
    struct chain c, more;

    (void)state;
    memcpy(wants + n, wants, n);
    memcpy(wants + 2 * n, "x", 1);
    chain_init(&c, &store.ledger);
    chain_init(&more, &store.ledger);
    for (unsigned i = 0; i < 2; i++) {
        fill(&more);
        chain_move(&c, &more);
        assert_true(chain_is_empty(&more));
    }
    chain_append(&more, "x", 1);
    chain_move(&c, &more);
    assert_int_equal(chain_len(&c), 2 * n + 1);
    assert_int_equal(drain(&c, 5003, got, sizeof(got)), 2 * n + 1);
    assert_memory_equal(got, wants, 2 * n + 1);
    chain_fini(&c);
}

static void
the_end_may_be_cut_off_where_it_is_its_own(void **state)
{
    struct chain c;
    char cut[6];

    (void)state;
    chain_init(&c, &store.ledger);
    fill(&c);
    assert_false(chain_cut(&c, cut, 0));
    assert_true(chain_cut(&c, cut, 6));
    assert_memory_equal(cut, "behind", 6);
    assert_false(chain_cut(&c, cut, 1));
    chain_fini(&c);
}

static void
a_file_that_has_changed_is_not_given_to_its_end(void **state)
{
    static uint8_t got[2 * LARGE];
    struct chain c;

    (void)state;
    chain_init(&c, &store.ledger);
    chain_add(&c, blob_store(&store, pattern, LARGE));
    assert_int_equal(pwrite(last_fd, "changed", 7, 50000), 7);
    errno = 0;
    assert_int_equal(drain(&c, 3000, got, sizeof(got)), -1);
    assert_int_equal(errno, EBADMSG);
    assert_true(chain_len(&c) > 0);
    chain_fini(&c);
}

static void
the_body_of_a_message_becomes_a_blob_without_a_copy(void **state)
{
    static const size_t sizes[] = {0, 5, 8192, 8193, LARGE};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        struct message *m = message_create(&store, sizes[i], UINT64_MAX, 0);
        uint8_t sha256[SHA256_LEN];
        const uint8_t *bytes;
        const char *mem;
        struct blob *b;

        m->wants_crc = true;
        message_append(m, pattern, sizes[i]);
        message_finish(m);
        mem = m->mem;
        b = blob_of_message(m);
        assert_ptr_equal(b->mem, mem);
        message_destroy(m);
        assert_int_equal(b->fd >= 0, sizes[i] > 8192);
        assert_int_equal(b->has_crc, b->fd >= 0);
        assert_int_equal(blob_sum(b), 0);
        digest_sha256(store.digester, pattern, sizes[i], sha256);
        assert_memory_equal(b->sha256, sha256, SHA256_LEN);
        assert_int_equal(b->crc, digest_crc32(0, pattern, sizes[i]));
        assert_int_equal(blob_bytes(b, &bytes), 0);
        if (sizes[i] > 0)
            assert_memory_equal(bytes, pattern, sizes[i]);
        blob_release(b, bytes);
        blob_unref(b);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_leaves_in_its_order_in_whatever_pieces, chain_begin,
                                        chain_end),
        cmocka_unit_test_setup_teardown(a_chain_moves_to_the_end_of_another, chain_begin,
                                        chain_end),
        cmocka_unit_test_setup_teardown(the_end_may_be_cut_off_where_it_is_its_own, chain_begin,
                                        chain_end),
        cmocka_unit_test_setup_teardown(a_file_that_has_changed_is_not_given_to_its_end,
                                        chain_begin, chain_end),
        cmocka_unit_test_setup_teardown(the_body_of_a_message_becomes_a_blob_without_a_copy,
                                        chain_begin, chain_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
