/* Transforms and keys on the client's side: what leaves is what they made of it, and what they
 * reject never becomes data. */
#include "byte_server.h"
#include "client_fixture.h"
#include "common/seal.h"
#include "letters.h"
#include "scripted_server.h"

#include <sys/stat.h>

/* --- transforms that put a letter in front and take it off --- */

static char a[] = "a", b[] = "b";

static void
add_letters(msock *m)
{
    assert_int_equal(msock_add_transform(m, letter_put, letter_take, a), MSOCK_OK);
    assert_int_equal(msock_add_transform(m, letter_put, letter_take, b), MSOCK_OK);
}

static void
file_of(char path[64], const void *data, size_t n)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(path, 64, "%.40s/msockXXXXXX", tmp != NULL ? tmp : "/tmp");
    close(mkstemp(path));
    client_write_file(path, data, n);
}

static void
over_msp_they_change_messages_files_and_replies(void **state)
{
    struct server *s = server_create();
    char path[64];
    msock *m;
    size_t n;

    (void)state;
    file_of(path, "file", 4);
    s->reply = "bareply";
    server_start(s, AF_INET);
    m = msock_open(s->url);
    msock_set_timeouts(m, 5000, 5000);
    add_letters(m);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "reply");
    assert_int_equal(n, 5);
    assert_int_equal(msock_send_file(m, path, "to/here"), MSOCK_OK);
    assert_int_equal(msock_send(m, NULL, 0), MSOCK_OK);
    msock_set_transform(m, letter_put, a);
    assert_int_equal(msock_send_json_text(m, "1", 1), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "bareply");
    msock_set_transform(m, NULL, NULL);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_close(m);
    server_stop(s);
    server_expect_message(s, 0, 'A', "bax");
    server_expect_message(s, 1, 'F', "bafile");
    assert_string_equal(s->messages[1].value, "to/here");
    server_expect_message(s, 2, 'A', "ba");
    server_expect_message(s, 3, 'J', "a1");
    server_expect_message(s, 4, 'A', "x");
    server_destroy(s);
    unlink(path);
}

static void
over_msp_a_reply_that_is_rejected_is_an_error_and_none_is_none(void **state)
{
    static const char *const replies[] = {"reply", "bxreply", "b", ""};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(replies); i++) {
        struct server *s = server_create();
        bool empty = replies[i][0] == '\0';
        msock *m;

        s->reply = replies[i];
        server_start(s, AF_INET);
        m = msock_open(s->url);
        msock_set_timeouts(m, 5000, 5000);
        add_letters(m);
        msock_set_want_reply(m, 1);
        assert_int_equal(msock_send(m, "x", 1), empty ? MSOCK_OK : MSOCK_TIMEOUT);
        assert_null(msock_reply(m, NULL));
        if (!empty)
            assert_non_null(strstr(msock_error(m),
                                   "cannot be opened with the key or transforms (the "
                                   "message was taken, but its reply is lost)"));
        msock_close(m);
        server_stop(s);
        assert_int_equal(s->message_count, 1);
        server_destroy(s);
    }
}

static void
there_are_eight_at_most(void **state)
{
    msock *m = msock_open("msp://127.0.0.1:1");

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(msock_add_transform(m, letter_put, NULL, a), MSOCK_OK);
    assert_int_equal(msock_add_transform(m, letter_put, NULL, a), MSOCK_USAGE);
    msock_close(m);
}

static void
a_file_too_large_to_be_transformed_is_not_sent(void **state)
{
    struct byte_server s;
    char path[64];
    msock *m;

    (void)state;
    file_of(path, "", 0);
    assert_int_equal(truncate(path, (256 << 20) + 1), 0);
    byte_server_start(&s, byte_expect_end, NULL);
    m = client_open("msp://%s", s.at);
    add_letters(m);
    assert_int_equal(msock_send_file(m, path, NULL), MSOCK_USAGE);
    msock_close(m);
    m = client_open("frame://%s", s.at);
    assert_int_equal(msock_send_file(m, path, NULL), MSOCK_USAGE);
    msock_close(m);
    byte_server_stop(&s);
    unlink(path);
}

