/* What a sender can know it says before it sends, and what the server can know it says to the first
 * packet: the bytes that were sent are counted. */
#include "daemon.h"
#include "stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY     "msp://127.0.0.1:1" /* nothing listens there */
#define FIRST_MOST 8192 /* bytes: more than a first packet, and far less than the message */

/* A file of that size which takes no room on the disk. */
static void
make_sparse(const struct daemon *d, const char *name, off_t size, char path[HARNESS_PATH_LEN])
{
    int fd;

    harness_join(path, d->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void
expect(struct run_result result, int status, const char *says)
{
    if (result.status != status || strstr(result.err, says) == NULL)
        fail_msg("status %d, not %d with \"%s\": %s%s", result.status, status, says, result.out,
                 result.err);
    run_result_free(&result);
}

/* Sends the file; it must be refused with these words, after one connection and its first packet.
 */
static void
expect_refused_at_once(const struct daemon *d, const char *file, const char *says)
{
    uint64_t bytes = stats_total(d, "bytes_in"), rej = stats_total(d, "rej");
    uint64_t accepts = stats_total(d, "accepted");

    expect(
        run_program(harness_program("msock"), "-u", d->listeners[0].url, "send-file", file, NULL),
        65, says);
    WAIT_FOR(stats_total(d, "rej") == rej + 1, 20000);
    assert_true(stats_total(d, "bytes_in") - bytes < FIRST_MOST);
    assert_int_equal(stats_total(d, "accepted"), accepts + 1);
}

static void
a_file_over_max_message_size_is_refused_with_its_first_packet(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char file[HARNESS_PATH_LEN];

    (void)state;
    make_sparse(d, "big", (off_t)5 << 30, file);
    expect_refused_at_once(d, file,
                           "refused the message: too-large: the message is larger than "
                           "max_message_size, 4294967295 bytes");
    daemon_stop(d);
}

static void
the_limit_of_a_new_configuration_holds(void **state)
{
    struct daemon *d = daemon_create(
        &(struct daemon_options){.config = "workers = 1\nlisten = { \"msp://127.0.0.1:0\" }\n"
                                           "handler = discard\n"});
    char file[HARNESS_PATH_LEN];

    (void)state;
    daemon_launch(d);
    make_sparse(d, "two", 2 << 20, file);
    expect(
        run_program(harness_program("msock"), "-u", d->listeners[0].url, "send-file", file, NULL),
        0, "");
    daemon_configure(d, "workers = 1\nlisten = { \"msp://127.0.0.1:0\" }\nhandler = discard\n"
                        "max_message_size = 1M\n");
    daemon_reload(d);
    expect_refused_at_once(d, file, "larger than max_message_size, 1048576 bytes");
    daemon_stop(d);
}

static void
what_a_handler_cannot_take_or_a_key_open_is_refused_with_its_first_packet(void **state)
{
    static const struct {
        const char *query, *says;
        off_t size;
    } cases[] = {
        {"handler=broadcast", "larger than what handler=broadcast takes, 1048576 bytes",
         (1 << 20) + 1},
        {"handler=exec&command=cat", "larger than what handler=exec takes, 2147483647 bytes",
         (off_t)1 << 31},
        {"handler=discard&key_file=",
         "refused: the message cannot be opened with this listener's key", 250 << 20},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char file[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN];
        char url[HARNESS_PATH_LEN + 200];
        struct daemon_options options = {.workers = 1, .listen = {url}};
        struct daemon *d;

        harness_key(key);
        snprintf(url, sizeof(url), "msp://127.0.0.1:0?%s%s", cases[i].query, i == 2 ? key : "");
        d = daemon_start(&options);
        make_sparse(d, "big", cases[i].size, file);
        expect_refused_at_once(d, file, cases[i].says);
        daemon_stop(d);
    }
}

/* Over these the peer is not told, or not in words. */
static void
a_limit_that_the_peer_is_not_told_is_in_the_log(void **state)
{
    static const char *const urls[] = {"frame://127.0.0.1:0?max_message_size=5",
                                       "frame://127.0.0.1:0?max_message_size=5&framing=delimiter",
                                       "tinyproto://127.0.0.1:0?max_message_size=5"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(urls); i++) {
        struct daemon *d =
            daemon_start(&(struct daemon_options){.workers = 1, .listen = {urls[i]}});
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(
            peer_write(&p, i == 2 ? "\xff\0\0\0\6" : "\0\0\0\6abcdef", 5 + 5 * (i == 1)), 0);
        WAIT_FOR(
            daemon_logged(d, "is dropped: the message is larger than max_message_size, 5 bytes"),
            20000);
        assert_false(daemon_logged(d, "its end did not come"));
        peer_close(&p);
        daemon_stop(d);
    }
}

static void
what_a_sender_can_know_it_says_before_it_connects(void **state)
{
    static const struct {
        const char *url, *words[5];
        int status;
        const char *says;
    } cases[] = {
        {NOBODY, {"send-file", "FILE", "--as", "/abs"}, 65, "bad-path: the path is absolute"},
        {NOBODY, {"send-file", "FILE", "--as", ".."}, 65, "bad-path: the path has a component"},
        {NOBODY, {"send-file", "FILE", "--as", "a//"}, 65, "bad-path: the path has an empty"},
        {NOBODY, {"send-file", "FILE", "--as", ""}, 65, "bad-path: the path is empty"},
        {NOBODY, {"send-file", "FILE", "--as", "a/.msockd-x"}, 65, "bad-path: names that begin"},
        {NOBODY, {"send-file", "-", "--as", "/abs"}, 65, "bad-path: the path is absolute"},
        {NOBODY, {"send-file", "FILE", "FILE"}, 64, "under the same path"},
        {NOBODY, {"send-file", "FILE", "/x/file", "--as", "d/"}, 64, "under the same path"},
        {NOBODY, {"send-file", "/tmp/"}, 66, "Is a directory"},
        {NOBODY, {"send-file", "/nonexistent"}, 66, "No such file"},
        {"frame://127.0.0.1:1?framing=fixed:3", {"send", "four"}, 64, "cannot carry this message"},
        {"frame://127.0.0.1:1?framing=fixed:3", {"send", ""}, 64, "cannot carry this message"},
        {"frame://127.0.0.1:1?framing=delimiter",
         {"send", "a\nb"},
         64,
         "cannot carry this message"},
    };
    char file[HARNESS_PATH_LEN], dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    harness_join(file, dir, "file");
    harness_write_file(file, "content", 7);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const char *words[5];

        for (size_t k = 0; k < 5; k++)
            words[k] = cases[i].words[k] != NULL && strcmp(cases[i].words[k], "FILE") == 0
                           ? file
                           : cases[i].words[k];
        expect(run_program(harness_program("msock"), "-u", cases[i].url, words[0], words[1],
                           words[2], words[3], words[4], NULL),
               cases[i].status, cases[i].says);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_file_over_max_message_size_is_refused_with_its_first_packet),
        SYSTEM_TEST(the_limit_of_a_new_configuration_holds),
        SYSTEM_TEST(what_a_handler_cannot_take_or_a_key_open_is_refused_with_its_first_packet),
        SYSTEM_TEST(a_limit_that_the_peer_is_not_told_is_in_the_log),
        SYSTEM_TEST(what_a_sender_can_know_it_says_before_it_connects),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
