/* Messages in one's own program: what their senders hear, waiting, stopping, callbacks. */
#include "server_fixture.h"

#include "support/wait.h"

#include <limits.h>
#include <sys/time.h>
#include <time.h>

/* --- one at a time --- */

static void
a_message_is_what_its_sender_has_sent(void **state)
{
    struct client c = {.id = "boot-42"};
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    msock_message *m;

    (void)state;
    client_start(&c, s, "abc");
    m = fixture_recv(s);
    fixture_expect(m, "abc");
    assert_int_equal(msock_message_kind(m), 'A');
    assert_string_equal(msock_message_id(m), "boot-42");
    assert_int_equal(msock_message_size(m), 3);
    assert_string_equal(msock_message_protocol(m), "msp");
    assert_int_equal(strncmp(msock_message_peer(m), "127.0.0.1:", 10), 0);
    assert_int_equal(msock_message_sha256(m)[0], 0xba);
    assert_int_equal(msock_message_sha256(m)[31], 0xad);
    assert_false(msock_message_wants_reply(m));
    assert_non_null(msock_message_conn(m));
    assert_string_equal(msock_conn_protocol(msock_message_conn(m)), "msp");
    msock_message_commit(m, "nobody asked", 12);
    client_join(&c);
    assert_int_equal(c.status, MSOCK_OK);
    msock_server_destroy(s);
}

/* Nothing comes from the server until the client has its answer. */
static void
join_without_a_message(msock_server *s, struct client *c)
{
    msock_message *m;

    do
        assert_int_equal(msock_server_recv(s, 20, &m), MSOCK_TIMEOUT);
    while (pthread_tryjoin_np(c->thread, NULL) != 0);
}

/* The library answers it; without a window the program does. */
static void
a_message_that_comes_again_is_not_seen_again(void **state)
{
    static const char *const urls[] = {"msp://127.0.0.1:0", "msp://127.0.0.1:0?dedup_window=0"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct client first = {.id = "boot-42"}, again = {.id = "boot-42", .want_reply = true};
        msock_server *s = fixture_server(urls[i]);

        client_start(&first, s, "abc");
        msock_message_commit(fixture_recv(s), NULL, 0);
        client_join(&first);
        client_start(&again, s, "abc");
        if (i == 0) {
            join_without_a_message(s, &again);
        } else {
            msock_message_commit(fixture_recv(s), "seen", 4);
            client_join(&again);
        }
        assert_int_equal(again.status, MSOCK_OK);
        if (i == 0)
            assert_non_null(strstr(again.reply, "\"size\":3,\"sha256\":\"ba7816bf"));
        else
            assert_string_equal(again.reply, "seen");
        msock_server_destroy(s);
    }
}

static void
bodies_of_every_size_are_nul_terminated(void **state)
{
    static const size_t sizes[] = {0, 1, 1998, 1999, 4096, 262144, 262145, 1048576, 1050000};
    msock_server *s = fixture_server("msp://127.0.0.1:0");

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *body = malloc(sizes[i] + 1);
        struct client c = {.size = sizes[i]};
        const char *data;
        msock_message *m;
        size_t n;

        memset(body, 'x', sizes[i]);
        body[sizes[i]] = '\0';
        client_start(&c, s, body);
        m = fixture_recv(s);
        data = msock_message_data(m, &n);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(data, body, n + 1);
        assert_ptr_equal(msock_message_data(m, NULL), data);
        msock_message_commit(m, NULL, 0);
        client_join(&c);
        assert_int_equal(c.status, MSOCK_OK);
        free(body);
    }
    msock_server_destroy(s);
}

/* The server does nothing after settling: the answer has left by then. */
static void
what_the_program_decides_is_what_the_sender_hears(void **state)
{
    static const struct {
        char decision;
        const char *text;
        bool want_reply;
        enum msock_status status;
        const char *code, *word;
    } cases[] = {
        {'c', NULL, false, MSOCK_OK, "", ""},
        {'c', "a reply", true, MSOCK_OK, "", ""},
        {'c', NULL, true, MSOCK_OK, "", ""},
        {'r', "not today", false, MSOCK_REFUSED, "refused", "not today"},
        {'r', NULL, false, MSOCK_REFUSED, "refused", "refused"},
        {'f', "disk on fire", false, MSOCK_GIVEN_UP, "internal", "disk on fire"},
        {'f', NULL, false, MSOCK_GIVEN_UP, "internal", "failed"},
    };
    msock_server *s = fixture_server("msp://127.0.0.1:0");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client c = {.want_reply = cases[i].want_reply};
        const char *text = cases[i].text;
        msock_message *m;

        client_start(&c, s, "hello");
        m = fixture_recv(s);
        assert_int_equal(msock_message_wants_reply(m), cases[i].want_reply);
        if (cases[i].decision == 'c')
            msock_message_commit(m, text, text != NULL ? strlen(text) : 0);
        else if (cases[i].decision == 'r')
            msock_message_refuse(m, text);
        else
            msock_message_fail(m, text);
        client_join(&c);
        assert_int_equal(c.status, cases[i].status);
        assert_string_equal(c.code, cases[i].code);
        assert_non_null(strstr(c.error, cases[i].word));
        if (cases[i].decision == 'c')
            assert_string_equal(c.reply, text != NULL ? text : "");
    }
    msock_server_destroy(s);
}

