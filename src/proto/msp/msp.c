/* The server of msp reads headers, packets and their bodies here. Its answers and the trailer
 * are in msp_answer.c. */
#include "proto/msp/msp.h"

/* From this many bytes on an ACK is sent before the packet's last bytes are hashed and stored, so
 * that the sender prepares and sends its next packet meanwhile. */
#define EARLY_ACK_BYTES 16384

static const uint8_t no_digest[SHA256_LEN];

const uint8_t msp_empty_digest[SHA256_LEN] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};

void
msp_init(struct msp *msp, const struct proto_limits *limits, uint64_t now_us)
{
    *msp = (struct msp){.role = PROTO_SERVER, .state = MSP_IDLE, .heard_us = now_us};
    msp->grant = limits->packet_size;
    msp->clean = true;
}

/* Gathers a fixed part of n bytes in head[]. Returns true when it is whole. */
static bool
msp_gather(struct msp *msp, uint8_t need, const uint8_t *data, size_t n, size_t *used)
{
    size_t k = (size_t)(need - msp->have);

    if (k > n)
        k = n;
    memcpy(msp->head + msp->have, data, k);
    msp->have = (uint8_t)(msp->have + k);
    *used = k;
    if (msp->have < need)
        return false;
    msp->have = 0;
    return true;
}

static void
msp_packet_begin(struct msp *msp, uint32_t crc_declared, bool header_ok)
{
    msp->state = MSP_BODY;
    msp->header_bad = !header_ok;
    msp->crc_declared = crc_declared;
    msp->crc = 0;
    msp->packet_left = msp->packet_len;
    msp->marked = false;
    msp->verified = false;
}

/* Waits for the packet that had a NACK1 again: a first one with its 50 bytes of header. */
static enum proto_event
msp_packet_again(struct msp *msp, struct proto_io *io)
{
    enum proto_event event;

    if (msp->marked)
        message_rollback(*io->message);
    event = msp_say_nack1(msp, io);
    if (event != PROTO_MORE)
        return event;
    msp->have = 0;
    msp->state = MSP_PACKET;
    if (msp->first_packet) {
        message_destroy(*io->message);
        *io->message = NULL;
        msp->state = MSP_HEADER;
    }
    return PROTO_MORE;
}

static void
msp_body_whole(struct msp *msp, struct proto_io *io)
{
    msp->state = MSP_TRAILER;
    if (!msp->verified)
        msp_say_ack(io);
}

/* --- undetermined size (1.4) --- */

static enum proto_event
msp_undetermined_packet(struct msp *msp, struct proto_io *io)
{
    uint8_t sum[SHA256_LEN];

    io->tally->packets++;
    if (msp->late_digest)
        return msp_say_rej(msp, io, "bad-flags", "a late digest needs a size");
    message_peek(*io->message, sum);
    if (memcmp(sum, msp->sha256, SHA256_LEN) == 0) {
        message_finish(*io->message);
        msp_body_whole(msp, io);
        return PROTO_MORE;
    }
    if (!msp->first_packet && ++msp->rereads >= io->limits->reread_limit)
        return msp_say_err(msp, io, "too-long",
                           msp->over_limit
                               ? "no end of a message whose SIZE is over max_message_size"
                               : "no end of a message of undetermined size");
    if (message_is_lost(*io->message))
        return msp_say_lost(msp, io);
    msp_say_grant(msp, io);
    msp->state = MSP_PACKET;
    msp->first_packet = false;
    return PROTO_MORE;
}

static enum proto_event
msp_undetermined_body(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n,
                      size_t *used)
{
    size_t take = n < msp->packet_left ? n : msp->packet_left;

    if (!msp->marked) {
        message_mark(*io->message);
        msp->marked = true;
    }
    msp->crc = digest_crc32(msp->crc, data, take);
    message_append(*io->message, data, take);
    msp->packet_left -= (uint32_t)take;
    *used = take;
    if (msp->packet_left > 0)
        return PROTO_MORE; /* it may end here: msp_drained will tell */
    if (msp->header_bad || msp->crc != msp->crc_declared)
        return msp_packet_again(msp, io);
    return msp_undetermined_packet(msp, io);
}

/* --- packets of a known size --- */

/* All bytes of the packet are in the message. */
static enum proto_event
msp_packet_end(struct msp *msp, struct proto_io *io)
{
    struct message *m = *io->message;

    if (msp->more) {
        if (!msp->verified && message_is_lost(m))
            return msp_say_lost(msp, io);
        if (!msp->verified)
            msp_say_grant(msp, io);
        msp->state = MSP_PACKET;
        msp->first_packet = false;
        return PROTO_MORE;
    }
    if (!msp->late_digest) {
        message_finish(m);
        if (memcmp(m->sha256, msp->sha256, SHA256_LEN) != 0)
            return msp_say_nack2(msp, io);
    }
    msp_body_whole(msp, io);
    return PROTO_MORE;
}

