/* The life of a server in one's own program: listeners, limits, what is left behind. */
#include "guard.h"
#include "server_fixture.h"

#include <fcntl.h>

struct place {
    char dir[64], path[80], url[100];
};

static void
place_make(struct place *p)
{
    guard_directory(p->dir, sizeof(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/file", p->dir);
    snprintf(p->url, sizeof(p->url), "msp://%s", p->path);
}

static void
place_remove(struct place *p)
{
    unlink(p->path);
    assert_int_equal(rmdir(p->dir), 0);
}

static void
what_is_wrong_with_a_url_is_said_in_a_sentence(void **state)
{
    static const struct {
        const char *url, *word;
    } cases[] = {
        {"msp://127.0.0.1:0?handler=journal", "handler="},
        {"msp://127.0.0.1:0?handler=echo&timeout=1s", "handler="},
        {"msp://127.0.0.1:0?command=true", "command"},
        {"msp://127.0.0.1:0?timeout=soon", "timeout"},
        {"msp://127.0.0.1", "port"},
        {"http://127.0.0.1:0", "http"},
        {"nonsense", "nonsense"},
        {"frame://127.0.0.1:0?framing=rings", "framing"},
        {"systemd:web", "msockd alone"},
    };
    msock_server *s = msock_server_create();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(msock_server_add_listener(s, cases[i].url), MSOCK_USAGE);
        assert_non_null(strstr(msock_server_error(s), cases[i].word));
    }
    assert_int_equal(msock_server_add_listener(s, "msp://127.0.0.1:0"), MSOCK_OK);
    assert_string_equal(msock_server_error(s), "");
    assert_string_not_equal(msock_server_address(s, 0), "127.0.0.1:0");
    assert_string_equal(msock_server_address(s, 1), "");
    msock_server_destroy(s);
}

struct heard {
    pthread_t thread;
    unsigned count;
    enum msock_log_level level;
    char text[200];
};

static void
hear(void *arg, enum msock_log_level level, const char *text)
{
    struct heard *heard = arg;

    heard->thread = pthread_self();
    heard->count++;
    heard->level = level;
    snprintf(heard->text, sizeof(heard->text), "%s", text);
}

static void
settle_nothing(void *arg, msock_server *s, msock_message *message)
{
    (void)arg;
    (void)s;
    msock_message_commit(message, NULL, 0);
}

static void
what_a_server_has_to_say_goes_to_its_own_callback(void **state)
{
    const struct msock_server_callbacks callbacks = {.message = settle_nothing};
    msock_server *s[3];
    struct heard heard[3] = {0};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        s[i] = fixture_server("frame://127.0.0.1:0");
        msock_server_set_log(s[i], hear, &heard[i]);
    }
    msock_server_set_log(s[2], NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        msock_server_stop(s[i]);
        assert_int_equal(msock_server_run(s[i], &callbacks, NULL, 0), MSOCK_OK);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(heard[i].count, 1);
        assert_int_equal(heard[i].level, MSOCK_LOG_INFO);
        assert_string_equal(heard[i].text, "draining 0 connections: stopped");
        assert_true(pthread_equal(heard[i].thread, pthread_self()));
    }
    assert_int_equal(heard[2].count, 0);
    for (unsigned i = 0; i < 3; i++)
        msock_server_destroy(s[i]);
}

static void
a_server_without_listeners_receives_nothing(void **state)
{
    const struct msock_server_callbacks none = {0};
    msock_server *s = msock_server_create();
    msock_message *m;
    msock_conn *c;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_USAGE);
    assert_int_equal(msock_server_accept(s, 0, &c), MSOCK_USAGE);
    assert_int_equal(msock_server_run(s, &none, NULL, 0), MSOCK_USAGE);
    assert_non_null(strstr(msock_server_error(s), "listener"));
    msock_server_destroy(s);
    msock_server_destroy(NULL);
}

static void
an_address_in_use_is_a_local_failure(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0"), *t = msock_server_create();
    char url[64];

    (void)state;
    snprintf(url, sizeof(url), "frame://%s", msock_server_address(s, 0));
    assert_int_equal(msock_server_add_listener(t, url), MSOCK_LOCAL);
    assert_non_null(strstr(msock_server_error(t), msock_server_address(s, 0)));
    msock_server_destroy(s);
    assert_int_equal(msock_server_add_listener(t, url), MSOCK_OK);
    msock_server_destroy(t);
}