static void
a_reply_that_is_too_long_fails_the_message(void **state)
{
    static char reply[(16 << 20) + 1];
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    struct client c = {.want_reply = true};

    (void)state;
    client_start(&c, s, "more");
    msock_message_commit(fixture_recv(s), reply, sizeof(reply));
    client_join(&c);
    assert_int_equal(c.status, MSOCK_GIVEN_UP);
    assert_non_null(strstr(c.error, "16 MiB"));
    msock_server_destroy(s);
}

static void
wrong_json_never_reaches_the_program(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    struct client wrong = {.kind = 'J'}, right = {.kind = 'J'};
    msock_message *m;

    (void)state;
    client_start(&wrong, s, "{\"a\":");
    while (msock_server_recv(s, 1, &m) == MSOCK_TIMEOUT && pthread_tryjoin_np(wrong.thread, NULL))
        ;
    assert_int_equal(wrong.status, MSOCK_REFUSED);
    client_start(&right, s, "{\"a\":1}");
    m = fixture_recv(s);
    assert_int_equal(msock_message_kind(m), 'J');
    fixture_expect(m, "{\"a\":1}");
    msock_message_commit(m, NULL, 0);
    client_join(&right);
    assert_int_equal(right.status, MSOCK_OK);
    msock_server_destroy(s);
}

static void
a_message_that_comes_again_waits_for_the_first_one(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct client first = {.id = i == 0 ? "once" : "again"};
        struct client copy = {.id = first.id, .want_reply = true};
        msock_message *m, *other;

        client_start(&first, s, "hello");
        m = fixture_recv(s);
        client_start(&copy, s, "hello");
        assert_int_equal(msock_server_recv(s, 300, &other), MSOCK_TIMEOUT);
        if (i == 0) {
            msock_message_commit(m, NULL, 0);
            join_without_a_message(s, &copy);
            assert_non_null(strstr(copy.reply, "\"duplicate\":true"));
        } else {
            msock_message_refuse(m, NULL);
            msock_message_commit(fixture_recv(s), "a reply", 7);
            client_join(&copy);
            assert_string_equal(copy.reply, "a reply");
        }
        client_join(&first);
        assert_int_equal(first.status, i == 0 ? MSOCK_OK : MSOCK_REFUSED);
        assert_int_equal(copy.status, MSOCK_OK);
    }
    msock_server_destroy(s);
}

static void
a_server_that_ends_answers_a_copy_that_waits(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    struct client first = {.id = "once"}, copy = first;
    struct msock_server_counts one, both;
    msock_message *other;

    (void)state;
    client_start(&first, s, "hello");
    (void)fixture_recv(s);
    msock_server_get_counts(s, &one);
    client_start(&copy, s, "hello");
    do
        assert_int_equal(msock_server_recv(s, 20, &other), MSOCK_TIMEOUT);
    while (msock_server_get_counts(s, &both), both.bytes_in < 2 * one.bytes_in);
    msock_server_destroy(s);
    client_join(&first);
    client_join(&copy);
    assert_int_equal(copy.status, MSOCK_GIVEN_UP);
}

static void
messages_are_settled_in_any_order(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_message *m[3];

    (void)state;
    frame_send(fd, "one");
    frame_send(fd, "two");
    frame_send(fd, "three");
    for (int i = 0; i < 3; i++)
        m[i] = fixture_recv(s);
    fixture_expect(m[0], "one");
    fixture_expect(m[2], "three");
    assert_string_equal(msock_message_protocol(m[1]), "frame");
    msock_message_commit(m[2], "3", 1);
    msock_message_commit(m[0], "1", 1);
    msock_message_commit(m[1], "2", 1);
    frame_expect(fd, "1");
    frame_expect(fd, "2");
    frame_expect(fd, "3");
    close(fd);
    msock_server_destroy(s);
}

