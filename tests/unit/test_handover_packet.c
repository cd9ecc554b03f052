/* What a worker reads from the hand-over socket: packets that are none are refused, and whatever
 * state another worker wrote, the protocol that goes on with it is sound. */
#include "msp_build.h"
#include "proto_peer.h"

#include "worker/handover_packet.h"

#include <errno.h>

#include <sys/socket.h>

#define STATES 5000 /* of each protocol */

static struct handover_packet
packet_of(const char *proto, uint32_t mark, uint32_t outbox, uint32_t window)
{
    struct handover_packet packet;

    memset(&packet, 0, sizeof(packet));
    packet.size = sizeof(packet);
    packet.proto = (uint32_t)proto_row(proto_find(proto));
    packet.mark_len = mark;
    packet.outbox_len = outbox;
    packet.window_len = window;
    packet.stats_id = 7;
    packet.meaning = 5;
    packet.began_us = 42;
    memcpy(packet.listener, "frame://x:1", 11);
    return packet;
}

static void
a_whole_packet_is_taken_apart(void **state)
{
    struct handover_packet packet = packet_of("cnp", 3, 5, 4);
    uint8_t rest[12] = "mkkoutboxwin";
    struct conn_moved moved;

    (void)state;
    assert_true(handover_decode(&packet, rest, sizeof(packet) + sizeof(rest), &moved));
    assert_ptr_equal(moved.proto, proto_find("cnp"));
    assert_ptr_equal(moved.state, &packet.state);
    assert_int_equal(moved.began_us, 42);
    assert_ptr_equal(moved.mark, rest);
    assert_int_equal(moved.mark_len, 3);
    assert_ptr_equal(moved.outbox, rest + 3);
    assert_int_equal(moved.outbox_len, 5);
    assert_ptr_equal(moved.window, rest + 8);
    assert_int_equal(moved.window_len, 4);
}

static void
what_is_no_packet_is_refused(void **state)
{
    static uint8_t rest[HANDOVER_REST_MAX + 1];
    const struct handover_packet good = packet_of("frame", 1, 2, 3);
    const struct {
        uint32_t size, proto, mark, outbox, window;
        size_t n;
    } cases[] = {
        {good.size - 1, good.proto, 1, 2, 3, sizeof(good) + 6},
        {good.size, 99, 1, 2, 3, sizeof(good) + 6},
        {good.size, UINT32_MAX, 1, 2, 3, sizeof(good) + 6},
        {good.size, good.proto, 1, 2, 3, sizeof(good) + 5},
        {good.size, good.proto, 1, 2, 3, sizeof(good) + 7},
        {good.size, good.proto, 1, 2, 3, sizeof(good) - 1},
        {good.size, good.proto, 1, 2, 3, 0},
        {good.size, good.proto, UINT32_MAX, 1, 6, sizeof(good) + 6}, /* 6 in 32 bits */
        {good.size, good.proto, UINT32_MAX, UINT32_MAX, UINT32_MAX, sizeof(good) + 6},
        {good.size, good.proto, 0, HANDOVER_REST_MAX + 1, 0, sizeof(good) + sizeof(rest)},
    };
    struct conn_moved moved;

    (void)state;
    assert_true(handover_decode(&good, rest, sizeof(good) + 6, &moved));
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct handover_packet bad = good;

        bad.size = cases[i].size;
        bad.proto = cases[i].proto;
        bad.mark_len = cases[i].mark;
        bad.outbox_len = cases[i].outbox;
        bad.window_len = cases[i].window;
        assert_false(handover_decode(&bad, rest, cases[i].n, &moved));
    }
}

static void
a_listener_is_known_by_its_row_and_its_name(void **state)
{
    struct handover_packet packet = packet_of("frame", 0, 0, 0);
    char longer[sizeof(packet.listener) + 1];

    (void)state;
    assert_true(handover_is_of(&packet, 7, 5, "frame://x:1"));
    assert_false(handover_is_of(&packet, 8, 5, "frame://x:1"));
    assert_false(handover_is_of(&packet, 7, 6, "frame://x:1"));
    assert_false(handover_is_of(&packet, 7, 5, "frame://x:10"));
    assert_false(handover_is_of(&packet, 7, 5, "frame://x:"));
    memset(packet.listener, 'a', sizeof(packet.listener)); /* without its NUL */
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 2] = '\0';
    assert_false(handover_is_of(&packet, 7, 5, longer));
}

/* --- the socket --- */

