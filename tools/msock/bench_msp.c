#include "bench_msp.h"

#include "bench_load.h"
#include "bench_protocol.h"

const struct msp_wire *
msp_wire(const struct conn *conn)
{
    return conn->load->message->wire;
}

bool
msp_strict(const struct conn *conn)
{
    return conn->load->options->ahead == 0 || msp_wire(conn)->burst == NULL ||
           conn->done_seq < conn->again_until;
}

void
msp_send_first(struct conn *conn)
{
    const struct msp_wire *wire = msp_wire(conn);

    conn->protocol.msp.phase = MSP_BODY;
    conn->protocol.msp.offset = 0;
    conn->protocol.msp.packet_len = msp_first_len(wire);
    conn_put(conn, wire->first, MSP_FIRST_HEADER);
    conn_put_data(conn, wire->body, conn->protocol.msp.packet_len, false);
    conn_push(conn);
}

void
msp_send_packet(struct conn *conn, uint32_t grant)
{
    const struct msp_wire *wire = msp_wire(conn);
    struct msp_conn *msp = &conn->protocol.msp;
    uint8_t header[MSP_PACKET_HEADER];
    uint64_t left;

    msp->offset += msp->packet_len;
    left = wire->size - msp->offset;
    msp->packet_len = grant - MSP_PACKET_HEADER;
    if (left < msp->packet_len)
        msp->packet_len = (size_t)left;
    msp_packet(wire, msp->offset, msp->packet_len, header);
    conn_put(conn, header, sizeof(header));
    conn_put_data(conn, wire->body + msp->offset, msp->packet_len, false);
    conn_push(conn);
}

void
msp_send_trailer(struct conn *conn)
{
    uint8_t trailer[MSP_TRAILER_MAX];

    conn->protocol.msp.phase = MSP_FINAL;
    conn_put(conn, trailer, msp_trailer(msp_wire(conn), conn->index, conn->done_seq, trailer));
    conn_push(conn);
}

static void
msp_send_strict(struct conn *conn)
{
    if (conn->next_seq != conn->done_seq || conn_begin(conn, 1) == 0)
        return;
    conn->heard_ns = conn->load->now_ns;
    msp_send_first(conn);
}

static void
msp_send_burst(struct conn *conn)
{
    const struct msp_wire *wire = msp_wire(conn);
    uint32_t in_flight = (uint32_t)(conn->next_seq - conn->done_seq);
    uint64_t from = conn->next_seq;
    uint32_t count = conn_begin(conn, conn->load->options->ahead - in_flight);
    const uint8_t *data;
    size_t n;

    if (count == 0)
        return;
    n = msp_burst(wire, conn->index, from, count, &data);
    conn_put_data(conn, data, n, wire->unique);
    conn_push(conn);
}

static void
msp_send(struct conn *conn)
{
    if (msp_strict(conn))
        msp_send_strict(conn);
    else
        msp_send_burst(conn);
}

static const char *
msp_complete(struct bench_options *options)
{
    if (options->size > MSP_FIRST_BODY && options->ahead > 1)
        return "messages over 1998 bytes cannot be sent ahead: --ahead wants to be 0 or 1";
    if (options->size > MSP_FIRST_BODY && options->raw)
        return "--raw compares messages of one packet: --size goes up to 1998";
    if (options->raw && (options->want_reply || options->ahead == 0))
        return "--raw answers a whole message with two ACKs: no --reply on, no --ahead 0";
    if (options->late_digest && options->size == 0)
        return "an empty message has no late digest: --size wants to be at least 1";
    return NULL;
}

const struct bench_protocol bench_msp = {
    .name = "msp",
    .acknowledges = true,
    .complete = msp_complete,
    .wire_create = msp_wire_create,
    .wire_destroy = msp_wire_destroy,
    .send = msp_send,
    .feed = msp_answer_feed,
};