static void
what_shapes_a_server_comes_before_it_receives(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    msock_message *m;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    assert_int_equal(msock_server_add_listener(s, "msp://127.0.0.1:0"), MSOCK_USAGE);
    assert_int_equal(msock_server_add_transform(s, NULL, NULL, NULL), MSOCK_USAGE);
    msock_server_destroy(s);
}

static void
key_make(const char *path, const char *key)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(fwrite(key, 1, 32, file), 32);
    fclose(file);
}

static void
there_are_at_most_8_transforms_keys_included(void **state)
{
    msock_server *s = msock_server_create();
    struct place p;
    char url[160];

    (void)state;
    place_make(&p);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?key_file=%s", p.path);
    assert_int_equal(msock_server_add_listener(s, url), MSOCK_LOCAL);
    key_make(p.path, "0123456789abcdef0123456789abcdef");
    assert_int_equal(msock_server_add_listener(s, url), MSOCK_OK);
    for (int i = 0; i < 7; i++)
        assert_int_equal(msock_server_add_transform(s, NULL, NULL, NULL), MSOCK_OK);
    assert_int_equal(msock_server_add_transform(s, NULL, NULL, NULL), MSOCK_USAGE);
    msock_server_destroy(s);
    place_remove(&p);
}

static void
who_has_the_key_is_understood_and_nobody_else(void **state)
{
    struct client with = {.want_reply = true}, without = {0}, wrong = {0};
    struct place p, q;
    msock_server *s;
    msock_message *m;
    char url[160];

    (void)state;
    place_make(&p);
    place_make(&q);
    key_make(p.path, "0123456789abcdef0123456789abcdef");
    key_make(q.path, "another key, which is not that one");
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?key_file=%s", p.path);
    s = fixture_server(url);
    with.key = p.path;
    client_start(&with, s, "secret");
    m = fixture_recv(s);
    fixture_expect(m, "secret");
    msock_message_commit(m, "whisper", 7);
    client_join(&with);
    assert_int_equal(with.status, MSOCK_OK);
    assert_string_equal(with.reply, "whisper");
    wrong.key = q.path;
    client_start(&wrong, s, "secret");
    while (msock_server_recv(s, 1, &m) == MSOCK_TIMEOUT && pthread_tryjoin_np(wrong.thread, NULL))
        ;
    client_start(&without, s, "secret");
    while (msock_server_recv(s, 1, &m) == MSOCK_TIMEOUT && pthread_tryjoin_np(without.thread, NULL))
        ;
    assert_int_equal(wrong.status, MSOCK_REFUSED);
    assert_int_equal(without.status, MSOCK_REFUSED);
    msock_server_destroy(s);
    place_remove(&p);
    place_remove(&q);
}

static void
auto_takes_what_it_is_spoken_to(void **state)
{
    msock_server *s = fixture_server("auto://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    struct client c = {0};
    msock_message *m;

    (void)state;
    frame_send(fd, "a frame");
    m = fixture_recv(s);
    fixture_expect(m, "a frame");
    assert_string_equal(msock_message_protocol(m), "frame");
    msock_message_commit(m, "answer", 6);
    frame_expect(fd, "answer");
    client_start(&c, s, "msp");
    m = fixture_recv(s);
    assert_string_equal(msock_message_protocol(m), "msp");
    msock_message_commit(m, NULL, 0);
    client_join(&c);
    assert_int_equal(c.status, MSOCK_OK);
    close(fd);
    msock_server_destroy(s);
}

static void
a_unix_socket_has_its_mode_and_goes_with_the_server(void **state)
{
    struct place p;
    char url[128];
    msock_server *s;
    struct stat st;

    (void)state;
    place_make(&p);
    snprintf(url, sizeof(url), "%s?mode=0604", p.url);
    s = fixture_server(url);
    assert_string_equal(msock_server_address(s, 0), p.path);
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0604);
    msock_server_destroy(s);
    assert_int_equal(access(p.path, F_OK), -1);
    place_remove(&p);
}

static void
one_connection_too_many_is_told_so_and_the_others_go_on(void **state)
{
    struct client second = {.retries = 0};
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    msock_message *m;
    int first;

    (void)state;
    msock_server_set_connections(s, 1);
    first = raw_connect(s, 0);
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    client_start(&second, s, "no room");
    while (msock_server_recv(s, 1, &m) == MSOCK_TIMEOUT && pthread_tryjoin_np(second.thread, NULL))
        ;
    assert_int_not_equal(second.status, MSOCK_OK);
    assert_string_equal(second.code, "busy");
    close(first);
    msock_server_destroy(s);
}

