#include "proto/msp/msp_trailer.h"

#include "common/be.h"
#include "proto/msp/msp_answer.h"
#include "proto/path_check.h"

#include <string.h>

#define CRC_FROM 6 /* the trailer's CRC-32 covers KIND and all behind it */

static enum proto_event
msp_trailer_again(struct msp *msp, struct proto_io *io)
{
    enum proto_event event = msp_say_nack1(msp, io);

    if (event == PROTO_MORE) {
        msp->state = MSP_TRAILER;
        msp->have = 0;
    }
    return event;
}

enum proto_event
msp_trailer_begin(struct msp *msp, struct proto_io *io)
{
    unsigned len = be16_load(msp->head + 8);

    /* No VALUE is that long: the length itself was hit on the way, and with it the CRC-32. */
    if (len > MSP_VALUE_MAX || msp->head[4] != '\r' || msp->head[5] != '\n')
        return msp_trailer_again(msp, io);
    message_value_reserve(*io->message, len);
    msp->value_have = 0;
    msp->state = MSP_VALUE;
    return PROTO_MORE;
}

/* Compares a late digest (1.8) and takes it off the front of VALUE. */
static bool
msp_late_digest_holds(struct message *m)
{
    message_finish(m);
    if (memcmp(m->value, m->sha256, SHA256_LEN) != 0)
        return false;
    message_value_cut_front(m, SHA256_LEN);
    return true;
}

static const char *
msp_flags_reason(const struct msp *msp, const struct message *m, uint8_t flags)
{
    bool digest = (flags & MSP_FLAG_DIGEST) != 0;

    if ((flags & ~(MSP_FLAG_REPLY | MSP_FLAG_DIGEST)) != 0)
        return "a flag that is not defined";
    if (digest && !msp->late_digest)
        return "a late digest, but the first packet had one already";
    if (!digest && msp->late_digest)
        return "no digest, neither in the first packet nor in the trailer";
    if (digest && m->value_len < SHA256_LEN)
        return "a late digest is 32 bytes";
    return NULL;
}

enum proto_event
msp_trailer_end(struct msp *msp, struct proto_io *io, struct message **message_out)
{
    struct message *m = *io->message;
    uint32_t crc = digest_crc32(0, msp->head + CRC_FROM, MSP_TRAILER_FIXED - CRC_FROM);
    uint8_t kind = msp->head[6], flags = msp->head[7];
    const char *reason;

    if (digest_crc32(crc, m->value, m->value_len) != be32_load(msp->head))
        return msp_trailer_again(msp, io);
    io->tally->packets++;
    reason = msp_flags_reason(msp, m, flags);
    if (reason != NULL)
        return msp_say_rej(msp, io, "bad-flags", reason);
    if (kind != MESSAGE_PLAIN && kind != MESSAGE_JSON && kind != MESSAGE_FILE)
        return msp_say_rej(msp, io, "bad-kind", "KIND is A, J or F");
    if (msp->late_digest && !msp_late_digest_holds(m))
        return msp_say_nack2(msp, io);
    if (m->error != 0)
        return msp_say_store_error(msp, io, m->error);
    m->kind = (enum message_kind)kind;
    m->wants_reply = (flags & MSP_FLAG_REPLY) != 0;
    reason = kind == MESSAGE_FILE ? path_check(m->value, m->value_len) : NULL;
    if (reason != NULL)
        return msp_say_rej(msp, io, "bad-path", reason);
    *message_out = m;
    *io->message = NULL;
    msp_message_done(msp, io);
    return PROTO_MESSAGE;
}