/* May ACK leave before these bytes are hashed? Not where the answer depends on the digest. */
static bool
msp_may_ack_early(const struct msp *msp, const struct proto_io *io, size_t bytes)
{
    return bytes >= EARLY_ACK_BYTES && !message_is_lost(*io->message) &&
           (msp->left > 0 || msp->late_digest);
}

/* Some of the packet, but not its end: stored and hashed now, while it is hot. */
static enum proto_event
msp_body_part(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n)
{
    if (!msp->marked)
        message_mark(*io->message);
    msp->marked = true;
    message_append(*io->message, data, n);
    msp->packet_left -= (uint32_t)n;
    return PROTO_MORE;
}

/* The trailer may be there, behind the body. */
static void
msp_foresee(const struct proto_io *io, const uint8_t *trailer, size_t n)
{
    size_t len = n >= MSP_TRAILER_FIXED ? be16_load(trailer + 8) : 0;

    if (io->foresee != NULL && len > 0 && len <= n - MSP_TRAILER_FIXED)
        io->foresee(io->foresee_arg, *io->message, (enum message_kind)trailer[6],
                    trailer + MSP_TRAILER_FIXED, len);
}

/* The size alone decides, so the sender need not send the rest. */
static bool
msp_is_unwanted(const struct msp *msp, const struct proto_limits *limits)
{
    uint64_t size = msp->packet_len + msp->left;

    return size > limits->max_message_size || (limits->take_max > 0 && size > limits->take_max);
}

static enum proto_event
msp_body(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used)
{
    size_t take = n < msp->packet_left ? n : msp->packet_left;

    *used = take;
    if (!msp->verified) {
        msp->crc = digest_crc32(msp->crc, data, take);
        if (take < msp->packet_left)
            return msp_body_part(msp, io, data, take);
        if (msp->header_bad || msp->crc != msp->crc_declared)
            return msp_packet_again(msp, io);
        io->tally->packets++;
        if (msp->first_packet && msp_is_unwanted(msp, io->limits))
            return msp_say_too_large(msp, io, msp->packet_len + msp->left);
        msp->more = msp->left > 0;
        if (msp_may_ack_early(msp, io, take)) {
            msp->verified = true;
            *used = 0;
            if (msp->more)
                msp_say_grant(msp, io);
            else
                msp_say_ack(io);
            return PROTO_FLUSH;
        }
    }
    if (!msp->more && !msp->late_digest)
        msp_foresee(io, data + take, n - take);
    message_append(*io->message, data, take);
    return msp_packet_end(msp, io);
}

/* --- headers --- */

/* A JSON document has to be there until it was checked, and only the trailer says that it is
 * one. */
static uint64_t
msp_keep_max(const struct proto_io *io)
{
    uint64_t json = io->limits->max_json_size;

    return io->keep_max > json ? io->keep_max : json;
}

/* The 50 bytes of a first packet are in head[]. */
static enum proto_event
msp_first_header(struct msp *msp, struct proto_io *io)
{
    struct msp_first first;

    if (!msp_first_decode(msp->head, &first)) {
        io->tally->header++;
        return msp_say_err(msp, io, "bad-header", "expected CRLF at bytes 8, 42 and 48");
    }
    msp->over_limit = first.size > io->limits->max_message_size;
    msp->late_digest = memcmp(first.sha256, no_digest, SHA256_LEN) == 0;
    msp->undetermined = first.size == 0 || (msp->over_limit && !msp->late_digest);
    memcpy(msp->sha256, first.sha256, SHA256_LEN);
    msp->first_packet = true;
    msp->rereads = 0;
    msp->left = msp->undetermined ? 0 : first.size;
    msp->packet_len = MSP_FIRST_BODY;
    if (!msp->undetermined) {
        if (msp->left < msp->packet_len)
            msp->packet_len = (uint32_t)msp->left;
        msp->left -= msp->packet_len;
    }
    *io->message = proto_message(io, &msp_protocol, msp->undetermined ? MSP_FIRST_BODY : first.size,
                                 msp_keep_max(io), msp->begun_us, true);
    if (*io->message == NULL)
        return PROTO_CLOSE;
    (*io->message)->wants_crc = io->want_crc;
    msp_packet_begin(msp, first.crc, true);
    if (first.size == 0 && first.crc == 0 &&
        memcmp(first.sha256, msp_empty_digest, SHA256_LEN) == 0)
        return msp_undetermined_packet(msp, io);
    return PROTO_MORE;
}