static void
connections_take_turns(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int a = raw_connect(s, 0), b = raw_connect(s, 0);
    msock_message *m[4];
    msock_message *none;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &none), MSOCK_TIMEOUT);
    for (int i = 0; i < 3; i++)
        frame_send(a, "a");
    m[0] = fixture_recv(s);
    frame_send(b, "b");
    m[1] = fixture_recv(s);
    m[2] = fixture_recv(s);
    m[3] = fixture_recv(s);
    fixture_expect(m[0], "a");
    for (int i = 0; i < 4; i++)
        msock_message_commit(m[i], NULL, 0);
    close(a);
    close(b);
    msock_server_destroy(s);
}

static void
a_timeout_is_waited_for_and_nothing_is_lost_by_it(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    uint64_t begun = now_us() / 1000;
    struct client c = {0};
    msock_message *m;

    (void)state;
    assert_int_equal(msock_server_recv(s, 30, &m), MSOCK_TIMEOUT);
    assert_true(now_us() / 1000 >= begun + 30);
    assert_string_not_equal(msock_server_error(s), "");
    client_start(&c, s, "later");
    msock_message_commit(fixture_recv(s), NULL, 0);
    assert_string_equal(msock_server_error(s), "");
    client_join(&c);
    assert_int_equal(c.status, MSOCK_OK);
    msock_server_destroy(s);
}

/* --- stopping --- */

static void *
stop_main(void *arg)
{
    msock_server_stop(arg);
    return NULL;
}

static void
another_thread_stops_a_server_that_waits(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    msock_message *m;
    msock_conn *conn;
    pthread_t thread;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    assert_int_equal(pthread_create(&thread, NULL, stop_main, s), 0);
    assert_int_equal(msock_server_recv(s, -1, &m), MSOCK_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(msock_server_recv(s, -1, &m), MSOCK_CANCELLED);
    assert_int_equal(msock_server_accept(s, -1, &conn), MSOCK_CANCELLED);
    msock_server_destroy(s);
}

static void
what_had_arrived_before_the_stop_is_handed_over(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_message *m;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    frame_send(fd, "one");
    frame_send(fd, "two");
    msock_server_stop(s);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(msock_server_recv(s, -1, &m), MSOCK_OK);
        fixture_expect(m, i == 0 ? "one" : "two");
        msock_message_commit(m, "taken", 5);
        frame_expect(fd, "taken");
    }
    assert_int_equal(msock_server_recv(s, -1, &m), MSOCK_CANCELLED);
    close(fd);
    msock_server_destroy(s);
}

static msock_server *signalled;

static void
on_alarm(int signal)
{
    (void)signal;
    msock_server_stop(signalled);
}

static void
a_signal_handler_stops_a_server_that_waits(void **state)
{
    const struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    struct sigaction action = {.sa_handler = on_alarm}, old;
    msock_message *m;

    (void)state;
    signalled = fixture_server("msp://127.0.0.1:0");
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_int_equal(msock_server_recv(signalled, -1, &m), MSOCK_CANCELLED);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
    msock_server_destroy(signalled);
}

/* --- with callbacks --- */

struct seen {
    char text[256]; /* what happened, in order */
    unsigned opened, messages, closed, ticks;
    unsigned stop_after; /* messages, or connections closed, or ticks */
    msock_message *kept;
    bool keep;
};

static void
seen_message(void *arg, msock_server *s, msock_message *m)
{
    struct seen *seen = arg;
    size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof(seen->text) - used, "%s ",
             (const char *)msock_message_data(m, NULL));
    if (seen->keep)
        seen->kept = m;
    else
        msock_message_commit(m, "thanks", 6);
    if (++seen->messages == seen->stop_after)
        msock_server_stop(s);
}

static void
seen_opened(void *arg, msock_server *s, msock_conn *c)
{
    struct seen *seen = arg;

    (void)s;
    assert_int_equal(strncmp(msock_conn_peer(c), "127.0.0.1:", 10), 0);
    strcat(seen->text, "opened ");
    seen->opened++;
}

static void
seen_closed(void *arg, msock_server *s, msock_conn *c)
{
    struct seen *seen = arg;

    assert_string_equal(msock_conn_protocol(c), "frame");
    strcat(seen->text, "closed ");
    if (++seen->closed == 1 && seen->stop_after == UINT_MAX)
        msock_server_stop(s);
}

