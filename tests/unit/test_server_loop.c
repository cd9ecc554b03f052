/* A server in an event loop of the program's: what poll(2) says of it, what it does without
 * waiting, and what it counts. */
#include "server_fixture.h"

#include "support/wait.h"

/* What the callbacks were told. */
struct told {
    char text[256];
    bool stops; /* with the first message */
};

static void
told_message(void *arg, msock_server *s, msock_message *m)
{
    const struct msock_server_callbacks callbacks = {.message = told_message};
    struct told *told = arg;

    assert_int_equal(msock_server_dispatch(s, &callbacks, arg), MSOCK_USAGE);
    strcat(strcat(told->text, msock_message_data(m, NULL)), " ");
    if (told->stops)
        msock_server_stop(s);
    msock_message_commit(m, "thanks", 6);
}

static void
told_opened(void *arg, msock_server *s, msock_conn *c)
{
    (void)s;
    (void)c;
    strcat(((struct told *)arg)->text, "opened ");
}

static void
told_closed(void *arg, msock_server *s, msock_conn *c)
{
    (void)s;
    (void)c;
    strcat(((struct told *)arg)->text, "closed ");
}

static const struct msock_server_callbacks callbacks = {
    .message = told_message, .opened = told_opened, .closed = told_closed};

/* Waits as an event loop does, for something or until a time of the server's is over. */
static void
loop_wait(msock_server *s)
{
    struct pollfd p = {.fd = msock_server_fd(s), .events = POLLIN};
    int timeout = msock_server_timeout(s);

    assert_in_range(timeout, 0, 60000);
    assert_true(poll(&p, 1, timeout) >= 0);
}

/* Turns the loop until the text is told. */
static void
loop_until(msock_server *s, struct told *told, const char *text)
{
    while (strcmp(told->text, text) != 0) {
        loop_wait(s);
        assert_int_equal(msock_server_dispatch(s, &callbacks, told), MSOCK_OK);
    }
}

static void
a_loop_is_told_what_happens_in_order(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct told told = {.text = ""};
    int fd = raw_connect(s, 0);

    (void)state;
    loop_until(s, &told, "opened ");
    frame_send(fd, "one");
    frame_send(fd, "two");
    loop_until(s, &told, "opened one two ");
    frame_expect(fd, "thanks");
    frame_expect(fd, "thanks");
    WAIT_FOR((msock_server_dispatch(s, &callbacks, &told), msock_server_timeout(s) > 0), 20000);
    close(fd);
    loop_until(s, &told, "opened one two closed ");
    msock_server_destroy(s);
}

static void
the_descriptor_tells_of_messages_and_of_the_stop(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct pollfd p = {.fd = msock_server_fd(s), .events = POLLIN};
    msock_message *m;
    int fd;

    (void)state;
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    assert_int_equal(poll(&p, 1, 0), 0);
    fd = raw_connect(s, 0);
    frame_send(fd, "one");
    frame_send(fd, "two");
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    m = fixture_recv(s);
    msock_message_commit(m, NULL, 0);
    assert_int_equal(msock_server_timeout(s), 0); /* the second one was read with the first */
    msock_message_commit(fixture_recv(s), NULL, 0);
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    msock_server_stop(s);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(msock_server_timeout(s), 0);
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_CANCELLED);
    close(fd);
    msock_server_destroy(s);
}

/* A peer that says half a frame is ended when its time is over, without an event. */
static void
times_are_kept_by_the_loop(void **state)
{
    msock_server *s = msock_server_create();
    struct told told = {.text = ""};
    int fd;

    (void)state;
    msock_server_set_timeouts(s, 20, 0);
    assert_int_equal(msock_server_add_listener(s, "frame://127.0.0.1:0"), MSOCK_OK);
    fd = raw_connect(s, 0);
    raw_send(fd, "\0\0\0\4ha", 6);
    loop_until(s, &told, "opened closed ");
    close(fd);
    msock_server_destroy(s);
}

static void
a_stopped_loop_is_ended_in_order(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    struct told told = {.stops = true};
    enum msock_status status = MSOCK_OK;
    int fd = raw_connect(s, 0);

    (void)state;
    frame_send(fd, "whole");
    while (status == MSOCK_OK) {
        loop_wait(s);
        status = msock_server_dispatch(s, &callbacks, &told);
    }
    assert_int_equal(status, MSOCK_CANCELLED);
    assert_string_equal(told.text, "opened whole ");
    assert_int_equal(msock_server_run(s, &callbacks, &told, PATIENCE_MS), MSOCK_OK);
    assert_string_equal(told.text, "opened whole closed ");
    close(fd);
    msock_server_destroy(s);
}

static void
a_server_counts(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    struct msock_server_counts counts;
    struct client c = {.id = "boot-42"}, again = {.id = "boot-42"};
    msock_message *m;

    (void)state;
    msock_server_get_counts(s, &counts);
    assert_int_equal(counts.accepted, 0);
    client_start(&c, s, "abc");
    msock_message_commit(fixture_recv(s), NULL, 0);
    client_join(&c);
    client_start(&again, s, "abc");
    do
        assert_int_equal(msock_server_recv(s, 10, &m), MSOCK_TIMEOUT);
    while (msock_server_get_counts(s, &counts), counts.duplicates == 0 || counts.open > 0);
    client_join(&again);
    assert_int_equal(counts.accepted, 2);
    assert_int_equal(counts.messages, 2);
    assert_int_equal(counts.acks, 4);
    assert_int_equal(counts.packets, 4);
    assert_int_equal(counts.rej + counts.err + counts.nack1 + counts.nack2, 0);
    assert_true(counts.bytes_in > 100);
    msock_server_destroy(s);
}

static void
a_server_without_a_listener_is_in_no_loop(void **state)
{
    msock_server *s = msock_server_create();

    (void)state;
    assert_int_equal(msock_server_fd(s), -1);
    assert_non_null(strstr(msock_server_error(s), "listener"));
    assert_int_equal(msock_server_dispatch(s, &callbacks, NULL), MSOCK_USAGE);
    assert_int_equal(msock_server_add_listener(s, "frame://127.0.0.1:0"), MSOCK_OK);
    assert_int_equal(msock_server_dispatch(s, &(struct msock_server_callbacks){0}, NULL),
                     MSOCK_USAGE);
    msock_server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_is_told_what_happens_in_order),
        cmocka_unit_test(the_descriptor_tells_of_messages_and_of_the_stop),
        cmocka_unit_test(times_are_kept_by_the_loop),
        cmocka_unit_test(a_stopped_loop_is_ended_in_order),
        cmocka_unit_test(a_server_counts),
        cmocka_unit_test(a_server_without_a_listener_is_in_no_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