/* --- keys --- */

struct keys {
    char path[64];
    struct seal *seal;   /* that of the client, too */
    struct seal *turned; /* as the client has it, so it opens what the server says */
    struct seal *other;  /* not */
};

static struct keys
keys_make(void)
{
    struct keys k;
    char error[SEAL_ERROR_LEN], text[80];

    snprintf(text, sizeof(text), "%064d", 2);
    file_of(k.path, text, 64);
    k.other = seal_open(k.path, SEAL_TO_CLIENT, error);
    snprintf(text, sizeof(text), "%064d\n", 1);
    client_write_file(k.path, text, 65);
    k.seal = seal_open(k.path, SEAL_TO_CLIENT, error);
    k.turned = seal_open(k.path, SEAL_TO_SERVER, error);
    assert_non_null(k.seal);
    assert_non_null(k.turned);
    assert_non_null(k.other);
    return k;
}

static void
keys_drop(struct keys *k)
{
    seal_close(k->seal);
    seal_close(k->turned);
    seal_close(k->other);
    unlink(k->path);
}

static const struct seal_about ABOUT = {.proto = "frame", .kind = 'A'};

static void
say_sealed(struct byte_server *s, struct seal *seal, const char *text)
{
    size_t n = strlen(text), len = (size_t)seal_size(n);
    uint8_t frame[200] = {0};

    frame[3] = (uint8_t)len;
    assert_int_equal(seal_encrypt(seal, &ABOUT, text, n, frame + 4), 0);
    byte_say(s, frame, 4 + len);
}

/* Reads a sealed frame that holds this. */
static void
expect_sealed(struct byte_server *s, struct seal *seal, const char *text)
{
    size_t n = strlen(text), len = (size_t)seal_size(n), opened_len;
    uint8_t frame[200], opened[200];

    if (!byte_read(s, frame, 4 + len) || frame[3] != len ||
        seal_decrypt(seal, &ABOUT, frame + 4, len, opened, &opened_len) != 0 || opened_len != n ||
        memcmp(opened, text, n) != 0)
        byte_wrong(s, "a sealed message");
}

static void
serve_sealed(struct byte_server *s)
{
    struct keys *k = s->arg;

    if (s->connections > 0) {
        byte_until_end(s);
        return;
    }
    expect_sealed(s, k->seal, "secret");
    say_sealed(s, k->seal, "answer");
    say_sealed(s, k->other, "forged");
    say_sealed(s, k->turned, "turned round");
    byte_say(s, "\0\0\0\0\0\0\0\5plain", 13);
    say_sealed(s, k->seal, "");
    expect_sealed(s, k->seal, "more");
    say_sealed(s, k->other, "forged");
    expect_sealed(s, k->seal, "last");
    byte_expect_end(s);
}

static void
send_and_receive_sealed(msock *m)
{
    const void *data;
    size_t n;

    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "secret", 6), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "answer");
    assert_int_equal(n, 6);
    for (int i = 0; i < 4; i++) {
        data = NULL;
        assert_int_equal(msock_recv(m, 5000, &data, &n), MSOCK_LOCAL);
        assert_non_null(strstr(msock_error(m), "cannot be opened"));
        assert_null(data);
    }
    assert_int_equal(msock_recv(m, 5000, &data, &n), MSOCK_OK);
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    assert_int_equal(msock_send(m, "more", 4), MSOCK_TIMEOUT);
    assert_null(msock_reply(m, &n));
    msock_set_want_reply(m, 0);
    assert_int_equal(msock_send(m, "last", 4), MSOCK_OK);
}