static void
pair_open(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

static void
pair_close(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

/* The number that the next descriptor gets: higher where one was left open. */
static int
next_fd(void)
{
    int fd = dup(STDERR_FILENO);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

/* A packet with n copies of a descriptor. */
static void
send_fds(int to, const struct handover_packet *packet, size_t len, size_t n)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)packet, .iov_len = len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *header;

    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        header = CMSG_FIRSTHDR(&msg);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (size_t i = 0; i < n; i++)
            memcpy(CMSG_DATA(header) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
    }
    assert_int_equal(sendmsg(to, &msg, 0), len);
}

static void
what_was_sent_is_received(void **state)
{
    static uint8_t rest[HANDOVER_REST_MAX];
    struct handover_packet sent = packet_of("frame", 0, 5, 0), packet;
    struct buffer behind = {0};
    int fds[2], fd = -1;

    (void)state;
    pair_open(fds);
    buffer_append(&behind, "hello", 5);
    assert_int_equal(handover_send(fds[1], &sent, &behind, fds[1]), 0);
    assert_int_equal(handover_receive(fds[0], &packet, rest, &fd), sizeof(packet) + 5);
    assert_true(fd >= 0);
    assert_memory_equal(&packet, &sent, sizeof(packet));
    assert_memory_equal(rest, "hello", 5);
    close(fd);
    assert_int_equal(handover_receive(fds[0], &packet, rest, &fd), -1); /* no more */
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    assert_int_equal(handover_receive(fds[0], &packet, rest, &fd), -1); /* never more */
    assert_int_equal(errno, EPIPE);
    buffer_fini(&behind);
    pair_close(fds);
}

static void
no_descriptor_stays_open_but_the_one_that_belongs_there(void **state)
{
    static const struct {
        size_t len, fds;
    } cases[] = {{sizeof(struct handover_packet), 0},
                 {sizeof(struct handover_packet), 2},
                 {sizeof(struct handover_packet), 3},
                 {sizeof(struct handover_packet), 8},
                 {1, 2},
                 {0, 0},
                 {0, 2}};
    static uint8_t rest[HANDOVER_REST_MAX];
    struct handover_packet packet = packet_of("frame", 0, 0, 0);
    int fds[2];

    (void)state;
    pair_open(fds);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        int before = next_fd(), fd = -1;

        send_fds(fds[1], &packet, cases[i].len, cases[i].fds);
        assert_int_equal(handover_receive(fds[0], &packet, rest, &fd), cases[i].len);
        assert_int_equal(fd, -1);
        assert_int_equal(next_fd(), before);
    }
    pair_close(fds);
}

/* --- states --- */

/* The peer at the other end goes on with another process. */
static void
peer_moves(struct proto_peer *p, const void *moved)
{
    struct proto_begin begin = {
        .limits = &p->limits, .role = PROTO_SERVER, .nonce = 1, .now_us = p->now_us};
    union proto_state copy;

    memcpy(&copy, moved, sizeof(copy));
    memset(&p->state, 0xa5, sizeof(p->state));
    p->proto->init(&p->state, &begin);
    assert_true(p->proto->adopt(&p->state, &copy));
}

static void
idle_connections_go_on(void **state)
{
    static const struct {
        const char *proto, *before, *after, *said;
        size_t before_len, after_len, said_len;
    } cases[] = {
        {"frame", "", "\0\0\0\2hi", "\0\0\0\2hi", 0, 6, 6},
        {"frame", "\0\0\0\1x", "\0\0\0\2hi", "\0\0\0\2hi", 5, 6, 6},
        {"tinyproto", "", "\xff\0\0\0\2hi", "\xff\xff\0\0\0\2", 0, 7, 6},
        {"tinyproto", "\xff", "\0\0\0\2hi", "\xff\0\0\0\2", 1, 6, 5},
        {"auto", "", "\0\0\0\2hi", "\0\0\0\2hi", 0, 6, 6},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        union proto_state moved;
        struct proto_peer p;

        proto_peer_init(&p, proto_find(cases[i].proto));
        p.limits.reply = REPLY_YES;
        p.limits.max_message_size = 1 << 20;
        p.echo = true;
        proto_peer_begin(&p, PROTO_SERVER);
        proto_peer_hear(&p, cases[i].before, cases[i].before_len, PEER_WHOLE, false);
        assert_true(p.proto->idle(&p.state));
        buffer_consume(&p.said, p.said.len);
        moved = p.state;
        peer_moves(&p, &moved);
        assert_true(p.proto->idle(&p.state));
        proto_peer_hear(&p, cases[i].after, cases[i].after_len, PEER_WHOLE, false);
        proto_peer_expect_said(&p, cases[i].said, cases[i].said_len);
        proto_peer_fini(&p);
    }
}

