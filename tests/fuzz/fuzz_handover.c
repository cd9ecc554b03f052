/* Any bytes as what a worker reads from the hand-over socket, and from the connection that it goes
 * on with then. The first byte of the input is how: bit 0 mends the lengths of the packet, so that
 * more of them get through; the others are as in fuzz_proto.c. */
#include "../unit/proto_peer.h"

#include "worker/handover_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Parts that fit into n bytes. Returns the bytes that they take. */
static size_t
packet_mend(struct handover_packet *packet, size_t n)
{
    size_t left = smaller(n, HANDOVER_REST_MAX);
    uint32_t *const parts[] = {&packet->mark_len, &packet->outbox_len, &packet->window_len};

    packet->size = sizeof(*packet);
    packet->proto %= 8;
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        *parts[i] %= (uint32_t)left + 1;
        left -= *parts[i];
    }
    return smaller(n, HANDOVER_REST_MAX) - left;
}

/* As conn_adopt in worker/conn.c does it. False where the connection is closed. */
static bool
peer_adopt(struct proto_peer *p, const struct conn_moved *moved)
{
    if (!p->proto->adopt(&p->state, moved->state))
        return false;
    if (!p->proto->idle(&p->state))
        abort();
    if (moved->window_len > 0)
        p->window = packet_window_restore(&p->store, moved->window, moved->window_len);
    return outbox_restore(&p->outbox, &p->store, moved->outbox, moved->outbox_len) == 0;
}

static void
go_on(const struct conn_moved *moved, const uint8_t *said, size_t n, uint8_t how)
{
    static const size_t pieces[] = {PEER_WHOLE, 1, 7, 1000};
    struct proto_peer p;

    proto_peer_init(&p, moved->proto);
    p.limits.max_message_size = 1 << 20;
    p.echo = (how & 16) != 0;
    p.limits.reply = p.echo ? REPLY_YES : REPLY_NO;
    proto_peer_begin(&p, PROTO_SERVER);
    if (peer_adopt(&p, moved)) {
        if ((how & 64) != 0 && moved->proto->push != NULL)
            (void)proto_peer_push(&p, "push", 4);
        if (!p.closed)
            proto_peer_hear(&p, said, n, pieces[how >> 1 & 3], (how & 8) != 0);
        if (!p.closed)
            proto_peer_wait(&p, 3000000);
        if (!p.closed && (how & 128) != 0)
            proto_peer_shutdown(&p);
        if (!p.closed)
            proto_peer_eof(&p);
    }
    proto_peer_fini(&p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct handover_packet packet;
    struct conn_moved moved;
    size_t fixed, used;
    uint8_t how;

    if (n == 0)
        return 0;
    how = *data++;
    fixed = smaller(--n, sizeof(packet));
    memset(&packet, 0, sizeof(packet));
    memcpy(&packet, data, fixed);
    data += fixed;
    n -= fixed;
    used = (how & 1) != 0 ? packet_mend(&packet, n) : n;
    if ((how & 1) != 0)
        fixed = sizeof(packet);
    if (handover_decode(&packet, data, fixed + used, &moved))
        go_on(&moved, data + used, n - used, how);
    (void)handover_is_of(&packet, packet.stats_id, packet.meaning, "tinyproto://127.0.0.1:8000");
    return 0;
}
