/* What the ways to send have in common, and what they do not: kinds, ids, values, transforms,
 * progress, files. */
#include "client_fixture.h"
#include "guard.h"
#include "scripted_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>

struct fixture {
    struct server *server;
    msock *m;
    char directory[64];
};

static void
fixture_start(struct fixture *f)
{
    static const uint32_t grants[] = {5000, 0};

    f->server = server_create();
    f->server->grants = grants;
    server_start(f->server, AF_INET);
    f->m = msock_open(f->server->url);
    assert_non_null(f->m);
    msock_set_timeouts(f->m, 5000, 5000);
    msock_set_retries(f->m, 2, 1, 2);
    guard_directory(f->directory, sizeof(f->directory));
}

/* Ends client and server; what the server saw may be read now. */
static struct server *
fixture_stop(struct fixture *f)
{
    msock_close(f->m);
    server_stop(f->server);
    rmdir(f->directory);
    return f->server;
}

static void
each_way_to_send_says_its_kind(void **state)
{
    json_t *value = json_pack("{s:s, s:[i,f,n]}", "hello", "world", "list", 1, 0.5);
    json_t *text = json_string("just text");
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f);
    assert_int_equal(msock_send(f.m, "plain", 5), MSOCK_OK);
    assert_int_equal(msock_send_json_text(f.m, "{ \"a\" : 1 }", 11), MSOCK_OK);
    assert_int_equal(msock_send_json(f.m, value), MSOCK_OK);
    assert_int_equal(msock_send_json(f.m, text), MSOCK_OK);
    s = fixture_stop(&f);
    server_expect_message(s, 0, 'A', "plain");
    server_expect_message(s, 1, 'J', "{ \"a\" : 1 }");
    server_expect_message(s, 2, 'J', "{\"hello\":\"world\",\"list\":[1,0.5,null]}");
    server_expect_message(s, 3, 'J', "\"just text\"");
    assert_int_equal(s->connections, 1);
    json_decref(value);
    json_decref(text);
    server_destroy(s);
}

static void
an_empty_message_is_a_message(void **state)
{
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f);
    assert_int_equal(msock_send(f.m, NULL, 0), MSOCK_OK);
    assert_int_equal(msock_send(f.m, "", 0), MSOCK_OK);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 2);
    server_expect_message(s, 0, 'A', "");
    server_destroy(s);
}

static void
wrong_arguments_send_nothing(void **state)
{
    struct fixture f;
    char path[2100];
    struct server *s;

    (void)state;
    fixture_start(&f);
    memset(path, 'x', sizeof(path));
    path[2007] = '\0';
    assert_int_equal(msock_send(f.m, NULL, 1), MSOCK_USAGE);
    assert_int_equal(msock_send_json_text(f.m, NULL, 0), MSOCK_USAGE);
    assert_int_equal(msock_send_json(f.m, NULL), MSOCK_USAGE);
    assert_int_equal(msock_send_file(f.m, NULL, "x"), MSOCK_USAGE);
    assert_int_equal(msock_send_file(f.m, "/etc/", NULL), MSOCK_LOCAL);
    assert_int_equal(msock_send_file(f.m, "/etc/passwd", path), MSOCK_USAGE);
    assert_string_not_equal(msock_error(f.m), "");
    assert_int_equal(msock_set_id(f.m, "x", 0), MSOCK_USAGE);
    assert_int_equal(msock_set_id(f.m, NULL, 1), MSOCK_USAGE);
    assert_int_equal(msock_set_id(f.m, path, 2007), MSOCK_USAGE);
    s = fixture_stop(&f);
    assert_int_equal(s->connections, 0);
    server_destroy(s);
}

static void
ids_are_random_or_given_or_none(void **state)
{
    char longest[2007], first[40];
    struct fixture f;
    struct server *s;

    (void)state;
    memset(longest, 'i', 2006);
    longest[2006] = '\0';
    fixture_start(&f);
    assert_string_equal(msock_last_id(f.m), "");
    assert_int_equal(msock_send(f.m, "0", 1), MSOCK_OK);
    snprintf(first, sizeof(first), "%s", msock_last_id(f.m));
    assert_int_equal(strlen(first), 32);
    assert_int_equal(strspn(first, "0123456789abcdef"), 32);
    assert_int_equal(msock_send(f.m, "1", 1), MSOCK_OK);
    assert_string_not_equal(msock_last_id(f.m), first);
    assert_int_equal(msock_set_id(f.m, "order-17", 8), MSOCK_OK);
    assert_int_equal(msock_send(f.m, "2", 1), MSOCK_OK);
    assert_string_equal(msock_last_id(f.m), "order-17");
    assert_int_equal(msock_set_id(f.m, longest, 2006), MSOCK_OK);
    assert_int_equal(msock_send_json_text(f.m, "3", 1), MSOCK_OK);
    msock_set_auto_id(f.m, 0);
    assert_int_equal(msock_send(f.m, "4", 1), MSOCK_OK);
    assert_string_equal(msock_last_id(f.m), "");
    s = fixture_stop(&f);
    assert_string_equal(s->messages[0].value, first);
    assert_string_equal(s->messages[2].value, "order-17");
    assert_string_equal(s->messages[3].value, longest);
    assert_int_equal(s->messages[4].value_len, 0);
    server_destroy(s);
}

