/* The limits and choices of one listener, for the protocols. */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

#include "common/url.h"

#define FRAMING_DELIMITER_MAX 32
#define LIMITS_TAKER_LEN      48

enum framing_kind {
    FRAMING_LENGTH32,  /* a length of 4 bytes before each message */
    FRAMING_FIXED,     /* all messages of one size */
    FRAMING_DELIMITER, /* a delimiter behind each message */
    FRAMING_EOF,       /* one message, up to the end of the connection */
};

/* How frames are told apart (docs/protocol.md 4). */
struct framing {
    enum framing_kind kind;
    uint32_t fixed_len; /* of FRAMING_FIXED, 1 or more */
    uint8_t delimiter_len;
    uint8_t delimiter[FRAMING_DELIMITER_MAX];
    bool drop_cr;           /* the delimiter is the default one: a CR before it belongs to it */
    bool keep_unterminated; /* the bytes behind the last delimiter at a clean end are a message */
};

/* Which replies go back over a protocol whose messages cannot ask for one. */
enum reply_policy {
    REPLY_AUTO, /* replies of handlers made to reply; of the others only where they cannot harm a
                 * peer that only sends (docs/protocol.md 6) */
    REPLY_YES,
    REPLY_NO,
};

/* Durations in microseconds, sizes in bytes. */
struct proto_limits {
    uint64_t max_message_size; /* msp: a larger SIZE is refused (1.8) or undetermined (1.3) */
    uint64_t timeout_us;       /* no byte inside a message for so long: ERR timeout */
    uint64_t idle_timeout_us;  /* no message for so long: close */
    uint64_t min_rate;         /* bytes/s a message must make after its first rate_grace_us */
    uint64_t rate_grace_us;
    uint64_t max_json_size; /* a larger JSON document is refused */
    uint64_t keepalive_us;  /* cnp: nothing heard for so long: ask (3.3) */
    uint32_t max_json_depth, max_json_values;
    uint32_t packet_size;     /* msp: smallest grant */
    uint32_t packet_size_max; /* msp: largest grant; cnp: largest payload */
    uint32_t nack_limit;      /* NACKs within one message */
    uint32_t reread_limit;    /* packets of an undetermined message without an end */
    uint32_t window_size;     /* cnp: most packets without an ACK */
    uint32_t retries;         /* cnp: how often a packet is sent again */
    enum reply_policy reply;
    bool answers;      /* the handler is there to answer (echo, not journal) */
    uint64_t take_max; /* more bytes of a message the handler or a transform refuses; 0: no limit */
    char taker[LIMITS_TAKER_LEN]; /* of take_max, for limits_too_large */
    struct framing framing;
};

/* Whether a reply goes back over a protocol whose messages cannot ask for one. harmless: a receipt
 * does no harm there to a peer that does not expect it. */
static inline bool
limits_want_reply(const struct proto_limits *limits, bool harmless)
{
    if (limits->reply == REPLY_AUTO)
        return limits->answers || harmless;
    return limits->reply == REPLY_YES;
}

/* --- limits.c --- */

/* A message that is over a limit, in the words that are the same over every protocol and in the
 * log: "the message is larger than max_message_size, 1048576 bytes". what is the limit's name.
 * Returns text. */
#define LIMITS_TEXT_LEN 128
const char *limits_too_large(const char *what, uint64_t bytes, char text[LIMITS_TEXT_LEN]);

/* When a message that began at begun_us, and of which received bytes have come, must have made more
 * progress (min_rate after rate_grace); and the same or, where that is sooner, when its peer, last
 * heard at heard_us, must have said more (timeout). Monotonic; UINT64_MAX: never. */
uint64_t
limits_rate_deadline(const struct proto_limits *limits, uint64_t begun_us, uint64_t received);
uint64_t limits_progress_deadline(const struct proto_limits *limits, uint64_t heard_us,
                                  uint64_t begun_us, uint64_t received);

/* --- framing.c --- */

/* ?framing=, ?delimiter= and ?unterminated= of a listener or a client. */

#define FRAMING_REASON_LEN 160

/* Reads framing (length32, fixed:N, delimiter, delimiter:X, eof), delimiter (escapes as in C) and
 * unterminated among the options. max_message_size bounds N. Returns 0, or -1 with half a sentence
 * in reason. */
MS_MUST_CHECK int framing_parse(const struct url *url, uint64_t max_message_size,
                                struct framing *framing_out, char reason[FRAMING_REASON_LEN]);

/* The value of an option holds a NUL (%00), which only a delimiter may. */
bool framing_forbids_nul(const struct url_option *option);

#endif
