/* Transforms are applied in order on the way out and backwards on the way in, and a payload that
 * one of them rejects goes nowhere. */
#include "proto/transform.h"

#include "guard.h"
#include "letters.h"

#include <errno.h>

static struct message_store store;
static const struct seal_about ABOUT = {.proto = "msp", .kind = 'A'};

static int
spill_open(void *arg)
{
    FILE *f;
    int fd;

    if (arg != NULL) {
        errno = ENOSPC;
        return -1;
    }
    f = tmpfile();
    assert_non_null(f);
    fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static int
set_up(void **state)
{
    (void)state;
    store = (struct message_store){
        .digester = digester_create(),
        .memory_max = 64,
        .ledger.max = 1 << 20,
        .spill_open = spill_open,
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

static int
nothing_left(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    (void)arg;
    (void)in;
    (void)n;
    *out = NULL;
    *out_len = 0;
    return 0;
}

static int
bytes_from_nowhere(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    (void)arg;
    (void)in;
    (void)n;
    *out = NULL;
    *out_len = 5;
    return 0;
}

static void
add(struct transforms *t, transform_fn on_send, transform_fn on_receive, char *arg)
{
    struct transform one = {on_send, on_receive, arg, NULL};

    assert_int_equal(transforms_add(t, &one), 0);
}

static struct transforms
letters(void)
{
    static char a[] = "a", b[] = "b", c[] = "c";
    struct transforms t = {0};

    add(&t, letter_put, letter_take, a);
    add(&t, letter_put, letter_take, b);
    add(&t, letter_put, letter_take, c);
    return t;
}

static void
they_are_applied_in_order_and_taken_off_backwards(void **state)
{
    struct transforms t = letters();
    void *out, *back;
    size_t n, back_len;

    (void)state;
    assert_int_equal(transforms_send(&t, &ABOUT, "xyz", 3, &out, &n), 0);
    assert_int_equal(n, 6);
    assert_memory_equal(out, "cbaxyz", 6);
    assert_int_equal(transforms_receive(&t, &ABOUT, out, n, &back, &back_len), 0);
    assert_int_equal(back_len, 3);
    assert_memory_equal(back, "xyz", 3);
    free(out);
    free(back);
    transforms_fini(&t);
    assert_int_equal(t.count, 0);
}

static void
an_empty_list_copies(void **state)
{
    struct transforms t = {0};
    char in[] = "abc";
    void *out;
    size_t n;

    (void)state;
    assert_int_equal(transforms_send(&t, &ABOUT, in, 3, &out, &n), 0);
    assert_ptr_not_equal(out, in);
    assert_int_equal(n, 3);
    assert_memory_equal(out, "abc", 3);
    free(out);
    assert_int_equal(transforms_receive(&t, &ABOUT, NULL, 0, &out, &n), 0);
    assert_non_null(out);
    assert_int_equal(n, 0);
    free(out);
}

static void
a_side_without_a_function_leaves_it_as_it_is(void **state)
{
    static char a[] = "a";
    struct transforms t = {0};
    void *out;
    size_t n;

    (void)state;
    add(&t, letter_put, NULL, a);
    add(&t, NULL, letter_take, a);
    assert_int_equal(transforms_send(&t, &ABOUT, "x", 1, &out, &n), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(out, "ax", 2);
    free(out);
    assert_int_equal(transforms_receive(&t, &ABOUT, "ax", 2, &out, &n), 0);
    assert_int_equal(n, 1);
    free(out);
}

static void
a_refusal_anywhere_in_the_list_leaves_nothing(void **state)
{
    struct transforms t = letters();
    void *out = &t;
    size_t n = 99;

    (void)state;
    assert_int_equal(transforms_receive(&t, &ABOUT, "cbx", 3, &out, &n), -1);
    assert_int_equal(transforms_receive(&t, &ABOUT, "x", 1, &out, &n), -1);
    assert_int_equal(transforms_receive(&t, &ABOUT, "", 0, &out, &n), -1);
    assert_ptr_equal(out, &t);
    assert_int_equal(n, 99);
}

static void
a_payload_may_become_empty_but_not_bytes_from_nowhere(void **state)
{
    struct transforms t = {0};
    void *out;
    size_t n;

    (void)state;
    add(&t, nothing_left, bytes_from_nowhere, NULL);
    assert_int_equal(transforms_send(&t, &ABOUT, "x", 1, &out, &n), 0);
    assert_non_null(out);
    assert_int_equal(n, 0);
    free(out);
    assert_int_equal(transforms_receive(&t, &ABOUT, "x", 1, &out, &n), -1);
}

static void
there_are_eight_at_most(void **state)
{
    struct transforms t = {0};
    struct transform one = {letter_put, letter_take, &t, NULL};

    (void)state;
    for (int i = 0; i < TRANSFORMS_MAX; i++)
        assert_int_equal(transforms_add(&t, &one), 0);
    errno = 0;
    assert_int_equal(transforms_add(&t, &one), -1);
    assert_int_equal(errno, ENOSPC);
}

/* --- messages --- */

static struct message *
received(const void *body, size_t n)
{
    struct message *m = message_create(&store, n, 1 << 20, 12345);

    message_append(m, body, n);
    message_finish(m);
    message_set_value(m, "the id", 6);
    m->kind = MESSAGE_JSON;
    m->wants_reply = true;
    m->tag = 77;
    m->owner = &store;
    m->place = &store.ledger;
    return m;
}

static void
assert_became(struct message *m, const struct message *from, const void *body, size_t n)
{
    uint8_t sha256[SHA256_LEN];
    const char *data;

    assert_non_null(m);
    digest_sha256(store.digester, body, n, sha256);
    assert_memory_equal(m->sha256, sha256, SHA256_LEN);
    assert_int_equal(m->size, n);
    assert_int_equal(message_body(m, &data), 0);
    assert_memory_equal(data, body, n);
    message_body_release(m, data);
    assert_int_equal(m->kind, MESSAGE_JSON);
    assert_string_equal(m->value, "the id");
    assert_int_equal(m->value_len, 6);
    assert_int_equal(m->begun_us, 12345);
    assert_true(m->wants_reply);
    assert_int_equal(m->tag, 77);
    assert_ptr_equal(m->owner, from->owner);
    assert_ptr_equal(m->place, from->place);
    assert_int_equal(m->keep_max, from->keep_max);
}

static void
a_message_keeps_all_but_its_body(void **state)
{
    static const size_t sizes[] = {1, 10, 64, 65, 5000};
    struct transforms t = letters();

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        char *body = malloc(n + 3);
        struct message *m, *made;

        memset(body, 'x', n + 3);
        memcpy(body, "cba", 3);
        m = received(body, n + 3);
        assert_int_equal(m->fd >= 0, n + 3 > store.memory_max);
        assert_int_equal(transforms_receive_message(&t, m, m->store, &made), 0);
        assert_became(made, m, body + 3, n);
        message_destroy(made);
        message_destroy(m);
        free(body);
    }
}

static void
an_empty_body_may_come_and_go(void **state)
{
    static char a[] = "a";
    struct transforms off = {0}, on = {0};
    struct message *m = received("a", 1), *empty, *full;

    (void)state;
    add(&off, NULL, letter_take, a);
    add(&on, NULL, letter_put, a);
    assert_int_equal(transforms_receive_message(&off, m, m->store, &empty), 0);
    assert_became(empty, m, "", 0);
    assert_int_equal(transforms_receive_message(&on, empty, empty->store, &full), 0);
    assert_became(full, m, "a", 1);
    message_destroy(m);
    message_destroy(empty);
    message_destroy(full);
}

static void
a_message_that_is_rejected_or_not_there_becomes_none(void **state)
{
    struct transforms t = letters();
    struct message *rejected = received("cbx", 3), *dropped, *failed, *made;

    (void)state;
    assert_int_equal(transforms_receive_message(&t, rejected, rejected->store, &made), -1);
    assert_int_equal(errno, EBADMSG); /* the sender's fault */
    message_destroy(rejected);

    dropped = message_create(&store, 0, 2, 0);
    message_append(dropped, "cbax", 4);
    message_finish(dropped);
    assert_true(dropped->body_dropped);
    assert_int_equal(transforms_receive_message(&t, dropped, dropped->store, &made), -1);
    message_destroy(dropped);

    failed = received("cbax", 4);
    failed->error = EIO;
    assert_int_equal(transforms_receive_message(&t, failed, failed->store, &made), -1);
    assert_int_equal(errno, EIO); /* ours */
    message_destroy(failed);
}

static void
a_body_that_cannot_be_stored_becomes_none(void **state)
{
    static char a[] = "a", body[64];
    struct transforms t = {0};
    struct message *m, *made;

    (void)state;
    memset(body, 'x', sizeof(body));
    add(&t, NULL, letter_put, a);
    m = received(body, sizeof(body));
    store.spill_arg = &store; /* no room */
    assert_int_equal(transforms_receive_message(&t, m, m->store, &made), -1);
    assert_int_equal(errno, ENOSPC);
    message_destroy(m);
}

/* --- sealing --- */

static void
seal_add(struct transforms *t, enum seal_direction to)
{
    const struct seal_keys keys = {.count = 1, .key = {{7}}};
    char error[SEAL_ERROR_LEN];
    struct transform one = {.seal = seal_create(&keys, to, error)};

    assert_non_null(one.seal);
    assert_int_equal(transforms_add(t, &one), 0);
}

static void
each_side_opens_what_the_other_has_sealed_and_not_its_own(void **state)
{
    struct transforms client = {0}, server = {0};
    void *out, *back;
    size_t n, back_len;

    (void)state;
    seal_add(&client, SEAL_TO_SERVER);
    seal_add(&server, SEAL_TO_CLIENT);
    assert_int_equal(transforms_send(&client, &ABOUT, "", 0, &out, &n), 0);
    assert_int_equal(n, seal_size(0));
    assert_int_equal(transforms_receive(&server, &ABOUT, out, n, &back, &back_len), 0);
    assert_int_equal(back_len, 0);
    free(out);
    free(back);
    assert_int_equal(transforms_send(&server, &ABOUT, "reply", 5, &out, &n), 0);
    assert_int_equal(transforms_receive(&server, &ABOUT, out, n, &back, &back_len), -1);
    assert_int_equal(transforms_receive(&client, &ABOUT, out, n, &back, &back_len), 0);
    assert_int_equal(back_len, 5);
    assert_memory_equal(back, "reply", 5);
    assert_int_equal(transforms_receive(&client, &ABOUT,
                                        "plain text, longer than any seal is, "
                                        "and no header",
                                        50, &out, &n),
                     -1);
    free(out);
    free(back);
    transforms_fini(&client);
    transforms_fini(&server);
}

static void
a_message_that_was_opened_is_not_opened_twice(void **state)
{
    struct transforms t = letters();
    struct message *m = received("cbax", 4), *made;

    (void)state;
    assert_null(transforms_seal(&t));
    seal_add(&t, SEAL_TO_CLIENT);
    assert_ptr_equal(transforms_seal(&t), t.list[3].seal);
    assert_int_equal(transforms_whole(&t), 3);
    assert_int_equal(transforms_receive_message(&t, m, m->store, &made), 0);
    assert_became(made, m, "x", 1);
    message_destroy(m);
    message_destroy(made);
    transforms_fini(&t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(they_are_applied_in_order_and_taken_off_backwards),
        TEST(an_empty_list_copies),
        TEST(a_side_without_a_function_leaves_it_as_it_is),
        TEST(a_refusal_anywhere_in_the_list_leaves_nothing),
        TEST(a_payload_may_become_empty_but_not_bytes_from_nowhere),
        TEST(there_are_eight_at_most),
        TEST(a_message_keeps_all_but_its_body),
        TEST(an_empty_body_may_come_and_go),
        TEST(a_message_that_is_rejected_or_not_there_becomes_none),
        TEST(a_body_that_cannot_be_stored_becomes_none),
        TEST(each_side_opens_what_the_other_has_sealed_and_not_its_own),
        TEST(a_message_that_was_opened_is_not_opened_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