static void
an_id_stays_the_same_over_all_attempts(void **state)
{
    static const char *const answers[] = {RIGHT, RIGHT, RIGHT, "ERR internal", NULL};
    uint8_t *data = test_bytes(3000);
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f);
    f.server->cut_write = 8; /* in the final ACK */
    f.server->answers = answers;
    msock_set_retries(f.m, 9, 1, 1);
    assert_int_equal(msock_send(f.m, data, 1500), MSOCK_OK);
    assert_int_equal(msock_send(f.m, data, 3000), MSOCK_OK);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 3);
    assert_int_equal(server_distinct(s), 2);
    free(data);
    server_destroy(s);
}

static int
rot13(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    char *p = malloc(in_len + 1);
    const char *from = in;

    for (size_t i = 0; i < in_len; i++)
        p[i] = (char)(from[i] ^ 1);
    p[in_len] = '!';
    *out = p;
    *out_len = in_len + 1;
    ++*(int *)arg;
    return 0;
}

static int
failing_transform(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    (void)arg, (void)in, (void)in_len, (void)out, (void)out_len;
    return 7;
}

static void
a_transform_is_called_once_a_message(void **state)
{
    static const char *const answers[] = {"NACK1", "ERR internal", HANGUP, NULL};
    struct fixture f;
    struct server *s;
    int calls = 0;

    (void)state;
    fixture_start(&f);
    f.server->answers = answers;
    msock_set_transform(f.m, rot13, &calls);
    assert_int_equal(msock_send(f.m, "abc", 3), MSOCK_OK);
    assert_int_equal(calls, 1);
    assert_int_equal(msock_send(f.m, NULL, 0), MSOCK_OK);
    assert_int_equal(calls, 2);
    msock_set_transform(f.m, failing_transform, NULL);
    assert_int_equal(msock_send(f.m, "abc", 3), MSOCK_LOCAL);
    assert_string_equal(msock_error(f.m), "a transform has failed: nothing was sent");
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 2);
    server_expect_message(s, 0, 'A', "`cb!");
    server_expect_message(s, 1, 'A', "!");
    server_destroy(s);
}

struct progress {
    unsigned calls;
    uint64_t last, total, stop_at;
};

static int
note_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *p = arg;

    p->calls++;
    assert_true(done >= p->last);
    p->last = done;
    p->total = total;
    return done >= p->stop_at;
}

static void
progress_is_told_up_to_the_end(void **state)
{
    struct progress p = {.stop_at = UINT64_MAX};
    uint8_t *data = test_bytes(50000);
    struct fixture f;

    (void)state;
    fixture_start(&f);
    msock_set_progress(f.m, note_progress, &p);
    assert_int_equal(msock_send(f.m, data, 50000), MSOCK_OK);
    assert_int_equal(p.last, 50000);
    assert_int_equal(p.total, 50000);
    assert_int_equal(p.calls, 1 + 10 + 2); /* packets, the trailer, the end */
    free(data);
    server_destroy(fixture_stop(&f));
}

static void
progress_can_cancel_a_message(void **state)
{
    struct progress p = {.stop_at = 20000};
    uint8_t *data = test_bytes(50000);
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f);
    msock_set_progress(f.m, note_progress, &p);
    assert_int_equal(msock_send(f.m, data, 50000), MSOCK_CANCELLED);
    assert_string_equal(msock_error(f.m), "cancelled by the progress callback");
    p = (struct progress){.stop_at = 0};
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_CANCELLED);
    p = (struct progress){.stop_at = UINT64_MAX};
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_OK);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 1);
    free(data);
    server_destroy(s);
}

static void
files_of_all_sizes_arrive(void **state)
{
    static const size_t sizes[] = {0, 1, 1998, 1999, 6992, 6993, 700000};
    uint8_t *data = test_bytes(700000);
    struct fixture f;
    char path[128];
    struct server *s;

    (void)state;
    fixture_start(&f);
    snprintf(path, sizeof(path), "%s/some file", f.directory);
    for (size_t i = 0; i < 7; i++) {
        client_write_file(path, data, sizes[i]);
        assert_int_equal(msock_send_file(f.m, path, i == 0 ? "in/a/folder" : NULL), MSOCK_OK);
        assert_string_equal(msock_last_id(f.m), "");
    }
    unlink(path);
    s = fixture_stop(&f);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(s->messages[i].kind, 'F');
        assert_string_equal(s->messages[i].value, i == 0 ? "in/a/folder" : "some file");
        assert_int_equal(s->messages[i].size, sizes[i]);
        assert_memory_equal(s->messages[i].body, data, sizes[i]);
        assert_int_equal(s->messages[i].late, sizes[i] > 1998);
    }
    free(data);
    server_destroy(s);
}