static void
msp_message_begin(struct msp *msp, const struct proto_io *io)
{
    msp->state = MSP_HEADER;
    msp->have = 0;
    msp->begun_us = io->now_us;
    msp->received = 0;
}

static enum proto_event
msp_value(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
          struct message **message_out)
{
    struct message *m = *io->message;
    size_t take = (size_t)(m->value_len - msp->value_have);

    if (take > n)
        take = n;
    memcpy(m->value + msp->value_have, data, take);
    msp->value_have = (uint16_t)(msp->value_have + take);
    *used = take;
    return msp->value_have == m->value_len ? msp_trailer_end(msp, io, message_out) : PROTO_MORE;
}

/* One step: some bytes of the present state, never none but where an ACK must leave first. */
static enum proto_event
msp_step(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
         struct message **message_out)
{
    enum proto_event event;

    switch ((enum msp_state)msp->state) {
    case MSP_IDLE:
        msp_message_begin(msp, io);
        return PROTO_MORE;
    case MSP_HEADER:
        if (!msp_gather(msp, MSP_FIRST_HEADER, data, n, used))
            return PROTO_MORE;
        return msp_first_header(msp, io);
    case MSP_BODY:
        return msp->undetermined ? msp_undetermined_body(msp, io, data, n, used)
                                 : msp_body(msp, io, data, n, used);
    case MSP_PACKET:
        if (msp_gather(msp, MSP_PACKET_HEADER, data, n, used))
            msp_packet_begin(msp, be32_load(msp->head), memcmp(msp->head + 4, "\r\n", 2) == 0);
        return PROTO_MORE;
    case MSP_TRAILER:
        if (!msp_gather(msp, MSP_TRAILER_FIXED, data, n, used))
            return PROTO_MORE;
        event = msp_trailer_begin(msp, io);
        if (msp->state == MSP_VALUE && (*io->message)->value_len == 0)
            return msp_trailer_end(msp, io, message_out);
        return event;
    case MSP_VALUE:
        return msp_value(msp, io, data, n, used, message_out);
    case MSP_CLOSED:
        *used = n;
        return PROTO_CLOSE;
    }
    MS_ASSERT(!"a state of msp");
}

enum proto_event
msp_feed(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
         struct message **message_out)
{
    enum proto_event event = PROTO_MORE;
    size_t done = 0;

    msp->heard_us = io->now_us;
    while (done < n && event == PROTO_MORE && !msp->discard) {
        size_t used = 0;

        event = msp_step(msp, io, data + done, n - done, &used, message_out);
        msp->received += used;
        done += used;
    }
    *consumed_out = msp->discard ? n : done;
    return event;
}

enum proto_event
msp_drained(struct msp *msp, struct proto_io *io)
{
    bool empty = msp->packet_left == msp->packet_len;

    msp->discard = false;
    if (msp->state != MSP_BODY || !msp->undetermined || msp->header_bad ||
        msp->crc != msp->crc_declared)
        return PROTO_MORE;
    /* No bytes have the CRC-32 0 too. They are a packet only where nothing else could come. */
    if (empty && !msp->late_digest)
        return PROTO_MORE;
    return msp_undetermined_packet(msp, io);
}

/* --- time --- */

uint64_t
msp_deadline(const struct msp *msp, const struct proto_limits *limits)
{
    if (msp->state == MSP_IDLE)
        return msp->heard_us + limits->idle_timeout_us;
    return limits_progress_deadline(limits, msp->heard_us, msp->begun_us, msp->received);
}

enum proto_event
msp_expire(struct msp *msp, struct proto_io *io)
{
    bool begun = msp->packet_left < msp->packet_len ||
                 memcmp(msp->sha256, msp_empty_digest, SHA256_LEN) == 0;
    enum proto_event event;

    if (msp->state == MSP_IDLE || msp->state == MSP_CLOSED)
        return PROTO_CLOSE;
    if (limits_rate_deadline(io->limits, msp->begun_us, msp->received) <= io->now_us)
        return msp_say_err(msp, io, "timeout", "the message came too slowly");
    if (msp->state == MSP_BODY && msp->undetermined && begun) {
        event = msp_packet_again(msp, io);
        msp->discard = false; /* the peer was silent: what comes next answers the NACK1 */
        return event;
    }
    return msp_say_err(msp, io, "timeout", "no byte came for too long inside a message");
}

enum proto_event
msp_shutdown(struct msp *msp, struct proto_io *io)
{
    if (msp->state == MSP_CLOSED)
        return PROTO_CLOSE;
    return msp_say_err(msp, io, "shutdown", "the server is leaving; send it again elsewhere");
}