/* A message of msp whose SHA-256 does not hold begins again, in another worker each time. */
static void
msp_counts_the_nacks_of_a_message_over_all_its_workers(void **state)
{
    uint8_t packet[MSP_FIRST_PACKET];
    size_t n = build_first(packet, "damaged", 7, false, false);
    struct proto_peer p;

    (void)state;
    packet[10] ^= 1; /* of the SHA-256 */
    proto_peer_init(&p, proto_find("msp"));
    p.limits.nack_limit = 2;
    proto_peer_begin(&p, PROTO_SERVER);
    for (unsigned i = 0; i < 3; i++) {
        union proto_state moved = p.state;

        peer_moves(&p, &moved);
        proto_peer_hear(&p, packet, n, PEER_WHOLE, false);
        if (i < 2)
            proto_peer_expect_said(&p, "NACK2\r\n", 7);
    }
    assert_true(p.closed);
    assert_int_equal(p.tally.nack2, 2);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* The grant has grown with the last message, and the next one goes on from there. */
static void
msp_keeps_its_grant(void **state)
{
    static uint8_t bytes[4096], packet[4096];
    struct proto_peer p;
    union proto_state moved;
    uint32_t grant;

    (void)state;
    proto_peer_init(&p, proto_find("msp"));
    proto_peer_begin(&p, PROTO_SERVER);
    proto_peer_hear(&p, packet, build_first(packet, bytes, sizeof(bytes), false, false), PEER_WHOLE,
                    false);
    grant = p.state.msp.grant;
    assert_true(grant > p.limits.packet_size);
    proto_peer_hear(&p, packet,
                    build_packet(packet, bytes + MSP_FIRST_BODY, sizeof(bytes) - MSP_FIRST_BODY),
                    PEER_WHOLE, false);
    proto_peer_hear(&p, packet, build_trailer(packet, 'A', 0, NULL, 0), PEER_WHOLE, false);
    assert_true(p.proto->idle(&p.state));
    moved = p.state;
    peer_moves(&p, &moved);
    assert_int_equal(p.state.msp.grant, grant);
    proto_peer_fini(&p);
}

static uint64_t
random_next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Most bytes small: more of them are states. */
static void
random_fill(uint64_t *x, void *to, size_t n)
{
    uint8_t *at = to;

    for (size_t i = 0; i < n; i++) {
        uint64_t r = random_next(x);

        at[i] = (r & 0xf00) != 0 ? r % 5 : (uint8_t)r;
    }
}

static void
use(struct proto_peer *p, uint64_t *x)
{
    uint8_t bytes[64];

    random_fill(x, bytes, sizeof(bytes));
    proto_peer_hear(p, bytes, sizeof(bytes), 1 + random_next(x) % 9, false);
    if (!p->closed)
        (void)proto_peer_push(p, "push", 4);
    if (!p->closed)
        proto_peer_wait(p, 3000000);
    if (!p->closed)
        proto_peer_shutdown(p);
}

static void
whatever_another_worker_wrote_the_protocol_is_sound(void **state)
{
    uint64_t x = 0x9e3779b97f4a7c15;
    const struct proto_ops *proto;

    (void)state;
    for (size_t row = 0; (proto = proto_at(row)) != NULL; row++) {
        unsigned taken = 0;

        if (proto->adopt == NULL)
            continue;
        for (unsigned k = 0; k < STATES; k++) {
            union proto_state moved;
            struct proto_peer p;

            random_fill(&x, &moved, sizeof(moved));
            proto_peer_init(&p, proto);
            p.limits.max_message_size = 1 << 20;
            proto_peer_begin(&p, PROTO_SERVER);
            if (p.proto->adopt(&p.state, &moved)) {
                taken++;
                assert_true(p.proto->idle(&p.state));
                assert_true(p.proto->deadline(&p.state, &p.limits) > 0);
                use(&p, &x);
            }
            proto_peer_fini(&p);
        }
        assert_true(taken > 0 && taken < STATES);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_packet_is_taken_apart),
        cmocka_unit_test(what_is_no_packet_is_refused),
        cmocka_unit_test(a_listener_is_known_by_its_row_and_its_name),
        cmocka_unit_test(what_was_sent_is_received),
        cmocka_unit_test(no_descriptor_stays_open_but_the_one_that_belongs_there),
        cmocka_unit_test(idle_connections_go_on),
        cmocka_unit_test(msp_counts_the_nacks_of_a_message_over_all_its_workers),
        cmocka_unit_test(msp_keeps_its_grant),
        cmocka_unit_test(whatever_another_worker_wrote_the_protocol_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