static void
a_file_survives_nacks_and_changing_grants(void **state)
{
    static const char *const answers[] = {"NACK1", RIGHT, "NACK1", RIGHT, RIGHT,   "NACK2", RIGHT,
                                          HANGUP,  RIGHT, RIGHT,   RIGHT, "NACK1", NULL};
    static const uint32_t grants[] = {400000, 3000, 900000, 64, 2048, 100000, 1048576, 300000, 0};
    uint8_t *data = test_bytes(3000000);
    struct fixture f;
    char path[128];
    struct server *s;

    (void)state;
    fixture_start(&f);
    f.server->answers = answers;
    f.server->grants = grants;
    snprintf(path, sizeof(path), "%s/f", f.directory);
    client_write_file(path, data, 3000000);
    assert_int_equal(msock_send_file(f.m, path, NULL), MSOCK_OK);
    unlink(path);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 1);
    assert_int_equal(s->connections, 2);
    assert_memory_equal(s->messages[0].body, data, 3000000);
    free(data);
    server_destroy(s);
}

struct resize {
    const char *path;
    uint64_t at;
    off_t size;
};

static int
resize_file(void *arg, uint64_t done, uint64_t total)
{
    struct resize *r = arg;

    (void)total;
    if (done >= r->at)
        assert_int_equal(truncate(r->path, r->size), 0);
    return 0;
}

static void
a_file_that_changes_its_size_is_not_committed(void **state)
{
    static const struct resize cases[] = {
        {NULL, 0, 10},    {NULL, 20000, 25000}, {NULL, 50000, 49999},
        {NULL, 0, 50001}, {NULL, 45000, 60000},
    };
    uint8_t *data = test_bytes(50000);
    struct fixture f;
    char path[128];
    struct server *s;

    (void)state;
    fixture_start(&f);
    snprintf(path, sizeof(path), "%s/f", f.directory);
    for (size_t i = 0; i < 5; i++) {
        struct resize r = cases[i];

        r.path = path;
        client_write_file(path, data, 50000);
        msock_set_progress(f.m, resize_file, &r);
        if (r.at == 50000) {
            /* The last look at the size was before this call: the bytes sent were whole. */
            assert_int_equal(msock_send_file(f.m, path, NULL), MSOCK_OK);
            continue;
        }
        assert_int_equal(msock_send_file(f.m, path, NULL), MSOCK_LOCAL);
        assert_non_null(strstr(msock_error(f.m), "changed its size"));
    }
    unlink(path);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 1);
    free(data);
    server_destroy(s);
}

/* Nothing listens there, so an attempt to connect would be MSOCK_UNREACHABLE. */
static void
a_path_that_no_server_takes_is_refused_before_a_connection(void **state)
{
    static const struct {
        const char *path, *error;
    } cases[] = {
        {"", "nothing was sent: bad-path: the path is empty"},
        {"/abs", "nothing was sent: bad-path: the path is absolute"},
        {"a/../b", "nothing was sent: bad-path: the path has a component \"..\""},
        {"\xff", "nothing was sent: bad-path: the path is not UTF-8"},
        {"a/.msockd-x",
         "nothing was sent: bad-path: names that begin with .msockd- are the server's own"},
    };
    msock *m = msock_open("msp://127.0.0.1:1");
    int fd = open("/etc/passwd", O_RDONLY);

    (void)state;
    assert_non_null(m);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(msock_send_file(m, "/etc/passwd", cases[i].path), MSOCK_REFUSED);
        assert_string_equal(msock_error(m), cases[i].error);
        assert_string_equal(msock_error_code(m), "bad-path");
        assert_int_equal(msock_send_fd(m, fd, cases[i].path), MSOCK_REFUSED);
        assert_string_equal(msock_error(m), cases[i].error);
    }
    close(fd);
    msock_close(m);
}

static int
rewrite_file(void *arg, uint64_t done, uint64_t total)
{
    const char *path = arg;
    int fd;

    if (done == 0 || done == total)
        return 0;
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "other", 5, 0), 5);
    /* The clock of files is coarse: another time, in case that of the write is the same. */
    assert_int_equal(futimens(fd, (const struct timespec[2]){{1, 0}, {1, 0}}), 0);
    close(fd);
    return 0;
}

