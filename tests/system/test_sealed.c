/* Sealed messages from end to end: keys change without a pause, files of any size come as they
 * are, and a large reply is sealed beside the loop. */
#include "daemon.h"
#include "msock.h"
#include "target.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_OLD "0101010101010101010101010101010101010101010101010101010101010101\n"
#define KEY_NEW "0202020202020202020202020202020202020202020202020202020202020202\n"

static char dir[HARNESS_PATH_LEN];

/* Writes that key file; its path lasts until the next call. */
static const char *
key_file(const char *name, const char *keys)
{
    static char path[HARNESS_PATH_LEN];

    harness_join(path, dir, name);
    harness_write_file(path, keys, strlen(keys));
    assert_int_equal(chmod(path, 0600), 0);
    return path;
}

static msock *
client(const struct daemon *d, const char *scheme, const char *keys)
{
    char url[2 * HARNESS_PATH_LEN];
    msock *m;

    snprintf(url, sizeof(url), "%s://127.0.0.1:%u?key_file=%s", scheme,
             target_port(&d->listeners[0]), key_file("client", keys));
    m = msock_open(url);
    assert_non_null(m);
    msock_set_timeouts(m, 20000, 60000);
    msock_set_want_reply(m, 1);
    return m;
}

static void
expect_sent(const struct daemon *d, const char *keys)
{
    msock *m = client(d, "msp", keys);

    if (msock_send(m, "hello", 5) != MSOCK_OK)
        fail_msg("%s", msock_error(m));
    assert_non_null(strstr(msock_reply(m, NULL), "\"size\":5"));
    msock_close(m);
}

static void
keys_change_without_a_pause(void **state)
{
    struct msock_counts counts;
    char url[2 * HARNESS_PATH_LEN];
    struct daemon *d;
    msock *stays, *old;

    (void)state;
    harness_directory(dir);
    snprintf(url, sizeof(url), "auto://127.0.0.1:0?key_file=%s", key_file("server", KEY_OLD));
    d = daemon_start(&(struct daemon_options){.workers = 2, .listen = {url}});
    expect_sent(d, KEY_OLD);
    key_file("server", KEY_OLD KEY_NEW);
    daemon_reload(d);
    expect_sent(d, KEY_OLD);
    expect_sent(d, KEY_NEW KEY_OLD);
    stays = client(d, "frame", "# both\n" KEY_OLD KEY_NEW);
    assert_int_equal(msock_send(stays, "x", 1), MSOCK_OK);
    key_file("server", KEY_NEW KEY_OLD);
    daemon_reload(d);
    assert_int_equal(msock_send(stays, "x", 1), MSOCK_OK);
    expect_sent(d, KEY_OLD KEY_NEW);
    expect_sent(d, KEY_NEW);
    key_file("server", KEY_NEW);
    daemon_reload(d);
    expect_sent(d, KEY_NEW KEY_OLD);
    msock_get_counts(stays, &counts);
    assert_int_equal(counts.connects, 1);
    old = client(d, "msp", KEY_OLD);
    assert_int_equal(msock_send(old, "x", 1), MSOCK_REFUSED);
    msock_close(old);
    msock_close(stays);
    daemon_stop(d);
}

static void
files_of_any_size_come_as_they_are(void **state)
{
    static const size_t sizes[] = {0, 65536, 65537, 300000, 40u << 20};
    char url[2 * HARNESS_PATH_LEN], path[HARNESS_PATH_LEN];
    struct daemon *d;
    msock *m;

    (void)state;
    harness_directory(dir);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?key_file=%s", key_file("server", KEY_OLD));
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    m = client(d, "msp", KEY_OLD);
    harness_join(path, dir, "file");
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        char name[32], kept[HARNESS_PATH_LEN + 64];
        char *body = malloc(sizes[i] + 1), *got;
        size_t n;

        for (size_t k = 0; k < sizes[i]; k++)
            body[k] = (char)(k * 7 + k / 253);
        harness_write_file(path, body, sizes[i]);
        snprintf(name, sizeof(name), "file-%zu", sizes[i]);
        if (msock_send_file(m, path, name) != MSOCK_OK)
            fail_msg("%s", msock_error(m));
        snprintf(kept, sizeof(kept), "%s/files/%s", d->data_dir, name);
        got = harness_read_file(kept, &n);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(got, body, n);
        free(got);
        free(body);
    }
    msock_close(m);
    daemon_stop(d);
}

/* --- a reply --- */

#define REPLY ((size_t)15 << 20)

struct asking {
    msock *m;
    char *body;
    atomic_int trailer, answered; /* it is out; something has come behind it */
    enum msock_status status;
    pthread_t thread;
};

static int
note_trailer(void *arg, uint64_t done, uint64_t total)
{
    struct asking *a = arg;

    if (done == total)
        atomic_store(&a->trailer, 1);
    return 0;
}

static int
note_answer(void *arg, struct pollfd *fds, unsigned n, int timeout_ms)
{
    struct asking *a = arg;
    int rc = poll(fds, n, timeout_ms);

    for (unsigned i = 0; rc > 0 && i < n; i++)
        if ((fds[i].revents & POLLIN) != 0 && atomic_load(&a->trailer))
            atomic_store(&a->answered, 1);
    return rc;
}

static void *
ask(void *arg)
{
    struct asking *a = arg;

    a->status = msock_send(a->m, a->body, REPLY);
    atomic_store(&a->answered, 1);
    return NULL;
}

static void
others_are_served_while_a_reply_is_sealed(void **state)
{
    struct asking a = {.body = calloc(1, REPLY)};
    char url[2 * HARNESS_PATH_LEN];
    unsigned meanwhile = 0;
    struct daemon *d;
    msock *m;
    size_t n;

    (void)state;
    harness_directory(dir);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=echo&key_file=%s",
             key_file("server", KEY_OLD));
    d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {url}});
    m = client(d, "msp", KEY_OLD);
    a.m = client(d, "msp", KEY_OLD);
    msock_set_progress(a.m, note_trailer, &a);
    msock_set_wait(a.m, note_answer, &a);
    for (unsigned tries = 0; tries < 10 && meanwhile < 10; tries++) {
        meanwhile = 0;
        atomic_store(&a.trailer, 0);
        atomic_store(&a.answered, 0);
        assert_int_equal(pthread_create(&a.thread, NULL, ask, &a), 0);
        while (!atomic_load(&a.answered)) {
            int behind = atomic_load(&a.trailer);

            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
            meanwhile += behind && !atomic_load(&a.answered);
        }
        pthread_join(a.thread, NULL);
        assert_int_equal(a.status, MSOCK_OK);
        assert_memory_equal(msock_reply(a.m, &n), a.body, REPLY);
        assert_int_equal(n, REPLY);
    }
    /* One or two could be answered between the trailer's leaving and its arrival. */
    assert_true(meanwhile >= 10);
    msock_close(a.m);
    msock_close(m);
    free(a.body);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(keys_change_without_a_pause),
        SYSTEM_TEST(files_of_any_size_come_as_they_are),
        SYSTEM_TEST(others_are_served_while_a_reply_is_sealed),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