static void
run_tells_what_happens_in_order(void **state)
{
    const struct msock_server_callbacks callbacks = {
        .message = seen_message, .opened = seen_opened, .closed = seen_closed};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct seen seen = {.stop_after = UINT_MAX};
    int fd = raw_connect(s, 0);

    (void)state;
    frame_send(fd, "one");
    frame_send(fd, "two");
    shutdown(fd, SHUT_WR);
    assert_int_equal(msock_server_run(s, &callbacks, &seen, 0), MSOCK_OK);
    assert_string_equal(seen.text, "opened one two closed ");
    frame_expect(fd, "thanks");
    frame_expect(fd, "thanks");
    close(fd);
    msock_server_destroy(s);
}

static void
seen_tick(void *arg, msock_server *s)
{
    struct seen *seen = arg;

    if (++seen->ticks == 3)
        msock_server_stop(s);
}

static void
run_ticks_while_nothing_happens(void **state)
{
    const struct msock_server_callbacks callbacks = {
        .message = seen_message, .tick = seen_tick, .tick_ms = 5};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct seen seen = {0};

    (void)state;
    assert_int_equal(msock_server_run(s, &callbacks, &seen, 0), MSOCK_OK);
    assert_int_equal(seen.ticks, 3);
    msock_server_destroy(s);
}

static void
a_message_may_be_settled_after_its_callback(void **state)
{
    const struct msock_server_callbacks callbacks = {.message = seen_message};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct seen seen = {.keep = true, .stop_after = 1};
    int fd = raw_connect(s, 0);

    (void)state;
    frame_send(fd, "later");
    assert_int_equal(msock_server_run(s, &callbacks, &seen, 0), MSOCK_OK);
    msock_message_commit(seen.kept, "now", 3);
    frame_expect(fd, "now");
    close(fd);
    msock_server_destroy(s);
}

static void
seen_half(void *arg, msock_server *s, msock_message *m)
{
    struct seen *seen = arg;

    if (seen->messages == 0) {
        /* The rest of the second message comes only after the stop. */
        msock_server_stop(s);
        assert_int_equal(write(*(int *)seen->kept, "lf", 2), 2);
    }
    seen->messages++;
    msock_message_commit(m, "ok", 2);
}

static void
a_message_under_way_is_finished_when_the_server_stops(void **state)
{
    const struct msock_server_callbacks callbacks = {.message = seen_half};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    struct seen seen = {.kept = (msock_message *)(void *)&fd};

    (void)state;
    frame_send(fd, "whole");
    raw_send(fd, "\0\0\0\4ha", 6);
    assert_int_equal(msock_server_run(s, &callbacks, &seen, PATIENCE_MS), MSOCK_OK);
    assert_int_equal(seen.messages, 2);
    frame_expect(fd, "ok");
    frame_expect(fd, "ok");
    close(fd);
    msock_server_destroy(s);
}

/* Takes the second message itself, and ends the connection. */
static void
seen_first(void *arg, msock_server *s, msock_message *m)
{
    struct seen *seen = arg;
    msock_conn *c = msock_message_conn(m);
    msock_message *next;

    seen_message(arg, s, m);
    assert_int_equal(msock_server_recv(s, PATIENCE_MS, &next), MSOCK_OK);
    seen_message(arg, s, next);
    msock_conn_disconnect(c);
    assert_int_equal(msock_server_run(s, &(struct msock_server_callbacks){0}, seen, 0),
                     MSOCK_USAGE);
}

static void
callbacks_may_receive_and_disconnect(void **state)
{
    const struct msock_server_callbacks callbacks = {
        .message = seen_first, .opened = seen_opened, .closed = seen_closed};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct seen seen = {.stop_after = UINT_MAX};
    int fd = raw_connect(s, 0);

    (void)state;
    frame_send(fd, "one");
    frame_send(fd, "two");
    frame_send(fd, "three");
    shutdown(fd, SHUT_WR);
    assert_int_equal(msock_server_run(s, &callbacks, &seen, PATIENCE_MS), MSOCK_OK);
    assert_string_equal(seen.text, "opened one two closed ");
    frame_expect(fd, "thanks");
    frame_expect(fd, "thanks");
    close(fd);
    msock_server_destroy(s);
}

/* --- transforms --- */

static int
add_byte(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    char *changed = malloc(n + 1);

    memcpy(changed, in, n);
    changed[n] = *(const char *)arg;
    *out = changed;
    *out_len = n + 1;
    return 0;
}

static int
drop_byte(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    if (n == 0 || ((const char *)in)[n - 1] != *(const char *)arg)
        return -1;
    *out = malloc(n);
    memcpy(*out, in, n - 1);
    *out_len = n - 1;
    return 0;
}

