/* A message as one NDJSON line of the journal, and its receipt. Pure: bytes and time are arguments.
 * A line is written in two parts, since a file's own name is known only when it has been linked. */
#ifndef HANDLER_JOURNAL_RECORD_H
#define HANDLER_JOURNAL_RECORD_H

#include "common/buffer.h"
#include "common/clock.h"
#include "handler/handler.h"
#include "handler/journal/ulid.h"

/* Formats times; a second's text is made once. One thread uses it at a time. */
struct record_clock {
    uint64_t second; /* of text, since 1970 */
    char text[CLOCK_RFC3339_LEN];
};

/* Everything up to and with "sha256":"...", without a comma behind it. m->size, sha256, kind and
 * value are read, the body is not. */
void record_head(struct buffer *out, const char id[ULID_LEN], uint64_t real_us,
                 struct record_clock *clock, const struct message_origin *origin,
                 const struct message *m);

/* Ends the line with the body itself: "json" for JSON, "text" for other UTF-8 without NUL, else
 * "base64". */
void record_body(struct buffer *out, enum message_kind kind, const char *body, size_t n);

/* Where a body is that is not in its line: "blob" in "blobs/", "file" in "files/". */
struct record_place {
    const char *key;
    const char *directory;
    const char *name;
};

/* Ends the line with where the body is. */
void record_end_with_place(struct buffer *out, const struct record_place *place);

/* The reply to a committed message; place NULL where its body is in the line. */
void record_receipt(struct buffer *out, const char id[ULID_LEN], const struct message *m,
                    const struct record_place *place, bool duplicate);

#endif
