/* One connection of one's own server, like a socket. */
#include "cnp_packets.h"
#include "server_fixture.h"

static msock_conn *
accept_one(msock_server *s)
{
    msock_conn *c = NULL;

    assert_int_equal(msock_server_accept(s, PATIENCE_MS, &c), MSOCK_OK);
    assert_non_null(c);
    return c;
}

static void
read_expect(msock_conn *c, const char *text)
{
    msock_message *m = NULL;

    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &m), MSOCK_OK);
    fixture_expect(m, text);
    msock_message_commit(m, NULL, 0);
}

static void
a_connection_is_read_and_written(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);
    msock_message *m;

    (void)state;
    assert_int_equal(strncmp(msock_conn_peer(c), "127.0.0.1:", 10), 0);
    assert_string_equal(msock_conn_protocol(c), "frame");
    assert_string_equal(msock_conn_identity(c), "-");
    assert_int_equal(msock_conn_read(c, 5, &m), MSOCK_TIMEOUT);
    assert_int_equal(msock_conn_write(c, "unasked", 7, 0), MSOCK_OK);
    frame_expect(fd, "unasked");
    assert_int_equal(msock_conn_write(c, NULL, 0, 0), MSOCK_OK);
    frame_expect(fd, "");
    frame_send(fd, "one");
    read_expect(c, "one");
    msock_conn_disconnect(c);
    raw_expect_end(s, fd);
    close(fd);
    msock_server_destroy(s);
}

static void
over_auto_a_message_waits_until_the_peer_has_spoken(void **state)
{
    msock_server *s = fixture_server("auto://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);

    (void)state;
    assert_int_equal(msock_conn_write(c, "unasked", 7, 0), MSOCK_OK);
    frame_send(fd, "one");
    read_expect(c, "one");
    frame_expect(fd, "unasked");
    close(fd);
    msock_server_destroy(s);
}

static void
each_connection_has_its_own_messages(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int a = raw_connect(s, 0), b = raw_connect(s, 0), other;
    msock_conn *first = accept_one(s), *second = accept_one(s);
    msock_message *m;

    (void)state;
    frame_send(a, "from a");
    frame_send(b, "from b");
    read_expect(second, "from b");
    read_expect(first, "from a");
    frame_send(a, "not for recv");
    other = raw_connect(s, 0);
    frame_send(other, "for recv");
    m = fixture_recv(s);
    fixture_expect(m, "for recv");
    msock_message_commit(m, NULL, 0);
    read_expect(first, "not for recv");
    close(a);
    close(b);
    close(other);
    msock_server_destroy(s);
}

static void
what_came_before_the_accept_is_read_after_it(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_message *m;
    msock_conn *c;

    (void)state;
    frame_send(fd, "one");
    frame_send(fd, "two");
    m = fixture_recv(s);
    c = accept_one(s);
    assert_ptr_equal(msock_message_conn(m), c);
    read_expect(c, "two");
    msock_message_commit(m, NULL, 0);
    assert_int_equal(msock_server_recv(s, 0, &m), MSOCK_TIMEOUT);
    close(fd);
    msock_server_destroy(s);
}

static void
a_connection_outlives_its_peer(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_message *m, *late;
    msock_conn *c, *none;

    (void)state;
    frame_send(fd, "one");
    frame_send(fd, "two");
    close(fd);
    c = accept_one(s);
    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &m), MSOCK_OK);
    read_expect(c, "two");
    msock_message_commit(m, NULL, 0);
    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &late), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_server_error(s), "ended"));
    assert_int_equal(msock_conn_write(c, "x", 1, 0), MSOCK_UNREACHABLE);
    assert_string_equal(msock_conn_protocol(c), "frame");
    assert_int_equal(strncmp(msock_conn_peer(c), "127.0.0.1:", 10), 0);
    msock_conn_disconnect(c);
    assert_int_equal(msock_server_accept(s, 0, &none), MSOCK_TIMEOUT);
    msock_server_destroy(s);
}

static void
a_message_outlives_its_connection(void **state)
{
    const struct linger at_once = {.l_onoff = 1};
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_message *m, *none;

    (void)state;
    frame_send(fd, "last words");
    m = fixture_recv(s);
    assert_non_null(msock_message_conn(m));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
    while (msock_message_conn(m) != NULL)
        assert_int_equal(msock_server_recv(s, 1, &none), MSOCK_TIMEOUT);
    fixture_expect(m, "last words");
    assert_int_equal(strncmp(msock_message_peer(m), "127.0.0.1:", 10), 0);
    assert_string_equal(msock_message_protocol(m), "frame");
    msock_message_commit(m, "too late", 8);
    msock_server_destroy(s);
}