static void
with_a_key_only_what_is_sealed_for_us_is_data(void **state)
{
    struct keys k = keys_make();
    char option[100];

    (void)state;
    snprintf(option, sizeof(option), "?key_file=%s", k.path);
    for (int by_url = 0; by_url < 2; by_url++) {
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_sealed, &k);
        m = client_open("frame://%s%s", s.at, by_url ? option : "");
        if (!by_url)
            assert_int_equal(msock_set_key(m, k.path), MSOCK_OK);
        send_and_receive_sealed(m);
        msock_close(m);
        byte_server_stop(&s);
    }
    keys_drop(&k);
}

static void
serve_letter_in_seal(struct byte_server *s)
{
    struct keys *k = s->arg;

    expect_sealed(s, k->seal, "ax");
    say_sealed(s, k->seal, "ay");
    expect_sealed(s, k->seal, "bx");
    expect_sealed(s, k->seal, "x");
    byte_expect_end(s);
}

static void
the_key_of_the_address_is_outermost_and_stays(void **state)
{
    struct keys k = keys_make();
    struct byte_server s;
    char option[100];
    msock *m;

    (void)state;
    snprintf(option, sizeof(option), "?key_file=%s", k.path);
    byte_server_start(&s, serve_letter_in_seal, &k);
    m = client_open("frame://%s%s", s.at, option);
    assert_int_equal(msock_add_transform(m, letter_put, letter_take, a), MSOCK_OK);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "y");
    msock_set_want_reply(m, 0);
    msock_set_transform(m, letter_put, b);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_set_transform(m, NULL, NULL);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
    keys_drop(&k);
}

static void
a_key_that_cannot_be_used_is_an_error(void **state)
{
    struct keys k = keys_make();
    char url[200], error[300];
    msock *m = msock_open("frame://127.0.0.1:1"), *lines;

    (void)state;
    assert_int_equal(msock_set_key(m, "/nonexistent/key"), MSOCK_LOCAL);
    assert_int_equal(msock_set_key(m, NULL), MSOCK_LOCAL);
    lines = msock_open("frame://127.0.0.1:1?framing=delimiter");
    assert_int_equal(msock_set_key(lines, k.path), MSOCK_USAGE);
    msock_close(lines);
    for (int by_url = 0; by_url < 2; by_url++) {
        msock *twice =
            client_open("msp://127.0.0.1:1%s%s", by_url ? "?key_file=" : "", by_url ? k.path : "");

        if (!by_url)
            assert_int_equal(msock_set_key(twice, k.path), MSOCK_OK);
        assert_int_equal(msock_add_transform(twice, letter_put, letter_take, a), MSOCK_OK);
        assert_int_equal(msock_set_key(twice, k.path), MSOCK_USAGE);
        assert_string_equal(msock_error(twice), "there is a key already");
        msock_close(twice);
    }
    assert_int_equal(chmod(k.path, 0644), 0);
    assert_int_equal(msock_set_key(m, k.path), MSOCK_LOCAL);
    assert_non_null(strstr(msock_error(m), "chmod 600"));
    msock_close(m);
    snprintf(url, sizeof(url), "msp://127.0.0.1:1?key_file=%s", k.path);
    assert_null(msock_open(url));
    assert_int_equal(msock_url_error(url, error, sizeof(error)), MSOCK_USAGE);
    assert_non_null(strstr(error, "chmod 600"));
    keys_drop(&k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_msp_they_change_messages_files_and_replies),
        cmocka_unit_test(over_msp_a_reply_that_is_rejected_is_an_error_and_none_is_none),
        cmocka_unit_test(there_are_eight_at_most),
        cmocka_unit_test(a_file_too_large_to_be_transformed_is_not_sent),
        cmocka_unit_test(with_a_key_only_what_is_sealed_for_us_is_data),
        cmocka_unit_test(the_key_of_the_address_is_outermost_and_stays),
        cmocka_unit_test(a_key_that_cannot_be_used_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