static void
transforms_are_undone_in_turn_and_failing_ones_refuse(void **state)
{
    static char first[] = "1", second[] = "2";
    msock_server *s = msock_server_create();
    struct client wrong = {0};
    msock_message *m;
    int fd;

    (void)state;
    assert_int_equal(msock_server_add_transform(s, add_byte, drop_byte, first), MSOCK_OK);
    assert_int_equal(msock_server_add_transform(s, add_byte, drop_byte, second), MSOCK_OK);
    assert_int_equal(msock_server_add_listener(s, "msp://127.0.0.1:0"), MSOCK_OK);
    assert_int_equal(msock_server_add_listener(s, "frame://127.0.0.1:0"), MSOCK_OK);
    fd = raw_connect(s, 1);
    frame_send(fd, "right12");
    m = fixture_recv(s);
    fixture_expect(m, "right");
    msock_message_commit(m, "reply", 5);
    frame_expect(fd, "reply12");
    client_start(&wrong, s, "wrong21");
    while (msock_server_recv(s, 1, &m) == MSOCK_TIMEOUT && pthread_tryjoin_np(wrong.thread, NULL))
        ;
    assert_int_equal(wrong.status, MSOCK_REFUSED);
    close(fd);
    msock_server_destroy(s);
}

/* What no reply may become: the sender hears of it, and the program lives. */
static int
grow(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    (void)arg;
    *out_len = (16 << 20) + 1;
    *out = calloc(1, *out_len);
    return in != NULL || n == 0 ? 0 : -1;
}

static void
a_reply_that_a_transform_makes_too_long_fails_the_message(void **state)
{
    msock_server *s = msock_server_create();
    struct client c = {.want_reply = true};

    (void)state;
    assert_int_equal(msock_server_add_transform(s, grow, NULL, NULL), MSOCK_OK);
    assert_int_equal(msock_server_add_listener(s, "msp://127.0.0.1:0"), MSOCK_OK);
    client_start(&c, s, "hello");
    msock_message_commit(fixture_recv(s), "short", 5);
    client_join(&c);
    assert_int_equal(c.status, MSOCK_GIVEN_UP);
    msock_server_destroy(s);
}

/* All of them come with one read; more than 1024 that are not settled would be without a bound. */
static void
a_program_that_settles_nothing_gets_so_many_messages_of_a_connection(void **state)
{
    enum { SENT = 5000, BOUND = 1024 };
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fixture_port(s, 0))};
    static msock_message *taken[SENT];
    char frames[SENT * 5];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned count = 0;

    (void)state;
    for (size_t i = 0; i < SENT; i++)
        memcpy(frames + 5 * i, "\0\0\0\1x", 5);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(fd, frames, sizeof(frames)), sizeof(frames));
    while (msock_server_recv(s, 300, &taken[count]) == MSOCK_OK)
        count++;
    assert_int_equal(count, BOUND);
    for (unsigned i = 0; i < count; i++)
        msock_message_commit(taken[i], NULL, 0);
    for (; count < SENT; count++)
        msock_message_commit(fixture_recv(s), NULL, 0);
    close(fd);
    msock_server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_comes_again_is_not_seen_again),
        cmocka_unit_test(a_message_is_what_its_sender_has_sent),
        cmocka_unit_test(bodies_of_every_size_are_nul_terminated),
        cmocka_unit_test(what_the_program_decides_is_what_the_sender_hears),
        cmocka_unit_test(a_reply_that_is_too_long_fails_the_message),
        cmocka_unit_test(wrong_json_never_reaches_the_program),
        cmocka_unit_test(a_message_that_comes_again_waits_for_the_first_one),
        cmocka_unit_test(a_server_that_ends_answers_a_copy_that_waits),
        cmocka_unit_test(messages_are_settled_in_any_order),
        cmocka_unit_test(connections_take_turns),
        cmocka_unit_test(a_timeout_is_waited_for_and_nothing_is_lost_by_it),
        cmocka_unit_test(another_thread_stops_a_server_that_waits),
        cmocka_unit_test(what_had_arrived_before_the_stop_is_handed_over),
        cmocka_unit_test(a_signal_handler_stops_a_server_that_waits),
        cmocka_unit_test(run_tells_what_happens_in_order),
        cmocka_unit_test(run_ticks_while_nothing_happens),
        cmocka_unit_test(a_message_may_be_settled_after_its_callback),
        cmocka_unit_test(a_message_under_way_is_finished_when_the_server_stops),
        cmocka_unit_test(callbacks_may_receive_and_disconnect),
        cmocka_unit_test(transforms_are_undone_in_turn_and_failing_ones_refuse),
        cmocka_unit_test(a_reply_that_a_transform_makes_too_long_fails_the_message),
        cmocka_unit_test(a_program_that_settles_nothing_gets_so_many_messages_of_a_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