/* A frame of any length; the server goes on sending it. */
static void
read_away(msock_server *s, int fd)
{
    uint32_t wire;

    assert_true(raw_read(fd, &wire, sizeof(wire)));
    for (size_t left = ntohl(wire), n; left > 0; left -= n) {
        char some[4096];
        msock_message *none;

        n = left < sizeof(some) ? left : sizeof(some);
        (void)msock_server_recv(s, 0, &none);
        assert_true(raw_read(fd, some, n));
    }
}

static void
a_peer_that_does_not_read_makes_a_write_wait(void **state)
{
    static char block[256 * 1024];
    msock_server *s = fixture_server("frame://127.0.0.1:0?send_queue_max=64K");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);
    enum msock_status status;
    unsigned written = 0;

    (void)state;
    while ((status = msock_conn_write(c, block, sizeof(block), 5)) == MSOCK_OK)
        assert_true(++written < 1000);
    assert_int_equal(status, MSOCK_TIMEOUT);
    while (written-- > 0)
        read_away(s, fd);
    assert_int_equal(msock_conn_write(c, "again", 5, PATIENCE_MS), MSOCK_OK);
    frame_expect(fd, "again");
    close(fd);
    msock_server_destroy(s);
}

static void
what_waits_behind_an_unsettled_message_is_bounded(void **state)
{
    static char block[64 * 1024 + 1];
    msock_server *s = fixture_server("frame://127.0.0.1:0?send_queue_max=64K");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);
    msock_message *m;

    (void)state;
    frame_send(fd, "a question");
    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &m), MSOCK_OK);
    assert_int_equal(msock_conn_write(c, block, sizeof(block), -1), MSOCK_OK);
    assert_int_equal(msock_conn_write(c, "more", 4, -1), MSOCK_USAGE);
    assert_non_null(strstr(msock_server_error(s), "settled"));
    fixture_expect(m, "a question");
    msock_message_commit(m, "an answer", 9);
    frame_expect(fd, "an answer");
    read_away(s, fd);
    assert_int_equal(msock_conn_write(c, "more", 4, PATIENCE_MS), MSOCK_OK);
    frame_expect(fd, "more");
    close(fd);
    msock_server_destroy(s);
}

/* Where the peer has to agree to each message, replies wait in another queue than over frame. */
static void
a_write_does_not_wait_for_what_only_the_program_can_settle(void **state)
{
    static const char sent[] = "\xff\0\0\0\5first\0\0\0\6second";
    static char block[64 * 1024 + 1];
    msock_server *s = fixture_server("tinyproto://127.0.0.1:0?send_queue_max=64K");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);
    msock_message *first, *second;

    (void)state;
    raw_send(fd, sent, sizeof(sent) - 1);
    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &first), MSOCK_OK);
    assert_int_equal(msock_conn_read(c, PATIENCE_MS, &second), MSOCK_OK);
    msock_message_commit(second, block, sizeof(block));
    assert_int_equal(msock_conn_write(c, "more", 4, PATIENCE_MS), MSOCK_USAGE);
    assert_non_null(strstr(msock_server_error(s), "settled"));
    msock_message_commit(first, NULL, 0);
    close(fd);
    msock_server_destroy(s);
}

static void
what_was_written_before_the_end_arrives(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);

    (void)state;
    assert_int_equal(msock_conn_write(c, "goodbye", 7, 0), MSOCK_OK);
    msock_conn_disconnect(c);
    frame_expect(fd, "goodbye");
    raw_expect_end(s, fd);
    close(fd);
    msock_server_destroy(s);
}

static void
messages_that_were_not_read_fail_at_the_end(void **state)
{
    msock_server *s = fixture_server("msp://127.0.0.1:0");
    struct client c = {0};
    msock_message *m;
    msock_conn *conn;

    (void)state;
    client_start(&c, s, "unread");
    conn = accept_one(s);
    assert_int_equal(msock_conn_write(conn, "x", 1, 0), MSOCK_USAGE);
    assert_non_null(strstr(msock_server_error(s), "msp"));
    /* Until it is there, but still in the queue. */
    for (int i = 0; i < 100; i++)
        (void)msock_server_recv(s, 1, &m);
    msock_conn_disconnect(conn);
    while (pthread_tryjoin_np(c.thread, NULL) != 0)
        (void)msock_server_recv(s, 1, &m);
    assert_int_not_equal(c.status, MSOCK_OK);
    msock_server_destroy(s);
}

