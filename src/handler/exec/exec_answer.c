#include "handler/exec/exec.h"

#include "common/be.h"
#include "proto/msp/msp_wire.h"

#define ANSWER_SPARE (64u << 10) /* no more memory is kept for the next answer */

void
exec_answer_init(struct exec_answer *answer, bool framed, bool wanted)
{
    struct buffer bytes = answer->bytes;

    if (bytes.cap > ANSWER_SPARE)
        buffer_fini(&bytes);
    buffer_clear(&bytes);
    *answer = (struct exec_answer){.bytes = bytes, .framed = framed, .wanted = wanted};
}

void
exec_answer_fini(struct exec_answer *answer)
{
    buffer_fini(&answer->bytes);
}

static void
exec_answer_keep(struct exec_answer *answer, const void *data, size_t n)
{
    answer->len += n;
    if (answer->wanted || answer->refused)
        buffer_append(&answer->bytes, data, n);
}

static size_t
exec_answer_head(struct exec_answer *answer, const uint8_t *data, size_t n)
{
    size_t missing = sizeof(answer->head) - answer->head_len;
    size_t part = n < missing ? n : missing;

    memcpy(answer->head + answer->head_len, data, part);
    answer->head_len += (uint8_t)part;
    if (answer->head_len == sizeof(answer->head)) {
        uint32_t length = be32_load(answer->head);

        answer->refused = (length & EXEC_ANSWER_REFUSED) != 0;
        answer->body_len = length & ~EXEC_ANSWER_REFUSED;
    }
    return part;
}

static enum exec_answer_is
exec_answer_feed_framed(struct exec_answer *answer, const uint8_t *data, size_t n,
                        size_t *consumed_out)
{
    size_t head = exec_answer_head(answer, data, n), part;

    *consumed_out = head;
    if (answer->head_len < sizeof(answer->head))
        return EXEC_ANSWER_MORE;
    if (answer->body_len > (answer->refused ? EXEC_ANSWER_REFUSAL_MAX : MSP_REPLY_MAX))
        return EXEC_ANSWER_BAD;
    part = answer->body_len - (size_t)answer->len;
    if (part > n - head)
        part = n - head;
    exec_answer_keep(answer, data + head, part);
    *consumed_out = head + part;
    return answer->len == answer->body_len ? EXEC_ANSWER_WHOLE : EXEC_ANSWER_MORE;
}

enum exec_answer_is
exec_answer_feed(struct exec_answer *answer, const void *data, size_t n, size_t *consumed_out)
{
    if (answer->framed)
        return exec_answer_feed_framed(answer, data, n, consumed_out);
    *consumed_out = n;
    if (answer->len + n > MSP_REPLY_MAX)
        return EXEC_ANSWER_BAD;
    exec_answer_keep(answer, data, n);
    return EXEC_ANSWER_MORE;
}