static void
a_file_that_is_written_to_is_not_committed(void **state)
{
    uint8_t *data = test_bytes(50000);
    struct fixture f;
    char path[128];
    struct server *s;

    (void)state;
    fixture_start(&f);
    snprintf(path, sizeof(path), "%s/f", f.directory);
    client_write_file(path, data, 50000);
    msock_set_progress(f.m, rewrite_file, path);
    assert_int_equal(msock_send_file(f.m, path, NULL), MSOCK_LOCAL);
    assert_string_equal(msock_error(f.m), "the file was written to while it was sent");
    unlink(path);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 0);
    free(data);
    server_destroy(s);
}

static void
what_is_no_file_is_not_sent(void **state)
{
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f);
    assert_int_equal(msock_send_file(f.m, f.directory, NULL), MSOCK_LOCAL);
    assert_int_equal(msock_send_file(f.m, "/dev/null", NULL), MSOCK_LOCAL);
    assert_non_null(strstr(msock_error(f.m), "/dev/null cannot be sent: a device"));
    assert_int_equal(msock_send_fd(f.m, -1, "x"), MSOCK_LOCAL);
    assert_int_equal(msock_send_fd(f.m, 0, NULL), MSOCK_USAGE);
    assert_int_equal(msock_send_file(f.m, "/nonexistent/file", NULL), MSOCK_LOCAL);
    assert_string_equal(msock_error(f.m),
                        "/nonexistent/file cannot be sent: No such file or directory");
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 0);
    server_destroy(s);
}

static void *
write_to_fifo(void *path)
{
    int fd = open(path, O_WRONLY);

    assert_int_equal(write(fd, "from a fifo", 11), 11);
    close(fd);
    return NULL;
}

static void
what_tells_no_size_is_sent_to_its_end(void **state)
{
    struct fixture f;
    char path[128];
    struct server *s;
    pthread_t writer;
    int ends[2];

    (void)state;
    fixture_start(&f);
    snprintf(path, sizeof(path), "%s/fifo", f.directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_to_fifo, path), 0);
    assert_int_equal(msock_send_file(f.m, path, NULL), MSOCK_OK);
    pthread_join(writer, NULL);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "from a pipe", 11), 11);
    close(ends[1]);
    assert_int_equal(msock_send_fd(f.m, ends[0], "piped"), MSOCK_OK);
    close(ends[0]);
    assert_int_equal(msock_send_file(f.m, "/proc/self/status", NULL), MSOCK_OK);
    unlink(path);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 3);
    server_expect_message(s, 0, 'F', "from a fifo");
    server_expect_message(s, 1, 'F', "from a pipe");
    assert_true(s->messages[2].size > 100);
    server_destroy(s);
}

static volatile sig_atomic_t alarms;

static void
on_alarm(int signal_number)
{
    (void)signal_number;
    alarms++;
}

static void
signals_of_the_host_program_do_no_harm(void **state)
{
    struct sigaction sa = {.sa_handler = on_alarm};
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    static const char *const answers[] = {RIGHT, HANGUP, RIGHT, HANGUP, NULL};
    uint8_t *data = test_bytes(500000);
    struct fixture f;
    sigset_t set;
    struct server *s;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* for the server's thread */
    fixture_start(&f);
    f.server->answers = answers;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    msock_set_retries(f.m, 2, 5, 5);
    for (int i = 0; i < 10; i++)
        assert_int_equal(msock_send(f.m, data, 500000), MSOCK_OK);
    setitimer(ITIMER_REAL, &never, NULL); /* the handler stays, for one that is on its way */
    assert_true(alarms > 0);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 10);
    free(data);
    server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_to_send_says_its_kind),
        cmocka_unit_test(an_empty_message_is_a_message),
        cmocka_unit_test(wrong_arguments_send_nothing),
        cmocka_unit_test(ids_are_random_or_given_or_none),
        cmocka_unit_test(an_id_stays_the_same_over_all_attempts),
        cmocka_unit_test(a_transform_is_called_once_a_message),
        cmocka_unit_test(progress_is_told_up_to_the_end),
        cmocka_unit_test(progress_can_cancel_a_message),
        cmocka_unit_test(files_of_all_sizes_arrive),
        cmocka_unit_test(a_file_survives_nacks_and_changing_grants),
        cmocka_unit_test(a_file_that_changes_its_size_is_not_committed),
        cmocka_unit_test(a_path_that_no_server_takes_is_refused_before_a_connection),
        cmocka_unit_test(a_file_that_is_written_to_is_not_committed),
        cmocka_unit_test(what_is_no_file_is_not_sent),
        cmocka_unit_test(what_tells_no_size_is_sent_to_its_end),
        cmocka_unit_test(signals_of_the_host_program_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