static void
a_stop_ends_all_waiting(void **state)
{
    msock_server *s = fixture_server("frame://127.0.0.1:0");
    int fd = raw_connect(s, 0);
    msock_conn *c = accept_one(s);
    msock_message *m;

    (void)state;
    frame_send(fd, "before");
    msock_server_stop(s);
    assert_int_equal(msock_conn_read(c, -1, &m), MSOCK_OK);
    msock_message_commit(m, NULL, 0);
    assert_int_equal(msock_conn_read(c, -1, &m), MSOCK_CANCELLED);
    close(fd);
    msock_server_destroy(s);
}

/* Waits for one packet of cnp while the server is turned. Returns its payload, NUL-terminated. */
static void
cnp_expect(msock_server *s, int fd, char *payload_out, size_t size)
{
    uint8_t packet[512];
    ssize_t n = -1;
    msock_message *m;

    for (int i = 0; i < PATIENCE_MS && n < 0; i++) {
        assert_int_equal(msock_server_recv(s, 1, &m), MSOCK_TIMEOUT);
        n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
    }
    assert_in_range(n, 11, 11 + size - 1);
    assert_int_equal(n - 11, packet[2] << 8 | packet[3]); /* one, and nothing behind it */
    memcpy(payload_out, packet + 11, (size_t)n - 11);
    payload_out[n - 11] = '\0';
}

/* The time for the ACK of what is written begins with the write, however long the program was busy
 * before. */
static void
what_a_busy_program_writes_is_not_late_from_the_start(void **state)
{
    static const char syn[] = "{\"operation_mode\": \"burst\"}";
    msock_server *s = msock_server_create();
    char said[300], step[320], *id;
    struct buffer wire;
    msock_conn *c;
    int fd;

    (void)state;
    msock_server_set_timeouts(s, 1000, 0);
    assert_int_equal(msock_server_add_listener(s, "cnp://127.0.0.1:0"), MSOCK_OK);
    fd = raw_connect(s, 0);
    c = accept_one(s);
    buffer_init(&wire);
    put(&wire, T_DATA, 0, syn);
    raw_send(fd, buffer_bytes(&wire), wire.len);
    cnp_expect(s, fd, said, sizeof(said));
    id = strstr(said, "\"session_id\"");
    assert_non_null(id);
    snprintf(step, sizeof(step), "{%.*s}", (int)strcspn(id, ",}"), id);
    buffer_fini(&wire);
    put(&wire, T_ACK, 0, step);
    raw_send(fd, buffer_bytes(&wire), wire.len);
    buffer_fini(&wire);
    assert_int_equal(msock_server_recv(s, 100, &(msock_message *){NULL}), MSOCK_TIMEOUT);
    usleep(1200000);
    assert_int_equal(msock_conn_write(c, "unasked", 7, 0), MSOCK_OK);
    assert_int_equal(msock_server_recv(s, 100, &(msock_message *){NULL}), MSOCK_TIMEOUT);
    cnp_expect(s, fd, said, sizeof(said));
    assert_string_equal(said, "unasked");
    close(fd);
    msock_server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_read_and_written),
        cmocka_unit_test(over_auto_a_message_waits_until_the_peer_has_spoken),
        cmocka_unit_test(each_connection_has_its_own_messages),
        cmocka_unit_test(what_came_before_the_accept_is_read_after_it),
        cmocka_unit_test(a_connection_outlives_its_peer),
        cmocka_unit_test(a_message_outlives_its_connection),
        cmocka_unit_test(a_peer_that_does_not_read_makes_a_write_wait),
        cmocka_unit_test(what_waits_behind_an_unsettled_message_is_bounded),
        cmocka_unit_test(a_write_does_not_wait_for_what_only_the_program_can_settle),
        cmocka_unit_test(what_was_written_before_the_end_arrives),
        cmocka_unit_test(messages_that_were_not_read_fail_at_the_end),
        cmocka_unit_test(a_stop_ends_all_waiting),
        cmocka_unit_test(what_a_busy_program_writes_is_not_late_from_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