static void
a_silent_message_ends_after_the_timeout_that_was_set(void **state)
{
    msock_server *s = msock_server_create();
    char line[64] = "";
    msock_message *m;
    int fd;

    (void)state;
    msock_server_set_timeouts(s, 20, 0);
    assert_int_equal(msock_server_add_listener(s, "msp://127.0.0.1:0"), MSOCK_OK);
    fd = raw_connect(s, 0);
    raw_send(fd, "\0\0\0", 3);
    for (int i = 0; i < PATIENCE_MS && recv(fd, line, sizeof(line) - 1, MSG_DONTWAIT) < 0; i++)
        assert_int_equal(msock_server_recv(s, 1, &m), MSOCK_TIMEOUT);
    assert_int_equal(strncmp(line, "ERR timeout", 11), 0);
    close(fd);
    msock_server_destroy(s);
}

static void
two_servers_live_in_one_process(void **state)
{
    msock_server *a = fixture_server("msp://127.0.0.1:0"), *b = fixture_server("msp://127.0.0.1:0");
    struct client to_a = {0}, to_b = {0};
    msock_message *m;

    (void)state;
    client_start(&to_a, a, "for a");
    client_start(&to_b, b, "for b");
    m = fixture_recv(a);
    fixture_expect(m, "for a");
    msock_message_commit(m, NULL, 0);
    m = fixture_recv(b);
    fixture_expect(m, "for b");
    msock_server_destroy(a);
    msock_message_commit(m, NULL, 0);
    client_join(&to_a);
    client_join(&to_b);
    assert_int_equal(to_a.status, MSOCK_OK);
    assert_int_equal(to_b.status, MSOCK_OK);
    msock_server_destroy(b);
}

static void
what_is_not_settled_when_the_server_goes_fails(void **state)
{
    struct client out = {0}, queued = {0};
    unsigned before = guard_entries("/proc/self/fd");
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    msock_message *m;

    (void)state;
    client_start(&out, s, "handed out");
    m = fixture_recv(s);
    assert_non_null(msock_message_data(m, NULL));
    client_start(&queued, s, "never asked for");
    msock_server_destroy(s);
    client_join(&out);
    client_join(&queued);
    assert_int_not_equal(out.status, MSOCK_OK);
    assert_int_not_equal(queued.status, MSOCK_OK);
    assert_int_equal(guard_entries("/proc/self/fd"), before);
}

/* Runs a whole exchange, a refusal and a failure among it, with standard output and error in a
 * pipe. */
static void
exchange(void)
{
    struct client a = {.retries = 0}, b = {.retries = 0};
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    int fd = raw_connect(s, 0);

    raw_send(fd, "this is no header of msp, and it is long enough to be one", 57);
    client_start(&a, s, "no");
    msock_message_refuse(fixture_recv(s), "not\nwanted");
    client_join(&a);
    client_start(&b, s, "fail");
    msock_message_fail(fixture_recv(s), NULL);
    client_join(&b);
    close(fd);
    msock_server_destroy(s);
    assert_int_equal(a.status, MSOCK_REFUSED);
    assert_int_not_equal(b.status, MSOCK_OK);
}

static void
nothing_is_printed(void **state)
{
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), pipe_fds[2];
    char text[256];
    ssize_t n;

    (void)state;
    fflush(stdout);
    fflush(stderr);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(pipe_fds[1], STDOUT_FILENO) >= 0 && dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    exchange();
    fflush(stdout);
    assert_true(dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0);
    n = read(pipe_fds[0], text, sizeof(text));
    assert_int_equal(n, -1);
    assert_int_equal(errno, EAGAIN);
    close(out);
    close(err);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_with_a_url_is_said_in_a_sentence),
        cmocka_unit_test(what_a_server_has_to_say_goes_to_its_own_callback),
        cmocka_unit_test(a_server_without_listeners_receives_nothing),
        cmocka_unit_test(an_address_in_use_is_a_local_failure),
        cmocka_unit_test(what_shapes_a_server_comes_before_it_receives),
        cmocka_unit_test(there_are_at_most_8_transforms_keys_included),
        cmocka_unit_test(who_has_the_key_is_understood_and_nobody_else),
        cmocka_unit_test(auto_takes_what_it_is_spoken_to),
        cmocka_unit_test(a_unix_socket_has_its_mode_and_goes_with_the_server),
        cmocka_unit_test(one_connection_too_many_is_told_so_and_the_others_go_on),
        cmocka_unit_test(a_silent_message_ends_after_the_timeout_that_was_set),
        cmocka_unit_test(two_servers_live_in_one_process),
        cmocka_unit_test(what_is_not_settled_when_the_server_goes_fails),
        cmocka_unit_test(nothing_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
